"""Floors: the last that was known of who is long gone, so that no word of an earlier life comes back.

There may be `limits.floors_max` of them for a day, so each is kept as bytes: 0.3 KB with its id, where objects took 0.5.
Invariant: what is read is what was put in, to the bit.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, MutableMapping

from ..values import dataclass
from .messages import Incarnation

_PACKED = struct.Struct("!QQQQd")
_SETTLED_AT = struct.Struct("!32xd")


@dataclass(frozen=True, slots=True)
class Floor:
    """The last that was known of an origin whose state was dropped."""

    incarnation: Incarnation
    version: int
    pulse: int
    settled_at: float
    contact: str = ""  # where a dead one was reached, to be dialled on; a split may outlast its state

    @property
    def life(self) -> tuple[Incarnation, int]:
        """(incarnation, pulse)."""
        return self.incarnation, self.pulse


class Floors(MutableMapping[str, Floor]):
    """Floor by id, oldest first. Reading one is O(1), about a microsecond."""

    __slots__ = ("_packed",)

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._packed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._packed)

    def __contains__(self, id: object) -> bool:
        return id in self._packed

    def __getitem__(self, id: str) -> Floor:
        return _unpacked(self._packed[id])

    def __setitem__(self, id: str, floor: Floor) -> None:
        numbers = _PACKED.pack(*floor.incarnation, floor.version, floor.pulse, floor.settled_at)
        self._packed[id] = numbers + floor.contact.encode()

    def __delitem__(self, id: str) -> None:
        del self._packed[id]

    def get(self, id: str, default: Floor | None = None) -> Floor | None:  # type: ignore[override]
        """The floor of an id, in one step. Asked of every unknown delta."""
        packed = self._packed.get(id)
        return default if packed is None else _unpacked(packed)

    def copy(self) -> Floors:
        """In one step, so that any thread may take one."""
        copied = Floors()
        copied._packed = self._packed.copy()
        return copied

    def settled_at(self, id: str) -> float:
        """When it died or left."""
        at: float = _SETTLED_AT.unpack_from(self._packed[id])[0]
        return at

    def contacts(self) -> Iterator[str]:
        """Where the dead among them were reached. O(floors)."""
        return (packed[_PACKED.size :].decode() for packed in self._packed.values() if len(packed) > _PACKED.size)


def _unpacked(packed: bytes) -> Floor:
    start, nonce, version, pulse, settled_at = _PACKED.unpack_from(packed)
    return Floor((start, nonce), version, pulse, settled_at, packed[_PACKED.size :].decode())
