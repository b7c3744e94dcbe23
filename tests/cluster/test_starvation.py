"""Row 10, after Lifeguard: a fifth of the processes has a twentieth of a core, and burns it; nobody holds a healthy one dead."""

from __future__ import annotations

import os
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import pytest

from nodes.launch import Launcher, Worker, until

from .conftest import DEADLINE_S, accusations_by, all_linked, names, nobody_hidden, register_one_each
from .measured import Record, rest_until, simulated
from .odd import odd

PERIOD_S = 0.1
SHARE = 0.05

Launch = Callable[..., Launcher]


@contextmanager
def starved(workers: Sequence[Worker]) -> Iterator[str]:
    """These share 5 % of a core each: by a quota of the kernel's where cgroups can be written, else stopped 95 ms of each 100."""
    with suppress(OSError), _by_cgroup(workers):
        yield "a cgroup quota"
        return
    with _by_signals(workers):
        yield "SIGSTOP and SIGCONT in turn, for want of a cgroup that can be written"


@contextmanager
def _by_cgroup(workers: Sequence[Worker]) -> Iterator[None]:
    first, second = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    root = first if first.is_dir() else second
    made = []
    try:
        for worker in workers:
            folder = root / f"gossip-test-{uuid.uuid4().hex}"
            folder.mkdir()
            made.append(folder)
            period, quota = round(PERIOD_S * 1e6), round(PERIOD_S * SHARE * 1e6)
            if root is first:
                (folder / "cpu.cfs_period_us").write_text(str(period))
                (folder / "cpu.cfs_quota_us").write_text(str(quota))
            else:
                (folder / "cpu.max").write_text(f"{quota} {period}")
            (folder / "cgroup.procs").write_text(str(worker.pid))
        yield
    finally:
        for worker, folder in zip(workers, made, strict=False):
            with suppress(OSError):
                (root / "cgroup.procs").write_text(str(worker.pid))
            until(lambda folder=folder: _removed(folder), DEADLINE_S, f"{folder} to be empty")


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.exists()


@contextmanager
def _by_signals(workers: Sequence[Worker]) -> Iterator[None]:
    over = Event()

    def run() -> None:
        while not over.is_set():
            for worker in workers:
                worker.cont()
            time.sleep(PERIOD_S * SHARE)
            for worker in workers:
                worker.stop()
            over.wait(PERIOD_S * (1 - SHARE))
        for worker in workers:
            worker.cont()

    turning = Thread(target=run)
    turning.start()
    try:
        yield
    finally:
        over.set()
        turning.join()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [8.0, pytest.param(60.0, marks=pytest.mark.faults)])
def test_starved_processes_have_no_healthy_one_declared_dead(launch: Launch, record: Record, seconds: float) -> None:
    ours, busy = launch(), launch(prefix=odd(burn=1))
    healthy = ours.peers(names(8))
    slow = busy.peers(names(2, "slow"), seeds=[healthy[0].address])
    workers = [*healthy, *slow]
    register_one_each(workers)
    ours.agree(workers, {"orders": 10}, DEADLINE_S)
    all_linked(workers)
    for worker in workers:
        worker.events.clear()
    used = {worker: _cpu_s(worker) for worker in slow}
    began = time.monotonic()
    with starved(slow) as how:
        rest_until(began + seconds)
        shares = [(_cpu_s(worker) - used[worker]) / (time.monotonic() - began) for worker in slow]
    began = time.monotonic()
    ours.agree(workers, {"orders": 10}, DEADLINE_S)
    equal_s = time.monotonic() - began
    nobody_hidden(workers, but=slow)
    flips = Counter(
        (worker.name, told["event"]["before"]["name"])
        for worker in workers
        for told in tuple(worker.events)
        if told["event"]["kind"] == "MEMBER_DEAD"
    )
    accused = [len(set(accusations_by(worker, workers))) for worker in slow]
    most = max(flips.values(), default=0)
    record(
        10,
        "Z",
        what=f"2 of 10 processes compute without a pause, on a twentieth of a core for {seconds:g} s ({how})",
        asked="healthy peers declared dead: 0; slow ones ≤ 1 flip each",
        measured=f"healthy ones held dead 0; flips of each slow one {most}; accusations by the slow {accused}; they got "
        f"{', '.join(f'{share:.1%}' for share in shares)} of a core; equal {equal_s:.2f} s after",
        simulated=simulated("slow"),
        held=most <= 1,
    )


def _cpu_s(worker: Worker) -> float:
    """Seconds of CPU that it used so far."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
