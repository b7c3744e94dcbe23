"""Refutations on their second way: flooded as the accusations were, besides the broadcast along the trees.

As redundant as what they answer, for a peer that misses one buries somebody alive. Invariant: nothing but a higher pulse is
taken so, each is passed on once, whichever way it came first, and only so many a second; the trees carry them as well.
"""

from __future__ import annotations

from .bounds import Bucket
from .local import Local
from .merge import Merger
from .messages import Delta
from .origin import Outcome

FLOODED_MAX = 256  # passed on to all subscribers in a second; less: in a split with a bridge the living are buried


class Refutations:
    """Owns the rate at which others' refutations are passed on."""

    def __init__(self, local: Local, merger: Merger) -> None:
        self._local, self._merger = local, merger
        self._rate = Bucket(FLOODED_MAX, FLOODED_MAX)

    def hear(self, delta: Delta, frame: bytes, now: float) -> None:
        """A delta that was flooded."""
        origin = self._local.table.origins.get(delta.origin)
        if origin is None or origin is self._local.me or delta.header is None:
            return
        life = delta.incarnation, delta.header.pulse
        if life <= origin.heard_life:
            return
        if self._merger.take(delta, frame, now).outcome is Outcome.GAP:
            self._merger.missed(delta.origin, origin.contact, now)
        if origin.heard_life >= life:  # taken in, or kept until its predecessors are here
            self.pass_on(frame, now)

    def pass_on(self, frame: bytes, now: float) -> None:
        """To all my subscribers."""
        if self._rate.take(1, now):
            self._local.flood(frame)
        else:
            who = self._local.me.id
            self._local.bounds.hit("refutations_not_flooded", who, f"more than {FLOODED_MAX} refutations came in a second", now)
