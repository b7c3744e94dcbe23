"""Standing: how badly the source of a link or connection behaved, and who is not listened to for a while.

A source is a link's endpoint or the token of an asker's connection. Twenty frames within a minute that are no message of
ours, and it is shunned for a minute. Frames of another cluster or of a later version are not bad: such peers are honest.
Invariant: at most `SOURCES_MAX` sources are remembered; those heard of longest ago are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from ..values import dataclass, field

SOURCES_MAX = 1024
NEVER = float("-inf")

Source = str | bytes


@dataclass(slots=True)
class _Record:
    """When the latest bad frames came, and until when the source is shunned."""

    bad_at: deque[float] = field(default_factory=deque)
    until: float = NEVER


class Standing:
    """Owns the score of every source that misbehaved lately. Time is an argument."""

    __slots__ = ("_bad_max", "_records", "_window_s")

    def __init__(self, bad_max: int, window_s: float) -> None:
        self._bad_max = bad_max
        self._window_s = window_s
        self._records: OrderedDict[Source, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def misbehaved(self, source: Source, now: float) -> bool:
        """A bad frame came from there; whether that was one too many, and it is shunned from now on."""
        record = self._records.setdefault(source, _Record())
        self._records.move_to_end(source)
        if len(self._records) > SOURCES_MAX:
            self._records.popitem(last=False)
        if now < record.until:
            return False
        record.bad_at.append(now)
        while now - record.bad_at[0] > self._window_s:
            record.bad_at.popleft()
        if len(record.bad_at) < self._bad_max:
            return False
        record.bad_at.clear()
        record.until = now + self._window_s
        return True

    def shunned(self, source: Source, now: float) -> bool:
        """Whether it is not listened to now. O(1), and nothing while nobody misbehaved."""
        if not self._records:
            return False
        record = self._records.get(source)
        return record is not None and now < record.until
