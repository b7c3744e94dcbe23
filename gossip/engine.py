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
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar

from .bus import forks, native
from .bus.addresses import LOOPBACK, Endpoint, parse_advertise, parse_bind, resolve
from .bus.hush import logger
from .bus.mailbox import Mailbox
from .bus.resolver import Resolver
from .bus.seeds import DnsSeed, FileSeed, HostSeed, parse_seeds
from .bus.sockets import Sockets
from .bus.thread import BusThread, Machine
from .catalogue.balance import Balance
from .catalogue.catalogue import Catalogue, ForkedCatalogue
from .catalogue.events import EventLog, Watch
from .catalogue.inherited import Asleep, LastView
from .catalogue.reads import Reads
from .config import Config
from .core.dialer import SYNCED
from .core.effects import Changed, Effect, Happened, Recollected
from .core.local import Local
from .core.messages import InstanceKey
from .core.node import Node
from .core.selfhood import Identity
from .environment import arguments_from, near_misses, sources_of
from .errors import ConfigError, GossipError, InsecureWarning, PeerClosed, PeerForked
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
SEEDS_INHERITED_MAX = 16  # contacts that a forked child tries besides the given ones
SETTLE_STEP_S = 0.02  # how often a child that began anew looks whether it is in sync
SETTLE_S = 0.5  # what came in two conversations may be complete only a moment after the first of them has ended
ID_STEM_MAX = 115  # characters of an id that a forked child keeps before its own suffix

E = TypeVar("E", bound="Engine")


class Bell(Protocol):
    """What a waiting caller is woken by: a `threading.Event`, or its twin in `aio`."""

    def set(self) -> None:
        """Wake the caller. Any thread; neither raises nor waits."""
        ...


