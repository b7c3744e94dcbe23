"""`Engine`: what every kind of peer is made of. Wiring only: arguments → node and sockets → bus thread → catalogue, events.

    register ──▶ mailbox ──▶ bus thread: Node ──▶ effects ──▶ sockets
    lookup  ◀── catalogue ◀── on_batch ◀────────────┘

It never waits for the bus: `Blocking` does by blocking its caller, `aio` by `await`. What makes one a member of the cluster
is in `Participant`.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NoReturn, TypeVar

from .bus import forks, native
from .bus.hush import logger
from .bus.keys import keyring_of
from .bus.mailbox import Mailbox
from .bus.resolver import Found, Resolver
from .bus.seeds import parse_seeds
from .bus.sockets import Sockets
from .bus.thread import BusThread
from .catalogue.balance import Balance
from .catalogue.catalogue import Catalogue, ForkedCatalogue
from .catalogue.events import EventLog, Watch
from .catalogue.reads import Reads
from .config import Config
from .core.codec import id_hash
from .core.dialer import SYNCED
from .core.effects import Changed, Effect, Happened, Recollected
from .core.node import Node
from .core.overlay import CIRCLE, computed_links, position
from .environment import arguments_from, near_misses, sources_of
from .errors import ConfigError, GossipError, PeerClosed, PeerForked
from .mind import Mind, ids_called, members_of, status_of
from .model import Event, EventKind, Instance, Member, PeerState, Status
from .naming import checked_cluster, checked_id, checked_name, checked_question, checked_zone, host_name
from .registration import Command
from .waiting import Waiters, Wanted

CALL_TIMEOUT_S = 10.0  # a command that the bus thread did not run by then is an error

E = TypeVar("E", bound="Engine")


class Engine(Reads):
    """What peers and observers are made of: node, bus thread, reads, events, and commands that nobody has run yet.

    Nothing here waits for the bus but `_end`. For the arguments see `Peer`.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        cluster: str = "default",
        seeds: Sequence[str] | None = None,
        zone: str = "",
        config: Config | None = None,
        secret: str | bytes | Sequence[str | bytes] | None = None,
        insecure: bool = False,
    ) -> None:
        self._keyring = keyring_of(secret) if secret is not None else None  # of a secret nothing else is kept
        self._name = checked_name(name if name is not None else host_name())
        self._id_drawn_in = os.getpid() if id is None else 0  # two processes must not share a drawn one
        self._id = checked_id(id if id is not None else self._drawn_id())
        self._cluster = checked_cluster(cluster)
        self._zone = checked_zone(zone)
        if config is not None and not isinstance(config, Config):
            raise ConfigError(f"config={config!r} is no Config: pass Config(...), or Config.local(), .lan(), .wan()")
        self._config = config or Config()
        self._seeds = parse_seeds(seeds) if seeds is not None else ()
        self._zero_configuration = seeds is None
        self._beyond = False  # whether seeds that are known only later may be on other machines
        self._check_reach(insecure=insecure)
        self._catalogue = Catalogue()
        self._addresses_used: Mapping[str, str] = {}
        self._closed = False
        self._forked = False  # a forked child, whose parent's peer this is
        self._new_life()
        self._life = native.rlock()  # start and close from two threads: one of them must win; no read takes it

    @property
    def _realm(self) -> str:
        """What names the cluster on the wire. An open and a secret one differ, whatever they are called.

        Not the secrets: frames are relayed as the same bytes through a rotation, and the rings must not move.
        """
        return self._cluster if self._keyring is None else f"{self._cluster}\0secret"

    def _drawn_id(self) -> str:
        return f"{self._name}-{secrets.token_hex(6)}"

    _FOREIGN_ARGUMENTS: ClassVar[tuple[str, ...]] = ()  # those of `from_env` that another kind of peer has

    def _check_reach(self, *, insecure: bool) -> None:
        """Raises `ConfigError`, or warns, where the arguments lead beyond this machine."""
        raise NotImplementedError

    def _new_life(self) -> None:
        """What belongs to one process; a forked child that begins anew has its own."""
        self._balance = Balance(self._config.balancing)
        self._events = EventLog(self._config.limits, queue=native.queue)
        self._node: Mind | None = None
        self._bus: BusThread | None = None
        self._resolver: Resolver | None = None
        self._waiters = Waiters()
        self._synced_seen = False  # as of the last batch, and so with all that came before it visible
        self._started_at = 0.0
        self._last_status: Status | None = None
        self._last_members: tuple[Member, ...] = ()

    @classmethod
    def from_env(cls: type[E], **overrides: Any) -> E:
        """A peer with the arguments that the environment spells; an override given here always wins, None too.

        `GOSSIP_NAME`, `_ID`, `_CLUSTER`, `_BIND`, `_ADVERTISE`, `_ZONE`, `_SNAPSHOT`, `_FORK`: as the arguments.
        `GOSSIP_SECRET`: one secret, or several apart by commas, the newest first; or `GOSSIP_SECRET_FILE`: a file with one a
        line, which only its owner may read. `GOSSIP_SIGNING_KEY`: as `gossip keygen --signing` prints it, or `new`; or
        `GOSSIP_SIGNING_KEY_FILE`, the path. `GOSSIP_SIGNED`, `GOSSIP_AUTHORITY`: as the arguments. `GOSSIP_CERTIFICATE`: the
        text of a certificate; or `GOSSIP_CERTIFICATE_FILE`, the path.
        `GOSSIP_SEEDS`: apart by commas or blanks; `none` is []. `GOSSIP_INSECURE`: 1 true yes on, or 0 false no off.
        `GOSSIP_CONFIG`: the preset `local`, `lan` or `wan`. Empty is unset. Others are ignored, since Kubernetes sets
        GOSSIP_PORT=tcp://… by itself for a service called gossip; but one that misses one of these by a letter is warned
        of, as a peer with GOSSIP_SEED would be content to be alone. Starts nothing. Raises `ConfigError` naming the variable.
        """
        for miss, meant in near_misses(os.environ).items():
            warnings.warn(f"the environment variable {miss} is ignored: is {meant} meant?", stacklevel=2)
        spelled = arguments_from(os.environ, without={*overrides, *cls._FOREIGN_ARGUMENTS})
        try:
            return cls(**spelled, **overrides)
        except ConfigError as error:
            if not (sources := sources_of(error, spelled, os.environ)):
                raise
            raise ConfigError(f"{error} (From the environment: {', '.join(sources)}.)") from error

    # life -------------------------------------------------------------------------------------------------------------

    def _runs(self) -> bool:
        """Whether it was started. Raises `PeerClosed` when it cannot start any more."""
        self._refuse_fork()
        if self._closed:
            raise PeerClosed(f"peer {self._name!r} was closed and cannot start again. Make a new Peer")
        return self._bus is not None

    def _addresses(self) -> dict[str, str]:
        """The hosts to be bound and advertised as IP addresses. Blocks while names are resolved; raises `ConfigError`."""
        return {}

    def _prepare(self) -> dict[str, str]:
        """What may take its time before a start, and needs no lock: names and files. The addresses; raises `ConfigError`."""
        return self._addresses()

    def _start(self, addresses: Mapping[str, str]) -> None:
        with self._life:
            if not self._runs():
                try:
                    self._launch(addresses)
                except BaseException:
                    if self._bus is not None and self._mark_closed():  # a signal handler raised: not all of it runs
                        self._end(leave=False)
                    raise
                if self._closed:  # by a signal handler that interrupted this very call, and found no bus to end yet
                    self._end(leave=False)
                    self._runs()

    def _launch(self, addresses: Mapping[str, str]) -> None:
        names = any(seed.is_name for seed in self._seeds)
        seeds = None if names else tuple(endpoint.address for seed in self._seeds for endpoint in seed.addresses())
        native.refuse_eventlet()
        self._addresses_used = addresses
        if self._id_drawn_in not in (0, os.getpid()):  # made before a fork, started after it
            self._id, self._id_drawn_in = self._drawn_id(), os.getpid()
        sockets = Sockets.open(self._config.links, self._keyring)
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
            found = _seeds_into(node, bus.mailbox)
            self._resolver = Resolver(self._name, self._seeds, beyond=self._beyond, alone=lambda: node.local.alone, found=found)
            self._resolver.start()

    def _make_node(
        self, sockets: Sockets, addresses: Mapping[str, str], seeds: tuple[str, ...] | None, rng: random.Random
    ) -> Mind:
        """Bind what is to be bound, and make the machine that the bus drives. Raises `ConfigError`."""
        raise NotImplementedError

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
        self._waiters.ring()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a peer cannot be pickled or copied: it owns sockets and a thread. Start one in the other process")

    def __repr__(self) -> str:
        kind = type(self).__name__
        if self._forked:
            return f"<{kind} {self._name}, of the process that this one was forked from>"
        return f"<{kind} {self._id} at {self.address or 'no address yet'}, {self.state}>"

    # a forked child ---------------------------------------------------------------------------------------------------

    def sockets_in_use(self) -> tuple[Collection[str], Mapping[int, str]]:
        """For a forked child: where the parent is bound, and its descriptors of links and probes, with their other ends."""
        if self._forked or self._bus is None:  # let go of already: by now these may be a stranger's
            return (), {}
        return self._bus.bound, self._bus.dialled

    def abandon_in_child(self) -> None:
        """In a forked child: thread and sockets are the parent's. Calls raise `PeerForked`."""
        self._forked = True
        self._life = native.rlock()
        self._events.abandon(PeerForked(self._not_mine("Watch again in the child")))
        if self._bus is not None:
            self._bus.abandon()
        self._stay_down("Start one of its own in the child, after the fork")

    def _refuse_fork(self) -> None:
        """Raises `PeerForked` in a forked child; one that may begin anew does, and is waited for."""
        self._look()

    def _look(self) -> None:
        """For what never waits: raises `PeerForked` in a forked child, or has it begin anew and goes on without that."""
        self._catalogue.views  # noqa: B018 - raises, or wakes

    def _not_mine(self, advice: str) -> str:
        return f"peer {self._name!r} was started before this process was forked, and belongs to the parent. {advice}"

    def _stay_down(self, why: str) -> None:
        self._catalogue = ForkedCatalogue(self._not_mine(why))

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

    # commands ---------------------------------------------------------------------------------------------------------

    def report_failure(self, instance: Instance) -> None:
        """A call to this instance failed: skip it in local picks for a back-off, and ping its peer now. Does not wait.

        The back-off doubles with each report (`config.balancing`); `lookup` and `locate` are not touched. O(1). Raises
        `ConfigError` for what is no Instance.
        """
        self._note_failure(instance, time.monotonic())
        if self._forked:  # it has just begun to begin anew, and knows nobody to ping
            return
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

    def _rotating(self, secrets: Sequence[str | bytes]) -> Command:
        """The command that makes these secrets the valid ones. Raises `ConfigError`, `PeerClosed`; nothing changed."""
        self._refuse_fork()
        if self._closed:
            raise self._closed_error()
        if self._keyring is None:
            raise ConfigError(
                "rotate_secrets: this peer has no secret, and its cluster is open. Start all peers anew with secret=. "
                "Nothing was changed."
            )
        keyring, former = keyring_of(secrets), self._keyring

        def command(node: Mind, now: float) -> tuple[list[Effect], None]:
            assert self._bus is not None
            self._bus.rekey(keyring, now)
            self._keyring = keyring  # what a forked child begins anew with, too
            kept = sum(keys in keyring for keys in former)
            told = f"{len(keyring)} secret{'s are' if len(keyring) > 1 else ' is'} valid now, {kept} as before"
            if not kept:
                told += ": peers that were not given a new one yet are cut off"
            return [Happened(EventKind.NOTICE, node.id, None, None, told)], None

        if self._bus is None:
            self._keyring = keyring
        return command

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
        return Wanted(lambda: self._synced_now(node), lambda: missing)

    def _synced_now(self, node: Mind) -> bool | None:
        """True once it is so, and what came with it can be looked up."""
        return True if node.synced and self._synced_seen else None

    def _found(self, wanted: Wanted, deadline: float) -> Any:
        """What is waited for, or None if it is worth waiting on. Raises `TimeoutError` after the deadline, `PeerClosed`."""
        self._running()
        found = wanted.known()
        if found is None and time.monotonic() >= deadline:
            raise TimeoutError(wanted.missing())
        return found

    def _on_batch(self, changes: list[Changed], happenings: list[Happened]) -> None:
        """On the bus thread, once a turn: make the changes visible, tell who watches, wake who waits."""
        if changes:
            self._catalogue.apply(changes)
        self._outgrow()
        events = self._events.record(changes, happenings)
        assert self._node is not None
        self._synced_seen = self._node.synced
        if self._resolver is not None:
            self._resolver.pursue()
        if self._waiters.bells:
            self._waiters.ring()
        _log(self._name, events)

    def _outgrow(self) -> None:
        """On the bus thread, before anybody is told of a turn: what is served may give way to what is known."""

    # what is so -------------------------------------------------------------------------------------------------------

    def members(self, include_dead: bool = False) -> tuple[Member, ...]:
        """The peers of the cluster, myself included, by id: alive and suspected ones; on wish also dead and left ones.

        Never blocks; O(members × log members). After `close` as it was then. In a forked child those that the parent knew,
        until the child's own peer runs.
        """
        self._look()
        return self._members_known(include_dead)

    def _members_known(self, include_dead: bool) -> tuple[Member, ...]:
        node = self._node
        if node is None or (self._closed and not include_dead):
            return self._last_members
        return members_of(node, include_dead=include_dead)

    def overlay(self) -> dict[str, tuple[float, tuple[str, ...]]]:
        """Of each member, dead ones too, its place on the first ring, 0 to 1, and whom it subscribes to: for who draws it.

        Computed from the member list as known here, not observed: see `computed_links`, also for the cost.
        """
        living = {id_hash(self._realm, member.id): member.id for member in self.members()}
        # The bus goes on between two looks: who came since has no links yet, who ended since is still drawn.
        ids = living | {id_hash(self._realm, member.id): member.id for member in self.members(include_dead=True)}
        links = computed_links(living, full_mesh_max=self._config.overlay.full_mesh_max)
        return {
            id: (position(0, hash) / CIRCLE, tuple(sorted(ids[other] for other in links.get(hash, ()))))
            for hash, id in ids.items()
        }

    def status(self) -> Status:
        """How this peer is doing, with all counters. Never blocks; O(members + links). After `close` as it was then.

        In a forked child as before `start`, until its own peer runs.
        """
        self._look()
        if self._closed and self._last_status is not None:
            return self._last_status
        return self._status_now()

    def _status_now(self) -> Status:
        node, bus = self._node, self._bus
        if node is None or bus is None or self._forked:
            state = PeerState.CLOSED if self._closed else PeerState.JOINING
            return Status(self._id, "", self._cluster, state, False, 1.0, False, 0, 0, 0, 0, 0.0, 0.0, Node.protocol, {})
        return status_of(
            node,
            bus,
            address=self.address,
            cluster=self._cluster,
            state=self.state,
            started_at=self._started_at,
            counters=self._counters(),
        )

    def _counters(self) -> dict[str, int]:
        """Those of neither node nor bus."""
        return self._events.counters

    def why(self, name: str) -> tuple[Event, ...]:
        """The last 64 events, or fewer, about a member (id or name) or an instance (id, address, `service/id`, service).

        Who suspected, refuted or removed it, and when; () for the unknown. Never blocks; O(history). In a forked child what
        the parent remembered, until the child's own peer runs. Raises `ConfigError` for a name that is no text.
        """
        self._look()
        return self._remembered(checked_question(name))

    def _remembered(self, name: str) -> tuple[Event, ...]:
        """The same on the bus thread, when another peer asks. O(members + history)."""
        return self._events.why({name} if self._node is None else {name, *ids_called(self._node, name)})

    def _on_recollected(self, effect: Recollected) -> None:
        """On the bus thread: what another remembers arrived. A peer asks nobody."""


def _seeds_into(node: Mind, mailbox: Mailbox) -> Found:
    """Has this node hear of the addresses of its seeds, on its bus."""

    def found(addresses: tuple[str, ...], *, pending: bool) -> None:
        with suppress(PeerClosed):
            mailbox.post(lambda now: (node.set_seeds(addresses, now, pending=pending), None), bounded=False)

    return found


def _log(name: str, events: list[Event]) -> None:
    """One line per event about members; changes of instances are too many for a log."""
    for event in events:
        if event.kind is EventKind.NOTICE:
            logger.log(logging.INFO if event.reason.endswith(SYNCED) else logging.WARNING, "! %s: %s", name, event.reason)
        elif isinstance(event.after or event.before, Member):
            logger.info("= %s: %s %s", name, event.kind, event.reason)
