"""A simulated cluster: the life and death of its processes on one virtual network. Everything follows from the seed.

    cluster = Cluster(seed=1)
    a, b = cluster.spawn("a"), cluster.spawn("b")
    b.register("orders", port=80)
    cluster.run(1.0)
    a.lookup("orders")
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from random import Random

from ..config import Config
from ..core.effects import Changed, Happened, Input
from ..core.node import Node
from ..core.observer import ObserverNode
from ..core.saved import Saved
from ..core.selfhood import Identity
from ..core.signatures import Signing, id_of
from .memory import SharedCodec
from .network import Network
from .notary import Notary
from .peers import SimulatedObserver, SimulatedPeer
from .settled import settle

__all__ = ["Cluster", "SimulatedObserver", "SimulatedPeer"]

WALL_START_MS = 1_700_000_000_000
CERTIFIED_S = 10 * 366 * 86400
LEAVE_LOOK_S = 0.01
STEP_S = 0.01  # how often `run_until` looks

OnEvent = Callable[[SimulatedPeer, Changed | Happened, float], object]
Tap = Callable[[SimulatedPeer, Input], object]


@dataclass(frozen=True, slots=True)
class _Start:
    """How a peer was started, to start it again."""

    name: str
    seeds: tuple[str, ...] | None
    port: int
    zone: str
    zero_configuration: bool
    config: Config | None
    check_reach: bool
    signing: Signing | None = None


class Cluster:
    """Simulated peers on one virtual network.

    `on_event`: functions called with (peer, Changed or Happened, simulated time) for every event of every peer; `tap`:
    one called with (peer, input) before a peer takes it. Both cost nothing while they are not set. `signed`: every peer has a
    key of its own, issued by `notary`, and refuses what is not signed. `certified`: and a certificate of `authority` for all
    services, and refuses who has none.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        config: Config | None = None,
        network: Network | None = None,
        signed: bool = False,
        certified: bool = False,
    ) -> None:
        self.network = network or Network(seed)
        self.notary = Notary()
        self._signed, self._certified = signed, certified
        self.authority = self.notary.issue(Random(seed))
        self.config = config or Config()
        self.peers: list[SimulatedPeer] = []  # all that were ever started
        self.observers: list[SimulatedObserver] = []
        self.publishers: dict[str, SimulatedPeer] = {}  # by endpoint, the last that had it
        self.contacts: dict[str, SimulatedPeer] = {}
        self.on_event: list[OnEvent] = []
        self.tap: Tap | None = None
        self.links_changed = 0  # links that were taken up or dropped so far
        self._codecs: dict[tuple[int, int], SharedCodec] = {}
        self._starts: dict[SimulatedPeer, _Start] = {}
        self._spawned = 0

    # life and death ---------------------------------------------------------------------------------------------------

    def spawn(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        seeds: Iterable[str] | None = None,
        host: str | None = None,
        port: int = 7400,
        zone: str = "",
        zero_configuration: bool = False,
        wall_skew_s: float = 0.0,
        config: Config | None = None,
        check_reach: bool = False,
        signing: Signing | None = None,
    ) -> SimulatedPeer:
        """Start a peer, by default on a host of its own. `seeds` defaults to the contact of the first peer alive."""
        if signing is None and (self._signed or self._certified):
            signing = self.credentials("*") if self._certified else self.notary.issue(self.network.random)
        self._spawned += 1
        number = self._spawned
        name = name or f"p{number}"
        host = host or _host(number)
        given = None if seeds is None else tuple(seeds)
        start = _Start(name, given, port, zone, zero_configuration, config, check_reach, signing)
        stem = id or f"{name}-{number:04d}"
        return self._start(start, stem if signing is None else id_of(stem, signing.public), host, wall_skew_s, self.network.now)

    # certificates -----------------------------------------------------------------------------------------------------

    def credentials(self, *services: str, not_after_s: float | None = None) -> Signing:
        """A new key, with a certificate of this cluster's authority. `not_after_s`: as `wall_s` tells; None: for long."""
        key, begin = self.notary.issue(self.network.random), WALL_START_MS // 1000
        end = begin + CERTIFIED_S if not_after_s is None else int(not_after_s)
        return self.notary.certify(key, self.authority, services, begin - CERTIFIED_S, end)

    def revocation(self, peer: SimulatedPeer) -> bytes:
        """The authority's word that the certificates of this peer's key are void."""
        return self.notary.revoke(peer.node.local.me.header.key, self.authority, WALL_START_MS // 1000 + CERTIFIED_S)

    def signing_of(self, peer: SimulatedPeer) -> Signing | None:
        """With what a peer was started."""
        return self._starts[peer].signing

    def wall_s(self, now: float) -> float:
        """What a right wall clock shows at this simulated time."""
        return WALL_START_MS / 1000 + now

    # many at once -----------------------------------------------------------------------------------------------------

    @classmethod
    def settled(cls, size: int, seed: int = 0, *, config: Config | None = None, network: Network | None = None) -> Cluster:
        """So many peers that are linked and hold each other, as if they had joined long ago; for thousands of them.

        They have no seeds. O(size × links); what all hold alike is held once. The bounds on members are raised as needed.
        """
        config = config or Config()
        members_max = max(config.limits.members_max, 2 * size)
        cluster = cls(
            seed, config=replace(config, limits=replace(config.limits, members_max=members_max)), network=network
        )
        cluster.populate(size)
        return cluster

    def populate(self, size: int, *, apart: bool = False) -> None:
        """The same in a cluster that is empty so far. `apart`: each peer has rings of its own, which takes more memory, and
        less time where many come and go, in another order at each."""
        collecting = gc.isenabled()
        gc.disable()  # it would find nothing, again and again
        try:
            for number in range(1, size + 1):
                begun = self.now + self.network.random.random()  # so that heartbeats are spread over the interval
                start, host = _Start(f"p{number}", (), 7400, "", False, None, False), _host(number)
                self._start(start, f"p{number}-{number:04d}", host, 0.0, begun)
            self._spawned = size
            settle(self, self.peers, apart=apart)
        finally:
            if collecting:
                gc.enable()

    def _start(
        self, start: _Start, id: str, host: str, wall_skew_s: float, now: float, saved: Saved | None = None
    ) -> SimulatedPeer:
        seeds, port = start.seeds, start.port
        if seeds is None and not start.zero_configuration:
            seeds = tuple([peer.contact for peer in self.peers if peer.running][:1])
        identity = Identity(
            id,
            start.name,
            "default",
            start.zone,
            host,
            port,
            port + 1,
            WALL_START_MS + round((now + wall_skew_s) * 1000),
            self.network.random.getrandbits(64),
            -1 if saved is None else saved.me.incarnation[0],
        )
        node = Node(
            identity,
            config=start.config or self.config,
            chance=self.network.random,
            seeds=seeds or (),
            zero_configuration=start.zero_configuration,
            check_reach=start.check_reach,
            signing=start.signing,
            revoked=saved.revoked if saved is not None else (),
            past=saved.contacts if saved is not None and saved.others else None,
        )
        node.local.codec = self.codec(node.local.config)
        peer = SimulatedPeer(self, node, len(self._starts), host, f"{host}:{port}", f"{host}:{port + 1}")
        if saved is not None:
            peer.resume_from(saved)
        peer.wall_skew_s = wall_skew_s
        self._starts[peer] = start
        self.peers.append(peer)
        self.publishers[peer.publisher] = self.contacts[peer.contact] = peer
        peer.perform(node.start(now))
        return peer

    def codec(self, config: Config) -> SharedCodec:
        """The codec of all nodes with these limits."""
        limits = config.limits.frame_bytes_max, config.limits.state_part_bytes_max
        if limits not in self._codecs:
            self._codecs[limits] = SharedCodec("default", frame_bytes_max=limits[0], part_bytes_max=limits[1])
        return self._codecs[limits]

    def restart(self, peer: SimulatedPeer, *, lose_clock_s: float = 0.0, saved: bool = False) -> SimulatedPeer:
        """The same id on the same ip and ports again; killed first if it runs. Returns the new process.

        `lose_clock_s`: its wall clock is that much behind what it was. `saved`: it starts with what it knew at its end, as
        with `snapshot=`; else with nothing. The seeds are those of the first start.
        """
        if peer.running:
            self.kill(peer)
        skew_s, known = peer.wall_skew_s - lose_clock_s, peer.saved() if saved else None
        return self._start(self._starts[peer], peer.id, peer.host, skew_s, self.now, known)

    def observe(self, *seeds: str) -> SimulatedObserver:
        """Start an observer on a host of its own; it asks these contacts, or that of the first peer alive."""
        self._spawned += 1
        host = f"10.255.{self._spawned >> 8 & 255}.{self._spawned & 255}"
        node = ObserverNode(
            f"observer-{self._spawned}",
            name="observer",
            cluster="default",
            zone="",
            config=self.config,
            chance=self.network.random,
            seeds=seeds or [peer.contact for peer in self.running][:1],
        )
        node.local.codec = self.codec(self.config)
        observer = SimulatedObserver(self, node, -self._spawned, host)
        self.contacts[observer.contact] = observer
        self.observers.append(observer)
        observer.perform(node.start(self.network.now))
        return observer

    def kill(self, peer: SimulatedPeer) -> None:
        """As `kill -9`: the kernel closes its connections, and tells whoever can be reached."""
        if peer.running:
            peer.die()
            for endpoint in [endpoint for endpoint, holder in self.contacts.items() if holder is peer]:
                del self.contacts[endpoint]

    def leave(self, peer: SimulatedPeer) -> None:
        """As `close()`: say goodbye, relay on, end."""
        peer.perform(peer.node.leave(self.network.now))
        self._end_when_left(peer)

    def _end_when_left(self, peer: SimulatedPeer) -> None:
        if peer.node.left:
            self.kill(peer)
        elif peer.running:
            if not peer.paused:
                peer.perform(peer.node.tick(self.network.now))
            self.network.after(LEAVE_LOOK_S, lambda: self._end_when_left(peer))

    # processes and clocks ---------------------------------------------------------------------------------------------

    def pause(self, peer: SimulatedPeer) -> None:
        """As SIGSTOP: its kernel keeps the connections, its process does nothing."""
        peer.pause()

    def resume(self, peer: SimulatedPeer) -> None:
        """As SIGCONT."""
        peer.resume()

    def slow(self, peer: SimulatedPeer, delay_s: float) -> None:
        """As a CPU quota: it runs for moments only, each up to twice `delay_s` after the last one. 0 ends it."""
        peer.starve(delay_s)

    def skew(self, peer: SimulatedPeer, seconds: float) -> None:
        """Its wall clock is so far from the true one. Only the start of a life reads it: see `restart`."""
        peer.wall_skew_s = seconds

    def jump(self, peer: SimulatedPeer, seconds: float) -> None:
        """Its wall clock jumps."""
        peer.wall_skew_s += seconds

    # time and truth ---------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Simulated seconds; 1,000 at the start."""
        return self.network.now

    def run(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.network.run(seconds)

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
        """Let time pass until the condition holds; returns how long it took. Raises `TimeoutError`."""
        start = self.network.now
        while not condition():
            if self.network.now - start > timeout_s:
                raise TimeoutError(f"not so after {timeout_s:g} simulated seconds")
            self.network.run(STEP_S)
        return self.network.now - start

    @property
    def running(self) -> list[SimulatedPeer]:
        """The peers that live."""
        return [peer for peer in self.peers if peer.running]

    @property
    def trace(self) -> str:
        """A hash of every event so far; the same for the same seed and the same calls."""
        return self.network.trace

    def converged(self) -> bool:
        """Whether all running peers hold each other, and one digest."""
        running = self.running
        digests = {peer.node.local.table.digest for peer in running}
        return len(digests) == 1 and all(peer.node.local.table.living == len(running) for peer in running)


def _host(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
