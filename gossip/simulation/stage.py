"""One run of a scenario: the driver that acts on a cluster, writes down what it did, measures, and lets the checkers judge.

A run has a fault phase, in which safety is judged all along, and a quiet phase, after which all must be equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from ..config import Config
from ..core.effects import Changed, Happened
from ..model import EventKind, MemberState, checked_instance
from .checkers import Broken, Checkers
from .cluster import Cluster
from .network import GENTLE
from .peers import SimulatedPeer
from .truth import MARK, Act, Process, Truth

LOOK_S = 1.0
POLL_S = 0.05
SERVICES = 20
JOINING_MAX = 200  # so many join; more are set up as if they had joined long ago
REGISTERING = 50  # of many peers, so many register
QUIET_MAX_S = 120.0
SETTLED = (MemberState.DEAD, MemberState.LEFT)


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, and the most it may be."""

    name: str
    value: float
    most: float
    unit: str = ""

    @property
    def held(self) -> bool:
        """Whether it is what the fault matrix asks for."""
        return self.value <= self.most

    def __str__(self) -> str:
        mark = "" if self.held else "  FALLS SHORT"
        return f"{self.name}: {self.value:g}{self.unit and ' '}{self.unit} (at most {self.most:g}){mark}"


@dataclass(slots=True)
class Report:
    """How a run ended."""

    scenario: str
    peers: int
    seed: int
    trace: str = ""
    events: int = 0
    events_per_s: float = 0.0
    simulated_s: float = 0.0
    broken: list[Broken] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every invariant held."""
        return not self.broken

    @property
    def held(self) -> bool:
        """Whether every figure did, too."""
        return self.ok and all(figure.held for figure in self.figures)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "scenario": self.scenario,
            "peers": self.peers,
            "seed": self.seed,
            "ok": self.ok,
            "trace": self.trace,
            "events": self.events,
            "events_per_s": round(self.events_per_s),
            "simulated_s": round(self.simulated_s, 3),
            "broken": [asdict(broken) for broken in self.broken],
            "figures": [{**asdict(figure), "held": figure.held} for figure in self.figures],
        }


class Stage:
    """A cluster, the book of what was done to it, its checkers and figures. `random` is the driver's own."""

    def __init__(
        self,
        seed: int,
        *,
        peers: int,
        seconds: float,
        config: Config | None = None,
        grace_s: float = 10.0,
        signed: bool = False,
        certified: bool = False,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.seed, self.size, self.seconds = seed, peers, seconds
        self.random = Random(seed ^ 0x5EED)
        self.cluster = Cluster(seed, config=config, signed=signed, certified=certified)
        self.network = self.cluster.network
        self.cluster.on_event.append(self.saw)
        self.truth = Truth(grace_s=grace_s)
        self.checkers = Checkers(self.cluster, self.truth, seed=seed)
        self.figures: list[Figure] = []
        self.deaths: dict[str, list[tuple[float, SimulatedPeer]]] = {}  # by whose death it was: when and at whom it was told
        self.sightings: dict[str, list[tuple[float, SimulatedPeer]]] = {}  # mark -> when it was shown, and where
        self.revivals: Counter[tuple[SimulatedPeer, str]] = Counter()  # how often a peer was told that this one lives
        self._progress = progress
        self._sides: list[list[str]] = []  # hosts of the groups of a split, while it lasts
        self._marks = 0
        self._next_look = self.network.now

    # the cast -----------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """The simulated time."""
        return self.network.now

    @property
    def living(self) -> list[SimulatedPeer]:
        """The peers that have not ended."""
        return [process.peer for process in self.truth.living()]

    def some(self, peers: Sequence[SimulatedPeer], share: float) -> list[SimulatedPeer]:
        """So large a part of these, drawn; at least one."""
        return self.random.sample(peers, max(1, round(share * len(peers))))

    def spawn(self, *, bridge: bool = False, **options: Any) -> SimulatedPeer:
        """Start a peer, and judge it. During a split its host is on one side of it, drawn, unless it is to be a bridge."""
        if self._sides and not bridge:
            number = len(self.cluster.peers)
            options["host"] = self._take_a_side(options.get("host") or f"10.128.{number >> 8}.{number & 255}")
        peer = self.cluster.spawn(**options)
        self._enlist(peer)
        return peer

    def _take_a_side(self, host: str) -> str:
        side = self.random.randrange(len(self._sides))
        self._sides[side].append(host)
        self.network.partition(*self._sides)
        self.truth.joins_side(host, side)
        return host

    def _enlist(self, peer: SimulatedPeer) -> Process:
        self.checkers.watch(peer)
        return self.truth.spawned(peer, self.now)

    def grow(self, *, registering: bool = True, settle: bool = True, **options: Any) -> None:
        """Start all peers at once, three of them seeds of all, each with an instance; wait until all is equal.

        More than `JOINING_MAX` are not made to join, unless `settle` is off because that is what is looked at: they begin
        equal, and only some have an instance.
        """
        if settle and self.size > JOINING_MAX:
            self._populate()
            return
        seeds = [f"10.0.0.{number}:7400" for number in range(1, min(3, self.size) + 1)]
        for _ in range(self.size):
            peer = self.spawn(seeds=seeds, **options)
            if registering:
                self.register(peer)
        if settle:
            self.until(self.checkers.settled, QUIET_MAX_S)
            self.run(5.0)  # links and subscriptions of newcomers

    def _populate(self) -> None:
        self.cluster.populate(self.size, apart=True)
        ids = {peer.id for peer in self.cluster.peers}
        for peer in self.cluster.peers:
            self._enlist(peer).began -= self.truth.grace_s  # long ago
            self.checkers.shown[peer].members = set(ids)
        for peer in self.cluster.peers[:: max(1, self.size // REGISTERING)]:
            self.register(peer)
        self.until(self.checkers.settled, QUIET_MAX_S)
        self.run(5.0)

    # what users do ------------------------------------------------------------------------------------------------------

    def register(self, peer: SimulatedPeer, service: str | None = None, port: int | None = None, *, watched: bool = False) -> Act:
        """Register an instance with a mark of its own. `watched`: measure when each peer first shows it."""
        self._marks += 1
        labels = {MARK: str(self._marks)}
        service, port = service or f"service-{self._marks % SERVICES}", port or 1000 + self._marks % 60_000
        made = checked_instance(
            service, host=peer.host, port=port, id=None, weight=1, labels=labels, routes=(), zone="", origin=peer.id
        )
        act = self.truth.registered(peer, made, self.now)  # before it is done: the peer shows it at once
        if watched:
            self.sightings[act.mark] = []
        peer.register(service, port=port, labels=labels)
        return act

    def deregister(self, act: Act) -> None:
        """Withdraw it."""
        self.truth.deregistered(act.owner.peer, act.key, self.now)
        act.owner.peer.deregister(act.made)

    def write(self, peer: SimulatedPeer) -> None:
        """Something that users do: register one more, or withdraw one of several."""
        acts = list(self.truth.processes[peer].acts.values())
        if len(acts) > 3 or (len(acts) > 1 and self.random.random() < 0.5):
            self.deregister(self.random.choice(acts))
        else:
            self.register(peer)

    # what befalls them --------------------------------------------------------------------------------------------------

    def kill(self, peers: Iterable[SimulatedPeer]) -> None:
        """As `kill -9`."""
        for peer in peers:
            self.truth.ended(peer, self.now)
            self.cluster.kill(peer)

    def leave(self, peer: SimulatedPeer) -> None:
        """As `close()`."""
        self.truth.ended(peer, self.now)
        self.cluster.leave(peer)

    def restart(self, peer: SimulatedPeer, *, lose_clock_s: float = 0.0, registering: bool = True) -> SimulatedPeer:
        """Kill it, and start it anew under its id, at its address, with nothing saved, its clock set back."""
        if peer.running:
            self.kill([peer])
        process = self.truth.processes[peer]
        again = self.cluster.restart(peer, lose_clock_s=lose_clock_s)
        self._enlist(again)
        for act in list(process.acts.values()) if registering else ():
            self.register(again, act.made.service, act.made.port)
        return again

    def pause(self, peers: Sequence[SimulatedPeer]) -> None:
        """As SIGSTOP; they may rightly be hidden."""
        self.truth.trouble(peers)
        for peer in peers:
            self.cluster.pause(peer)

    def resume(self, peers: Sequence[SimulatedPeer]) -> None:
        """As SIGCONT."""
        self.truth.ease(peers, self.now)
        for peer in peers:
            self.cluster.resume(peer)

    def partition(self, *groups: Sequence[SimulatedPeer]) -> None:
        """Cut these groups from each other."""
        self._sides = [[peer.host for peer in group] for group in groups]
        self.truth.split(*self._sides)
        self.network.partition(*self._sides)

    def heal(self) -> None:
        """End all cuts."""
        self._sides = []
        self.network.heal()
        self.truth.healed(self.now)

    # time ---------------------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let time pass, and look once a simulated second."""
        end = self.now + seconds
        while self.now < end:
            self.cluster.run(min(end, self._next_look) - self.now if self._next_look > self.now else 0.0)
            if self.now >= self._next_look:
                self._next_look = self.now + LOOK_S
                self.checkers.look()
                self._tell()

    def until(self, condition: Callable[[], bool], most_s: float) -> float:
        """Let time pass until something is so; how long that took, infinite if it was not so in time."""
        start = self.now
        while not condition():
            if self.now - start >= most_s:
                return float("inf")
            self.run(POLL_S)
        return self.now - start

    def calm(self, most_s: float, name: str = "equal after the faults") -> None:
        """The quiet phase: all faults end, all becomes equal; how soon is a figure, that it does is an invariant."""
        self.heal()
        self.network.clear_weather()
        self.network.harsh = GENTLE
        paused = [peer for peer in self.living if peer.paused]
        if paused:
            self.resume(paused)
        self.agree(most_s, name)

    def agree(self, most_s: float, name: str) -> None:
        """All becomes equal within a while, or an invariant is broken."""
        self.figure(name, self.until(self.checkers.settled, max(QUIET_MAX_S, 2 * most_s)), most_s, "s")
        self.checkers.judge_convergence()

    def note(self, what: str) -> None:
        """Say what is done now, for whoever reads the evidence."""
        self.checkers.done.append(f"{self.checkers.now:.3f} {what}")

    def _tell(self) -> None:
        self._progress(f"{self.checkers.now:7.1f} s  {len(self.truth.living())} peers  {self.network.events} events")

    # measuring ----------------------------------------------------------------------------------------------------------

    def saw(self, peer: SimulatedPeer, effect: Changed | Happened, now: float) -> None:
        """A peer told its readers something."""
        self.checkers.saw(peer, effect)
        if type(effect) is Changed:
            after = effect.after
            if after is not None and self.sightings and (found := self.sightings.get(after.labels[MARK])) is not None:
                found.append((now, peer))
        elif type(effect) is Happened and effect.kind is not EventKind.NOTICE:
            if effect.kind is EventKind.MEMBER_DEAD:
                self.deaths.setdefault(effect.subject, []).append((now, peer))
            elif effect.before is None or effect.before.state in SETTLED:
                self.revivals[peer, effect.subject] += 1

    def figure(self, name: str, value: float, most: float, unit: str = "") -> None:
        """Something measured, and the most it may be."""
        self.figures.append(Figure(name, round(value, 4), most, unit))

    def visibility(self, at: Container[SimulatedPeer] | None = None, share: float = 0.99) -> float:
        """By when so large a share of the watched registrations' sightings had come (at these peers), in seconds."""
        acts = self.truth.acts
        waits = [
            when - acts[mark].began for mark, told in self.sightings.items() for when, peer in told if at is None or peer in at
        ]
        return quantile(waits, share)

    def death_waits(self, died: dict[str, float]) -> list[float]:
        """How long after their ends each death was told, at each peer that was told."""
        return [at - died[id] for id in died for at, _ in self.deaths.get(id, ()) if at >= died[id]]

    def flips(self, ids: Iterable[str]) -> int:
        """The most often that any one peer held any one of these dead."""
        told = Counter((id, peer.id) for id in ids for _, peer in self.deaths.get(id, ()))
        return max(told.values(), default=0)

    def counted(self, name: str) -> int:
        """A counter, summed over all peers there ever were."""
        return sum(peer.node.local.counters[name] for peer in self.truth.processes)


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which so large a share lies; 0 without values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0
