"""What one read call costs, each beside its anchor of the same run: a dict read, a uhashring ring, or a server that is asked.

Rounds of all cases are interleaved; answers are checked in every round. Three parts: each call by size and kind; `lookup`
from several threads at once; `lookup` while another process makes 1,000 changes a second, as nearest-rank percentiles of
single calls. Asked servers hold one service and answer over a connection that stays open.
"""

from __future__ import annotations

import itertools
import threading
import time
import timeit
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection

from uhashring import HashRing

from gossip import Instance, Peer
from gossip.catalogue.ring import RING_VNODES, position
from gossip.catalogue.static import StaticPeer

from .anchors.etcd import Etcd, etcd_server
from .anchors.flask_service import flask_service
from .anchors.redis import redis_client, redis_server
from .anchors.serf import SerfCluster, serf_cluster
from .harness.crew import crew
from .harness.run import Case, Run

SIZES = (10, 1_000, 100_000)
ROUTES = (10, 10_000)
RINGS = (100, 1_000)
KEYS = tuple(f"user:{number}" for number in range(64))
THREADS = (1, 2, 4)
CHANGES_PER_S = 1_000
SERF_NODES = 10
FRAME = "dict.get, in a method"
BARE = "dict.get, bare"
NODE = "uhashring get_node"


class Shelf:
    """The anchor: a dict read in the same kind of frame as `lookup`."""

    def __init__(self, table: dict[str, tuple[Instance, ...]]) -> None:
        self._table = table

    def get(self, service: str, *, labels: None = None, zone: None = None, include_draining: bool = False) -> object:
        return self._table.get(service)


