"""Watches: whom I watch, since when each is silent, and when it is to be pinged.

    spoke ─── 3 intervals of the subject's own, less two ping timeouts ──▶ ping ──▶ ping ──▶ ping ──▶ silent
    any sign of life in between begins anew

Invariant: silence counts from when somebody became watched, and never through a pause of my own.
"""

from __future__ import annotations

from collections.abc import Collection

from ..values import dataclass
from .local import Local
from .origin import Origin

PINGS = 3  # over connections of their own: where a fifth of the packets is lost, one alone fails every second time
SILENCE_LOOK_S = 1.25  # watches are looked at so often at least: cases end and pings return in between
SILENCE_EARLY_S = 0.5  # or when there is a tick anyway, so that an idle peer wakes once an interval, not twice
NEVER = float("inf")


@dataclass(slots=True)
class Watch:
    """A member I watch. `quiet_since`: when I last heard it, or began to listen."""

    quiet_since: float
    pinged: bool = False  # an answer is awaited
    missed: int = 0  # pings in a row that nobody answered

    def spoke(self, now: float) -> None:
        """It lives, or is listened to anew."""
        self.quiet_since, self.pinged, self.missed = now, False, 0


class Watches:
    """Owns the watches; `of` has them by id."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self.of: dict[str, Watch] = {}
        self._look_at = NEVER  # nobody is silent earlier

    def only(self, subjects: Collection[str], now: float) -> None:
        """These are the members I watch from now on."""
        for id in [id for id in self.of if id not in subjects]:
            del self.of[id]
        for id in sorted(subjects):
            self.of.setdefault(id, Watch(now))
        self._look_at = now  # intervals may have changed too

    def spoke(self, id: str, now: float) -> None:
        """A sign of life of somebody, whom I watch or not."""
        watch = self.of.get(id)
        if watch is not None:
            watch.spoke(now)

    def paused(self, now: float) -> None:
        """I stood still: nobody's silence counts."""
        for watch in self.of.values():
            watch.spoke(now)

    def one_ping_decides(self, id: str) -> None:
        """There is a reason to ask besides silence."""
        watch = self.of.get(id)
        if watch is not None:
            watch.missed = PINGS - 1

    def missed(self, watch: Watch, now: float) -> bool:
        """A ping to it ran out: whether it is silent. Whoever spoke by another way meanwhile is not: that ping was lost."""
        watch.pinged = False
        if watch.quiet_since > now - self._local.config.detection.ping_timeout_s:
            watch.missed = 0
            return False
        watch.missed += 1
        if watch.missed < PINGS:
            self._look_at = now
            return False
        watch.spoke(now)
        return True

    def due(self, accused: Collection[str], now: float) -> list[tuple[Origin, Watch]]:
        """Who is to be pinged now for its silence; `accused` are asked by nobody. O(1) until somebody may be due."""
        if now < self._look_at - SILENCE_EARLY_S:
            return []
        found, next_at = [], now + SILENCE_LOOK_S
        for id, watch in self.of.items():
            origin = self._local.table.origins.get(id)
            if origin is None or not origin.alive or watch.pinged or id in accused:
                continue
            at = self._ping_at(watch, origin)
            if now >= at:
                found.append((origin, watch))
            elif at < next_at:
                next_at = at
        self._look_at = next_at
        return found

    def pinged(self, watch: Watch, now: float, *, sent: bool) -> None:
        """It was asked; `sent` is False if too many pings are under way, then it will be a little later."""
        watch.pinged = sent
        if not sent:
            self._look_at = min(self._look_at, now + self._local.config.detection.ping_timeout_s)

    def quiet(self, now: float) -> int:
        """How many are silent, or will be within an interval unless they speak."""
        origins = self._local.table.origins
        watched = [(watch, origin) for id, watch in self.of.items() if (origin := origins.get(id)) is not None]
        return sum(1 for watch, origin in watched if self.silent_at(watch, origin) - origin.interval_s <= now)

    def _ping_at(self, watch: Watch, origin: Origin) -> float:
        """The last of the pings goes out when it counts as silent, the others before that."""
        return self.silent_at(watch, origin) - (PINGS - 1 - watch.missed) * self._local.config.detection.ping_timeout_s

    def silent_at(self, watch: Watch, origin: Origin) -> float:
        """When it counts as silent, by its own interval."""
        return watch.quiet_since + self._local.config.detection.silence_intervals * origin.interval_s

    def next_deadline(self) -> float:
        """When somebody may be due."""
        return self._look_at if self.of else NEVER
