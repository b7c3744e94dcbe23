"""`Engine`: what every kind of peer is made of. Wiring only: arguments → node and sockets → bus thread → catalogue, events.

    register ──▶ mailbox ──▶ bus thread: Node ──▶ effects ──▶ sockets
    lookup  ◀── catalogue ◀── on_batch ◀────────────┘

It never waits for the bus: `Peer` does by blocking its caller, its twin in `aio` by `await`.
"""

from __future__ import annotations

import logging
import os
import random
import re
import secrets
import socket
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from .bus.addresses import LOOPBACK, Endpoint, parse_advertise, parse_bind, parse_seeds, resolve
from .bus.hush import logger
from .bus.mailbox import Mailbox
from .bus.resolver import Resolver
from .bus.sockets import Sockets
from .bus.thread import BusThread, refuse_green_threads
from .catalogue.balance import Balance
from .catalogue.catalogue import Catalogue, ForkedCatalogue
from .catalogue.events import EventLog, Watch
from .catalogue.reads import Reads
from .config import Config
from .core.dialer import SYNCED
from .core.effects import Changed, Effect, Happened
from .core.node import Node
from .core.selfhood import Identity
from .errors import ConfigError, GossipError, InsecureWarning, PeerClosed
from .model import (
    ID_PATTERN,
    SERVICE_PATTERN,
    ZONE_PATTERN,
    Event,
    EventKind,
    Instance,
    Member,
    MemberState,
    PeerState,
    Status,
    checked_instance,
    join_address,
)
from .registration import Command

NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
CALL_TIMEOUT_S = 10.0  # a command that the bus thread did not run by then is an error
WAIT_STEP_S = 60.0  # waits are cut so that an interrupted system call is noticed on every platform
TTL_MAX_S = 366 * 86400.0


class Bell(Protocol):
    """What a waiting caller is woken by: a `threading.Event`, or its twin in `aio`."""

    def set(self) -> None:
        """Wake the caller. Any thread; neither raises nor waits."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller waits for: what is `known` of it (None: go on waiting), and in words what is `missing`."""

    known: Callable[[], Any]
    missing: Callable[[], str]


