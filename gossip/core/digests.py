"""Comparing heartbeats: does a neighbour hold what I hold?

A heartbeat's digest that equals any that mine was from a moment before it came to a moment after it shows no difference:
changes in flight are no disagreement (else 21 % of heartbeats would differ at 100 changes a second). Two in a row that
do are one, and that neighbour's view is pulled (design, section 5).
"""

from __future__ import annotations

from collections import OrderedDict

from ..config import Heartbeats
from ..values import dataclass
from .messages import IdHash

HISTORY_MAX = 8192  # digests remembered; at more changes than that a second, differences are found later
NEVER = float("inf")


@dataclass(slots=True)
class Neighbour:
    """What the heartbeats of one neighbour showed."""

    digest: int
    heard_at: float
    due: float = NEVER  # when the digest is judged
    urgent: bool = False  # its link just came up: one difference is enough, and no further heartbeat may follow
    mismatches: int = 0
    agrees: bool = True


class Digests:
    """Owns the history of my digest and the neighbours' last ones."""

    def __init__(self, config: Heartbeats) -> None:
        self._config = config
        self.current = 0  # what mine is, as of the last `now_is`
        self._recent: OrderedDict[int, float] = OrderedDict()  # former digest -> until when it was mine
        self.neighbours: dict[IdHash, Neighbour] = {}
        self._due = NEVER  # no neighbour is due earlier

    def now_is(self, digest: int, now: float) -> None:
        """My digest after each input."""
        if digest != self.current:
            self._recent.pop(self.current, None)
            self._recent[self.current] = now
            self.current = digest
            if len(self._recent) > HISTORY_MAX:
                self._recent.popitem(last=False)

    def heard(self, sender: IdHash, digest: int, now: float, *, urgent: bool) -> None:
        """A heartbeat came; it is judged after the grace, or at once if it agrees."""
        neighbour = self.neighbours.get(sender)
        if neighbour is None:
            if urgent and digest == self.current:
                return
            neighbour = self.neighbours[sender] = Neighbour(digest, now)
        neighbour.digest, neighbour.heard_at = digest, now
        neighbour.urgent = urgent
        if digest == self.current:
            self._agree(neighbour)
        else:
            neighbour.due = min(neighbour.due, now + self._config.digest_grace_s)
            self._due = min(self._due, neighbour.due)

    def _agree(self, neighbour: Neighbour) -> None:
        neighbour.due, neighbour.mismatches, neighbour.agrees = NEVER, 0, True

    def _was_mine(self, neighbour: Neighbour) -> bool:
        if neighbour.digest == self.current:
            return True
        until = self._recent.get(neighbour.digest)
        return until is not None and until >= neighbour.heard_at - self._config.digest_history_s

    def differing(self, now: float) -> list[IdHash]:
        """The neighbours that are now known to differ; each is told once per difference. O(1) before one is due."""
        while self._recent and now - next(iter(self._recent.values())) > 2 * self._config.digest_history_s:
            self._recent.popitem(last=False)
        if now < self._due:
            return []
        found = []
        for hash, neighbour in self.neighbours.items():
            if neighbour.due > now:
                continue
            if self._was_mine(neighbour):
                self._agree(neighbour)
                continue
            neighbour.due, neighbour.agrees = NEVER, False
            neighbour.mismatches += 1
            if neighbour.urgent or neighbour.mismatches >= self._config.mismatches:
                neighbour.mismatches = 0
                found.append(hash)
        self.forget({hash for hash, neighbour in self.neighbours.items() if not neighbour.urgent or neighbour.due < NEVER})
        self._due = min((neighbour.due for neighbour in self.neighbours.values()), default=NEVER)
        return found

    def forget(self, keep: set[IdHash]) -> None:
        """Only these are neighbours any longer."""
        for hash in [hash for hash in self.neighbours if hash not in keep]:
            del self.neighbours[hash]

    def agreement(self) -> float:
        """The share of the neighbours that speak regularly whose last judged digest was mine; 1.0 without any."""
        neighbours = tuple(self.neighbours.values())  # other threads ask
        return sum(neighbour.agrees for neighbour in neighbours) / len(neighbours) if neighbours else 1.0

    def next_deadline(self) -> float:
        """When the next digest is judged; may be early, never late. O(1)."""
        return self._due