class Mind(Machine, Protocol):
    """The machine of a peer or of an observer, as far as both are alike. The bus thread drives it; others only read."""

    protocol: int
    local: Local

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> PeerState: ...

    @property
    def synced(self) -> bool: ...

    @property
    def isolated(self) -> bool: ...

    @property
    def agreement(self) -> float: ...

    @property
    def suspects(self) -> int: ...

    def set_seeds(self, seeds: Sequence[str], now: float) -> list[Effect]: ...

    def report_failure(self, key: InstanceKey, now: float) -> list[Effect]: ...


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
        _refuse_unbuilt(secret=secret, snapshot=snapshot)
        self._restarts = self._checked_fork(fork) == "restart"
        self._name = _checked("name", name if name is not None else _host_name(), NAME_PATTERN, "1 to 64 of A-Z a-z 0-9 . _ -")
        chosen = id if id is not None else f"{self._name}-{secrets.token_hex(6)}"
        self._stem = id if id is not None else self._name
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
        self._addresses_used: Mapping[str, str] = {}
        self._closed = False
        self._forked = False  # a forked child, whose parent's peer this is
        self._new_life()
        self._life = native.rlock()  # start and close from two threads: one of them must win; no read takes it

    FORKS: ClassVar[tuple[str, ...]] = ("raise",)  # what this kind of peer can do in a forked child
    _FOREIGN_ARGUMENTS: ClassVar[tuple[str, ...]] = ()  # those of `from_env` that another kind of peer has

    def _new_life(self) -> None:
        """What belongs to one process; a forked child that begins anew has its own."""
        self._balance = Balance(self._config.balancing)
        self._events = EventLog(self._config.limits, queue=native.queue)
        self._node: Mind | None = None
        self._bus: BusThread | None = None
        self._resolver: Resolver | None = None
        self._waiters: list[Bell] = []
        self._started_at = 0.0
        self._last_status: Status | None = None
        self._last_members: tuple[Member, ...] = ()

    def _checked_fork(self, fork: str) -> str:
        if fork not in self.FORKS:
            raise ConfigError(
                f"fork={fork!r}: {type(self).__name__} knows {' and '.join(map(repr, self.FORKS))}. "
                "An event loop does not survive a fork: start an AsyncPeer in the child itself. Nothing was started."
                if fork == "restart"
                else f"fork={fork!r}: known are {', '.join(map(repr, self.FORKS))}. Nothing was started."
            )
        return fork

    @classmethod
    def from_env(cls: type[E], **overrides: Any) -> E:
        """A peer with the arguments that the environment spells; an override given here always wins, None too.

        `GOSSIP_NAME`, `_ID`, `_CLUSTER`, `_BIND`, `_ADVERTISE`, `_ZONE`, `_SECRET`, `_SNAPSHOT`, `_FORK`: as the arguments.
        `GOSSIP_SEEDS`: apart by commas or blanks; `none` is []. `GOSSIP_INSECURE`: 1 true yes on, or 0 false no off.
        `GOSSIP_CONFIG`: the preset `local`, `lan` or `wan`. Empty is unset. Others are ignored, since Kubernetes sets
        GOSSIP_PORT=tcp://… by itself for a service called gossip; but one that misses one of these by a letter is warned
        of, as a peer with GOSSIP_SEED would be content to be alone. Raises `ConfigError` naming the variable.
        """
        for miss, meant in near_misses(os.environ).items():
            warnings.warn(f"the environment variable {miss} is ignored: is {meant} meant?", stacklevel=2)
        spelled = arguments_from(os.environ, without={*overrides, *cls._FOREIGN_ARGUMENTS})
        try:
            return cls(**spelled, **overrides)
        except ConfigError as error:
            if not (sources := sources_of(error, spelled)):
                raise
            raise ConfigError(f"{error} (From the environment: {', '.join(sources)}.)") from error

    def _check_reach(self, *, insecure: bool, bound: bool) -> None:
        self._beyond = insecure and bound  # whether seeds that are known only later may be on other machines
        if self._bind.unspecified and self._advertise is None:
            raise ConfigError(
                f"bind: {self._bind.host} is every address of this machine, and no peer can dial that. "
                "Say also under which address others reach it: advertise='10.0.0.5'. Nothing was started."
            )
        places = [("bind", self._bind), *([("advertise", self._advertise)] if self._advertise else [])]
        open_to_all = [f"{what} {place.host}" for what, place in places if not place.loopback]
        open_to_all += [f"seeds {seed.host}" for seed in self._seeds if not seed.loopback]
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
        seeds = None if names else tuple(endpoint.address for seed in self._seeds for endpoint in seed.addresses())
        native.refuse_eventlet()
        self._addresses_used = addresses
        sockets = Sockets.open(self._config.links)
        bus: BusThread | None = None
        try:
            rng = random.SystemRandom()
            node = self._make_node(sockets, addresses, seeds, rng)
            bus = BusThread(
                self._name,
                node,
                sockets,
                self._config,
                self._on_batch,
                rng=rng,
                remember=self._remembered,
                on_recollected=self._on_recollected,
                on_end=self._on_end,
            )
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
        forks.remember(self)
        if names:
            self._resolver = Resolver(
                self._name, self._seeds, beyond=self._beyond, alone=lambda: node.local.alone, found=self._seeds_found
            )
            self._resolver.start()

    def _make_node(
        self, sockets: Sockets, addresses: Mapping[str, str], seeds: tuple[str, ...] | None, rng: random.Random
    ) -> Mind:
        """Bind, and make the machine that the bus drives. Raises `ConfigError`."""
        host, contact_port, publisher_port = self._bind_sockets(sockets, addresses)
        boot_ms = time.time_ns() // 1_000_000
        return Node(
            Identity(
                self._id, self._name, self._cluster, self._zone, host, contact_port, publisher_port, boot_ms, rng.getrandbits(64)
            ),
            config=self._config,
            chance=rng,
            seeds=seeds,
            zero_configuration=self._zero_configuration,
            check_reach=self._advertise is not None or not self._bind.loopback,
        )

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
            if self._forked:
                self._stay_down("It was closed here before it began anew")
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

    # a forked child ---------------------------------------------------------------------------------------------------

    def endpoints_in_use(self) -> tuple[Collection[str], Collection[str]]:
        """For a forked child: where the parent is bound, and where it may be connected to."""
        if self._forked:  # let go of already: by now these may be a stranger's
            return (), ()
        bound = self._bus.bound if self._bus is not None else set()
        origins = tuple(self._node.local.table.origins.values()) if self._node is not None else ()
        return bound, {endpoint for origin in origins for endpoint in (origin.contact, origin.publisher)}

    def abandon_in_child(self) -> None:
        """In a forked child: thread and sockets are the parent's. Calls raise `PeerForked`, or the first begins anew."""
        self._forked = True
        self._life = native.rlock()
        self._events.abandon(PeerForked(self._not_mine("Watch again in the child")))
        if self._bus is not None:
            self._bus.abandon()
        if not self._restarts or self._closed:
            self._stay_down("Start a Peer of its own in the child, after the fork")
        elif not isinstance(self._catalogue, Asleep):
            self._catalogue = Asleep(LastView(self._catalogue), self._wake)

    def _not_mine(self, advice: str) -> str:
        return f"peer {self._name!r} was started before this process was forked, and belongs to the parent. {advice}"

    def _stay_down(self, why: str) -> None:
        self._catalogue = ForkedCatalogue(self._not_mine(why))

    def _wake(self, last: LastView) -> None:
        """The first look in a forked child: begin anew on a thread of its own, for a reader never waits."""
        self._catalogue = last
        with suppress(RuntimeError):  # no thread to be had: the next call that is no mere look begins anew itself
            native.start_raw(self._wake_up)

    def _wake_up(self) -> None:
        with suppress(PeerForked):  # told in the log
            self._refuse_fork()

    def _refuse_fork(self) -> None:
        """In a forked child: raises `PeerForked`, or begins anew and waits for that, some milliseconds."""
        if self._forked:
            with self._life:
                if self._forked:
                    self._begin_anew()

    def _begin_anew(self) -> None:
        if isinstance(self._catalogue, ForkedCatalogue):
            self._catalogue.views  # noqa: B018 - raises PeerForked
        last = self._catalogue.last if isinstance(self._catalogue, Asleep) else self._catalogue
        told = self._advertise
        try:
            if told is not None and (told.port or told.publisher_port):
                raise ConfigError(f"advertise names a port, {join_address(told.host, told.port)}, and that is the parent's")
            seeds = self._inherited_seeds()
            self._new_life()
            self._catalogue = last
            self._id = f"{self._stem[:ID_STEM_MAX]}-{secrets.token_hex(6)}"
            self._seeds = tuple(dict.fromkeys((*self._seeds, *seeds)))
            self._bind, fixed = Endpoint(self._bind.host, 0), self._bind.port
            self._launch(self._addresses_used)
        except Exception as error:  # whatever it is, the child must live
            logger.error("! %s: cannot begin anew in this forked child: %s", self._name, error)
            self._stay_down(f"It could not begin anew: {error}. Start a Peer of its own in the child")
            raise PeerForked(self._not_mine(f"It could not begin anew: {error}")) from error
        self._forked = False
        with suppress(RuntimeError):  # no thread to be had: the inherited view is served on, and kept up
            native.start_raw(self._settle_in)
        if fixed and not self._bind.loopback:
            logger.warning("! %s: port %d is the parent's; others must reach this child at %s", self._name, fixed, self.address)

    def _inherited_seeds(self) -> tuple[HostSeed | DnsSeed | FileSeed, ...]:
        """The parent, and some of those it knew: so the child finds the cluster without being told."""
        if self._node is None:
            return ()
        local = self._node.local
        others = [origin.contact for origin in local.table.alive() if origin.contact != local.me.contact]
        some = random.SystemRandom().sample(others, min(len(others), SEEDS_INHERITED_MAX - 1))
        return parse_seeds([contact for contact in (local.me.contact, *some) if not contact.endswith(":0")])

    def _settle_in(self) -> None:
        """On a thread of its own: when this process is in sync, its own view takes the place of the inherited one."""
        with suppress(PeerClosed):  # nobody asks any more
            while not self._running().synced:
                native.pause(SETTLE_STEP_S)
            native.pause(SETTLE_S)
            self._post(self._outgrow, bounded=False)

    def _outgrow(self, node: Mind, now: float) -> tuple[list[Effect], None]:
        if isinstance(self._catalogue, LastView):
            self._catalogue = self._catalogue.own
        why = "the view inherited from the parent was replaced by our own; look everything up again"
        return [Happened(EventKind.RESYNC, node.id, None, None, why)], None

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
        registered: list[int | None] = []

        def command(node: Node, now: float) -> tuple[list[Effect], int | None]:
            effects = node.register(instance, None if ttl is None else float(ttl), now)
            registered.append(node.registration_of(instance.key))
            return effects, registered[-1]

        def back(node: Node, now: float) -> tuple[list[Effect], None]:
            mine = node.registration_of(instance.key) in registered if registered else False
            return node.deregister([instance.key] if mine else [], now), None

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

    def _running(self) -> Mind:
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

        def command(node: object, now: float) -> tuple[list[Effect], None]:
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
        return self._remembered(name)

    def _remembered(self, name: str) -> tuple[Event, ...]:
        """The same on the bus thread, when another peer asks."""
        names = {name, *(member.id for member in self.members(include_dead=True) if member.name == name)}
        return self._events.why(names)

    def _on_recollected(self, effect: Recollected) -> None:
        """On the bus thread: what another remembers arrived. A peer asks nobody."""


# arguments ------------------------------------------------------------------------------------------------------------


def _refuse_unbuilt(*, secret: object, snapshot: object) -> None:
    for name, given in (("secret", secret), ("snapshot", snapshot)):
        if given is not None:
            raise ConfigError(f"{name}=...: this is not built yet; leave it out. Nothing was started.")


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


def _log(name: str, events: list[Event]) -> None:
    """One line per event about members; changes of instances are too many for a log."""
    for event in events:
        if event.kind is EventKind.NOTICE:
            logger.log(logging.INFO if event.reason.endswith(SYNCED) else logging.WARNING, "! %s: %s", name, event.reason)
        elif isinstance(event.after or event.before, Member):
            logger.info("= %s: %s %s", name, event.kind, event.reason)
