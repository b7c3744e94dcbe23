"""Who gets the next call: strategies, this process's calls under way, and back-off after reported failures.

All state here is local to the process and never gossiped. Strategies choose among the instances of a view; `Choice`
narrows them first. Tables are shared by all threads without a lock: each step is one atomic operation, and a lost
race costs one less balanced choice, never an error.

Source of "least_loaded": Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (2001); of bounded loads:
Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2018), section 1.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..config import Balancing
from ..errors import ConfigError
from ..model import Instance
from .ring import Ring
from .view import RANDOM, View, Wanted, checked_filter

FAILURES_MAX = 1024  # instances in back-off at once; more reports push out the oldest
RETRIES_MAX = 64  # draws that may hit a refused instance before the rest are listed

Key = tuple[str, str]
Calls = dict[Key | str, deque[None]]  # the calls under way to an instance, and, by its name alone, to a whole service
NO_FILTER: Wanted = (frozenset(), None)

# 30 bits are one digit of an int, hence fast; the remainder favours no slot by more than 1 in 10,000.
_bits = RANDOM.getrandbits


class Failure(NamedTuple):
    """A reported failure: skipped until `until` (monotonic seconds), after a back-off of `backoff_s`."""

    until: float
    backoff_s: float


class Balance:
    """What this process knows of its own calls. Every method from any thread, O(1) unless said otherwise."""

    __slots__ = ("_calls", "_settings", "clock", "failures")

    def __init__(self, settings: Balancing, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.failures: dict[Key, Failure] = {}  # empty in calm times: then picks do not look at the clock
        self._settings = settings
        self._calls: Calls = {}

    def calling(self, instance: Instance) -> Call:
        """A context manager; inside it the instance counts as having one more call under way."""
        if not isinstance(instance, Instance):
            raise ConfigError(f"calling({instance!r}): pass the Instance that a lookup or pick returned")
        return Call(instance, self._calls)

    def load(self, instance: Instance) -> int:
        """How many calls to the instance are under way in this process."""
        return len(self._calls.get((instance.service, instance.id), ()))

    def load_of(self, service: str) -> int:
        """How many calls to all instances of the service, gone ones too, are under way in this process."""
        return len(self._calls.get(service, ()))

    def note_failure(self, instance: Instance, now: float) -> None:
        """Skip the instance for a back-off.

        The first report costs `failure_backoff_s`. Reports while it runs are of calls made before, and change
        nothing. The first report after it doubles it, up to `failure_backoff_max_s`; after as long again without a
        report the instance starts afresh.
        """
        if not isinstance(instance, Instance):
            raise ConfigError(f"report_failure({instance!r}): pass the Instance that could not be reached")
        key = instance.key
        last = self.failures.get(key)
        if last is not None and now < last.until:
            return
        backoff_s = self._settings.failure_backoff_s
        if last is not None and not _forgiven(last, now):
            backoff_s = min(2 * last.backoff_s, self._settings.failure_backoff_max_s)
        self.failures.pop(key, None)
        self.failures[key] = Failure(now + backoff_s, backoff_s)
        if len(self.failures) > FAILURES_MAX:
            self._forget(now)

    def failing(self, instance: Instance, now: float) -> bool:
        """Whether the instance is in back-off. Forgets it once its time is over."""
        key = instance.key
        failure = self.failures.get(key)
        if failure is not None and _forgiven(failure, now):
            self.failures.pop(key, None)
        return failure is not None and now < failure.until

    def _forget(self, now: float) -> None:
        """Drop what is forgiven, then the oldest reports, until the bound holds. O(failures)."""
        by_age = self.failures.copy().items()
        for key, failure in by_age:
            if _forgiven(failure, now):
                self.failures.pop(key, None)
        for key, _ in by_age:
            if len(self.failures) <= FAILURES_MAX:
                break
            self.failures.pop(key, None)


class Call:
    """One call under way, from `__enter__` to `__exit__`."""

    __slots__ = ("_all", "_calls", "_instance", "_mine")

    def __init__(self, instance: Instance, calls: Calls) -> None:
        self._instance = instance
        self._calls = calls

    def __enter__(self) -> Instance:
        # Ends on the deques it began on. Should the last other call end at this very instant and take a deque out of
        # the table, this call goes uncounted; no count is ever off for longer than that.
        self._mine = self._calls.setdefault(self._instance.key, deque())
        self._all = self._calls.setdefault(self._instance.service, deque())
        self._mine.append(None)
        self._all.append(None)
        return self._instance

    def __exit__(self, *_: object) -> None:
        self._end(self._instance.key, self._mine)
        self._end(self._instance.service, self._all)

    def _end(self, of: Key | str, counted: deque[None]) -> None:
        counted.pop()
        if not counted and self._calls.get(of) is counted:
            self._calls.pop(of, None)


def checked_bound(bounded: float) -> float:
    """The bound of `located_in_bounds`. Raises `ConfigError`."""
    if not isinstance(bounded, (int, float)) or not 1 < bounded < math.inf:  # True is 1
        raise ConfigError(f"locate(bounded={bounded!r}): pass a finite number above 1, such as 1.25, or leave it out")
    return bounded


def located_in_bounds(ring: Ring, service: str, key: str | bytes, bounded: float, balance: Balance) -> Instance:
    """The first instance from the key on that has room for one more call; the key's owner while nothing is under way.

    With m calls under way, an instance of weight w on a ring of weight W has room below bounded * (m + 1) * w / W. The
    room of all together is more than m, so one has some. See `Reads.locate`.
    """
    under_way = balance.load_of(service)
    if under_way:
        room = bounded * (under_way + 1)
        for instance in ring.along(key):
            if balance.load(instance) * ring.weight < room * instance.weight:
                return instance
    return ring.locate(key)  # also when calls began between the two counts, so that none seemed to have room


def _round_robin(view: View, _: Balance) -> Instance:
    slots = view.slots or view.schedule()
    return slots[next(view.turn) % len(slots)]


def _by_weight(view: View, _: Balance) -> Instance:
    slots = view.slots or view.schedule()
    return slots[_bits(30) % len(slots)]


def _uniform(view: View, _: Balance) -> Instance:
    up = view.up
    return up[_bits(30) % len(up)]


def _least_loaded(view: View, balance: Balance) -> Instance:
    slots = view.slots or view.schedule()
    one = slots[_bits(30) % len(slots)]
    start = _bits(30) % len(slots)
    for at in range(start, start + len(slots)):
        other = slots[at % len(slots)]
        if other is not one:
            lighter = balance.load(other) * one.weight < balance.load(one) * other.weight
            return other if lighter else one
    return one


Strategy = Callable[[View, Balance], Instance]
"""Chooses among the `up` instances of a view, which has some. O(1)."""

STRATEGIES: dict[str, Strategy] = {
    "round_robin": _round_robin,
    "random": _by_weight,
    "uniform": _uniform,
    "least_loaded": _least_loaded,
}


def checked_strategy(name: str) -> Strategy:
    """The strategy of that name. Raises `ConfigError`."""
    try:
        return STRATEGIES[name]
    except (KeyError, TypeError):
        raise ConfigError(f"unknown strategy {name!r}: pass one of {', '.join(map(repr, STRATEGIES))}") from None


class Choice:
    """What a caller asks of a pick: a strategy, filters, exclusions. Checked on creation (`ConfigError`)."""

    __slots__ = ("excluded", "nearest", "strategy", "wanted")

    def __init__(
        self,
        strategy: str,
        labels: Mapping[str, str] | None,
        zone: str | None,
        near: str,
        exclude: Instance | str | Iterable[Instance | str],
    ) -> None:
        self.strategy = checked_strategy(strategy)
        self.wanted = checked_filter(labels, zone)
        self.nearest: Wanted | None = (frozenset(), near) if near else None
        self.excluded = _excluded(exclude)

    def among(self, view: View, balance: Balance) -> Instance | None:
        """An instance of the view that satisfies all filters, or None. O(1) for filters seen before, else O(n).

        Instances in back-off come last, for trying beats failing; among the others the near ones come first.
        """
        pool = self.filtered(view)
        pools = (pool,) if self.nearest is None else (pool.filtered(self.nearest), pool)
        if balance.failures:
            now = balance.clock()
            for pool in pools:
                if found := self._from(pool, balance, now):
                    return found
        for pool in pools:
            if found := self._from(pool, balance, None):
                return found
        return None

    def filtered(self, view: View) -> View:
        """What labels and zone leave of the view."""
        return view if self.wanted == NO_FILTER else view.filtered(self.wanted)

    def excludes(self, instance: Instance) -> bool:
        """Whether the caller named this instance, as a record (of whatever age) or by its id."""
        return bool(self.excluded) and (instance.id in self.excluded or instance.key in self.excluded)

    def narrowing(self, view: View) -> Iterator[tuple[str, int]]:
        """What each filter in turn leaves of the view's usable instances, to tell which left none. O(n)."""
        labels, zone = self.wanted
        if labels:
            yield f"labels={dict(sorted(labels))!r}", len(view.filtered((labels, None)).up)
        if zone is not None:
            yield f"zone={zone!r}", len(view.filtered(self.wanted).up)
        if self.excluded:
            yield "exclude", sum(not self.excludes(instance) for instance in self.filtered(view).up)

    def _from(self, pool: View, balance: Balance, now: float | None) -> Instance | None:
        """One of the pool that is not excluded and, unless `now` is None, not in back-off."""

        def refused(instance: Instance) -> bool:
            return self.excludes(instance) or (now is not None and balance.failing(instance, now))

        if not pool.up:
            return None
        if self.excluded:  # a retry, most likely: were it to use up turns of the rotation, it would fall into step with it
            pool = pool.filtered(NO_FILTER)
        # Refused draws are drawn again: that keeps the rotation exact, and O(1) where few are refused.
        for _ in range(min(RETRIES_MAX, len(pool.schedule()))):
            found = self.strategy(pool, balance)
            if not refused(found):
                return found
        rest = tuple(instance for instance in pool.up if not refused(instance))
        return self.strategy(View.of(rest), balance) if rest else None


def _excluded(exclude: Instance | str | Iterable[Instance | str]) -> frozenset[str | Key]:
    if not exclude:
        return frozenset()
    if isinstance(exclude, (Instance, str)):
        exclude = (exclude,)
    try:
        return frozenset(_named(item) for item in exclude)
    except TypeError:
        raise ConfigError(f"exclude is {exclude!r}: pass an Instance, or a collection of Instances or instance ids") from None


def _named(item: Instance | str) -> str | Key:
    if isinstance(item, Instance):
        return item.key
    if isinstance(item, str):
        return item
    raise TypeError


def _forgiven(failure: Failure, now: float) -> bool:
    return now >= failure.until + failure.backoff_s
