"""Farewell: a leaver's goodbye, also to those who are not linked to it yet.

Who is to be linked to me and is not, as in the first moments of a life, would take my end for a crash; and those who relay may
be as young, or leave as well. So it is handed the goodbye in a conversation, and broadcasts it. Invariant: I relay on until
nobody is linked to me and all are told, and no longer than `leave_linger_s`.
"""

from __future__ import annotations

from .author import Author
from .local import Local
from .messages import IdHash
from .repair import Repair

NEVER = float("inf")


class Farewell:
    """Owns who is still to be told, and until when I linger. Nothing before `begin`."""

    def __init__(self, local: Local, author: Author, repair: Repair) -> None:
        self._local, self._author, self._repair = local, author, repair
        self._until = NEVER
        self._untold: set[IdHash] = set()

    def begin(self, now: float) -> None:
        """Say goodbye."""
        self._until = now + self._local.config.overlay.leave_linger_s
        self._author.say_goodbye()
        self._untold = self._local.overlay.audience() - self._local.fan.subscribers
        self.tell_unlinked(now)

    def tell_unlinked(self, now: float) -> None:
        """Begin as many conversations as there is room for."""
        for hash in sorted(self._untold):
            origin = self._local.table.by_hash.get(hash)
            if origin is None or not origin.alive or self._repair.converse(origin.contact, now, dialled=True):
                self._untold.discard(hash)

    def is_over(self, now: float) -> bool:
        """Whether all are told and unlinked, or the time is over."""
        busy = self._local.fan.subscribers or self._untold or self._repair.under_way(dialled=True)
        return not busy or now >= self._until

    def next_deadline(self, now: float) -> float:
        """When the time will be over; NEVER once it is."""
        return self._until if now < self._until else NEVER
