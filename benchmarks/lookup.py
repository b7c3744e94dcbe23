"""What one read call costs, each beside its anchor of the same run: a dict read, or a uhashring ring.

Rounds of all cases are interleaved, so that a slow moment of the machine meets all of them. Figures are medians over the
rounds; ratios are medians of the ratios within a round. Answers are checked in every round.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import timeit
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from uhashring import HashRing

from gossip.catalogue.ring import RING_VNODES, position
from gossip.catalogue.static import StaticPeer
from gossip.model import Instance

EXAMPLE = "example: python -m benchmarks.lookup --quick"
SIZES = (10, 1_000, 100_000)
ROUTES = (10, 10_000)
RING_SIZE = 100
KEYS = tuple(f"user:{number}" for number in range(64))


class Shelf:
    """The anchor: a dict read in the same kind of frame as `lookup`."""

    def __init__(self, table: dict[str, tuple[Instance, ...]]) -> None:
        self._table = table

    def get(self, service: str, *, labels: None = None, zone: None = None, include_draining: bool = False) -> object:
        return self._table.get(service)


@dataclass(slots=True)
class Case:
    """One line of the table. `answer` makes one call; `good` says whether its result is right."""

    name: str
    statement: str
    names: dict[str, object]
    good: Callable[[object], bool]
    anchor: str | None = None
    calls: int = 20_000
    ns: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """One round: the answer checked, then `calls` calls timed."""
        found = eval(self.statement, dict(self.names))
        if not self.good(found):
            raise SystemExit(f"wrong answer: {self.name}: {self.statement} gave {found!r:.200}")
        timer = timeit.Timer(self.statement, globals=dict(self.names))
        self.ns.append(timer.timeit(self.calls) / self.calls * 1e9)


def instances(service: str, number: int) -> list[Instance]:
    """So many instances of weights 1 to 3."""
    return [Instance(service, f"host-{at:06}:80", f"host-{at:06}", 80, weight=at % 3 + 1) for at in range(number)]


def lookups() -> Iterable[Case]:
    """`lookup` and `pick` beside dict.get."""
    known = {f"of-{size}": instances(f"of-{size}", size) for size in SIZES}
    peer = StaticPeer(known)
    expected = {service: tuple(listed) for service, listed in known.items()}
    names: dict[str, object] = {"d": expected, "shelf": Shelf(expected), "peer": peer}
    yield Case("dict.get, bare", "d.get('of-10')", names, lambda found: found == expected["of-10"], "dict.get, in a method")
    yield Case("dict.get, in a method", "shelf.get('of-10')", names, lambda found: found == expected["of-10"])
    for service, right in expected.items():
        case = f"lookup, {len(right):,} instances"
        yield Case(case, f"peer.lookup({service!r})", names, right.__eq__, "dict.get, in a method")
    for strategy in ("round_robin", "random", "uniform", "least_loaded"):
        call = f"peer.pick('of-1000', strategy={strategy!r})"
        yield Case(f"pick, {strategy}", call, names, expected["of-1000"].__contains__, "dict.get, in a method")
    right = expected["of-1000"]
    yield Case("lookup, by labels", "peer.lookup('of-1000', labels={})", names, right.__eq__, "dict.get, in a method")
    others = set(right[1:])
    names = names | {"first": right[0]}
    yield Case("pick, excluding one", "peer.pick('of-1000', exclude=first)", names, others.__contains__, "dict.get, in a method")


def routes() -> Iterable[Case]:
    """`route` by number of routes, then by number of segments."""
    for number in ROUTES:
        served = [
            Instance("web", f"web-{at:05}:80", f"web-{at:05}", 80, routes=(f"/api/area-{at}/items",)) for at in range(number)
        ]
        peer, right = StaticPeer({"web": served}), served[number // 2]
        for tail in ("", "/1/2/3/4/5/6"):
            path = right.routes[0] + tail
            case = f"route, {number:,} routes, {path.count('/')} segments"
            yield Case(case, f"peer.route({path!r})", {"peer": peer}, right.__eq__, "dict.get, in a method")


def rings() -> Iterable[Case]:
    """`locate` and `preference_list` beside uhashring over the same nodes with the same hash."""
    listed = instances("sessions", RING_SIZE)
    peer = StaticPeer({"sessions": listed})
    nodes = {instance.id: {"weight": instance.weight, "vnodes": RING_VNODES} for instance in listed}
    ring = HashRing(nodes=nodes, hash_fn=position)
    for key in KEYS:
        if peer.locate("sessions", key).id != ring.get_node(key):
            raise SystemExit(f"wrong answer: locate({key!r}) is not what uhashring says")
    key = itertools.cycle(KEYS)
    names: dict[str, object] = {"peer": peer, "ring": ring, "key": key}
    anchor = "uhashring get_node"
    yield Case(anchor, "ring.get_node(next(key))", names, lambda found: found in nodes)
    yield Case("locate", "peer.locate('sessions', next(key))", names, listed.__contains__, anchor)
    call = "peer.locate('sessions', next(key), bounded=1.25)"
    yield Case("locate, bounded, idle", call, names, listed.__contains__, anchor)
    busy = StaticPeer({"sessions": listed})
    for other in KEYS:  # as many calls under way, none of which ends
        busy.calling(busy.locate("sessions", other, bounded=1.25)).__enter__()
    yield Case("locate, bounded, 64 calls under way", call, names | {"peer": busy}, listed.__contains__, anchor)
    call = "peer.preference_list('sessions', next(key), 3)"
    yield Case("preference_list, n=3", call, names, lambda found: len(set(found)) == 3, anchor)  # type: ignore[call-overload]


def table(cases: list[Case]) -> str:
    """The figures as text."""
    by_name = {case.name: case for case in cases}
    lines = [f"{'call':<38}{'ns/call':>10}{'ratio':>8}  anchor"]
    for case in cases:
        ratio = ""
        if case.anchor:
            pairs = zip(case.ns, by_name[case.anchor].ns, strict=True)
            ratio = f"{statistics.median(mine / anchor for mine, anchor in pairs):.2f}"
        lines.append(f"{case.name:<38}{statistics.median(case.ns):>10.0f}{ratio:>8}  {case.anchor or ''}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, metavar="N", help="interleaved rounds (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few rounds of fewer calls: shows that it runs, not how fast")
    given = parser.parse_args()
    cases = [*lookups(), *routes(), *rings()]
    for case in cases:
        case.calls = 2_000 if given.quick else case.calls
        case.measure()  # warm: schedules and rings are made on first use
        case.ns.clear()
    for _ in range(3 if given.quick else given.rounds):
        for case in cases:
            case.measure()
    print(table(cases))


if __name__ == "__main__":
    main()
