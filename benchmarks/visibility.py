"""How long one registration takes to be visible at all other peers, beside raw ZeroMQ fan-out to as many processes.

    python -m benchmarks.visibility                 # N = 10 and 30
    python -m benchmarks.visibility --peers 10 --changes 50

Real processes on loopback. A time runs from just before `peer.register` to the moment the last of the N - 1 other
processes could look the instance up; raw: from just before `PUB.send` of as many bytes to the last `SUB.recv`. Both are
measured in one run, in turns, so that what the machine does meanwhile happens to both.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import zmq

from gossip import EventKind, Instance, Peer, Watch

FRAME_BYTES = 200  # a registration as it travels, envelope included
CLUSTER = "visibility"
SETTLE_S = 30.0
GAP_S = 0.02
Worker = tuple[Any, Connection]


@dataclass
class Sample:
    """Times of one block: seconds to the last receiver, one per change; how many changes missed somebody."""

    times_s: list[float]
    missed: int = 0

    @classmethod
    def of(cls, started: Mapping[Any, float], seen_by: Sequence[Mapping[Any, float]], receivers: int) -> Sample:
        """From when each change began, and when each process saw it."""
        sample = cls([])
        for change, at in started.items():
            stamps = [seen[change] for seen in seen_by if change in seen]
            if len(stamps) == receivers:
                sample.times_s.append(max(stamps) - at)
            else:
                sample.missed += 1
        return sample

    def add(self, other: Sample) -> None:
        """Another block of the same kind."""
        self.times_s += other.times_s
        self.missed += other.missed


def run_peer(pipe: Connection, number: int, seed: str | None) -> None:
    """One peer process, told what to do over its pipe."""
    with Peer(f"peer{number}", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[seed] if seed else []) as peer:
        pipe.send(peer.address)
        watch = peer.watch("visible")
        while True:
            command, argument = pipe.recv()
            if command == "register":
                started = time.time()
                peer.register("visible", port=1, id=argument)
                pipe.send(started)
            elif command == "seen":
                pipe.send(seen(watch))
            elif command == "status":
                status = peer.status()
                pipe.send((status.members, status.agreement, status.links, status.counters.get("broadcasts_received", 0)))
            else:
                return


def seen(watch: Watch) -> dict[str, float]:
    """When each instance became visible here, stamped by the peer as it swapped its view."""
    found: dict[str, float] = {}
    try:
        while True:
            event = watch.get(timeout=0)
            if event.kind is EventKind.ADDED and isinstance(event.after, Instance):
                found[event.after.id] = event.at
    except TimeoutError:
        return found


def run_subscriber(pipe: Connection, port: int) -> None:
    """One raw subscriber process: receives, stamps, reports at the end."""
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.subscribe(b"")
    socket.connect(f"tcp://127.0.0.1:{port}")
    got: dict[int, float] = {}
    ready = False
    while (frame := socket.recv()) != b"end":
        at = time.time()
        if frame == b"hello":
            if not ready:
                pipe.send("ready")
            ready = True
        else:
            got[int.from_bytes(frame[:8], "big")] = at
    pipe.send(got)
    context.destroy(0)


@contextmanager
def processes(count: int, target: Callable[..., None], arguments: Callable[[int], tuple[object, ...]]) -> Iterator[list[Worker]]:
    """Worker processes, ended by their own handles whatever happens."""
    fork = multiprocessing.get_context("fork")  # before this process has any socket or thread of its own
    workers: list[Worker] = []
    try:
        for number in range(count):
            ours, theirs = fork.Pipe()
            process = fork.Process(target=target, args=(theirs, *arguments(number)), daemon=True)
            process.start()
            workers.append((process, ours))
        yield workers
    finally:
        for process, _ in workers:
            process.terminate()
        for process, _ in workers:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def measure_gossip(peers: int, changes: int, tell: Callable[[str], None]) -> tuple[Sample, float]:
    """One block of registrations, each by another peer; returns the sample and the messages a peer got per change."""
    first: list[str] = []
    with processes(1, run_peer, lambda _: (0, None)) as seed:
        first.append(seed[0][1].recv())
        with processes(peers - 1, run_peer, lambda number: (number + 1, first[0])) as others:
            for _, pipe in others:
                pipe.recv()
            workers = [*seed, *others]
            settle(workers, peers)
            before = sum(status[3] for status in ask_all(workers, "status"))
            started: dict[str, float] = {}
            for number in range(changes):
                _, origin = workers[number % peers]
                origin.send(("register", f"change-{number}"))
                started[f"change-{number}"] = origin.recv()
                time.sleep(GAP_S)
            time.sleep(0.3)  # the last changes are on their way; what does not arrive counts as missed
            sample = Sample.of(started, ask_all(workers, "seen"), peers)
            after = sum(status[3] for status in ask_all(workers, "status"))
            tell(f"gossip N={peers}: median {1000 * statistics.median(sample.times_s):.2f} ms")
            return sample, (after - before) / (peers - 1) / changes


def ask_all(workers: list[Worker], command: str, argument: object = None) -> list[Any]:
    """One question to all, then all answers."""
    for _, pipe in workers:
        pipe.send((command, argument))
    return [pipe.recv() for _, pipe in workers]


def settle(workers: list[Worker], peers: int) -> None:
    """Wait until everybody knows everybody, agrees, and has had the time to take its far links."""
    deadline = time.monotonic() + SETTLE_S
    calm_since: float | None = None
    links: list[int] = []
    while calm_since is None or time.monotonic() - calm_since < 1.0:
        statuses = ask_all(workers, "status")
        calm = all(status[0] == peers and status[1] == 1.0 for status in statuses)
        now_links = [status[2] for status in statuses]
        if not calm:
            calm_since = None
        elif calm_since is None or now_links != links:
            calm_since = time.monotonic()
        links = now_links
        if time.monotonic() > deadline:
            raise SystemExit(f"the cluster of {peers} did not settle within {SETTLE_S:g} s: {statuses}")
        time.sleep(0.1)


def measure_raw(peers: int, changes: int, tell: Callable[[str], None]) -> Sample:
    """One block of plain PUB → SUB to as many processes."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    publisher = fork.Process(target=run_publisher, args=(theirs, changes), daemon=True)
    publisher.start()
    try:
        port = ours.recv()
        with processes(peers - 1, run_subscriber, lambda _: (port,)) as workers:
            for _, pipe in workers:
                pipe.recv()
            ours.send("go")
            sent: dict[int, float] = ours.recv()
            got = [pipe.recv() for _, pipe in workers]
    finally:
        publisher.terminate()
        publisher.join(5)
    sample = Sample.of(sent, got, peers - 1)
    tell(f"raw    N={peers}: median {1000 * statistics.median(sample.times_s):.2f} ms")
    return sample


