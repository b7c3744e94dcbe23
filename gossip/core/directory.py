"""Which instances exist, whoever holds them: `(service, id)` is one instance however many living origins say so.

Invariant: what is shown for a key is the record of the highest `(incarnation, origin)` among its living holders, and it
goes when the last of them does. Every method returns the difference a reader sees, or None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..model import Instance
from .effects import Changed
from .messages import Incarnation, InstanceKey


class Directory:
    """Owned by the node; feeds the catalogue through `Changed` values. `count` is the number of instances shown."""

    __slots__ = ("_held", "_rank_of", "count")

    def __init__(self, incarnation_of: Callable[[str], Incarnation]) -> None:
        self._held: dict[str, dict[str, Instance | dict[str, Instance]]] = {}  # service -> id -> sole record, or by origin
        self._rank_of = lambda origin: (incarnation_of(origin), origin)
        self.count = 0

    def shown(self, key: InstanceKey) -> Instance | None:
        """What readers see under this key."""
        held = self._held.get(key[0], {}).get(key[1])
        return self._winner(held) if isinstance(held, dict) else held

    def holders(self, key: InstanceKey) -> Iterable[str]:
        """The origins that hold it."""
        held = self._held.get(key[0], {}).get(key[1])
        if held is None:
            return ()
        return tuple(held) if isinstance(held, dict) else (held.origin,)

    def _winner(self, held: dict[str, Instance]) -> Instance:
        return held[max(held, key=self._rank_of)]

    def put(self, instance: Instance, reason: str) -> Changed | None:
        """An origin says that this instance is so. O(holders)."""
        ids = self._held.setdefault(instance.service, {})
        held = ids.get(instance.id)
        if held is None:
            ids[instance.id] = instance
            self.count += 1
            return Changed(None, instance, reason)
        if isinstance(held, dict):
            before = self._winner(held)
            held[instance.origin] = instance
            after = self._winner(held)
        elif held.origin == instance.origin:
            before = held
            ids[instance.id] = after = instance
        else:
            before = held
            ids[instance.id] = both = {held.origin: held, instance.origin: instance}
            after = self._winner(both)
        return Changed(before, after, reason) if before != after else None

    def drop(self, key: InstanceKey, origin: str, reason: str) -> Changed | None:
        """An origin holds it no longer. O(holders)."""
        service, id = key
        ids = self._held.get(service)
        held = ids.get(id) if ids is not None else None
        if ids is None or held is None:
            return None
        if isinstance(held, dict):
            before = self._winner(held)
            held.pop(origin, None)
            after = self._winner(held)
            if len(held) == 1:
                ids[id] = after
            return Changed(before, after, reason) if before != after else None
        if held.origin != origin:
            return None
        del ids[id]
        if not ids:
            del self._held[service]
        self.count -= 1
        return Changed(held, None, reason)
