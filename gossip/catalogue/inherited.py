"""What readers read when a peer begins anew, in a forked child or from what was saved: no gap, and nobody waits.

    in a child: Asleep ──own peer started──▶ LastView ──another peer told it all it holds, or too long──▶ its own Catalogue
                     after a restart: ────────▶

One way only: a look changes nothing, the first one has the peer begin. Until that has, a look costs `Asleep` a method call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ..core.effects import Changed
from ..model import Instance
from .catalogue import Catalogue


class LastView(Catalogue):
    """The last view of an earlier life, and what this one learned since; `own` is only the latter, until it is enough."""

    __slots__ = ("own",)

    def __init__(self, last: Catalogue) -> None:
        self.views, self.routes = last.views, last.routes  # nobody else writes them: that life's thread is not here
        self.own = Catalogue()

    @classmethod
    def of(cls, instances: Iterable[Instance]) -> LastView:
        """A view of these; of several under one key the last. O(n log n)."""
        last = Catalogue()
        last.apply([Changed(None, instance, "remembered") for instance in instances])
        return cls(last)

    def apply(self, changes: Sequence[Changed]) -> None:
        """Make these changes visible in both."""
        super().apply(changes)
        self.own.apply(changes)


class Asleep(Catalogue):
    """The own peer has not begun. The first look calls `wake`, which does not wait; all looks get the last view.

    `wake` may raise `RuntimeError`, no thread to be had: then the next look calls it again.
    """

    __slots__ = ("_wake", "last")

    def __init__(self, last: LastView, wake: Callable[[], None]) -> None:
        # The slots of the real catalogue stay empty, so that reading them ends in __getattr__.
        self.last = last
        self._wake = [wake]  # whoever pops it is the first

    def __getattr__(self, name: str) -> object:
        with suppress(IndexError):
            wake = self._wake.pop()
            try:
                wake()
            except RuntimeError:
                self._wake.append(wake)
        return getattr(self.last, name)
