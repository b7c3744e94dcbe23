"""What really happened: every act of the driver, kept apart from all that the peers believe.

Each registration carries a label of its own, its **mark**, so that whatever a reader is shown anywhere can be traced to
the one act that made it. The checkers judge the peers by this book alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..core.messages import InstanceKey
from ..model import Instance
from .peers import SimulatedPeer

MARK = "mark"
NEVER = float("inf")


@dataclass(slots=True, eq=False)
class Act:
    """One registration, or one update, which ends the one before. `made` is the record as the driver made it."""

    mark: str
    owner: Process
    made: Instance
    began: float
    ended: float = NEVER  # deregistered or replaced; a death of its owner is not noted here

    @property
    def key(self) -> InstanceKey:
        """(service, id)."""
        return self.made.key


@dataclass(slots=True, eq=False)
class Process:
    """One life of one peer: a process from its start to its end. `life` counts those under one first id."""

    peer: SimulatedPeer
    line: str  # the id with which it started
    life: int
    began: float
    ended: float = NEVER
    troubles: int = 0  # that last: pauses, clogs and whatever else may hide it rightly; they overlap
    troubled_until: float = 0.0  # when the last of those that ended did
    acts: dict[InstanceKey, Act] = field(default_factory=dict)

    @property
    def lives(self) -> bool:
        """Whether it has not ended (it may be paused)."""
        return self.ended == NEVER


@dataclass(slots=True)
class _Split:
    """A while in which packets did not pass both ways between the groups."""

    group_of: dict[str, int]
    ended: float = NEVER


@dataclass(slots=True)
class _Storm:
    """Trouble of everybody, newcomers too."""

    lasts: bool = False
    until: float = 0.0


class Truth:
    """The book of one run. `grace_s`: so long after a fault its effects may still be seen."""

    def __init__(self, *, grace_s: float = 10.0) -> None:
        self.grace_s = grace_s
        self.acts: dict[str, Act] = {}
        self.processes: dict[SimulatedPeer, Process] = {}
        self._by_id: dict[str, Process] = {}  # the latest that started under an id
        self._lives: dict[str, int] = {}
        self._splits: list[_Split] = []
        self._storm = _Storm()

    # what the driver does ---------------------------------------------------------------------------------------------

    def spawned(self, peer: SimulatedPeer, now: float) -> Process:
        """A process started."""
        self._lives[peer.id] = life = self._lives.get(peer.id, 0) + 1
        process = self.processes[peer] = self._by_id[peer.id] = Process(peer, peer.id, life, now)
        return process

    def ended(self, peer: SimulatedPeer, now: float) -> None:
        """It was killed, or said goodbye."""
        self.processes[peer].ended = now

    def registered(self, peer: SimulatedPeer, made: Instance, now: float) -> Act:
        """It registered an instance, or replaced the one it had under this key."""
        process, mark = self.processes[peer], made.labels[MARK]
        former = process.acts.get(made.key)
        if former is not None:
            former.ended = now
        act = self.acts[mark] = process.acts[made.key] = Act(mark, process, made, now)
        return act

    def deregistered(self, peer: SimulatedPeer, key: InstanceKey, now: float) -> None:
        """It withdrew one."""
        self.processes[peer].acts.pop(key).ended = now

    def trouble(self, peers: Iterable[SimulatedPeer]) -> None:
        """These may rightly be hidden from now on; each trouble is ended by an `ease` of its own."""
        for peer in peers:
            self.processes[peer].troubles += 1

    def ease(self, peers: Iterable[SimulatedPeer], at: float) -> None:
        """One trouble of each ends then; the grace follows."""
        for peer in peers:
            process = self.processes[peer]
            process.troubles -= 1
            process.troubled_until = max(process.troubled_until, at)

    def storm(self) -> None:
        """Everybody may rightly be hidden from now on, whoever starts meanwhile too."""
        self._storm.lasts = True

    def storm_ends(self, at: float) -> None:
        """That ends then; the grace follows."""
        self._storm.lasts, self._storm.until = False, at

    def split(self, *groups: Iterable[str]) -> None:
        """Hosts of different groups are cut from each other, one way at least; those in none are in touch with all."""
        self._splits.append(_Split({host: number for number, group in enumerate(groups) for host in group}))

    def joins_side(self, host: str, group: int) -> None:
        """A host that starts during a split belongs to this group of it."""
        self._splits[-1].group_of[host] = group

    def healed(self, now: float) -> None:
        """All cuts ended."""
        for split in self._splits:
            split.ended = min(split.ended, now)
        self._splits = [split for split in self._splits if split.ended + self.grace_s >= now]

    # what is so -------------------------------------------------------------------------------------------------------

    def living(self) -> list[Process]:
        """The processes that have not ended, in the order of their start."""
        return [process for process in self.processes.values() if process.lives]

    def expected(self) -> dict[InstanceKey, set[str]]:
        """Every key that somebody alive holds, and the marks under which it may be shown."""
        found: dict[InstanceKey, set[str]] = {}
        for process in self.living():
            for key, act in process.acts.items():
                found.setdefault(key, set()).add(act.mark)
        return found

    def owner_of(self, id: str) -> Process | None:
        """The process that lives under this id now, None if none does. O(1), but for ids taken later."""
        process = self._by_id.get(id)
        if process is None or process.peer.id != id:
            process = next((known for known in self.living() if known.peer.id == id), None)
        return process if process is not None and process.lives else None

    def at_ease(self, process: Process, now: float) -> bool:
        """Whether it runs, and has done so undisturbed for the grace."""
        return (
            process.lives
            and not process.peer.paused
            and now - process.began >= self.grace_s
            and not process.troubles
            and not self._storm.lasts
            and max(process.troubled_until, self._storm.until) + self.grace_s < now
        )

    def in_touch(self, one: str, other: str, now: float) -> bool:
        """Whether packets have passed both ways between two hosts for the grace."""
        return not any(
            split.group_of.get(one, -1) != split.group_of.get(other, -1)
            for split in self._splits
            if split.ended + self.grace_s >= now and one in split.group_of and other in split.group_of
        )
