"""Which instances exist, whoever holds them: `(service, id)` is one instance however many living origins say so.

Invariant: what is shown for a key is the record of the highest `(incarnation, origin)` among its living holders, and it
goes when the last of them does. Where peers sign, whoever speaks of its own address comes before all others: nobody can then
begin a later life to be shown in its place. Every method returns the difference a reader sees, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model import Instance
from ..values import dataclass
from .effects import Changed
from .messages import Incarnation, InstanceKey


@dataclass(slots=True)
class _Shared:
    """An instance that several origins hold. `shown` is what readers see: ranks may have changed since."""

    records: dict[str, Instance]
    shown: Instance


class Directory:
    """Owned by the node; feeds the catalogue through `Changed` values. `count` is the number of instances shown."""

    __slots__ = ("_held", "_rank_of", "count")

    def __init__(
        self, incarnation_of: Callable[[str], Incarnation], speaks_of_itself: Callable[[Instance], bool] = lambda record: False
    ) -> None:
        self._held: dict[str, dict[str, Instance | _Shared]] = {}  # service -> id -> its record or records
        self._rank_of: Callable[[Instance], tuple[bool, Incarnation, str]] = lambda record: (
            speaks_of_itself(record),
            incarnation_of(record.origin),
            record.origin,
        )
        self.count = 0

    def shown(self, key: InstanceKey) -> Instance | None:
        """What readers see under this key."""
        held = self._held.get(key[0], {}).get(key[1])
        return held.shown if isinstance(held, _Shared) else held

    def holders(self, key: InstanceKey) -> Iterable[str]:
        """The origins that hold it."""
        held = self._held.get(key[0], {}).get(key[1])
        if held is None:
            return ()
        return tuple(held.records) if isinstance(held, _Shared) else (held.origin,)

    def _show(self, held: _Shared, reason: str) -> Changed | None:
        before = held.shown
        held.shown = after = max(held.records.values(), key=self._rank_of)
        return Changed(before, after, reason) if before != after else None

    def put(self, instance: Instance, reason: str) -> Changed | None:
        """An origin says that this instance is so. O(holders)."""
        ids = self._held.setdefault(instance.service, {})
        held = ids.get(instance.id)
        if held is None:
            ids[instance.id] = instance
            self.count += 1
            return Changed(None, instance, reason)
        if isinstance(held, Instance):
            if held.origin == instance.origin:
                ids[instance.id] = instance
                return Changed(held, instance, reason) if held != instance else None
            held = ids[instance.id] = _Shared({held.origin: held}, held)
        held.records[instance.origin] = instance
        return self._show(held, reason)

    def drop(self, key: InstanceKey, origin: str, reason: str) -> Changed | None:
        """An origin holds it no longer. O(holders)."""
        service, id = key
        ids = self._held.get(service)
        held = ids.get(id) if ids is not None else None
        if ids is None or held is None:
            return None
        if isinstance(held, _Shared):
            held.records.pop(origin, None)
            changed = self._show(held, reason)
            if len(held.records) == 1:
                ids[id] = held.shown
            return changed
        if held.origin != origin:
            return None
        del ids[id]
        if not ids:
            del self._held[service]
        self.count -= 1
        return Changed(held, None, reason)
