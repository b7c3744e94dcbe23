"""What went wrong out there: every case counted, each cause of a kind logged at most once a minute.

A stranger may misbehave a thousand times a second; the log must not repeat it. One owner: the bus thread. Other
threads may read a copy of the counters.
"""

from __future__ import annotations

import contextlib
import logging

HUSH_S = 60.0

logger = logging.getLogger("gossip")


class Hush:
    """Counters by kind, and a log line for the first of a cause in every `HUSH_S` seconds.

    Kinds and causes are named by us, never by a stranger: bounded.
    """

    def __init__(self) -> None:
        self._counters: dict[str, int] = {}
        self._of_cause: dict[str, int] = {}
        self._told: dict[str, tuple[float, int]] = {}
        self.notices: list[str] = []  # what the user is to be told, once a minute and kind; taken by the bus

    @property
    def counters(self) -> dict[str, int]:
        """A copy: kind -> how often since the start. Any thread."""
        return dict(self._counters)

    def count(self, kind: str, times: int = 1) -> None:
        """Count without a word in the log. O(1)."""
        self._counters[kind] = self._counters.get(kind, 0) + times

    def full(self, kind: str, now: float, text: str) -> None:
        """As `notice`, for a bound that was hit: the kinds are those of the table in docs/security.md."""
        self.notice(kind, now, f"{text}; more within a minute are only counted ({kind})")

    def tell(self, kind: str, now: float, text: str, *, error: Exception | None = None, cause: str = "") -> bool:
        """Count, and log `text` (with the traceback of `error`) unless this cause of the kind spoke within `HUSH_S`.

        Whether it was logged.
        """
        more = self._due(kind, now, cause)
        if more is None:
            return False
        with contextlib.suppress(Exception):  # a log handler's own fault must not end the bus
            logger.log(logging.WARNING if error is None else logging.ERROR, "%s%s", text, more, exc_info=error)
        return True

    def notice(self, kind: str, now: float, text: str, *, cause: str = "") -> None:
        """Count, and have the bus make a NOTICE of it, which is logged, unless this cause of the kind spoke within `HUSH_S`."""
        more = self._due(kind, now, cause)
        if more is not None:
            self.notices.append(text + more)

    def _due(self, kind: str, now: float, cause: str = "") -> str | None:
        """Count. None if this cause spoke within `HUSH_S`; else what is to be added about those that were not told."""
        self.count(kind)
        key = f"{kind}: {cause}" if cause else kind
        if cause:
            self._of_cause[key] = self._of_cause.get(key, 0) + 1
        total = self._of_cause[key] if cause else self._counters[kind]
        last, told = self._told.get(key, (float("-inf"), 0))
        if now - last < HUSH_S:
            return None
        self._told[key] = now, total
        silent = total - told - 1
        before = "before" if last == float("-inf") else "since the last such line"
        return f" ({silent} more {before})" if silent else ""
