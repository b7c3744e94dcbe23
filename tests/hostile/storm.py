"""Strangers attack one peer of five, for minutes; what it cost that peer, and whether the others noticed.

    python -m tests.hostile.storm --minutes 10             # with a secret
    python -m tests.hostile.storm --minutes 1 --open       # without
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.launch import Launcher, Worker, ask_all
from tests.hostile.strangers import Strangers

PATIENCE_S = 60.0
LOOK_S = 0.5
QUIET_S = 5.0  # so long lookups are timed before the storm
MEMORY_KIB_MAX = 16 * 1024
CPU_SHARE_MAX = 0.25
OPEN_KINDS = "garbage half-open idle oversized mutated".split()  # of what bounds nobody without a secret: docs/security.md


@dataclass
class Toll:
    """What a storm cost."""

    seconds: float
    rounds: dict[str, int]
    memory_kib: int  # at most above what it was before
    cpu_share: float  # of one core
    lookups: int  # at all five
    empty: int
    hidden: int  # times that somebody was held dead
    descriptors: int  # at most above what they were before
    counters: dict[str, int]
    quiet_ns: tuple[int, int]  # median and p99 of a lookup before the storm, at whom it is the slowest
    storm_ns: tuple[int, int]  # and in it

    def __str__(self) -> str:
        rounds = ", ".join(f"{kind} {count}" for kind, count in self.rounds.items())
        return (
            f"{self.seconds:.0f} s; rounds: {rounds}\n"
            f"victim: memory + {self.memory_kib / 1024:.1f} MiB at most, {self.cpu_share:.1%} of a core, "
            f"descriptors + {self.descriptors} at most\n"
            f"all: {self.lookups} lookups, {self.empty} of them empty; deaths believed anywhere: {self.hidden}\n"
            f"a lookup in us: before p50 {self.quiet_ns[0] / 1000:.2f}, p99 {self.quiet_ns[1] / 1000:.2f}; "
            f"in the storm p50 {self.storm_ns[0] / 1000:.2f}, p99 {self.storm_ns[1] / 1000:.2f}\n"
            f"counters: {self.counters}"
        )


def storm(seconds: float, *, secret: bool, rng: random.Random) -> Toll:
    """Five real processes, one of them attacked."""
    peer: dict[str, Any] = {"secret": secrets.token_urlsafe(32)} if secret else {}
    with Launcher(f"storm-{uuid.uuid4().hex}", **peer) as cluster:
        workers = cluster.peers([f"p{number}" for number in range(5)])
        victim = workers[0]
        victim.call("register", service="orders", id="orders-1", port=8080)
        cluster.agree(workers, {"orders": 1}, PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while any(status["links"] < 4 for status in ask_all(workers, "status")) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        quiet = read(workers, lambda: time.sleep(QUIET_S))
        host, _, port = victim.address.rpartition(":")
        strangers = Strangers(
            (host, int(port)), (host, publisher_of(victim, int(port))), rng, None if secret else OPEN_KINDS
        )
        tolls: list[Toll] = []
        try:
            stormy = read(workers, lambda: tolls.append(watch(victim, seconds)))
        finally:
            strangers.end()
        cluster.agree(workers, {"orders": 1}, PATIENCE_S)
        deaths = [told for worker in workers for told in tuple(worker.events) if told["event"]["kind"] == "MEMBER_DEAD"]
        counters = victim.call("status")["counters"]
    (toll,) = tolls
    toll.rounds, toll.hidden, toll.counters = dict(strangers.rounds), len(deaths), counters
    toll.lookups, toll.empty = sum(seen["lookups"] for seen in stormy), sum(seen["empty"] for seen in stormy)
    toll.quiet_ns, toll.storm_ns = slowest(quiet), slowest(stormy)
    return toll


def read(workers: list[Worker], meanwhile: Callable[[], None]) -> list[dict[str, int]]:
    """Lookups at all of them meanwhile; what each saw."""
    for worker in workers:
        worker.call("read", service="orders")
    meanwhile()
    return [worker.call("reading") for worker in workers]


def slowest(seen: list[dict[str, int]]) -> tuple[int, int]:
    """The median and the p99 of a lookup, of the process where they are the highest."""
    return max(found["p50_ns"] for found in seen), max(found["p99_ns"] for found in seen)


def publisher_of(worker: Worker, contact: int) -> int:
    """The other port on which the process listens."""
    inodes = {os.readlink(link)[8:-1] for link in Path(f"/proc/{worker.pid}/fd").iterdir() if "socket" in os.readlink(link)}
    rows = [line.split() for line in Path(f"/proc/{worker.pid}/net/tcp").read_text().splitlines()[1:]]
    ports = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes}
    return next(iter(ports - {contact}))


def watch(victim: Worker, seconds: float) -> Toll:
    """Memory, CPU and descriptors of the victim, from now on."""
    memory, descriptors, cpu, began = memory_kib(victim), descriptors_of(victim), cpu_s(victim), time.monotonic()
    most, widest = memory, descriptors
    while time.monotonic() - began < seconds:
        time.sleep(LOOK_S)
        most, widest = max(most, memory_kib(victim)), max(widest, descriptors_of(victim))
    took = time.monotonic() - began
    return Toll(took, {}, most - memory, (cpu_s(victim) - cpu) / took, 0, 0, 0, widest - descriptors, {}, (0, 0), (0, 0))


def memory_kib(worker: Worker) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def cpu_s(worker: Worker) -> float:
    """Seconds of CPU so far."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors_of(worker: Worker) -> int:
    """Open file descriptors."""
    return len(os.listdir(f"/proc/{worker.pid}/fd"))


def main() -> int:
    """Print what it cost; exit code 1 if it was too much."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--open", action="store_true", help="a cluster without a secret")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    toll = storm(60 * options.minutes, secret=not options.open, rng=random.Random(options.seed))
    print(toll)
    harmed = toll.empty or toll.hidden
    costly = not options.open and (toll.memory_kib > MEMORY_KIB_MAX or toll.cpu_share > CPU_SHARE_MAX)
    return 1 if harmed or costly else 0


if __name__ == "__main__":
    sys.exit(main())
