"""Following: an observer's link to its source, how long that may be silent, and when to compare views with it again.

    heartbeat of my digest ──▶ agrees                 of another digest, or a gap ──▶ compare, ever later while it brings nothing
    silent for 3 of its intervals, never heard, its link broke, its goodbye ──▶ lost

Invariant: in one stream nothing is under way, so a heartbeat whose digest is not mine means that something was lost.
"""

from __future__ import annotations

from ..values import dataclass
from .effects import Connect, Disconnect
from .local import Local
from .messages import Heartbeat
from .origin import Origin

NEVER = float("inf")


@dataclass(slots=True)
class Source:
    """Who is followed, until when it may be silent, whether it was heard at all, and held what I hold."""

    id: str
    contact: str
    publisher: str
    silent_at: float
    heard: bool = False
    agrees: bool = False


class Following:
    """Owns the source, None while there is nobody, and its link."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self.source: Source | None = None
        self._compare_at = NEVER
        self._wait_s = 0.0  # before views are compared again

    def follow(self, origin: Origin, now: float) -> None:
        """Link to this member, instead of another."""
        source = self.source
        if source is not None and source.publisher == origin.publisher:
            source.id, source.contact = origin.id, origin.contact
            return
        self._unlink()
        links = self._local.config.links
        patience = links.connect_timeout_s + links.handshake_timeout_s  # the link up, it speaks at once
        self.source = Source(origin.id, origin.contact, origin.publisher, now + patience)
        self._local.out.append(Connect(origin.publisher))

    def lose(self) -> None:
        """Follow nobody."""
        self._unlink()
        self._compare_at = NEVER

    def _unlink(self) -> None:
        if self.source is not None:
            self._local.out.append(Disconnect(self.source.publisher))
            self.source = None

    def heard(self, source: Source, beat: Heartbeat, now: float) -> bool:
        """A heartbeat of the source; whether that was its first."""
        origin, first = self._local.table.origins[source.id], not source.heard
        source.heard = True
        source.silent_at = now + self._local.config.detection.silence_intervals * origin.interval_s
        source.agrees = beat.digest == self._local.table.digest
        if source.agrees:
            self._wait_s = 0.0
        else:
            self.compare_within(self._wait_s, now)
        return first

    def compared(self, *, moved: bool) -> None:
        """A conversation ended; one that brought nothing doubles the time until the next."""
        config = self._local.config.repair
        longer = max(config.backoff_s, 2 * self._wait_s)
        self._wait_s = 0.0 if moved else min(config.backoff_max_s, longer)

    def compare_within(self, seconds: float, now: float) -> None:
        """Something was lost."""
        self._compare_at = min(self._compare_at, now + seconds)

    def is_silent(self, now: float) -> bool:
        """Whether there is a source and it was silent for too long."""
        return self.source is not None and now >= self.source.silent_at

    def to_compare(self, now: float) -> bool:
        """Whether views are to be compared now; it is for the caller to do so."""
        if self.source is None or now < self._compare_at:
            return False
        self._compare_at = NEVER
        return True

    def next_deadline(self, *, talking: bool) -> float:
        """When it may be silent for too long, or is to be compared with, which waits for a conversation that goes on."""
        if self.source is None:
            return NEVER
        return self.source.silent_at if talking else min(self.source.silent_at, self._compare_at)
