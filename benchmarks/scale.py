"""The simulator: how many events it runs a second, and what the protocol costs at 10 to 10,000 peers.

An event is one item of the simulated heap that was run: a message that arrived, a tick, a dial. Events are counted per
second of processor time of this process; other load counts all the same, by the caches it takes: 1,000 peers do not fit
into them, and the rate was seen to halve. The garbage collector rests while simulated time runs. The scale table is
counted, not timed: it is the same on every machine for one seed. Hops are those of the first copy of one change; idle
bytes are what one peer sends each second, as handed to ZeroMQ, and as computed with TCP/IP headers, acknowledgements and
ZMTP's pings.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from gossip.simulation import Cluster, Harsh
from gossip.simulation.measure import idle, spread

from .harness.run import Run

SEED = 1
SIZES = (10, 100, 1_000, 10_000)
SEEDS = 3  # contacts through which all join at once
IDLE_S = 5.0
CHURN_S = 20.0
WARM_S = 3.0
JOIN_MAX_S = 60.0


def rate(cluster: Cluster, work: Callable[[], object]) -> tuple[int, float]:
    """(events, events a second of processor time) of some work."""
    events, start = cluster.network.events, time.process_time()
    work()
    done = cluster.network.events - events
    return done, done / max(1e-9, time.process_time() - start)


def idle_peers(run: Run, size: int) -> None:
    """So many peers, and nothing happens."""
    cluster = Cluster.settled(size, SEED)
    cluster.run(WARM_S)
    for _ in range(run.pick(4, 2)):
        _, each = rate(cluster, lambda: cluster.run(IDLE_S / 4))
        run.record(f"events a second, {size:,} idle peers", [each], "1/s", more=True)


def joining_peers(run: Run, size: int) -> None:
    """All start at once and join through three seeds; until all views are equal."""
    cluster = Cluster(SEED)
    contacts = [f"10.0.0.{number}:7400" for number in range(1, SEEDS + 1)]
    took: list[float] = []

    def work() -> None:
        for _ in range(size):
            cluster.spawn(seeds=contacts)
        took.append(cluster.run_until(cluster.converged, JOIN_MAX_S))

    _, each = rate(cluster, work)
    run.record(f"events a second, {size:,} peers join at once", [each], "1/s", more=True)
    run.record(f"equal views, {size:,} peers join at once", took)


def churning_peers(run: Run, size: int) -> None:
    """Changes, deaths, restarts, pauses and a harsh network."""
    cluster = Cluster.settled(size, SEED)
    random = cluster.network.random
    cluster.run(WARM_S)

    def work() -> None:
        cluster.network.harsh = Harsh(drop=0.02, duplicate=0.02, reorder_s=0.02)
        for number in range(round(CHURN_S * 5)):
            peer = random.choice(cluster.running)
            if number % 10 == 0:
                cluster.restart(peer)
            elif number % 10 == 5:
                cluster.pause(peer)
                cluster.network.after(2.0, lambda peer=peer: cluster.resume(peer))  # type: ignore[misc]
            elif not peer.paused:
                peer.register("churn", port=number + 1)
            cluster.run(0.2)

    _, each = rate(cluster, work)
    run.record(f"events a second, {size:,} peers in churn", [each], "1/s", more=True)


def one_size(run: Run, size: int) -> None:
    """What a change, silence and a join cost in a settled cluster."""
    cluster = Cluster.settled(size, SEED)
    cluster.run(WARM_S)
    change = spread(cluster, cluster.peers[size // 3])
    run.check(len(change.hops) == size - 1, f"a change reached {len(change.hops)} of {size - 1} others")
    calm = idle(cluster, IDLE_S)
    links = sum(len(peer.links) for peer in cluster.peers) / size
    before = cluster.links_changed
    newcomer = cluster.spawn()
    joined = cluster.run_until(cluster.converged, JOIN_MAX_S)
    cluster.run(WARM_S)
    for name, value, unit in (
        ("links of a peer", links, "1"),
        ("hops, most", change.hops_max, "1"),
        ("hops, mean", change.hops_mean, "1"),
        ("messages per peer and change", change.messages / size, "1"),
        ("bytes per peer and change", change.bytes / size, "B"),
        ("a change everywhere", change.seconds, "s"),
        ("idle messages a second and peer", calm.messages_per_s, "1"),
        ("idle traffic each way", calm.bytes_per_s, "B/s"),
        ("idle traffic each way, with headers", calm.wire_bytes_per_s, "B/s"),
        ("links of others moved by a join", cluster.links_changed - before - len(newcomer.links), "1"),
        ("a newcomer known to all", joined, "s"),
    ):
        run.record(f"{name}, {size:,} peers", [value], unit)


def measure(run: Run) -> None:
    """The speed of the simulator first; then what it is for."""
    size = run.pick(1_000, 100)
    idle_peers(run, size)
    joining_peers(run, size)
    churning_peers(run, 100)
    for peers in run.pick(SIZES, SIZES[:2]):
        one_size(run, peers)
