"""Comparison: what one partner tells of its view in one conversation, beside what an observer holds.

The partner lists the entries that differ; what is newer there is wanted; at the end its beliefs are to be held, of all
members: who lives there lives here, and of the buckets that differed nobody else does. Invariant: what its stream told
meanwhile (`news`) is newer than the entries, and holds.
"""

from __future__ import annotations

from collections import deque

from ..model import EventKind
from ..values import dataclass, field
from .messages import Belief, Entries, Entry
from .origin import Origin
from .supply import WANTS_PER_FRAME
from .table import Table


@dataclass(slots=True)
class Comparison:
    """One conversation's. `partner` is "" until it answered; `moved`: something came of it."""

    partner: str = ""
    moved: bool = False
    listed: bool = False  # all entries are here
    news: dict[str, Belief | None] = field(default_factory=dict)  # who lived or died meanwhile; None: by its own word
    suspected: dict[str, Belief] = field(default_factory=dict)  # perhaps of somebody whose state comes later
    _theirs: dict[str, Entry] = field(default_factory=dict)
    _buckets: bytes = b""  # those that differ
    _wants: deque[str] = field(default_factory=deque)

    @property
    def size(self) -> int:
        """Of how many members it tells, at least."""
        return max(len(self._theirs), len(self.suspected), len(self.news))

    def take(self, message: Entries, table: Table) -> bool:
        """Entries of the partner; whether that were all, and it is known what to want."""
        self.partner, self._buckets = message.sender, message.buckets
        self._theirs.update((entry.origin, entry) for entry in message.entries)
        if message.more or self.listed:
            return False
        self.listed = True
        self._wants.extend(id for id, entry in self._theirs.items() if _is_behind(table, entry))
        return True

    def next_wants(self, table: Table) -> tuple[Entry, ...]:
        """The next to be asked for, each as what is held of it; () once nothing is left."""
        ids = [self._wants.popleft() for _ in range(min(len(self._wants), WANTS_PER_FRAME))]
        return tuple(table.entry_of(id) for id in ids)

    def beliefs(self, table: Table) -> list[Belief]:
        """What is to be believed at the end, in order. O(members)."""
        found = [belief for origin in table.origins.values() if origin.id not in self.news for belief in self._of(origin)]
        return found + [belief for belief in self.news.values() if belief is not None]

    def _of(self, origin: Origin) -> list[Belief]:
        id, partner = origin.id, self.partner
        if id not in self._theirs:
            if not origin.alive:
                return []
            if self._buckets[origin.hash[0] >> 3] >> (origin.hash[0] & 7) & 1:
                return [Belief(id, EventKind.MEMBER_DEAD, f"{partner} holds {id} no longer")]
        told = [self.suspected[id]] if id in self.suspected else []
        if told and origin.alive:  # suspected on, without being refuted in between
            return told
        return [Belief(id, EventKind.MEMBER_REFUTED, f"{id} lives at {partner}"), *told]


def _is_behind(table: Table, entry: Entry) -> bool:
    known = table.known(entry.origin)
    return known is None or (known.incarnation, known.version) < (entry.incarnation, entry.version)
