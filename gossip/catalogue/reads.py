"""Every read call, over a catalogue: the mixin `Reads` of all peers, and `Lookups`, the protocol their users program to.

Reads never block, lock or wait, and raise only for a caller's mistake or for want of an instance. Each takes the
reference of a view (or of the route table) once and answers from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import Protocol, runtime_checkable

from ..errors import ConfigError, GossipError, NoInstances
from ..model import Instance, Route
from .balance import STRATEGIES, Balance, Choice, checked_bound, checked_strategy, located_in_bounds
from .catalogue import Catalogue
from .ring import Ring
from .view import View, checked_filter

NAMES_COMPARED_MAX = 1_000
NAMES_SHOWN_MAX = 3
TEXT_SHOWN_MAX = 128

Exclude = Instance | str | Iterable[Instance | str]


@runtime_checkable
class Lookups(Protocol):
    """All read calls, met by every kind of peer: program to this, and test with `StaticPeer`."""

    def lookup(
        self,
        service: str,
        *,
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
        include_draining: bool = False,
    ) -> tuple[Instance, ...]:
        """See `Reads.lookup`."""

    def pick(
        self,
        service: str,
        *,
        strategy: str = "round_robin",
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
        near: bool = False,
        exclude: Exclude = (),
    ) -> Instance:
        """See `Reads.pick`."""

    def route(
        self,
        path: str,
        *,
        strategy: str = "round_robin",
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
        near: bool = False,
        exclude: Exclude = (),
    ) -> Instance:
        """See `Reads.route`."""

    def routes(self, path: str) -> tuple[Route, ...]:
        """See `Reads.routes`."""

    def locate(self, service: str, key: str | bytes, *, bounded: float | None = None) -> Instance:
        """See `Reads.locate`."""

    def preference_list(self, service: str, key: str | bytes, n: int) -> tuple[Instance, ...]:
        """See `Reads.preference_list`."""

    def services(self) -> tuple[str, ...]:
        """See `Reads.services`."""

    def calling(self, instance: Instance) -> AbstractContextManager[Instance]:
        """See `Reads.calling`."""

    def report_failure(self, instance: Instance) -> None:
        """Tell that the instance could not be reached: local picks skip it for a back-off."""


class Reads:
    """The read calls. The owner sets the three attributes; any thread calls.

    In a forked child the owner puts a `ForkedCatalogue` into `_catalogue`, and every call raises `PeerForked`.
    """

    _catalogue: Catalogue
    _zone: str
    _balance: Balance

    def lookup(
        self,
        service: str,
        *,
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
        include_draining: bool = False,
    ) -> tuple[Instance, ...]:
        """The instances of a service that may be used (UP, or STALE), sorted by id; `()` for the unknown.

        `labels`: all must be equal; `zone`: must be equal. `include_draining` adds those that are DRAINING or
        CRITICAL. O(1), allocates nothing; with filters O(n) for the first call after a change, then O(1).
        Raises `ConfigError` for a filter that is none.
        """
        if labels is None and zone is None:
            view = self._catalogue.views.get(service)
        else:
            view = self._filtered(service, labels, zone)
        if view is None:
            return ()
        return view.instances if include_draining else view.up

    def pick(
        self,
        service: str,
        *,
        strategy: str = "round_robin",
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
        near: bool = False,
        exclude: Exclude = (),
    ) -> Instance:
        """One instance of a service, load balanced by this process alone.

        `strategy`: "round_robin" (smooth, by weight), "random" (by weight), "uniform" (weights ignored),
        "least_loaded" (the better of two drawn by weight: fewer calls under way here per weight, see `calling`).
        `labels`, `zone` as in `lookup`. `near`: the own zone first, if there is one, else all. `exclude`: Instances
        or instance ids, or a single one. Instances in back-off (`report_failure`) are skipped unless all are.

        O(1); O(n) for the first call after a change, or where nearly all are refused. Raises `NoInstances` naming
        what left none, `ConfigError` for an argument that is none.
        """
        view = self._catalogue.views.get(service)
        if view is not None and labels is None and zone is None and not near and not exclude and view.up:
            try:
                choose = STRATEGIES[strategy]
            except (KeyError, TypeError):
                choose = checked_strategy(strategy)
            found = choose(view, balance := self._balance)
            if not balance.failures or found.key not in balance.failures:
                return found
        choice = Choice(strategy, labels, zone, self._zone if near else "", exclude)
        picked = choice.among(view, self._balance) if view is not None else None
        if picked is None:
            raise _nothing("service", service, self._catalogue.views, view, choice)
        return picked

    def route(
        self,
        path: str,
        *,
        strategy: str = "round_robin",
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
        near: bool = False,
        exclude: Exclude = (),
    ) -> Instance:
        """One instance that serves a request path: of the longest route prefix that has an eligible one.

        Prefixes match whole segments; empty segments are dropped, the query is cut, nothing is decoded, `/` matches
        all. Services that share a prefix are balanced together. The rest is as in `pick`. O(segments), at most
        `ROUTE_SEGMENTS_MAX`, whatever the number of routes. Raises `NoInstances`, `ConfigError`.
        """
        table = self._catalogue.routes
        if labels is None and zone is None and not near and not exclude and not self._balance.failures:
            choose = checked_strategy(strategy)
            for _, view in table.along(path):
                if view.up:
                    return choose(view, self._balance)
        choice = Choice(strategy, labels, zone, self._zone if near else "", exclude)
        for _, view in table.along(path):
            picked = choice.among(view, self._balance)
            if picked is not None:
                return picked
        prefix, longest = next(table.along(path), (path, None))
        raise _nothing("route", prefix, table.views, longest, choice)

    def routes(self, path: str) -> tuple[Route, ...]:
        """All route prefixes that match a path and have instances that may be used, longest first. O(segments).

        Raises `ConfigError` if the path is not a str.
        """
        return tuple(Route(prefix, view.up) for prefix, view in self._catalogue.routes.along(path) if view.up)

    def locate(self, service: str, key: str | bytes, *, bounded: float | None = None) -> Instance:
        """The instance that owns a key on the service's consistent hash ring: the same on every peer with this view.

        A `str` key is hashed as UTF-8. Weights count; failures reported do not. O(log n); the first call after a change
        builds the ring (see `Ring`).

        `bounded`, a finite number above 1 such as 1.25: no instance gets more than `bounded` times its share of this
        process's own calls under way (`calling`). With m of them to the service's instances, one of weight w of W in all
        may take ceil(bounded * (m + 1) * w / W); the keys of one that has no room go on along the ring to the first
        that has, and come back. So the answer depends on this process, and is the plain one while nothing is under
        way. Calls to draining instances count in m. Two threads that ask at once may both be given the last room.
        O(log n) plus the full instances passed: about one, or many where most calls are for one key. Source: Mirrokni,
        Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2018), section 1.

        Raises `NoInstances`, `ConfigError`.
        """
        if bounded is not None:
            bounded = checked_bound(bounded)
        view = self._catalogue.views.get(service)
        if view is None or not view.up:
            raise _nothing("service", service, self._catalogue.views, view)
        ring = view.ring()
        return ring.locate(key) if bounded is None else located_in_bounds(ring, service, key, bounded, self._balance)

    def preference_list(self, service: str, key: str | bytes, n: int) -> tuple[Instance, ...]:
        """The first n distinct instances along the ring from a key: its owner, then the stand-ins in order.

        Fewer if there are fewer. O(log ring + n) typically. Raises `NoInstances`, `ConfigError`.
        """
        if type(n) is not int or n < 0:
            raise ConfigError(f"preference_list(n={n!r}): n is how many instances you want, an int from 0")
        view = self._catalogue.views.get(service)
        if view is None or not view.up:
            raise _nothing("service", service, self._catalogue.views, view)
        return view.ring().preference_list(key, n)

    def ring(self, service: str) -> Ring:
        """The ring that `locate` reads now, for who draws it; it never changes. Costs and errors as those of `locate`."""
        view = self._catalogue.views.get(service)
        if view is None or not view.up:
            raise _nothing("service", service, self._catalogue.views, view)
        return view.ring()

    def services(self) -> tuple[str, ...]:
        """The names of all services that have an instance, in whatever state, sorted. O(services × log services)."""
        return tuple(sorted(self._catalogue.views.copy()))

    def calling(self, instance: Instance) -> AbstractContextManager[Instance]:
        """`with peer.calling(instance): ...` counts a call as under way, for "least_loaded" and bounded loads. O(1).

        Any thread; nests. Raises `ConfigError` for what is no Instance.
        """
        self._catalogue.views  # noqa: B018  (raises in a forked child)
        return self._balance.calling(instance)

    def _note_failure(self, instance: Instance, now: float) -> None:
        """Skip the instance in local picks for a back-off; `now` is monotonic. See `Balance.note_failure`."""
        self._catalogue.views  # noqa: B018  (raises in a forked child)
        self._balance.note_failure(instance, now)

    def _filtered(self, service: str, labels: Mapping[str, str] | None, zone: str | None) -> View | None:
        wanted = checked_filter(labels, zone)
        view = self._catalogue.views.get(service)
        return None if view is None else view.filtered(wanted)


def _nothing(noun: str, name: object, views: Mapping[str, View], view: View | None, choice: Choice | None = None) -> GossipError:
    """The error that says what left no instance: the name, the states, or one of the filters."""
    if not isinstance(name, str):
        return ConfigError(f"the {noun} {name!r} is not a str: pass its name")
    shown = repr(name[:TEXT_SHOWN_MAX])
    if view is None:
        return NoInstances(f"no {noun} {shown} is known here. {_nearest(noun, name, views)}")
    told = f"no instance of {noun} {shown} is left: {len(view.instances)} known, {len(view.up)} up"
    if not view.up:
        return NoInstances(f"{told}; the others are draining or critical. Wait for one to come up, or register one")
    for what, count in choice.narrowing(view) if choice else ():
        told += f", {count} after {what}"
        if not count:
            break
    return NoInstances(f"{told}. Loosen the last of these, or register an instance that meets it")


def _nearest(noun: str, name: str, views: Mapping[str, View]) -> str:
    """The known names most like this one, as advice. At most `NAMES_COMPARED_MAX` are compared."""
    from difflib import get_close_matches  # here, because it is slow to import and only errors need it

    known = list(islice(dict(views), NAMES_COMPARED_MAX))
    if not known and noun == "route":  # services may be known all the same
        return "No service known here has routes: register one with routes=['/orders'], or wait until the peer is synced"
    if not known:
        return "Nothing is known yet: wait until the peer is synced, or check its seeds"
    near = get_close_matches(name[:TEXT_SHOWN_MAX], known, NAMES_SHOWN_MAX) or sorted(known)[:NAMES_SHOWN_MAX]
    return f"Nearest known: {', '.join(map(repr, near))} (of {len(views)}). Check the name, or wait until it is registered"
