"""What readers read in a forked child whose peer begins anew (`fork="restart"`): no gap, and nobody waits.

    Asleep ──first look──▶ LastView ──own peer synced──▶ its own Catalogue

`Asleep` costs a look its property; from the second on, all reads are those of any catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core.effects import Changed
from .catalogue import Catalogue


class LastView(Catalogue):
    """The last view of the parent, and what this process learned since; `own` is only the latter, until it is enough."""

    __slots__ = ("own",)

    def __init__(self, last: Catalogue) -> None:
        self.views, self.routes = last.views, last.routes  # nobody else writes them: the parent's thread is not here
        self.own = Catalogue()

    def apply(self, changes: Sequence[Changed]) -> None:
        """Make these changes visible in both."""
        super().apply(changes)
        self.own.apply(changes)


class Asleep(Catalogue):
    """Nobody has looked yet. The first who does calls `wake(last)`, which neither raises nor waits, and gets the last view."""

    __slots__ = ("last", "wake")

    def __init__(self, last: LastView, wake: Callable[[LastView], None]) -> None:
        # The slots of the real catalogue stay empty, so that reading them ends in __getattr__.
        self.last = last
        self.wake = wake

    def __getattr__(self, name: str) -> object:
        self.wake(self.last)
        return getattr(self.last, name)
