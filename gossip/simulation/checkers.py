"""The invariants I1 … I10, judged by the book of what really happened, never by the peers' own tables.

Safety is judged with every event at every peer: I2 no resurrection, I4 no false death, I6 no half of a change, I9
monotonic; I5 bounds and the reads of I6 once a simulated second, at some peers in turn. Convergence is judged when the
faults are over: I1 nothing lost, I2 nothing too many, I3 one view. I8, where peers sign: what is shown of a peer is what the
driver had it say, and what it did not withdraw stays. I7 is whatever a peer raises, I10 the trace of the run.
A broken invariant is a value.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from ..core.effects import Changed, Happened
from ..core.messages import InstanceKey
from ..errors import NoInstances
from ..model import EventKind, Instance, Member
from .cluster import Cluster
from .peers import SimulatedPeer
from .truth import MARK, Truth

BROKEN_MAX = 20  # told of one run; the others are counted
CLOSELY_MAX = 64  # peers whose numbers are compared with every event
RINGS_ASKED = 24  # peers whose ring answers are compared in the end
LOOKED_AT = 4  # peers whose reads and sizes are looked at, once a second
KEYS = tuple(f"key-{number}" for number in range(8))  # asked of every ring
REASONS_SHOWN = 6
DONE_SHOWN = 12
HIDDEN = (EventKind.MEMBER_DEAD, EventKind.MEMBER_LEFT)


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that did not hold: which, when, at whom, and what shows it."""

    invariant: str
    what: str
    seed: int
    at: float  # simulated seconds since the start
    peer: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        told = "".join(f"\n      {line}" for line in self.evidence)
        return f"{self.invariant} at {self.at:.3f} s, seed {self.seed}, peer {self.peer}: {self.what}{told}"


class Shown:
    """What one peer has told its readers, folded from its events alone."""

    __slots__ = ("buried", "lives", "members", "newest", "peer", "records", "removed", "taken")

    def __init__(self, peer: SimulatedPeer, *, closely: bool) -> None:
        self.peer = peer
        self.records: dict[InstanceKey, str] = {}  # key -> mark
        self.members = {peer.id}
        self.removed: dict[str, tuple[float, str]] = {}  # marks just removed: when, and whose; its death may be told next
        self.taken: dict[str, tuple[float, str]] = {}  # the same of marks that nobody withdrew
        self.buried: set[str] = set()  # marks whose own removal was seen
        self.lives: dict[str, int] = {}  # line -> the latest life of it that was seen
        self.newest: dict[str, tuple[tuple[int, int], int]] | None = {} if closely else None


