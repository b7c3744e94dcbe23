"""What we aim for: one `Target` a row, with the figures that decide it. Data, read by the page.

A bound takes one number from a figure (`of`): its median, a percentile, its worst, or its ratio to another figure (`by`).
`excuse` is what is to be said if it is missed: what the profile shows, and what was tried.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .figures import Figure, shown
from .results import Results


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure must keep: `most` or `least`, of its value in `unit`s, or of its ratio to `by`."""

    figure: str
    of: str = "p50"
    by: str | None = None
    most: float = math.inf
    least: float = -math.inf
    inverse: bool = False  # how many times smaller than `by` it is

    def value(self, figures: dict[str, Figure]) -> float:
        """What was measured; nan if anything that it takes is missing."""
        figure = figures.get(self.figure)
        if figure is None:
            return math.nan
        if self.by is None:
            return figure.quantile({"p50": 0.5, "p99": 0.99, "max": 1.0}[self.of])
        other = figures.get(self.by)
        if other is None:
            return math.nan
        return other.ratio(figure) if self.inverse else figure.ratio(other)

    def kept(self, figures: dict[str, Figure]) -> bool | None:
        """Whether it was; None if it was not measured."""
        value = self.value(figures)
        return None if math.isnan(value) else self.least <= value <= self.most

    def said(self, figures: dict[str, Figure]) -> str:
        """What was measured, for the table."""
        value = self.value(figures)
        unit = "s" if self.figure not in figures else figures[self.figure].unit
        text = f"{value:.3g} ×" if self.by is not None else shown(value, unit)
        mark = "" if self.by is not None or self.of == "p50" else f" ({self.of})"
        return f"{self.figure}: {'not measured' if math.isnan(value) else text}{mark}"


@dataclass(frozen=True, slots=True)
class Target:
    """One row of the table."""

    job: str
    aim: str
    benchmark: str
    bounds: tuple[Bound, ...]
    excuse: str = ""

    def verdict(self, results: Results) -> str:
        """`met`, `shortfall`, or `not measured`."""
        kept = [bound.kept(figures_of(results, self.benchmark)) for bound in self.bounds]
        if False in kept:
            return "shortfall"
        return "met" if kept and None not in kept else "not measured"


def figures_of(results: Results, benchmark: str) -> dict[str, Figure]:
    """The figures of one benchmark; none if it was not run."""
    return results.sheets[benchmark].figures if benchmark in results.sheets else {}


def _each(names: Sequence[str], by: str | None = None, of: str = "p50", most: float = math.inf) -> tuple[Bound, ...]:
    return tuple(Bound(name, of, by, most) for name in names)


FRAME = "dict.get, in a method"
BARE = "dict.get, bare"
SIZES = (3, 10, 30, 100)

