"""Disputes: dead here, alive there. An accusation, told once on my side and once to the partner for his (design, section 5).

A living subject refutes; who held nothing of it takes it as it is. Invariant: one life is disputed once, but with its own
subject each time they talk.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from ..model import MemberState
from .local import Local
from .messages import Accusation, Charge, Entry, Evidence, Incarnation, Sync

CHARGES_PER_ACCUSATION = 64


class Disputes:
    """Owns the memory of what was disputed. `publish` accuses before all, `to_its_face` before the one I talk to alone."""

    def __init__(
        self,
        local: Local,
        *,
        publish: Callable[[list[Charge], float], Accusation | None],
        to_its_face: Callable[[list[Charge]], Accusation | None],
        charges_against: Callable[[str], list[Charge]],
    ) -> None:
        self._local = local
        self._publish, self._to_its_face, self._charges_against = publish, to_its_face, charges_against
        self._disputed: OrderedDict[tuple[str, Incarnation, int], None] = OrderedDict()

    def over(self, entry: Entry) -> Charge | None:
        """The charge against one who is dead here and alive there: at all that is held against it, or refuting would not do."""
        table = self._local.table
        held, known = table.origins.get(entry.origin), table.known(entry.origin)
        if known is None or (held is not None and held.state is not MemberState.DEAD):
            return None
        if known.life < (entry.incarnation, entry.pulse):
            return None
        lives = [(charge.incarnation, charge.pulse) for charge in self._charges_against(entry.origin)]
        return Charge(entry.origin, *max((known.life, *lives)), Evidence.SILENT)

    def accuse(self, charges: list[Charge], now: float) -> list[Accusation]:
        """Publish these; what is to be told to the partner too."""
        size = CHARGES_PER_ACCUSATION
        made = [self._publish(charges[start : start + size], now) for start in range(0, len(charges), size)]
        return [accusation for accusation in made if accusation is not None]

    def with_partner(self, partner: str, charges: list[Charge], now: float) -> list[Accusation]:
        """What to tell a partner: what is held against itself, and what was not disputed before."""
        fresh = [c for c in charges if (c.subject, c.incarnation, c.pulse) not in self._disputed or c.subject == partner]
        for charge in fresh:
            self._disputed[charge.subject, charge.incarnation, charge.pulse] = None
        while len(self._disputed) > self._local.config.limits.members_max:
            self._disputed.popitem(last=False)
            self._local.bounds.hit("disputes_forgotten", self._local.me.id, "more lives are disputed than members may live", now)
        own = [charge for charge in fresh if charge.subject == partner]
        told = self._to_its_face(own or (self._charges_against(partner) if partner else []))
        accused = self.accuse([charge for charge in fresh if charge.subject != partner], now)
        return accused if told is None else [told, *accused]

    def obituary(self, message: Sync) -> Accusation | None:
        """Whoever speaks and is held dead, or is accused, hears it, and refutes."""
        life = message.incarnation, message.pulse
        return self._to_its_face([c for c in self._charges_against(message.asker) if (c.incarnation, c.pulse) >= life])
