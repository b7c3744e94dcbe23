"""Bounds: what is so where a table is full or a rate exceeded. Each hit is counted, and told at most once a minute and kind.

A rate is a token bucket (Turner 1986): a burst may be spent at once, then so much a second. Invariant: `Bucket.take` grants
at most `burst + rate × t` within any t seconds. The list of all bounds is the table of `docs/security.md`; a test holds it
against the code.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable

TOLD_INTERVAL_S = 60.0  # between two notices of one kind
RATE_BURST_S = 10.0  # so many seconds' worth of a rate of strangers may come at once


class Bounds:
    """Owns the memory of which bound was told when. Kinds are named by us, so it needs no bound of its own."""

    __slots__ = ("_counters", "_notice", "_told")

    def __init__(self, counters: Counter[str], notice: Callable[[str, str], None]) -> None:
        self._counters = counters
        self._notice = notice
        self._told: dict[str, float] = {}

    def hit(self, kind: str, subject: str, why: str, now: float) -> None:
        """Count under `kind`; tell the user, unless this kind was told within a minute. O(1)."""
        self._counters[kind] += 1
        told = self._told.get(kind)
        if told is None or now - told >= TOLD_INTERVAL_S:
            self._told[kind] = now
            self._notice(subject, f"{why}; more within a minute are only counted ({kind})")


    def tell(self, kind: str, subject: str, why: str, now: float) -> None:
        """As `hit`, of what is no bound and may come as often."""
        self.hit(kind, subject, why, now)


class Told:
    """Who was named lately: nobody more often than once in `TOLD_INTERVAL_S`, and at most so many are remembered."""

    __slots__ = ("_at", "_most")

    def __init__(self, most: int) -> None:
        self._at: OrderedDict[str, float] = OrderedDict()
        self._most = most

    def is_news(self, id: str, now: float) -> bool:
        """Whether this one may be named now; if so it counts as named. O(1)."""
        at = self._at.get(id)
        if at is not None and now - at < TOLD_INTERVAL_S:
            return False
        self._at[id] = now
        self._at.move_to_end(id)
        if len(self._at) > self._most:
            self._at.popitem(last=False)
        return True


class Bucket:
    """One rate. Starts full; fills while time passes."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate = rate_per_s
        self._burst = self._left = burst
        self._at: float | None = None

    def take(self, amount: float, now: float) -> bool:
        """Whether so much may pass now; if so it is spent. O(1)."""
        if self._at is not None and now > self._at:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now if self._at is None else max(self._at, now)
        if amount > self._left:
            return False
        self._left -= amount
        return True