class Engine(Reads):
    """What both twins are made of: arguments, node, bus thread, reads, and writes as commands that nobody has run yet.

    Nothing here waits for the bus but `_end`. For the arguments see `Peer`.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        cluster: str = "default",
        bind: str | None = None,
        advertise: str | None = None,
        seeds: Sequence[str] | None = None,
        zone: str = "",
        config: Config | None = None,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        insecure: bool = False,
        snapshot: str | os.PathLike[str] | None = None,
        fork: str = "raise",
    ) -> None:
        _refuse_unbuilt(secret=secret, snapshot=snapshot, fork=fork)
        self._name = _checked("name", name if name is not None else _host_name(), NAME_PATTERN, "1 to 64 of A-Z a-z 0-9 . _ -")
        chosen = id if id is not None else f"{self._name}-{secrets.token_hex(6)}"
        self._id = _checked("id", chosen, ID_PATTERN, "1 to 128 of A-Z a-z 0-9 . _ - : [ ] % / @")
        self._cluster = _checked("cluster", cluster, SERVICE_PATTERN, "1 to 128 of A-Z a-z 0-9 . _ -")
        self._zone = _checked("zone", zone, ZONE_PATTERN, "0 to 64 of A-Z a-z 0-9 . _ : / -")
        if config is not None and not isinstance(config, Config):
            raise ConfigError(f"config={config!r} is no Config: pass Config(...), or Config.local(), .lan(), .wan()")
        self._config = config or Config()
        self._bind = parse_bind(bind) if bind is not None else Endpoint(LOOPBACK, 0)
        self._advertise = parse_advertise(advertise) if advertise is not None else None
        self._seeds = parse_seeds(seeds) if seeds is not None else ()
        self._zero_configuration = seeds is None and self._bind.loopback
        self._check_reach(insecure=insecure, bound=bind is not None)
        self._catalogue = Catalogue()
        self._balance = Balance(self._config.balancing)
        self._events = EventLog(self._config.limits)
        self._node: Node | None = None
        self._bus: BusThread | None = None
        self._resolver: Resolver | None = None
        self._waiters: list[Bell] = []
        self._started_at = 0.0
        self._last_status: Status | None = None
        self._last_members: tuple[Member, ...] = ()
        self._closed = False
        self._forked = False
        self._life = threading.RLock()  # start and close from two threads: one of them must win; no read takes it

    def _check_reach(self, *, insecure: bool, bound: bool) -> None:
        if self._bind.unspecified and self._advertise is None:
            raise ConfigError(
                f"bind: {self._bind.host} is every address of this machine, and no peer can dial that. "
                "Say also under which address others reach it: advertise='10.0.0.5'. Nothing was started."
            )
        places = [("bind", self._bind), *([("advertise", self._advertise)] if self._advertise else [])]
        outside = [*places, *(("seeds", seed) for seed in self._seeds)]
        open_to_all = [f"{what} {place.host}" for what, place in outside if not place.loopback]
        if not open_to_all:
            return
        if not insecure:
            raise ConfigError(
                f"{', '.join(open_to_all)}: beyond this machine, anybody who reaches these ports could read and change the "
                "registry. Pass insecure=True if the network itself keeps strangers out; nothing was started."
            )
        if not bound:
            raise ConfigError(
                f"{', '.join(open_to_all)}: a peer that talks to other machines needs an address they can dial. "
                "Say bind='0.0.0.0:7400', advertise='<address of this machine>'. Nothing was started."
            )
        warnings.warn(
            f"{', '.join(open_to_all)}: this peer is open to anybody who reaches its ports", InsecureWarning, stacklevel=3
        )

    # life -------------------------------------------------------------------------------------------------------------

    def _runs(self) -> bool:
        """Whether it was started. Raises `PeerClosed` when it cannot start any more."""
        self._refuse_fork()
        if self._closed:
            raise PeerClosed(f"peer {self._name!r} was closed and cannot start again. Make a new Peer")
        return self._bus is not None

    def _has_names(self) -> bool:
        """Whether `_addresses` has to ask a resolver, which may take its time."""
        return any(place is not None and place.is_name for place in (self._bind, self._advertise))

    def _addresses(self) -> dict[str, str]:
        """The hosts of `bind` and `advertise` as IP addresses. Blocks while names are resolved; raises `ConfigError`."""
        places = [("bind", self._bind), *([("advertise", self._advertise)] if self._advertise else [])]
        return {place.host: _resolved(what, place.host) for what, place in places}

    def _start(self, addresses: Mapping[str, str]) -> None:
        with self._life:
            if not self._runs():
                self._launch(addresses)

    def _launch(self, addresses: Mapping[str, str]) -> None:
        names = any(seed.is_name for seed in self._seeds)
        seeds = None if names else tuple(join_address(seed.host, seed.port) for seed in self._seeds)
        refuse_green_threads()
        sockets = Sockets.open(self._config.links)
        bus: BusThread | None = None
        try:
            host, contact_port, publisher_port = self._bind_sockets(sockets, addresses)
            rng = random.SystemRandom()
            node = Node(
                Identity(
                    self._id,
                    self._name,
                    self._cluster,
                    self._zone,
                    host,
                    contact_port,
                    publisher_port,
                    time.time_ns() // 1_000_000,
                    rng.getrandbits(64),
                ),
                config=self._config,
                chance=rng,
                seeds=seeds,
                zero_configuration=self._zero_configuration,
            )
            bus = BusThread(self._name, node, sockets, self._config, self._on_batch, rng=rng, on_end=self._on_end)
            self._node, self._started_at = node, time.monotonic()
            bus.start()
        except BaseException:
            self._node = None
            if bus is None:
                sockets.close()
            else:
                bus.stop(leave=False)
            raise
        self._bus = bus
        _remember_for_forks(self)
        if names:
            self._resolver = Resolver(self._name, self._seeds, alone=lambda: node.local.alone, found=self._seeds_found)
            self._resolver.start()

    def _seeds_found(self, seeds: tuple[str, ...]) -> None:
        self._post(lambda node, now: (node.set_seeds(seeds, now), None), bounded=False)

    def _bind_sockets(self, sockets: Sockets, addresses: Mapping[str, str]) -> tuple[str, int, int]:
        """Bind contact and publisher; returns the host and the two ports that others dial."""
        host = addresses[self._bind.host]
        contact_port = sockets.bind_contact(host, self._bind.port)
        publisher_port = self._bind_publisher(sockets, host, contact_port)
        told = self._advertise
        if told is None:
            return host, contact_port, publisher_port
        return addresses[told.host], told.port or contact_port, told.publisher_port or publisher_port

    def _bind_publisher(self, sockets: Sockets, host: str, contact_port: int) -> int:
        if self._bind.publisher_port is not None:
            return sockets.bind_publisher(host, self._bind.publisher_port)
        if self._bind.port == 0:
            return sockets.bind_publisher(host, 0)
        try:
            return sockets.bind_publisher(host, contact_port + 1)
        except ConfigError:
            if not self._bind.loopback:  # beyond loopback a firewall has to know the port
                raise
            return sockets.bind_publisher(host, 0)

    def _mark_closed(self) -> bool:
        """From here on writes and waits raise. False in a forked child, where there is nothing to end."""
        with self._life:
            if not self._forked and not self._closed:
                self._last_members = self.members()
                self._closed = True
                self._last_status = self._status_now()
            return not self._forked

    def _end(self, leave: bool) -> None:
        """The second half of closing, after `_mark_closed`. Blocks while the bus says goodbye; less than a second."""
        if self._resolver is not None:
            self._resolver.stop()
        if self._bus is not None:
            self._bus.stop(leave)
        self._on_end()

    def _on_end(self) -> None:
        """The bus ended, by `close` or by itself: nobody is to wait any longer. Any thread; idempotent."""
        self._events.end()
        self._wake_waiters()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a peer cannot be pickled or copied: it owns sockets and a thread. Start one in the other process")

    def __repr__(self) -> str:
        kind = type(self).__name__
        if self._forked:
            return f"<{kind} {self._name}, of the process that this one was forked from>"
        return f"<{kind} {self._id} at {self.address or 'no address yet'}, {self.state}>"

    def abandon_in_child(self) -> None:
        """In a forked child: thread and sockets are the parent's; from here on every call raises `PeerForked`."""
        self._forked = True
        message = (
            f"peer {self._name!r} was started before this process was forked, and belongs to the parent. "
            "Start a Peer of its own in the child, after the fork"
        )
        self._catalogue = ForkedCatalogue(message)
        self._life = threading.RLock()
        self._events.end()
        if self._bus is not None:
            self._bus.abandon()

    def _refuse_fork(self) -> None:
        self._catalogue.views  # noqa: B018 - raises PeerForked in a forked child

    # identity ---------------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The peer's id. It changes only if an older process turns out to use it (`DuplicatePeerId`)."""
        self._refuse_fork()
        return self._node.id if self._node is not None else self._id

    @property
    def name(self) -> str:
        """The name for people."""
        self._refuse_fork()
        return self._name

    @property
    def address(self) -> str:
        """`host:port` of the contact, as others dial it; "" before `start`."""
        self._refuse_fork()
        return self._node.local.me.contact if self._node is not None else ""

    @property
    def state(self) -> PeerState:
        """`joining`, `ready`, `isolated` or `closed`."""
        self._refuse_fork()
        if self._closed or (self._bus is not None and not self._bus.alive):
            return PeerState.CLOSED
        return self._node.state if self._node is not None else PeerState.JOINING

    # writes -----------------------------------------------------------------------------------------------------------

    def _registering(
        self,
        service: str,
        *,
        port: int,
        host: str | None,
        id: str | None,
        weight: int,
        labels: Mapping[str, str] | None,
        routes: Iterable[str],
        ttl: float | None,
        check: object,
    ) -> tuple[Instance, Command, Command]:
        """The instance, the command that registers it, and the one that takes just this back, had it come to pass."""
        if check is not None:
            raise ConfigError("register(check=...): health checks are not built yet; leave check out, and use ttl with renew()")
        if ttl is not None and not (isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and 0 < ttl <= TTL_MAX_S):
            raise ConfigError(f"register(ttl={ttl!r}): a time to live is a number of seconds above 0; leave it out to stay")
        node = self._running()
        instance = checked_instance(
            service,
            host=host if host is not None else node.local.me.header.host,
            port=port,
            id=id,
            weight=weight,
            labels=labels,
            routes=routes,
            zone=self._zone,
            origin=node.id,
        )
        registered: list[Instance] = []

        def command(node: Node, now: float) -> tuple[list[Effect], None]:
            effects = node.register(instance, None if ttl is None else float(ttl), now)
            registered.append(instance)
            return effects, None

        def back(node: Node, now: float) -> tuple[list[Effect], None]:
            return node.deregister([found.key for found in registered], now), None

        return instance, command, back

    def report_failure(self, instance: Instance) -> None:
        """A call to this instance failed: skip it in local picks for a back-off, and ping its peer now. Does not wait.

        The back-off doubles with each report (`config.balancing`); `lookup` and `locate` are not touched.
        """
        self._note_failure(instance, time.monotonic())
        with suppress(GossipError):  # too busy to ping: the local back-off holds all the same
            self._post(lambda node, now: (node.report_failure(instance.key, now), None))

    def _post(self, command: Command, *, bounded: bool = True) -> None:
        """Have the bus run a command without waiting for it; nothing if no bus runs. See `Mailbox.post`."""
        mailbox = self._mailbox()
        if mailbox is not None:
            with suppress(PeerClosed):
                mailbox.post(self._bound(command), bounded=bounded)

    def _mailbox(self) -> Mailbox | None:
        """The way into the bus; None before `start` and after `close`. Raises `PeerForked`."""
        self._refuse_fork()
        return None if self._bus is None or self._closed else self._bus.mailbox

    def _bound(self, command: Command) -> Callable[[float], tuple[list[Effect], Any]]:
        node = self._running()
        return lambda now: command(node, now)

    def _running(self) -> Node:
        self._refuse_fork()
        if self._node is None or self._closed or (self._bus is not None and not self._bus.alive):
            raise self._closed_error()
        return self._node

    def _closed_error(self) -> PeerClosed:
        if self._closed or self._bus is not None:
            return PeerClosed(f"peer {self._name!r} was closed. Nothing was changed. Start a new Peer to go on")
        return PeerClosed(f"peer {self._name!r} does not run yet. Call start(), or use `with Peer(...) as peer:`")

    # events and waits -------------------------------------------------------------------------------------------------

    def _watching(
        self, service: str | None, *, initial: bool, since: int | None, ring: Callable[[], None] | None = None
    ) -> tuple[Watch, Command]:
        if since is not None and (type(since) is not int or since < 0):
            raise ConfigError(f"watch(since={since!r}): since is the seq of the last event you saw, an int from 0")
        self._running()
        watch = self._events.watch(service, ring)

        def command(node: Node, now: float) -> tuple[list[Effect], None]:
            self._events.follow(watch, self._known(service) if initial else (), since)
            return [], None

        return watch, command

    def _known(self, service: str | None) -> list[Instance]:
        names = self.services() if service is None else (service,)
        return [instance for name in names for instance in self.lookup(name, include_draining=True)]

    def _instances_wanted(self, service: str, n: int, timeout: float | None) -> Wanted:
        def known() -> tuple[Instance, ...] | None:
            return found if len(found := self.lookup(service)) >= n else None

        def missing() -> str:
            return (
                f"{len(self.lookup(service))} of {n} instances of {service!r} are known here after {timeout} s. "
                f"{len(self.members())} members are known, this one included; check that the service runs and its peer has "
                "the same cluster and seeds"
            )

        return Wanted(known, missing)

    def _sync_wanted(self, timeout: float | None) -> Wanted:
        node = self._running()
        missing = f"not synced after {timeout} s: no synced peer has answered. Check the seeds"
        return Wanted(lambda: True if node.synced else None, lambda: missing)

    def _found(self, wanted: Wanted, deadline: float) -> Any:
        """What is waited for, or None if it is worth waiting on. Raises `TimeoutError` after the deadline, `PeerClosed`."""
        self._running()
        found = wanted.known()
        if found is None and time.monotonic() >= deadline:
            raise TimeoutError(wanted.missing())
        return found

    def _wake_waiters(self) -> None:
        for woken in tuple(self._waiters):
            woken.set()

    def _on_batch(self, changes: list[Changed], happenings: list[Happened]) -> None:
        """On the bus thread, once a turn: make the changes visible, tell who watches, wake who waits."""
        if changes:
            self._catalogue.apply(changes)
        events = self._events.record(changes, happenings)
        if self._waiters:
            self._wake_waiters()
        _log(self._name, events)

    # what is so -------------------------------------------------------------------------------------------------------

    def members(self, include_dead: bool = False) -> tuple[Member, ...]:
        """The peers of the cluster, myself included, by id: alive and suspected ones; on wish also dead and left ones."""
        self._refuse_fork()
        node = self._node
        if node is None or (self._closed and not include_dead):
            return self._last_members
        found = [origin.member() for origin in tuple(node.local.table.origins.values())]
        kept = found if include_dead else [m for m in found if m.state in (MemberState.ALIVE, MemberState.SUSPECTED)]
        return tuple(sorted(kept, key=lambda member: member.id))

    def status(self) -> Status:
        """How this peer is doing, with all counters."""
        self._refuse_fork()
        if self._closed and self._last_status is not None:
            return self._last_status
        return self._status_now()

    def _status_now(self) -> Status:
        node, bus = self._node, self._bus
        if node is None or bus is None:
            return Status(
                self._id, self.address, self._cluster, self.state, False, 1.0, False, 0, 0, 0, 0, 0.0, 0.0, Node.protocol, {}
            )
        return Status(
            id=node.id,
            address=self.address,
            cluster=self._cluster,
            state=self.state,
            synced=node.synced,
            agreement=node.agreement,
            isolated=node.isolated,
            members=node.local.table.living,
            suspects=node.suspects,
            instances=node.local.directory.count,
            links=bus.links_up,
            loop_lag_s=bus.loop_lag_s,
            uptime_s=time.monotonic() - self._started_at,
            protocol=Node.protocol,
            counters=dict(sorted({**node.local.counters, **bus.counters}.items())),
        )

    def why(self, name: str) -> tuple[Event, ...]:
        """The last 64 events, or fewer, about a member (id or name) or an instance (id, address, `service/id`, service)."""
        self._refuse_fork()
        names = {name, *(member.id for member in self.members(include_dead=True) if member.name == name)}
        return self._events.why(names)


