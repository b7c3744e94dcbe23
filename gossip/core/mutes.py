"""Mutes: accusers whom a subject refuted; about that subject they are not believed at once for a while, longer each time.

A firewall that resets links makes honest watchers say `closed` again and again. The accuser itself keeps the same silence.
Invariant: at most `MUTES_MAX` are remembered; the oldest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict

from ..values import dataclass
from .local import Local

MUTES_MAX = 4096
DOUBLINGS_MAX = 16


@dataclass(frozen=True, slots=True)
class _Mute:
    times: int
    until: float


class Mutes:
    """Owns who is muted about whom, and for how long."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._mutes: OrderedDict[tuple[str, str], _Mute] = OrderedDict()

    def __len__(self) -> int:
        return len(self._mutes)

    def add(self, accuser: str, subject: str, now: float) -> None:
        """It was refuted: for `mute_s`, then twice as long each time up to `mute_max_s`; after that long a peace anew."""
        config = self._local.config.detection
        former = self._mutes.pop((accuser, subject), None)
        times = former.times + 1 if former is not None and now - former.until < config.mute_max_s else 0
        until = now + min(config.mute_max_s, config.mute_s * 2 ** min(times, DOUBLINGS_MAX))
        self._mutes[accuser, subject] = _Mute(times, until)
        if len(self._mutes) > MUTES_MAX:
            self._mutes.popitem(last=False)
            self._local.bounds.hit("mutes_forgotten", subject, f"more than {MUTES_MAX} accusations were refuted", now)

    def holds(self, accuser: str, subject: str, now: float) -> bool:
        """Whether this accuser is muted about this subject now. O(1)."""
        mute = self._mutes.get((accuser, subject))
        return mute is not None and mute.until > now