def run_publisher(pipe: Connection, changes: int) -> None:
    """The raw publisher process."""
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    socket.setsockopt(zmq.LINGER, 0)
    pipe.send(socket.bind_to_random_port("tcp://127.0.0.1"))
    while not pipe.poll(0.05):
        socket.send(b"hello")
    pipe.recv()
    sent = {}
    for number in range(changes):
        sent[number] = time.time()
        socket.send(number.to_bytes(8, "big") + bytes(FRAME_BYTES - 8))
        time.sleep(GAP_S)
    time.sleep(0.3)  # the last frames are on their way; what does not arrive counts as missed
    for _ in range(3):
        socket.send(b"end")
    pipe.send(sent)
    time.sleep(1)
    context.destroy(0)


def main(arguments: list[str] | None = None) -> int:
    """Print one table; exit code 1 if a change was not seen by everybody."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.visibility",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", type=int, nargs="+", default=[10, 30], help="numbers of processes (default: 10 30)")
    parser.add_argument("--changes", type=int, default=100, help="registrations per block (default: 100)")
    parser.add_argument("--blocks", type=int, default=2, help="blocks of each kind, in turns (default: 2)")
    options = parser.parse_args(arguments)
    missed = 0
    rows = []
    for peers in options.peers:
        raw, gossip, copies = Sample([]), Sample([]), []
        for _ in range(options.blocks):
            raw.add(measure_raw(peers, options.changes, progress))
            block, received = measure_gossip(peers, options.changes, progress)
            gossip.add(block)
            copies.append(received)
        missed += gossip.missed
        rows.append((peers, raw, gossip, statistics.mean(copies)))
    print("\n  N   raw ZeroMQ p50 / p99      gossip p50 / p99        ratio p50   messages per peer   missed")
    for peers, raw, gossip, received in rows:
        ratio = statistics.median(gossip.times_s) / statistics.median(raw.times_s)
        print(
            f"{peers:3d}   {figures(raw):22s}   {figures(gossip):22s}   {ratio:7.2f} ×   {received:13.2f}"
            f"   {gossip.missed} of {len(gossip.times_s) + gossip.missed}"
        )
    if missed:
        print(f"{missed} changes were not seen by everybody within 5 s", file=sys.stderr)
    return 1 if missed else 0


def figures(sample: Sample) -> str:
    """Median and 99th percentile in milliseconds."""
    times = sorted(sample.times_s)
    return f"{1000 * statistics.median(times):6.2f} / {1000 * times[int(0.99 * (len(times) - 1))]:6.2f} ms"


def progress(text: str) -> None:
    """What has just been done."""
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