# arguments ------------------------------------------------------------------------------------------------------------


def _refuse_unbuilt(*, secret: object, snapshot: object, fork: str) -> None:
    for name, given in (("secret", secret), ("snapshot", snapshot)):
        if given is not None:
            raise ConfigError(f"{name}=...: this is not built yet; leave it out. Nothing was started.")
    if fork == "restart":
        raise ConfigError("fork='restart': this is not built yet; start a Peer in the child itself. Nothing was started.")
    if fork != "raise":
        raise ConfigError(f"fork={fork!r}: known is 'raise'. Nothing was started.")


def _checked(what: str, given: object, pattern: re.Pattern[str], alphabet: str) -> str:
    if not isinstance(given, str) or not pattern.match(given):
        raise ConfigError(f"{what}={given!r} is not {alphabet}: pass another {what}=. Nothing was started.")
    return given


def _host_name() -> str:
    """The host name, in the alphabet of names."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "peer"


def _resolved(what: str, host: str) -> str:
    try:
        return resolve(host) if Endpoint(host, 0).is_name else host
    except (OSError, UnicodeError) as error:  # UnicodeError: no name at all, such as a..b
        raise ConfigError(f"{what}: cannot resolve {host!r}: {error}. Pass an IP address. Nothing was started.") from error


# the process ----------------------------------------------------------------------------------------------------------

_running_peers: weakref.WeakSet[Engine] = weakref.WeakSet()
_fork_hook_set = False


def _remember_for_forks(peer: Engine) -> None:
    """Peers must know when they wake up in a forked child; the hook is set with the first of them, not at import."""
    global _fork_hook_set  # noqa: PLW0603
    if not _fork_hook_set and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)
        _fork_hook_set = True
    _running_peers.add(peer)


def _after_fork() -> None:
    for peer in list(_running_peers):
        peer.abandon_in_child()
    _running_peers.clear()


def _log(name: str, events: list[Event]) -> None:
    """One line per event about members; changes of instances are too many for a log."""
    for event in events:
        if event.kind is EventKind.NOTICE:
            logger.log(logging.INFO if event.reason.endswith(SYNCED) else logging.WARNING, "! %s: %s", name, event.reason)
        elif isinstance(event.after or event.before, Member):
            logger.info("= %s: %s %s", name, event.kind, event.reason)