class Checkers:
    """Watches one cluster. `broken` holds what was found, at most `BROKEN_MAX`; `counts` tells how often, by kind."""

    def __init__(self, cluster: Cluster, truth: Truth, *, seed: int) -> None:
        self.cluster, self.truth, self.seed = cluster, truth, seed
        self.broken: list[Broken] = []
        self.counts: Counter[str] = Counter()
        self.done: deque[str] = deque(maxlen=DONE_SHOWN)  # by the driver, last
        self.shown: dict[SimulatedPeer, Shown] = {}
        self._began = cluster.network.now
        self._random = Random(seed)  # its own: looking must not change what happens
        self._bounds = _bounds(cluster)
        self.authentic = False  # whether I8 is judged: some peers are not what the driver made them

    # finding ----------------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self.cluster.network.now - self._began

    def found(self, invariant: str, what: str, peer: SimulatedPeer | None, *names: str) -> None:
        """Note a broken invariant, with what the peer knows about these names."""
        self.counts[invariant] += 1
        if len(self.broken) < BROKEN_MAX:
            why = [f"{name}: {reason}" for name in names for reason in _why(peer, name)] if peer is not None else []
            who = peer.id if peer is not None else ""
            self.broken.append(Broken(invariant, what, self.seed, self.now, who, (*why, *self.done)))

    def watch(self, peer: SimulatedPeer) -> None:
        """Judge this peer from now on."""
        self.shown[peer] = Shown(peer, closely=len(self.shown) < CLOSELY_MAX)

    # with every event ---------------------------------------------------------------------------------------------------

    def saw(self, peer: SimulatedPeer, effect: Changed | Happened) -> None:
        """A peer told its readers something."""
        shown = self.shown.get(peer)
        if shown is None:
            return
        if shown.removed:
            self._bury(shown, effect)
        if shown.taken:
            self._judge_taken(shown, effect)
        if type(effect) is Changed:
            self._changed(shown, effect.before, effect.after)
        elif type(effect) is Happened and effect.kind is not EventKind.NOTICE:
            self._happened(shown, effect)

    def _bury(self, shown: Shown, effect: Changed | Happened) -> None:
        """Removed while its owner stays a member: withdrawn."""
        hidden = effect.subject if type(effect) is Happened and effect.kind in HIDDEN else None
        now = self.cluster.network.now
        for mark, (at, owner) in list(shown.removed.items()):
            if owner == hidden or at < now:
                del shown.removed[mark]
                if owner != hidden:
                    shown.buried.add(mark)

    def _judge_taken(self, shown: Shown, effect: Changed | Happened) -> None:
        """Taken away though its owner lives and did not withdraw it; unless it is held dead, which I4 judges."""
        hidden = effect.subject if type(effect) is Happened and effect.kind in HIDDEN else None
        now = self.cluster.network.now
        for mark, (at, owner) in list(shown.taken.items()):
            if owner == hidden or at < now:
                del shown.taken[mark]
                if owner != hidden:
                    key = self.truth.acts[mark].key
                    self.found("I8", f"{key} was taken away though {owner} did not withdraw it", shown.peer, key[1], owner)

    def _changed(self, shown: Shown, before: Instance | None, after: Instance | None) -> None:
        known = after or before
        assert known is not None
        key, mark = known.key, _mark(after)
        if shown.records.get(key, "") != _mark(before):
            self.found("I6", f"the change of {key} does not begin where the last one ended", shown.peer, key[1])
        if after is None:
            shown.records.pop(key, None)
        else:
            shown.records[key] = mark
            self._judge_record(shown, after, mark)
        if before is not None and _mark(before) != mark:
            self._note_removal(shown, _mark(before), mark)

    def _judge_record(self, shown: Shown, record: Instance, mark: str) -> None:
        act = self.truth.acts.get(mark)
        if act is None or _told(record) != _told(act.made):
            invariant = "I8" if self.authentic else "I6"
            self.found(invariant, f"{record} is nothing that anybody registered", shown.peer, record.id)
            return
        owner = act.owner
        if self.authentic and record.origin != act.made.origin:
            self.found("I8", f"{record} is not what {act.made.origin} registered", shown.peer, record.id)
        if mark in shown.buried:
            what = f"{record.key} of {owner.line} came back after its removal was seen"
            self.found("I2", what, shown.peer, record.id, owner.line)
        latest = shown.lives.get(owner.line, 0)
        if owner.life < latest and not owner.lives:
            what = f"{record.key} of life {owner.life} of {owner.line} came after life {latest}"
            self.found("I2", what, shown.peer, owner.line)
        else:
            shown.lives[owner.line] = max(latest, owner.life)

    def _note_removal(self, shown: Shown, mark: str, successor: str) -> None:
        """Withdrawn or replaced, not only hidden with its owner: then it is never to come back here."""
        act, now = self.truth.acts.get(mark), self.cluster.network.now
        if act is not None and act.ended <= now:
            if successor:
                shown.buried.add(mark)
            elif act.owner.peer.id in shown.members:
                shown.removed[mark] = now, act.owner.peer.id
        elif act is not None and self.authentic and not successor and act.owner.lives:
            shown.taken[mark] = now, act.owner.peer.id

    def _happened(self, shown: Shown, effect: Happened) -> None:
        if effect.kind in HIDDEN:
            shown.members.discard(effect.subject)
        elif effect.after is not None:
            shown.members.add(effect.subject)
        if shown.newest is not None and effect.after is not None:
            self._judge_numbers(shown, effect.after)
        if effect.kind is EventKind.MEMBER_DEAD:
            self._judge_death(shown, effect)
        if effect.kind is EventKind.MEMBER_LEFT and self.authentic and self.truth.owner_of(effect.subject) is not None:
            self.found("I8", f"{effect.subject} did not say goodbye", shown.peer, effect.subject)

    def _judge_numbers(self, shown: Shown, member: Member) -> None:
        assert shown.newest is not None
        now = member.incarnation, member.version
        if shown.newest.get(member.id, now) > now:
            self.found("I9", f"{member.id} went back from {shown.newest[member.id]} to {now}", shown.peer, member.id)
        shown.newest[member.id] = now

    def _judge_death(self, shown: Shown, effect: Happened) -> None:
        truth, now = self.truth, self.cluster.network.now
        subject, observer = truth.owner_of(effect.subject), truth.processes[shown.peer]
        if subject is None or not truth.at_ease(subject, now) or not truth.at_ease(observer, now):
            return
        if truth.in_touch(subject.peer.host, shown.peer.host, now):
            self.found("I4", f"{effect.subject} lives, was reached, and was held dead", shown.peer, effect.subject)

    # once a second ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read and measure some peers that run, in an order of my own."""
        running = [peer for peer in self.shown if peer.running]
        for peer in self._random.sample(running, min(LOOKED_AT, len(running))):
            self._judge_reads(peer)
            self._judge_sizes(peer)

    def _judge_reads(self, peer: SimulatedPeer) -> None:
        shown = self.shown[peer]
        try:
            read = _read(peer)
            for service in peer.services():
                _ask(peer, service, KEYS[0])
        except Exception as error:  # noqa: BLE001 - that nothing is raised is what is judged
            self.found("I6", f"a lookup raised {error!r}", peer)
            return
        if read != shown.records:
            ids = sorted({id for (_, id), mark in read.items() ^ shown.records.items()})[:3]
            self.found("I6", f"lookups and events differ about {', '.join(ids)}", peer, *ids)
        if shown.newest is not None:
            for member in peer.members().values():
                self._judge_numbers(shown, member)

    def _judge_sizes(self, peer: SimulatedPeer) -> None:
        for what, size in _sizes(peer):
            if size > self._bounds[what]:
                self.found("I5", f"{size} {what}, the bound is {self._bounds[what]}", peer)

    # when the faults are over -------------------------------------------------------------------------------------------

    def settled(self) -> bool:
        """Whether every live peer shows exactly what there is, by its events. O(peers²), cheap while it is not so."""
        living = self.truth.living()
        expected, ids = self.truth.expected(), {process.peer.id for process in living}
        shown = [self.shown[process.peer] for process in living]
        if any(len(one.members) != len(ids) or len(one.records) != len(expected) for one in shown):
            return False
        first = shown[0].records if shown else {}
        return (
            all(one.members == ids and one.records == first for one in shown)
            and all(first.get(key) in marks for key, marks in expected.items())
            and len({process.peer.node.local.table.digest for process in living}) <= 1
        )

    def judge_convergence(self) -> None:
        """I1, I2 and I3 at every live peer, from what it answers."""
        living = self.truth.living()
        if not living:
            return
        expected, ids = self.truth.expected(), {process.peer.id for process in living}
        asked = {living[0], *self._random.sample(living, min(RINGS_ASKED, len(living)))}
        answers = {process: self._answers(process.peer, expected, ids, rings=process in asked) for process in living}
        first = answers[living[0]]
        for process, answer in answers.items():
            if answer and answer != first:
                self.found("I3", f"ring answers differ from those of {living[0].peer.id}", process.peer)
        digests = Counter(process.peer.node.local.table.digest for process in living)
        if len(digests) > 1:
            odd = next(p for p in living if p.peer.node.local.table.digest != digests.most_common(1)[0][0])
            self.found("I3", f"{len(digests)} different digests", odd.peer)

    def _answers(
        self, peer: SimulatedPeer, expected: dict[InstanceKey, set[str]], ids: set[str], *, rings: bool
    ) -> tuple[object, ...]:
        shown = _read(peer)
        lost = [key for key, marks in expected.items() if shown.get(key) not in marks]
        if lost:
            self.found("I1", f"{len(lost)} live registrations are not visible, such as {lost[0]}", peer, lost[0][1])
        ghosts = [key for key in shown if key not in expected]
        if ghosts:
            self.found("I2", f"{len(ghosts)} instances that nobody holds are visible, such as {ghosts[0]}", peer, ghosts[0][1])
        members = set(peer.members())
        if members != ids:
            odd = sorted(members ^ ids)[0]
            missing, surplus = len(ids - members), len(members - ids)
            self.found("I3", f"{missing} live members are missing, {surplus} dead are held alive, such as {odd}", peer, odd)
        return tuple(_ring_answers(peer)) if rings else ()


