"""A consistent hash ring over the instances of one view: which instance owns a key, and which stand in for it.

uhashring places the points; we read them from arrays of our own, because a ring of uhashring must never change while
it is read, and its `range()` copies the whole ring. Invariant: the answers are a pure function of the set of
(id, weight), equal on every peer and to `uhashring.HashRing.get_node`, whatever earlier ring this one was made from.

Source: Karger et al., "Consistent Hashing and Random Trees" (1997); preference lists as in Dynamo (2007), section 4.3.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice

from uhashring import HashRing

from ..errors import ConfigError
from ..model import Instance

# Both are part of the protocol: a peer with other values would place keys elsewhere.
RING_VNODES = 160  # points per unit of weight
RING_HASH_BYTES = 8

# Past this share of changed instances a whole build is cheaper than an edit.
RING_EDIT_SHARE = 4

CIRCLE = 1 << 8 * RING_HASH_BYTES

_CUT = -1


class Ring:
    """An immutable ring. A build costs about 0.3 ms per unit of weight, and 12 bytes per point (2 KB per unit).

    `weight`: that of all its instances together.
    """

    __slots__ = ("_count", "_owners", "_points", "_slot_of", "_slots", "weight")

    def __init__(
        self, slots: list[Instance], slot_of: dict[str, int], points: array[int], owners: array[int]
    ) -> None:
        self._slots = slots  # may hold instances of earlier rings; only those in `slot_of` own points
        self._slot_of = slot_of
        self._points = points  # sorted positions
        self._owners = owners  # the slot that owns the point of the same index
        self._count = len(slot_of)
        self.weight = sum([slots[slot].weight for slot in slot_of.values()])

    @classmethod
    def of(cls, instances: Sequence[Instance], base: Ring | None = None) -> Ring:
        """The ring of these instances (of one service, sorted by id).

        `base`, an earlier ring of the service, only makes it cheaper: no work on points if no id and no weight
        changed, else O(changed points × log ring) plus a copy of the arrays.
        """
        return (base and base._followed_by(instances)) or cls._built(instances)

    def locate(self, key: str | bytes) -> Instance:
        """The owner of the key: that of the first point after its position. O(log ring). Raises `ConfigError`.

        The ring must not be empty.
        """
        points = self._points
        at = bisect_right(points, position(key))
        return self._slots[self._owners[at if at < len(points) else 0]]

    def preference_list(self, key: str | bytes, n: int) -> tuple[Instance, ...]:
        """The owner of the key and the next n - 1 distinct instances along the ring; all, if there are fewer.

        O(log ring + n) typically; the last few of a list of all instances may take a walk around the ring.
        """
        return tuple(islice(self.along(key), min(n, self._count)))

    def along(self, key: str | bytes) -> Iterator[Instance]:
        """All instances, each once, in the order in which the ring meets them from the key on: its owner first.

        O(log ring) for the first, then as `preference_list`. Raises `ConfigError` when it is called.
        """
        return self._from(bisect_right(self._points, position(key)))

    def _from(self, start: int) -> Iterator[Instance]:
        owners, size = self._owners, len(self._owners)
        met: set[int] = set()
        for at in range(start, start + size):
            slot = owners[at if at < size else at - size]
            if slot not in met:
                yield self._slots[slot]
                met.add(slot)
                if len(met) == self._count:
                    return

    def shares(self) -> dict[str, float]:
        """Which part of all keys each instance owns, by id; they sum to 1. O(points)."""
        owned = dict.fromkeys(range(len(self._slots)), 0)
        before = self._points[-1] - CIRCLE  # a point owns what lies between the one before it and itself
        for point, slot in zip(self._points, self._owners, strict=True):
            owned[slot] += point - before
            before = point
        return {name: owned[slot] / CIRCLE for name, slot in self._slot_of.items()}

    def owners_at(self, places: int) -> list[str]:
        """The ids of those that own so many evenly spaced places, from place 0 on. O(places × log ring)."""
        points, owners, slots = self._points, self._owners, self._slots
        found = (bisect_right(points, place * CIRCLE // places) for place in range(places))
        return [slots[owners[at if at < len(points) else 0]].id for at in found]

    @staticmethod
    def place(key: str | bytes) -> float:
        """Where a key lies on the circle, from 0 to 1. O(length). Raises `ConfigError`."""
        return position(key) / CIRCLE

    @classmethod
    def _built(cls, instances: Sequence[Instance]) -> Ring:
        slot_of = {instance.id: slot for slot, instance in enumerate(instances)}
        placed = _points_of(instances)
        points = array("Q", [point for point, _ in placed])
        owners = array("I", [slot_of[name] for _, name in placed])
        return cls(list(instances), slot_of, points, owners)

    def _followed_by(self, instances: Sequence[Instance]) -> Ring | None:
        """This ring edited into that of `instances`; None where only a whole build is right, or is cheaper."""
        slots, slot_of = self._slots.copy(), {}
        fresh: list[Instance] = []
        for instance in instances:
            slot = self._slot_of.get(instance.id)
            if slot is None or slots[slot].weight != instance.weight:
                fresh.append(instance)
            else:
                slots[slot], slot_of[instance.id] = instance, slot
        gone = [self._slots[slot] for name, slot in self._slot_of.items() if name not in slot_of]
        if not fresh and not gone:
            return Ring(slots, slot_of, self._points, self._owners)
        if (len(fresh) + len(gone)) * RING_EDIT_SHARE > len(instances) or len(slots) > 2 * len(instances):
            return None
        for instance in fresh:
            slot_of[instance.id] = len(slots)
            slots.append(instance)
        edited = self._edited(gone, fresh, slot_of)
        return edited and Ring(slots, slot_of, *edited)

    def _edited(
        self, gone: list[Instance], fresh: list[Instance], slot_of: dict[str, int]
    ) -> tuple[array[int], array[int]] | None:
        """Points and owners without those of `gone`, with those of `fresh`; None if two instances share a point.

        Which of two owns a shared point depends on all instances, and arrays do not keep the loser's; 64-bit
        positions make that all but impossible, and a whole build settles it.
        """
        old, owners = self._points, self._owners
        cuts, adds = _points_of(gone), _points_of(fresh)
        kept = (self._slots[slot] for slot in self._slot_of.values())
        if len(old) != _points_due(kept) or len(cuts) != _points_due(gone) or len(adds) != _points_due(fresh):
            return None
        edits = sorted([(point, _CUT) for point, _ in cuts] + [(point, slot_of[name]) for point, name in adds])
        new_points, new_owners = array("Q"), array("I")
        done = 0
        for point, slot in edits:
            at = bisect_left(old, point, done)
            new_points += old[done:at]
            new_owners += owners[done:at]
            done = at
            if slot == _CUT:
                done += 1
            elif at < len(old) and old[at] == point:
                return None
            else:
                new_points.append(point)
                new_owners.append(slot)
        return new_points + old[done:], new_owners + owners[done:]


def position(key: str | bytes) -> int:
    """The place of a key, or of a point's name, on every ring: the first 64 bits of BLAKE2b.

    `bytes` are hashed as they are, `str` as UTF-8, lone surrogates included ("surrogatepass"), so that every text
    has a place. Raises `ConfigError` for anything else.
    """
    if isinstance(key, str):
        key = key.encode("utf-8", "surrogatepass")
    elif not isinstance(key, bytes):
        raise ConfigError(f"the key {key!r} is neither str nor bytes: pass str(key), or bytes every caller agrees on")
    return int.from_bytes(blake2b(key, digest_size=RING_HASH_BYTES).digest(), "big")


def _points_of(instances: Iterable[Instance]) -> list[tuple[int, str]]:
    """Sorted (position, instance id). The HashRing is dropped at once: it weighs twenty times our arrays."""
    nodes = {instance.id: {"weight": instance.weight, "vnodes": RING_VNODES} for instance in instances}
    placed: list[tuple[int, str]] = HashRing(nodes=nodes, hash_fn=position).get_points()
    return placed


def _points_due(instances: Iterable[Instance]) -> int:
    return RING_VNODES * sum(instance.weight for instance in instances)
