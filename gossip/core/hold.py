"""Mass failure: when most members fall silent at once, that is rather a split than deaths.

    more than half silent within one suspicion ──▶ verdicts by silence wait, at most `isolated_hold_s`
    nobody alive is accused any more ──▶ over; until then no second hold begins

Invariant: verdicts wait once per failure, and for a bounded time. Closed links are judged all the same.
"""

from __future__ import annotations

from collections import OrderedDict

from .local import Local
from .origin import Origin

REMEMBERED_S = 60.0  # no suspicion lasts as long


class Hold:
    """Owns who was accused of silence lately, and until when verdicts wait."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self.until: float | None = None
        self._held_once = False
        self._silenced: OrderedDict[str, float] = OrderedDict()  # when its case by silence was last added to

    def silenced(self, id: str, now: float) -> None:
        """Somebody says that it is silent."""
        self._silenced[id] = now

    def refuted(self, id: str) -> None:
        """It is not silent."""
        self._silenced.pop(id, None)

    def covers(self, origin: Origin, now: float) -> bool:
        """Whether a verdict by silence on this member has to wait; a hold begins here. O(members silent lately)."""
        config = self._local.config.detection
        if self.until is not None:
            return now < self.until
        window = config.suspicion_max_s + config.silence_intervals * origin.interval_s
        origins = self._local.table.origins
        silent = [id for id, at in self._silenced.items() if now - at <= window]
        gone = sum(1 for id in silent if (known := origins.get(id)) is None or not known.alive)
        members = self._local.table.living + gone  # as many as there were
        if self._held_once or len(silent) <= config.mass_share * members:
            return False
        self.until, self._held_once = now + config.isolated_hold_s, True
        self._local.notice(
            self._local.me.id,
            f"{len(silent)} of {members} members fell silent at once: serving the last known view "
            f"for at most {config.isolated_hold_s:g} s",
        )
        return True

    def tick(self, now: float, *, accused: bool) -> None:
        """End what is over; `accused`: whether anybody alive still is."""
        if self.until is not None and (now >= self.until or not accused):
            self.until = None
        self._held_once = self._held_once and accused
        while self._silenced and now - next(iter(self._silenced.values())) > REMEMBERED_S:
            self._silenced.popitem(last=False)
