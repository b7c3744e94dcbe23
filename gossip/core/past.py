"""What a life begins with: whom an earlier one knew, and a view of then, which readers are served until enough is known.

    held ──another peer told it all that it holds, or too long──▶ over

An earlier life is one of before a restart (what was saved), or of before a fork (the parent's). Invariant: nothing of the
past is passed on, merged or counted. Its contacts are dialled; that is all the core does with it, and the view is not here.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model import EventKind
from .effects import Happened
from .local import Local

NEVER = float("inf")
OVER = "what was known before this start gave way to what is known now"


class Past:
    """Owns the contacts of an earlier life, and the question whether its view is still served."""

    def __init__(self, local: Local, contacts: Sequence[str] | None) -> None:
        """`contacts` None: there is no earlier life, or nothing is known of it."""
        self._local = local
        self.contacts = [contact for contact in dict.fromkeys(contacts or ()) if contact != local.me.contact]
        self.held = contacts is not None
        self._until = NEVER

    @property
    def expects_others(self) -> bool:
        """Whether somebody should be found."""
        return self.held and bool(self.contacts)

    def begin(self, now: float) -> None:
        """The time of a view that nobody confirms is counted from here: by its end it is as stale as after a mass loss."""
        if self.held:
            self._until = now + self._local.config.detection.isolated_hold_s

    def end(self) -> None:
        """All that a synced peer holds is here: nobody of then is to be looked for any more."""
        self.contacts = []
        self._give_way()

    def forget(self) -> None:
        """Whoever was there then has forgotten me by now."""
        self.contacts = []

    def tick(self, now: float) -> None:
        """The view is too old to be served; its contacts are dialled on."""
        if now >= self._until:
            self._give_way()

    def next_deadline(self) -> float:
        """When `tick` is due."""
        return self._until

    def _give_way(self) -> None:
        self._until = NEVER
        if self.held:
            self.held = False
            me = self._local.me.id
            self._local.out.append(Happened(EventKind.RESYNC, me, None, None, f"{OVER}; look everything up again"))