@dataclass(slots=True)
class Call:
    """One read call as source text, so that nothing but the call is timed. `good` says whether its result is right."""

    name: str
    statement: str
    names: dict[str, object]
    good: Callable[[object], bool]
    anchor: str | None = None
    calls: int = 20_000
    _timer: timeit.Timer = field(init=False)

    def __post_init__(self) -> None:
        self._timer = timeit.Timer(self.statement, globals=dict(self.names))

    def case(self, run: Run) -> Case:
        """As the harness takes it."""
        calls = run.pick(self.calls, max(20, self.calls // 10))

        def take() -> list[float]:
            found = eval(self.statement, dict(self.names))
            run.check(self.good(found), f"{self.name}: {self.statement} gave {found!r:.200}")
            return [self._timer.timeit(calls) / calls]

        return Case(self.name, take, self.anchor)


def instances(service: str, number: int) -> list[Instance]:
    """So many instances of weights 1 to 3."""
    return [Instance(service, f"host-{at:06}:80", f"host-{at:06}", 80, weight=at % 3 + 1) for at in range(number)]


# by kind of call ------------------------------------------------------------------------------------------------------


def lookups(run: Run) -> Iterable[Call]:
    """`lookup` and `pick` beside dict.get."""
    known = {f"of-{size}": instances(f"of-{size}", size) for size in SIZES}
    peer = StaticPeer(known)
    expected = {service: tuple(listed) for service, listed in known.items()}
    names: dict[str, object] = {"d": expected, "shelf": Shelf(expected), "peer": peer}
    yield Call(BARE, "d.get('of-10')", names, lambda found: found == expected["of-10"])
    yield Call(FRAME, "shelf.get('of-10')", names, lambda found: found == expected["of-10"], BARE)
    for service, right in expected.items():
        yield Call(f"lookup, {len(right):,} instances", f"peer.lookup({service!r})", names, right.__eq__, FRAME)
    for strategy in ("round_robin", "random", "uniform", "least_loaded"):
        call = f"peer.pick('of-1000', strategy={strategy!r})"
        yield Call(f"pick, {strategy}", call, names, expected["of-1000"].__contains__, FRAME)
    right = expected["of-1000"]
    yield Call("lookup, by labels", "peer.lookup('of-1000', labels={})", names, right.__eq__, FRAME)
    others = set(right[1:])
    names = names | {"first": right[0]}
    yield Call("pick, excluding one", "peer.pick('of-1000', exclude=first)", names, others.__contains__, FRAME)
    run.record("lookup, bytes allocated per call", [allocated(partial(peer.lookup, "of-1000"))], "B")


def allocated(call: Callable[[], object], calls: int = 1_000) -> float:
    """How many bytes one call holds at most while it runs, as tracemalloc counts them; the loop's own are taken off."""

    def peak(what: Callable[[], object]) -> int:
        turns = itertools.repeat(None, calls)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for _ in turns:
            what()
        return tracemalloc.get_traced_memory()[1] - before

    tracemalloc.start()
    try:
        return max(0, peak(call) - peak(_nothing))
    finally:
        tracemalloc.stop()


def _nothing() -> None:
    return None


def routes() -> Iterable[Call]:
    """`route` by number of routes, then by number of segments."""
    for number in ROUTES:
        served = [
            Instance("web", f"web-{at:05}:80", f"web-{at:05}", 80, routes=(f"/api/area-{at}/items",)) for at in range(number)
        ]
        peer, right = StaticPeer({"web": served}), served[number // 2]
        for tail in ("", "/1/2/3/4/5/6"):
            path = right.routes[0] + tail
            name = f"route, {number:,} routes, {path.count('/')} segments"
            yield Call(name, f"peer.route({path!r})", {"peer": peer}, right.__eq__, FRAME)


def rings(run: Run) -> Iterable[Call]:
    """`locate` and `preference_list` beside uhashring over the same nodes with the same hash."""
    for size in RINGS:
        listed = instances("sessions", size)
        peer = StaticPeer({"sessions": listed})
        nodes = {instance.id: {"weight": instance.weight, "vnodes": RING_VNODES} for instance in listed}
        ring = HashRing(nodes=nodes, hash_fn=position)
        for key in KEYS:
            mine, theirs = peer.locate("sessions", key).id, ring.get_node(key)
            run.check(mine == theirs, f"locate({key!r}) is {mine}, but uhashring says {theirs}")
        names: dict[str, object] = {"peer": peer, "ring": ring, "key": itertools.cycle(KEYS)}
        mark, contains = f", {size:,} nodes", frozenset(listed).__contains__
        yield Call(NODE + mark, "ring.get_node(next(key))", names, nodes.__contains__)
        yield Call("locate" + mark, "peer.locate('sessions', next(key))", names, contains, NODE + mark)
        call = "peer.preference_list('sessions', next(key), 3)"
        yield Call("preference_list, n=3" + mark, call, names, lambda found: len(set(found)) == 3, NODE + mark)  # type: ignore[call-overload]
        if size != RINGS[0]:
            continue
        call = "peer.locate('sessions', next(key), bounded=1.25)"
        yield Call("locate, bounded, idle", call, names, contains, NODE + mark)
        busy = StaticPeer({"sessions": listed})
        for other in KEYS:  # as many calls under way, none of which ends
            busy.calling(busy.locate("sessions", other, bounded=1.25)).__enter__()
        yield Call("locate, bounded, 64 calls under way", call, names | {"peer": busy}, contains, NODE + mark)


# servers that are asked -----------------------------------------------------------------------------------------------


def servers(run: Run, stack: ExitStack) -> Iterator[Call]:
    """The same question put to others. They run until `stack` ends."""
    port = run.attempt("redis GET", lambda: stack.enter_context(redis_server()))
    if port is not None and (client := run.attempt("redis GET", redis_client, port)) is not None:
        client.set("service:orders", "10.0.0.1:8080")
        yield Call("redis GET", "ask('service:orders')", {"ask": client.get}, b"10.0.0.1:8080".__eq__, calls=500)
        flask = run.attempt("Flask + Redis /discover", lambda: stack.enter_context(flask_service(port)))
        if flask is not None:
            flask.register("orders", "10.0.0.1", 8080)
            right = {"name": "orders", "address": "10.0.0.1", "port": 8080}
            yield Call("Flask + Redis /discover", "ask('orders')", {"ask": flask.discover}, right.__eq__, calls=100)
    etcd_port = run.attempt("etcd get", lambda: stack.enter_context(etcd_server()))
    if etcd_port is not None:
        etcd = Etcd(etcd_port)
        stack.callback(etcd.close)
        etcd.put("orders", "10.0.0.1:8080")
        yield Call("etcd get", "ask('orders')", {"ask": etcd.get}, "10.0.0.1:8080".__eq__, calls=100)
    cluster: SerfCluster | None = run.attempt("serf RPC members", lambda: stack.enter_context(serf_cluster(SERF_NODES)))
    if cluster is not None:
        ask = cluster.rpcs[0].member
        yield Call("serf RPC members", "ask('n3')['Name']", {"ask": ask}, "n3".__eq__, calls=200)


# threads --------------------------------------------------------------------------------------------------------------


def threads(run: Run) -> Iterator[Case]:
    """How long one call takes on average when several threads make them at once."""
    expected = {"orders": tuple(instances("orders", 10))}
    peer, shelf = StaticPeer({"orders": expected["orders"]}), Shelf(expected)
    for count in THREADS:
        anchor = f"{FRAME}, {count} threads"
        yield Case(anchor, partial(_many, shelf.get, count, run))
        yield Case(f"lookup, {count} threads", partial(_many, peer.lookup, count, run), anchor)


def _many(read: Callable[[str], object], count: int, run: Run) -> list[float]:
    calls = run.pick(100_000, 10_000)
    ready = threading.Barrier(count + 1)

    def body() -> None:
        turns = itertools.repeat(None, calls)
        ready.wait()
        for _ in turns:
            read("orders")

    started = [threading.Thread(target=body) for _ in range(count)]
    for thread in started:
        thread.start()
    ready.wait()
    began = time.perf_counter()
    for thread in started:
        thread.join()
    return [(time.perf_counter() - began) / calls / count]


# under changes --------------------------------------------------------------------------------------------------------


def change_steadily(pipe: Connection, seed: str) -> None:
    """Another peer, which on command changes its instances so many times a second for so long."""
    with Peer("changer", cluster="lookup", bind="127.0.0.1:0", seeds=[seed]) as peer:
        mine = [peer.register("changing", port=1 + at) for at in range(100)]
        pipe.send("ready")
        weights, turn = itertools.cycle(range(1, 101)), itertools.cycle(mine)
        while True:
            seconds = pipe.recv()
            began, made = time.perf_counter(), 0
            while (passed := time.perf_counter() - began) < seconds:
                if made > passed * CHANGES_PER_S:
                    time.sleep(0.001)
                else:
                    next(turn).update(weight=next(weights))
                    made += 1
            pipe.send(made / passed)


def under_changes(run: Run) -> None:
    """Single lookups of a real peer, quiet and while changes arrive, as percentiles."""
    seconds, rounds = run.pick((2.0, 6), (0.5, 2))
    with crew(_seed_of_changes, [()]) as (seed,):
        address = (seed.hear(),)
        with crew(change_steadily, [address]) as (changer,), crew(_observe_changes, [address]) as (observer,):
            changer.hear(), observer.hear()
            for _ in range(rounds):
                quiet, wrong_quiet = observer.ask(seconds)
                changer.say(seconds + 0.2)
                time.sleep(0.1)
                busy, wrong_busy = observer.ask(seconds)
                run.record("changes a second meanwhile", [changer.hear()], "1/s", more=True)
                wrong = wrong_quiet + wrong_busy
                run.check(not wrong, f"{wrong} lookups under changes did not show all 100 instances")
                for share, mark in ((0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")):
                    run.record(f"lookup, quiet, {mark}", [quiet[share]])
                    run.record(f"lookup, under changes, {mark}", [busy[share]], anchor=f"lookup, quiet, {mark}")


def _observe_changes(pipe: Connection, seed: str) -> None:
    with Peer("observer", cluster="lookup", bind="127.0.0.1:0", seeds=[seed]) as peer:
        peer.wait_for("changing", 100, timeout=30)
        pipe.send("ready")
        while True:
            pipe.send(_timed_lookups(peer, pipe.recv()))


def _seed_of_changes(pipe: Connection) -> None:
    with Peer("seed", cluster="lookup", bind="127.0.0.1:0", seeds=[]) as peer:
        pipe.send(peer.address)
        pipe.recv()


def _timed_lookups(peer: Peer, seconds: float) -> tuple[dict[float, float], int]:
    """Percentiles of the time of one call, in seconds, and how many answers were not whole."""
    clock, lookup = time.perf_counter_ns, peer.lookup
    taken: list[int] = []
    wrong = 0
    ends = clock() + int(seconds * 1e9)
    while (before := clock()) < ends:
        found = lookup("changing")
        taken.append(clock() - before)
        wrong += len(found) != 100
        if not len(taken) % 1000:
            time.sleep(0.001)  # as a host does, who has other work; the bus thread runs meanwhile
    taken.sort()
    return {share: taken[int(share * (len(taken) - 1))] / 1e9 for share in (0.5, 0.99, 0.999)}, wrong


def measure(run: Run) -> None:
    """All three parts; first the one that forks, while there are no threads here."""
    under_changes(run)
    with ExitStack() as stack:
        calls = [*lookups(run), *routes(), *rings(run), *servers(run, stack)]
        run.interleave([*(call.case(run) for call in calls), *threads(run)], rounds=run.pick(25, 4))


