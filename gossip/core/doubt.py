"""Doubt in oneself: if half of those I watch fall silent at once, I may be the sick one.

Lifeguard (Dadgar, Phillips, Currey 2018, section IV.C): three others are asked, and until one of them speaks I accuse nobody
of silence, for `hold_max_s` at most. Invariant: a doubt lasts no longer than that and begins no sooner than as long after
the last; an answer that does not come to one of its pings is no evidence against who was asked.
"""

from __future__ import annotations

from .local import Local
from .origin import Origin

DOUBT_LINKS_MIN = 4  # with fewer links, half of them silent says nothing about me
DOUBT_PINGS = 3


class Doubt:
    """Owns until when I doubt myself, and whom I asked."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self.until = 0.0
        self._asked: set[str] = set()
        self._awaited: set[str] = set()  # whose one ping is still under way, also when another ended the doubt
        self._not_before = 0.0

    def may_begin(self, watched: int, now: float) -> bool:
        """Whether I watch enough to tell anything by it, and did not doubt lately."""
        return watched >= DOUBT_LINKS_MIN and now >= self._not_before

    def begin(self, others: list[Origin], now: float) -> list[Origin]:
        """Doubt from now on: whom of these others to ask; nobody, and no doubt, if they are too few. O(others)."""
        if len(others) < DOUBT_PINGS:
            return []
        chosen = [others.pop(int(self._local.chance.random() * len(others))) for _ in range(DOUBT_PINGS)]
        hold_s = self._local.config.detection.hold_max_s
        self.until, self._not_before = now + hold_s, now + 2 * hold_s
        self._asked = {origin.id for origin in chosen}
        self._awaited = set(self._asked)
        self._local.counters["doubts"] += 1
        return chosen

    def ends(self, id: str, now: float) -> bool:
        """This peer spoke: whether that ends a doubt, since it was asked."""
        if now >= self.until or id not in self._asked:
            return False
        self.until = now
        return True

    def ping_ended(self, id: str) -> bool:
        """A ping to it ended; whether it was one that asked whether I am well."""
        about_me = id in self._awaited
        self._awaited.discard(id)
        return about_me
