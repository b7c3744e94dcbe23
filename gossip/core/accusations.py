"""Accusations: mine, gathered for a moment so that what ends together is told together; everybody's, taken in once.

Nobody signs them, so they are claims: whoever is accused may refute, and others may want to see for themselves.
Invariant: each is judged once, by `(accuser, its incarnation, counter)`, and passed on as the same bytes if that told
anything new.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from .bounds import RATE_BURST_S, Bucket
from .local import Local
from .messages import Accusation, Charge, Evidence, Incarnation
from .origin import Origin

CHARGES_PER_FRAME = 128
NEVER = float("inf")


class Accusations:
    """Owns my charges that wait (`gathered`), and the memory of the flood. `judge` takes one in: is it to be passed on?"""

    def __init__(self, local: Local, *, judge: Callable[[str, Charge, float], bool]) -> None:
        self._local = local
        self._judge = judge
        self.gathered: dict[str, Charge] = {}  # by subject
        self._gather_until = NEVER
        self._counter = 0
        self._mine = b""  # my last one
        self._seen: OrderedDict[tuple[str, Incarnation, int], None] = OrderedDict()
        rate = local.config.limits.charges_per_s
        self._rate = Bucket(rate, RATE_BURST_S * rate)

    def __len__(self) -> int:
        """How many are remembered as seen."""
        return len(self._seen)

    # mine -------------------------------------------------------------------------------------------------------------

    def gather(self, origin: Origin, evidence: Evidence, now: float) -> None:
        """Hold something against a member; it travels with others of the same moment."""
        former = self.gathered.get(origin.id)
        if former is None or former.evidence < evidence:
            self.gathered[origin.id] = Charge(origin.id, *origin.heard_life, evidence)
        self._gather_until = min(self._gather_until, now + self._local.config.detection.gather_s)

    def withdraw(self, id: str) -> None:
        """What waits to be told of it is void."""
        self.gathered.pop(id, None)

    def spoke(self, id: str) -> None:
        """It is not silent: that was held back while I doubted myself, and rightly."""
        charge = self.gathered.get(id)
        if charge is not None and charge.evidence is Evidence.SILENT:
            del self.gathered[id]

    def paused(self) -> None:
        """I stood still: nobody was silent."""
        for id in list(self.gathered):
            self.spoke(id)

    def hurry(self, now: float) -> None:
        """What was held back is to be told now."""
        self._gather_until = now if self.gathered else NEVER

    def tick(self, now: float, *, silence_from: float) -> None:
        """Tell what was gathered, of silence not before a time."""
        if now < self._gather_until:
            return
        self._forget_the_dead()
        ready = [c for c in self.gathered.values() if c.evidence is Evidence.CLOSED or now >= silence_from]
        for charge in ready:
            del self.gathered[charge.subject]
        self._gather_until = silence_from if self.gathered else NEVER
        for start in range(0, len(ready), CHARGES_PER_FRAME):
            self._publish(ready[start : start + CHARGES_PER_FRAME], now)

    def _forget_the_dead(self) -> None:
        """Who is held dead by now, or left, needs no further accuser."""
        origins = self._local.table.origins
        for id in [id for id in self.gathered if (origin := origins.get(id)) is None or not origin.alive]:
            del self.gathered[id]

    def next_deadline(self) -> float:
        """When `tick` is due."""
        return self._gather_until

    def of_death(self, charges: list[Charge], now: float) -> Accusation | None:
        """Dead here, alive elsewhere: told once, so that a living subject refutes (design, section 5)."""
        return self._publish(charges, now) if charges else None

    def to_its_face(self, charges: list[Charge]) -> Accusation | None:
        """What others hold against the one I talk to, for it alone, so that it refutes. It makes no accuser of me."""
        return self._next(charges) if charges else None

    def _publish(self, charges: list[Charge], now: float) -> Accusation:
        accusation = self._next(charges)
        self._local.counters["accusations_made"] += len(charges)
        self._mine = self._local.codec.encode(accusation)
        self.hear(accusation, self._mine, now)
        return accusation

    def _next(self, charges: list[Charge]) -> Accusation:
        me = self._local.me
        self._counter += 1
        return Accusation(me.id, me.incarnation, self._counter, tuple(charges))

    # everybody's ------------------------------------------------------------------------------------------------------

    def hear(self, accusation: Accusation, frame: bytes, now: float) -> None:
        """An accusation, mine or another's: judge its charges, pass it on if it is new."""
        local, accuser = self._local, accusation.accuser
        name = accuser, accusation.incarnation, accusation.counter
        if name in self._seen:
            return
        if accuser == local.me.id and frame is not self._mine and local.seal.verifies:
            self._disown(accusation, now)
            return
        self._seen[name] = None
        if len(self._seen) > local.config.limits.accusations_seen_max:
            self._seen.popitem(last=False)
            local.bounds.hit("accusations_forgotten", accuser, "more accusations than are remembered", now)
        if accuser != local.me.id and not self._rate.take(len(accusation.charges), now):
            local.bounds.hit("charges_refused", accuser, "others accuse more than can be judged", now)
            return
        fresh = [self._judge(accuser, charge, now) for charge in accusation.charges]
        if any(fresh):
            local.flood(frame)

    def _disown(self, accusation: Accusation, now: float) -> None:
        """Not one that I made, at least in this life."""
        me = self._local.me
        if accusation.incarnation == me.incarnation:
            self._local.bounds.tell("accusations_in_my_name", me.id, f"somebody accuses others in the name of {me.id}", now)