def _mark(instance: Instance | None) -> str:
    return "" if instance is None else instance.labels.get(MARK, "?")


def _read(peer: SimulatedPeer) -> dict[InstanceKey, str]:
    """All that lookups show, as key -> mark."""
    services = peer.services()
    return {one.key: _mark(one) for service in services for one in peer.lookup(service, include_draining=True)}


def _told(one: Instance) -> tuple[object, ...]:
    """What a registration says; `origin` may change with its owner's id."""
    return one.service, one.id, one.host, one.port, one.weight, one.labels, one.routes, one.zone


def _why(peer: SimulatedPeer, name: str) -> list[str]:
    return [f"{event.at:.3f} {event}" for event in peer.log.why({name})][-REASONS_SHOWN:]


def _ask(peer: SimulatedPeer, service: str, key: str) -> tuple[str, ...]:
    try:
        peer.pick(service)
        return peer.locate(service, key).id, *(instance.id for instance in peer.preference_list(service, key, 3))
    except NoInstances:
        return ()


def _ring_answers(peer: SimulatedPeer) -> Iterator[tuple[str, ...]]:
    return (tuple(i.id for i in peer.preference_list(service, key, 2)) for service in peer.services()[:3] for key in KEYS)


def _sizes(peer: SimulatedPeer) -> Iterator[tuple[str, int]]:
    """How large everything is that grows with what others do."""
    node = peer.node
    table = node.local.table
    yield "members", table.living
    yield "floors", len(table.floors)
    yield "conversations", len(node._repair.conversations)
    yield "cases", len(node._detector.cases.of)
    yield "mutes", len(node._detector.cases.mutes)
    yield "accusations seen", len(node._detector.accusations)
    yield "gaps", len(node._merger.gaps)
    yield "states in parts", len(node._merger._arriving)
    yield "early deltas", max((len(origin.early) for origin in table.origins.values()), default=0)
    yield "pings", len(node._pings)
    yield "subscribers", len(node.local.fan.subscribers)


def _bounds(cluster: Cluster) -> dict[str, int]:
    limits, repair = cluster.config.limits, cluster.config.repair
    return {
        "members": limits.members_max,
        "floors": limits.floors_max,
        "conversations": 2 * repair.pulls_max,
        "cases": 8192,
        "mutes": 4096,
        "accusations seen": limits.accusations_seen_max,
        "gaps": 1024,
        "states in parts": 64,
        "early deltas": repair.reorder_max,
        "pings": 64,
        "subscribers": limits.subscribers_max,
    }