TARGETS = (
    Target(
        "`lookup(service)`",
        "≤ 3 × dict.get called through the same kind of frame; flat from 10 to 100,000 instances; zero allocations",
        "lookup",
        (
            *_each([f"lookup, {size} instances" for size in ("10", "1,000", "100,000")], FRAME, most=3),
            Bound("lookup, 100,000 instances", by="lookup, 10 instances", most=1.25),
            Bound("lookup, bytes allocated per call", most=64),
        ),
    ),
    Target(
        "`pick` round robin, random, weighted",
        "≤ 4 × dict.get",
        "lookup",
        _each(["pick, round_robin", "pick, random", "pick, uniform"], FRAME, most=4),
    ),
    Target(
        "`locate`, `preference_list(n=3)`",
        "≤ 1.3 × uhashring.get_node on the same ring; not O(ring)",
        "lookup",
        (
            Bound("locate, 100 nodes", by="uhashring get_node, 100 nodes", most=1.3),
            Bound("preference_list, n=3, 1,000 nodes", by="preference_list, n=3, 100 nodes", most=1.5),
        ),
    ),
    Target(
        "`route`",
        "grows with the number of path segments, not with the number of routes",
        "lookup",
        (Bound("route, 10,000 routes, 3 segments", by="route, 10 routes, 3 segments", most=1.5),),
    ),
    Target(
        "lookups while 1,000 changes/s arrive",
        "p99 ≤ 3 × quiet p99; never an exception",
        "lookup",
        (Bound("lookup, under changes, p99", by="lookup, quiet, p99", most=3), Bound("changes a second meanwhile", least=900)),
    ),
    Target(
        "messages received per peer and change, calm mesh",
        "≤ 2.1",
        "visibility",
        _each([f"messages per peer and change, N = {size}" for size in SIZES], most=2.1),
    ),
    Target(
        "change visible at all others",
        "≤ 1.5 × raw ZeroMQ fan-out of the same N in the same run, N = 10 … 100; ≥ 50 × faster than serf",
        "visibility",
        (
            *(Bound(f"registry, N = {size}", by=f"raw ZeroMQ, N = {size}", most=1.5) for size in SIZES[1:]),
            Bound("registry, N = 30", by="serf tags, N = 30", least=50, inverse=True),
        ),
        "The raw receiver wakes in `recv` and stamps; ours wakes in the bus thread's poll and runs a whole turn: poller, drain, "
        "envelope and header, relay, decode with its schema check, merge, view swap, event. That was 264 calls for a lone change "
        "(157 of them Python's own) and 171 µs of CPU on the bus thread; it is 175 (94) and 140 µs since what is checked of a "
        "delta is asked in one go, nothing is worked out that cannot have changed, and a turn with one message ends without an "
        "exception. Decoding, merging and showing it takes 24 µs (31 before); the rest is waking, polling, reading, which the "
        "raw receiver does in one call. And N processes share the cores of this machine, so the work adds up while raw fan-out's "
        "does not. With a core for each process only one turn a hop would remain.",
    ),
    Target(
        "kill −9 → gone from every lookup",
        "p50 ≤ 100 ms, p99 ≤ 500 ms at N = 10 and 30; ≥ 50 × faster than serf",
        "detection",
        (
            *(Bound(f"kill -9, N = {size}", most=0.1) for size in (10, 30)),
            *(Bound(f"kill -9, N = {size}", "p99", most=0.5) for size in (10, 30)),
            Bound("kill -9, N = 10", by="serf, N = 10", least=50, inverse=True),
        ),
    ),
    Target(
        "a hung peer (SIGSTOP) → gone",
        "p50 ≤ 5 s, max 7 s with default settings; back ≤ 2 s after it resumes",
        "detection",
        (
            *(Bound(f"SIGSTOP, N = {size}", most=5) for size in (10, 30)),
            *(Bound(f"SIGSTOP, N = {size}", "max", most=7) for size in (10, 30)),
            *(Bound(f"SIGCONT, N = {size}", "max", most=2) for size in (10, 30)),
        ),
    ),
    Target(
        "graceful leave → gone",
        "≤ 2 × one change",
        "detection",
        tuple(Bound(f"leave, N = {size}", by=f"one change, N = {size}", most=2) for size in (10, 30)),
        "A goodbye travels as a change does, and is shown as quickly. But who hears it also takes the leaver out of its rings, "
        "works out links and watches anew, and gives links up and dials others: in the simulator, with 30 peers, some 550 calls "
        "a peer within a second, where a change takes 93. Up to 17 members all are linked to all and nothing is dialled, so "
        "N = 10 keeps the target; at N = 30 that work of thirty processes shares the two cores with the goodbyes still to come.",
    ),
    Target(
        "join",
        "new peer synced ≤ 100 ms at N = 30; 100,000 instances pulled in ≤ 3 × the time to unpack and build them",
        "join",
        (
            Bound("synced, N = 30", most=0.1),
            Bound("synced, 100,000 instances", by="unpack and build 100,000 instances", most=3),
        ),
        "Each record is checked field by field against what a stranger may send before it becomes an `Instance` (four patterns, "
        "three ranges), enters its origin, the directory, a view and the event history; the anchor does none of it.",
    ),
    Target(
        "absorbing changes",
        "≥ 50,000 instance changes/s per peer, batched",
        "absorb",
        (Bound("changes taken in, batched", least=50_000),),
    ),
    Target(
        "memory",
        "≤ 600 B per remote instance all told; ≤ 6 MiB above bare Python + pyzmq + msgpack + uhashring",
        "footprint",
        (
            Bound("one instance of another peer", most=600),
            Bound("one peer beyond bare Python", most=6 * (1 << 20)),
        ),
        "An instance costs its slotted object, its texts, its key tuple, a slot in the origin's, the directory's and the view's "
        "tables, and a share of the bounded event history. A peer's own part is the standard library it imports (logging, "
        "socket, ipaddress, secrets) and its code.",
    ),
    Target(
        "idle",
        "≤ 3 KB/s each way, TCP/IP headers counted, and ≤ 0.5 % of a core per peer (≤ 1 % under 100 changes/s)",
        "footprint",
        (
            *(Bound(f"traffic each way, idle, N = {size}", most=3072) for size in (10, 30, 60)),
            *(Bound(f"CPU, idle, N = {size}", most=0.5) for size in (10, 30, 60)),
            *(Bound(f"CPU, 100 changes/s, N = {size}", most=1) for size in (10, 30, 60)),
        ),
        "A change that arrives alone costs a wake-up of the I/O thread, one of the bus thread and a whole turn; nothing batches "
        "at 100 a second. The cost per change is that of the turn described at `change visible at all others`.",
    ),
    Target(
        "a busy host",
        "with a peer that hears 100 changes/s a computing host keeps 99 % of its speed; nobody takes it for dead",
        "host",
        (Bound("host with a peer, 100 changes/s", by="host alone", least=0.99),),
        "The same turn as above, once a change, under the one interpreter lock; and the host's threads give that lock up only "
        "every 5 ms (`sys.getswitchinterval`), which is what a change waits for at such a host.",
    ),
    Target(
        "scale (simulated, same core code)",
        "10,000 peers: a change everywhere in ≤ 7 hops; 1,000 join at once through 3 seeds: equal views in ≤ 15 simulated s; "
        "simulator ≥ 100,000 events/s",
        "scale",
        (
            Bound("hops, most, 10,000 peers", most=7),
            Bound("equal views, 1,000 peers join at once", most=15),
            Bound("events a second, 1,000 idle peers", least=100_000),
        ),
        "100 idle peers run 130,000 events a second, 1,000 half as many: they do not fit into the caches of this machine. A "
        "cheaper merge (31 to 24 µs a change) did not move that: an idle event is a heartbeat or a tick.",
    ),
    Target(
        "idle traffic at scale",
        "≤ 3 KB/s each way, TCP/IP headers counted, at 10,000 peers as at 10",
        "scale",
        (
            Bound("idle traffic each way, with headers, 10 peers", most=3072),
            Bound("idle traffic each way, with headers, 10,000 peers", most=3072),
        ),
    ),
    Target(
        "the live page, 1,000 instances, 50 other viewers",
        "< 100 ms of the browser's main thread per update",
        "viewer",
        (Bound("an update, busy", most=0.1), Bound("an update, visible", of="p99", most=1.0)),
        "A cell that changes lays out its table, and a hundred at once come in several drawings.",
    ),
    Target(
        "cost of import",
        "`import gossip` ≤ 1.3 × `import zmq, msgpack, uhashring`",
        "footprint",
        (Bound("import gossip", by="import zmq, msgpack, uhashring", most=1.3),),
        "The anchor is 29 ms of CPU; ours was 95 while the standard library wrote, compiled and inspected some hundred "
        "dataclasses, and is 57 since `gossip/values.py` makes them, and observers and snapshots come when they are asked for. "
        "Of the 28 beyond the anchor 9 are logging, socket, ipaddress and secrets, 3 the value classes, 2 regular expressions, "
        "and most of the rest is finding and loading seventy modules. `import gossip; gossip.Peer` takes the same; what waits "
        "for later is the `__init__` of each value class, 0.07 ms at its first value.",
    ),
)
