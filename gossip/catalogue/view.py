"""A `View`: the instances of one service, or behind one route prefix, as a reader finds them. Immutable.

A change makes a new view next to the old one. What is dear and not always wanted (the round-robin schedule, the
ring, filtered sub-views) is made on first use; two threads may make the same one, and either result is right.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from math import gcd
from operator import attrgetter
from random import Random
from typing import Any

from ..errors import ConfigError
from ..model import Instance, InstanceState
from .ring import Ring

SCHEDULE_SLOTS_MAX = 65_536
FILTERED_MAX = 64  # sub-views kept per view, and round-robin positions kept per service

# Past one change in so many instances, or past so many changes, one sort is cheaper than a splice for each.
_BULK_SHARE = 8
_SPLICES_MAX = 1024

_UP, _STALE = InstanceState.UP, InstanceState.STALE

# Our own generator: a user who seeds the global one in every worker must not send all of them the same way.
RANDOM = Random()
if hasattr(os, "register_at_fork"):  # else two forked workers would draw alike; Windows does not fork
    os.register_at_fork(after_in_child=RANDOM.seed)

Order = Callable[[Instance], Any]
BY_ID: Order = attrgetter("id")
BY_KEY: Order = attrgetter("service", "id")

Wanted = tuple[frozenset[tuple[str, str]], str | None]
"""A checked filter: label items that must all be there, and a zone (None: any)."""


class View:
    """Immutable; read from any thread.

    `instances`: all of them, in order. `up`: those that may be used, UP or STALE (known from a snapshot, and nothing
    better is), in the same order. `turn`: the round-robin position, shared with the views before and after.
    `slots`: what `schedule()` made, empty before; `view.slots or view.schedule()` spares hot code the call.
    """

    # No __getattr__ to fill the lazy ones: a class that has it pays for every attribute read.
    __slots__ = ("_filtered", "_latest_ring", "_order", "_ring", "_turns", "_weights", "instances", "slots", "turn", "up")

    def __init__(
        self,
        instances: tuple[Instance, ...] = (),
        up: tuple[Instance, ...] = (),
        weights: dict[int, int] | None = None,
        *,
        order: Order = BY_ID,
        turn: Iterator[int] | None = None,
        turns: dict[Wanted, Iterator[int]] | None = None,
        latest_ring: Ring | None = None,
    ) -> None:
        self.instances = instances
        self.up = up
        self.turn = new_turn() if turn is None else turn
        self.slots: tuple[Instance, ...] = ()
        self._weights = {} if weights is None else weights  # weight -> how many of `up` have it
        self._order = order
        self._turns: dict[Wanted, Iterator[int]] = {} if turns is None else turns
        self._filtered: dict[Wanted, View] = {}
        self._ring: Ring | None = None
        self._latest_ring = latest_ring  # my own once it is made; until then that of an earlier view, or None

    @classmethod
    def of(cls, instances: tuple[Instance, ...], order: Order = BY_ID, turn: Iterator[int] | None = None) -> View:
        """A view of these instances, which are in order already. O(n)."""
        up = tuple(instance for instance in instances if serves(instance))
        weights = _counted({}, (), up)
        return cls(instances, instances if len(up) == len(instances) else up, weights, order=order, turn=turn)

    def changed(self, edits: Mapping[Any, Instance | None]) -> tuple[View, list[Instance]]:
        """The view after `edits` (key in this view's order -> new record, None to remove), and the records replaced.

        O(edits × log n) and one copy of n references; for many edits one sort.
        """
        instances, replaced = _merged(self.instances, edits, self._order)
        coming = [after for after in edits.values() if after is not None]
        if self.up is self.instances and all(map(serves, coming)):
            up, weights = instances, _counted(self._weights, replaced, coming)
        else:
            serving = {key: after if after is not None and serves(after) else None for key, after in edits.items()}
            weights = _counted(self._weights, filter(serves, replaced), filter(None, serving.values()))
            up, _ = _merged(self.up, serving, self._order)
            up = instances if len(up) == len(instances) else up
        view = View(
            instances, up, weights, order=self._order, turn=self.turn, turns=self._turns, latest_ring=self._latest_ring
        )
        return view, replaced

    def filtered(self, wanted: Wanted) -> View:
        """The sub-view that `wanted` leaves, with a round-robin position of its own. O(1) when kept, else O(n)."""
        view = self._filtered.get(wanted)
        if view is None:
            labels, zone = wanted
            left = tuple(
                instance
                for instance in self.instances
                if (zone is None or instance.zone == zone) and instance.labels.items() >= labels
            )
            view = View.of(left, self._order, self._turn_of(wanted))
            if len(self._filtered) >= FILTERED_MAX:
                self._filtered = {}
            self._filtered[wanted] = view
        return view

    def _turn_of(self, wanted: Wanted) -> Iterator[int]:
        # One position for all filters would let callers that alternate between two of them starve instances.
        if wanted not in self._turns and len(self._turns) >= FILTERED_MAX:
            self._turns.clear()
        return self._turns.setdefault(wanted, new_turn())

    def schedule(self) -> tuple[Instance, ...]:
        """One round of the rotation, see `schedule_of`. O(1) once made, or where all weights are equal."""
        if not self.slots and self.up:
            self.slots = self.up if len(self._weights) == 1 else schedule_of(self.up)
        return self.slots

    def ring(self) -> Ring:
        """The ring of `up`. O(1) once made; see `Ring` for what a build costs."""
        ring = self._ring
        if ring is None:
            ring = Ring.of(self.up, self._latest_ring)
            self._ring = self._latest_ring = ring
        return ring


def serves(instance: Instance) -> bool:
    """Whether an instance is looked up, picked, routed to and placed on the ring by default."""
    state = instance.state
    return state is _UP or state is _STALE


def checked_filter(labels: Mapping[str, str] | None, zone: str | None) -> Wanted:
    """A caller's filter. Raises `ConfigError`. O(labels)."""
    if zone is not None and not isinstance(zone, str):
        raise ConfigError(f"zone is {zone!r}, not a str: pass the name of a zone, or leave it out for all zones")
    if labels is None:
        return frozenset(), zone
    if not isinstance(labels, Mapping) or not all(isinstance(text, str) for item in labels.items() for text in item):
        raise ConfigError(f"labels must map str to str, not {labels!r}: pass labels={{'version': '2'}}, or leave it out")
    return frozenset(labels.items()), zone


def new_turn() -> Iterator[int]:
    """A round-robin position. It starts anywhere: else all clients would begin with the same instance."""
    return count(RANDOM.randrange(SCHEDULE_SLOTS_MAX))


def schedule_of(instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
    """One round of the rotation: each instance as often as its weight says, spread evenly. O(slots × log weights).

    The instances of one weight take turns, and their turns are spaced evenly over the round (the t-th of s at
    (t + 1/2) / s); the weights are interleaved by these places, ties by id: weights a=2 b=1 c=1 give a b a c. Weights
    are divided by their greatest common divisor. Past `SCHEDULE_SLOTS_MAX` slots they are scaled down to about so
    many (shares become approximate), yet every instance keeps one slot.
    """
    classes: dict[int, list[int]] = {}
    for index, instance in enumerate(instances):
        classes.setdefault(instance.weight, []).append(index)
    unit = gcd(*classes)
    total = sum(weight // unit * len(members) for weight, members in classes.items())
    places: list[tuple[float, int]] = []
    for weight, members in classes.items():
        rounds = weight // unit
        if total > SCHEDULE_SLOTS_MAX:
            rounds = max(1, rounds * SCHEDULE_SLOTS_MAX // total)
        slots = rounds * len(members)
        places += [((turn + 0.5) / slots, index) for turn, index in enumerate(members * rounds)]
    places.sort()
    return tuple([instances[index] for _, index in places])


def _merged(
    old: tuple[Instance, ...], edits: Mapping[Any, Instance | None], order: Order
) -> tuple[tuple[Instance, ...], list[Instance]]:
    """`old` with the edits made, still in order, and the records that were replaced or removed."""
    if len(edits) > 1 and len(edits) > min(len(old) // _BULK_SHARE, _SPLICES_MAX):
        return _merged_in_bulk(old, edits, order)
    new = list(old)
    replaced: list[Instance] = []
    for key in sorted(edits, reverse=True):  # from the end: so places found in `old` hold in `new`
        at = bisect_left(old, key, key=order)
        held = old[at : at + 1] if at < len(old) and order(old[at]) == key else ()
        after = edits[key]
        new[at : at + len(held)] = () if after is None else (after,)
        replaced += held
    return tuple(new), replaced


def _merged_in_bulk(
    old: tuple[Instance, ...], edits: Mapping[Any, Instance | None], order: Order
) -> tuple[tuple[Instance, ...], list[Instance]]:
    held = {order(instance): instance for instance in old}
    replaced = [held[key] for key in edits if key in held]
    table: dict[Any, Instance | None] = {**held, **edits}
    return tuple([after for key in sorted(table) if (after := table[key]) is not None]), replaced


def _counted(weights: dict[int, int], minus: Iterable[Instance], plus: Iterable[Instance]) -> dict[int, int]:
    """How many instances have each weight, after some left and some came; weights of nobody are left out."""
    counts = weights.copy()
    for instance in minus:
        counts[instance.weight] -= 1
    for instance in plus:
        counts[instance.weight] = counts.get(instance.weight, 0) + 1
    return {weight: number for weight, number in counts.items() if number} if 0 in counts.values() else counts
