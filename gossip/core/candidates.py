"""Whom an observer may ask: the members that it knows, at random, and its seeds, in turns.

Invariant: of two seeds the one that was asked longer ago comes first, so that no number of dead ones hides a living one. Who
was followed in vain is passed over for a while: asked only when every other seed had its turn since.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence

from .local import Local

DIALS_MAX = 16  # candidates asked at once
MEMBERS_DIALLED_MAX = 3  # of those that are known, once the source is lost
PASS_OVER_S = 60.0  # so long others are asked before who was followed in vain
PASSED_OVER_MAX = 256


class Candidates:
    """Owns the order of the seeds, and the memory of whom to pass over."""

    def __init__(self, local: Local, seeds: Sequence[str]) -> None:
        self._local = local
        self.seeds = list(seeds)
        self._asked: dict[str, int] = {}  # seed -> number of its last turn
        self._turns = 0
        self._round = 0  # the turn at which the search began
        self._passed_over: OrderedDict[str, float] = OrderedDict()  # id or endpoint -> until when

    def begin(self) -> None:
        """A search begins: everybody is to be asked once before anybody who is passed over is asked."""
        self._round = self._turns

    def pass_over(self, key: str, now: float) -> bool:
        """Ask others before this id or endpoint; whether that is new."""
        known = self.passes_over(key, now)
        self._passed_over.pop(key, None)
        self._passed_over[key] = now + PASS_OVER_S
        if len(self._passed_over) > PASSED_OVER_MAX:
            self._passed_over.popitem(last=False)
        return not known

    def pardon(self, *keys: str) -> None:
        """These were heard after all."""
        for key in keys:
            self._passed_over.pop(key, None)

    def passes_over(self, key: str, now: float) -> bool:
        """Whether this id or endpoint is passed over."""
        return self._passed_over.get(key, now) > now

    def waiting(self, now: float) -> bool:
        """Whether a seed had no turn yet in this search. O(seeds)."""
        return any(self._asked.get(seed, 0) <= self._round for seed in self.seeds if not self.passes_over(seed, now))

    def next(self, asked: Collection[str], now: float) -> list[str]:
        """Whom to ask besides those who are being asked: as many as there is room for. O(members + seeds log seeds)."""
        room = DIALS_MAX - len(asked)
        waiting = self.waiting(now)
        first = waiting or self._turns == self._round
        members = [contact for contact in self._members(now, good_only=first) if contact not in asked]
        seeds = [seed for seed in dict.fromkeys(self.seeds) if seed not in asked and seed not in members]
        if waiting:
            seeds = [seed for seed in seeds if not self.passes_over(seed, now)]
        seeds.sort(key=lambda seed: self._asked.get(seed, 0))
        found = [*members, *seeds][:room]
        turns = {endpoint: self._turns + place for place, endpoint in enumerate(found, 1)}
        self._turns += len(found)
        self._asked = {seed: turn for seed in self.seeds if (turn := turns.get(seed) or self._asked.get(seed))}
        return found

    def _members(self, now: float, *, good_only: bool) -> list[str]:
        """A few living members, drawn at random."""
        living = [origin for origin in self._local.table.alive() if not good_only or not self.passes_over(origin.id, now)]
        known = sorted(origin.contact for origin in living)
        chance = self._local.chance
        return [known.pop(int(chance.random() * len(known))) for _ in range(min(MEMBERS_DIALLED_MAX, len(known)))]
