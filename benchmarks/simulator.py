"""The simulator: how many events it runs a second, and what the protocol costs at 10 to 10,000 peers.

An event is one item of the simulated heap that was run: a message that arrived, a tick, a dial. Events are counted per
second of processor time of this process, so that other load on the machine does not count; the garbage collector rests
while simulated time runs. The scale table is counted, not timed: it is the same on every machine for one seed. Hops are
those of the first copy of one change; idle bytes are what one peer sends each second, as handed to ZeroMQ, and as
computed with TCP/IP headers, acknowledgements and ZMTP's pings.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable

from gossip.simulation import Cluster, Harsh
from gossip.simulation.measure import idle, spread

EXAMPLE = "example: python -m benchmarks.simulator --quick"
SIZES = (10, 100, 1_000, 10_000)
SEEDS = 3  # contacts through which all join at once
IDLE_S = 5.0
CHURN_S = 20.0
WARM_S = 3.0


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def rate(cluster: Cluster, work: Callable[[], object]) -> tuple[int, float]:
    """(events, events a second of processor time) of some work."""
    events, start = cluster.network.events, time.process_time()
    work()
    done = cluster.network.events - events
    return done, done / max(1e-9, time.process_time() - start)


def idle_peers(size: int, seed: int) -> tuple[str, int, float]:
    """So many peers, and nothing happens."""
    cluster = Cluster.settled(size, seed)
    cluster.run(WARM_S)
    return (f"{size:,} peers idle", *rate(cluster, lambda: cluster.run(IDLE_S)))


def joining_peers(size: int, seed: int) -> tuple[str, int, float]:
    """All start at once and join through three seeds; until all views are equal."""
    cluster = Cluster(seed)
    contacts = [f"10.0.0.{number}:7400" for number in range(1, SEEDS + 1)]
    took: list[float] = []

    def work() -> None:
        for _ in range(size):
            cluster.spawn(seeds=contacts)
        took.append(cluster.run_until(cluster.converged, 60.0))

    done, each = rate(cluster, work)
    return f"{size:,} peers join at once: equal after {took[0]:.2f} simulated s", done, each


def churning_peers(size: int, seed: int) -> tuple[str, int, float]:
    """Changes, deaths, restarts, pauses and a harsh network."""
    cluster = Cluster.settled(size, seed)
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

    return (f"{size:,} peers, 5 changes, deaths or pauses a second", *rate(cluster, work))


def scale(size: int, seed: int) -> str:
    """One line of the table."""
    cluster = Cluster.settled(size, seed)
    cluster.run(WARM_S)
    change = spread(cluster, cluster.peers[size // 3])
    if len(change.hops) != size - 1:
        raise SystemExit(f"wrong: the change reached {len(change.hops)} of {size - 1} others")
    calm = idle(cluster, IDLE_S)
    links = sum(len(peer.links) for peer in cluster.peers) / size
    before = cluster.links_changed
    newcomer = cluster.spawn()
    joined = cluster.run_until(cluster.converged, 60.0)
    cluster.run(WARM_S)
    moved = cluster.links_changed - before - len(newcomer.links)
    return (
        f"{size:>7,}{links:>7.1f}{change.hops_max:>6}{change.hops_mean:>7.2f}{change.messages / size:>9.3f}"
        f"{change.bytes / size:>8.0f}{change.seconds * 1000:>8.1f}{calm.messages_per_s:>8.2f}{calm.bytes_per_s:>8.0f}"
        f"{calm.wire_bytes_per_s:>8.0f}{moved:>7}{len(newcomer.links):>6}{joined * 1000:>9.0f}"
    )


HEAD = (
    "          links  hops   hops  messages   bytes  change    idle    idle  on the links moved by    joined\n"
    "  peers  a peer   max   mean  a peer    a peer      ms  msg/s     B/s   wire   a join, its own         ms"
)


def speed(quick: bool, seed: int) -> Iterable[tuple[str, int, float]]:
    """The lines of the first table."""
    size = 100 if quick else 1_000
    for number in sorted({100, size}):
        yield idle_peers(number, seed)
    yield joining_peers(size, seed)
    yield churning_peers(100, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of everything (default: %(default)s)")
    parser.add_argument("--peers", type=int, action="append", metavar="N", help="a size of the scale table; may be repeated")
    parser.add_argument("--quick", action="store_true", help="small clusters: shows that it runs, not how fast")
    given = parser.parse_args()
    print(f"{'workload':<62}{'events':>10}{'events/s':>11}")
    for name, done, each in speed(given.quick, given.seed):
        print(f"{name:<62}{done:>10,}{each:>11,.0f}", flush=True)
    print(f"\n{HEAD}")
    for size in given.peers or (SIZES[:2] if given.quick else SIZES):
        progress(f"{size:,} peers …")
        print(scale(size, given.seed), flush=True)


if __name__ == "__main__":
    main()
