"""All origins one peer knows, its own among them; their digest; which differ.

Invariant: `digest` is the sum (mod 2^64) over the origins held alive of a hash of `(id, incarnation, version)`, and
`sums` the same by bucket, kept up with every change; two peers with equal digests hold equal views, liveness included.
What is dead keeps its state for a while, then only its floor, so that no word of an earlier life comes back.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from hashlib import blake2b

from ..model import MemberState
from .floors import Floor, Floors
from .messages import BUCKETS, Entry, IdHash, Incarnation
from .origin import Origin

SETTLED_MAX = 1024  # dead and left origins whose state is kept
_MASK = (1 << 64) - 1
_STAMP = struct.Struct("!8sQQQ")
_SUMS = struct.Struct(f"!{BUCKETS}Q")


@lru_cache(maxsize=8192)  # a change needs the last two; the rest is for many peers in one process, and each is 280 bytes
def stamp(hash: IdHash, incarnation: Incarnation, version: int) -> int:
    """64 bits that stand for one origin at one version in digests; part of the protocol."""
    return int.from_bytes(blake2b(_STAMP.pack(hash, *incarnation, version), digest_size=8).digest(), "big")


class Table:
    """Owns every `Origin` and `Floor`. Liveness changes only through `add`, `settle` and `revive`."""

    __slots__ = ("by_hash", "digest", "floors", "held_bytes", "living", "origins", "sums", "waiting_bytes")

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}
        self.by_hash: dict[IdHash, Origin] = {}
        self.floors = Floors()
        self.living = 0
        self.digest = 0
        self.sums = [0] * BUCKETS
        self.held_bytes = 0  # of all others, as it came over the wire
        self.waiting_bytes = 0  # of that, what waits for deltas or parts that have not arrived

    # memory -----------------------------------------------------------------------------------------------------------

    def recount(self, origin: Origin) -> None:
        """Call after what is held of an origin changed. O(1)."""
        held, waiting = origin.counted
        waits = origin.early_bytes + origin.parts_bytes
        holds = origin.weight + origin.base_bytes + origin.log_bytes + waits
        origin.counted = holds, waits
        self.held_bytes += holds - held
        self.waiting_bytes += waits - waiting

    def release(self, origin: Origin) -> None:
        """Call when an origin is dropped. O(1)."""
        self.held_bytes -= origin.counted[0]
        self.waiting_bytes -= origin.counted[1]
        origin.counted = 0, 0

    # digest -----------------------------------------------------------------------------------------------------------

    def _count(self, origin: Origin, sign: int) -> None:
        if origin.version:
            amount = sign * stamp(origin.hash, origin.incarnation, origin.version)
            bucket = origin.hash[0]
            self.digest = (self.digest + amount) & _MASK
            self.sums[bucket] = (self.sums[bucket] + amount) & _MASK

    def before_change(self, origin: Origin) -> None:
        """Call before an origin's incarnation or version changes; `after_change` must follow."""
        if origin.alive:
            self._count(origin, -1)

    def after_change(self, origin: Origin) -> None:
        """Count it again."""
        if origin.alive:
            self._count(origin, 1)

    def packed_sums(self) -> bytes:
        """The bucket sums as they stand in a `Sync`."""
        return _SUMS.pack(*self.sums)

    def differing(self, packed: bytes) -> set[int]:
        """The buckets whose sum differs from another peer's."""
        return {bucket for bucket, other in enumerate(_SUMS.unpack(packed)) if other != self.sums[bucket]}

    def entries(self, buckets: set[int]) -> list[Entry]:
        """All that is held alive in these buckets."""
        return [
            Entry(origin.id, origin.incarnation, origin.version, origin.header.pulse)
            for origin in self.origins.values()
            if origin.alive and origin.version and origin.hash[0] in buckets
        ]

    # membership -------------------------------------------------------------------------------------------------------

    def add(self, origin: Origin) -> None:
        """A new living origin; its floor is kept by the caller's check and no longer needed here."""
        self.floors.pop(origin.id, None)
        self.origins[origin.id] = origin
        self.by_hash[origin.hash] = origin
        self.living += 1
        self._count(origin, 1)

    def settle(self, origin: Origin, state: MemberState, now: float) -> None:
        """A living origin died or left."""
        self._count(origin, -1)
        self.living -= 1
        origin.state, origin.alive = state, False
        origin.settled_at = now

    def revive(self, origin: Origin) -> None:
        """A dead or left origin lives again."""
        origin.state, origin.alive = MemberState.ALIVE, True
        self.living += 1
        self._count(origin, 1)

    def shed(self) -> int:
        """Beyond the bound, those settled longest keep only their floor: how many. O(1) below it, O(origins) above."""
        surplus = max(0, len(self.origins) - self.living - SETTLED_MAX)
        for _ in range(surplus):
            self.forget(min(self.settled(), key=lambda origin: origin.settled_at))
        return surplus

    def forget(self, origin: Origin) -> None:
        """Drop a settled origin's state and keep its floor."""
        self.release(origin)
        del self.origins[origin.id]
        del self.by_hash[origin.hash]
        contact = origin.contact if origin.state is MemberState.DEAD else ""
        self.floors[origin.id] = Floor(origin.incarnation, origin.version, origin.header.pulse, origin.settled_at, contact)

    def remove(self, origin: Origin) -> None:
        """Drop an origin without a trace (my own former id)."""
        if origin.alive:
            self._count(origin, -1)
            self.living -= 1
        self.release(origin)
        del self.origins[origin.id]
        del self.by_hash[origin.hash]

    def alive(self) -> Iterator[Origin]:
        """All living origins, myself included."""
        return (origin for origin in self.origins.values() if origin.alive)

    def settled(self) -> Iterator[Origin]:
        """All dead and left origins whose state is still held."""
        return (origin for origin in self.origins.values() if not origin.alive)

    def entry_of(self, id: str) -> Entry:
        """What I hold of an id, as I would ask for what follows it."""
        origin = self.origins.get(id)
        return Entry(id, (0, 0), 0, 0) if origin is None else Entry(id, origin.incarnation, origin.version, origin.header.pulse)

    def known(self, id: str) -> Origin | Floor | None:
        """The numbers last known of an id: its state's, else its floor's."""
        return self.origins.get(id) or self.floors.get(id)

    def expire(self, now: float, *, state_s: float, retention_s: float, floors_max: int) -> list[str]:
        """States of the long dead become floors, floors end with the retention or beyond their bound. Returns what ended."""
        settled = sorted(self.settled(), key=lambda origin: origin.settled_at)
        surplus = len(settled) - SETTLED_MAX
        for origin in [o for place, o in enumerate(settled) if place < surplus or now - o.settled_at > state_s]:
            self.forget(origin)
        ended = [id for id in self.floors if now - self.floors.settled_at(id) > retention_s]
        if len(self.floors) - len(ended) > floors_max:
            oldest = sorted(self.floors, key=self.floors.settled_at)
            ended = oldest[: len(self.floors) - floors_max]
        for id in ended:
            del self.floors[id]
        return ended
