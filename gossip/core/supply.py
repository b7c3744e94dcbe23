"""Supply: what brings somebody from what it holds of an origin to what I hold, at a bounded rate.

Never another's words anew: the frames are those that the origin made, or, where it does not sign, a state of one version.
"""

from __future__ import annotations

from .author import Author
from .bounds import Bucket
from .local import Local
from .messages import Entry

WANTS_PER_FRAME = 64
ENTRIES_PER_FRAME = 256


class Supply:
    """Owns the rate at which I hand out."""

    def __init__(self, local: Local, author: Author) -> None:
        self._local, self._author = local, author
        limits = local.config.limits
        self._rate = Bucket(limits.answer_bytes_per_s, limits.answer_bytes_per_s)

    def beyond(self, entry: Entry) -> list[bytes]:
        """What follows this entry: the deltas if they are still in the log, else the state; [] if nothing does."""
        origin = self._local.table.origins.get(entry.origin)
        if origin is None or not origin.version:
            return []
        deltas = origin.deltas_since(entry.incarnation, entry.version)
        if deltas is not None:
            return list(deltas)
        if (entry.incarnation, entry.version) >= (origin.incarnation, origin.version):
            return []
        return self._author.state_frames(origin)

    def myself(self) -> list[bytes]:
        """My own state."""
        return self._author.state_frames(self._local.me)

    def may_send(self, frames: list[bytes], asker: str, now: float) -> bool:
        """A small question may have a large answer: all of them together have a rate."""
        if self._rate.take(sum(map(len, frames)), now):
            return True
        rate = self._local.config.limits.answer_bytes_per_s
        why = f"others ask for more than {rate} bytes a second; they have to wait"
        self._local.bounds.hit("answers_refused", asker or self._local.me.id, why, now)
        return False


def distinct(entries: tuple[Entry, ...]) -> list[Entry]:
    """Nobody honest wants, or offers, one origin twice at once."""
    return list({entry.origin: entry for entry in entries}.values())
