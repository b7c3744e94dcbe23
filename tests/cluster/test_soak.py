"""Row 27: peers that stay while others come, change, die and leave hold no more memory, and no more descriptors, for it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.launch import Launcher, Worker, ask_all, until

from .conftest import DEADLINE_S, names, register_one_each
from .measured import Record, rest_until

MIB = 1 << 20
LOOK_S = 1.0
SHORT_S = 6.0
STEP_S = 0.5  # between two things that happen
WARM_UP = 2 / 3  # of the time: the dead are remembered for ten minutes, histories and caches fill, allocators settle
PATIENCE_S = 3 * DEADLINE_S  # for fifty processes on a small, busy machine

Launch = Callable[..., Launcher]


class Soak:
    """A cluster, half of which stays; the others live short lives. All of it changes what it has registered."""

    def __init__(self, cluster: Launcher, count: int, seed: int) -> None:
        self._cluster, self._chance = cluster, random.Random(seed)
        workers = [worker for first in range(0, count, 10) for worker in cluster.peers(names(count)[first : first + 10])]
        register_one_each(workers)
        self._count, self._born = count, count
        self.staying, self._passing = workers[: count // 2], workers[count // 2 :]
        self.agree()
        self.deaths = self.changes = 0

    def agree(self) -> None:
        """Wait until all hold the same, and all links are up that they want."""
        workers = [*self.staying, *self._passing]
        self._cluster.agree(workers, {"orders": self._count}, PATIENCE_S)

        def disagree() -> str:
            told = [(s["id"], s["agreement"], s["members"], s["links"], s["counters"]) for s in ask_all(workers, "status")]
            return f"an agreement of 1.0 did not come, see {[one for one in told if one[1] < 1.0]}"

        until(lambda: all(s["agreement"] == 1.0 for s in ask_all(workers, "status")), PATIENCE_S, disagree)

    def happen(self) -> None:
        """A peer dies or leaves, and another comes; some change."""
        for worker in self._chance.sample(self.staying, 3):
            worker.call("update", service="orders", id=f"orders-{worker.name}", weight=self._chance.randint(1, 100))
            self.changes += 1
        former = self._passing.pop(self._chance.randrange(len(self._passing)))
        if self._chance.random() < 0.5:
            former.kill9()
            former.wait()
        else:
            former.leave()
        self._born += 1
        self.deaths += 1
        self._passing += self._cluster.peers([f"n{self._born}"])
        register_one_each(self._passing[-1:])
        for worker in self.staying:  # what they tell is not what is looked for here
            worker.events.clear()

    def run(self, seconds: float) -> list[tuple[float, float]]:
        """(time, mean MiB of those that stay) every few seconds; then all come to rest."""
        began = time.monotonic()
        looked = began - LOOK_S
        memory: list[tuple[float, float]] = []
        while (now := time.monotonic()) < began + seconds:
            if now >= looked + LOOK_S:
                looked = now
                memory.append((now - began, self._mib()))
            self.happen()
            rest_until(now + STEP_S)
        self.agree()
        return [*memory, (time.monotonic() - began, self._mib())]

    def _mib(self) -> float:
        return sum(map(_rss, self.staying)) / len(self.staying) / MIB

    def descriptors(self) -> float:
        """Of one that stays, in the mean, at rest: dials of the dead come and go, so the fewest of several looks."""
        looks = []
        for _ in range(8):
            looks.append([len(os.listdir(f"/proc/{worker.pid}/fd")) for worker in self.staying])
            rest_until(time.monotonic() + 0.5)
        fewest = [min(counts) for counts in zip(*looks, strict=True)]
        return sum(fewest) / len(fewest)


def _rss(worker: Worker) -> int:
    """Bytes that it holds in memory."""
    told = Path(f"/proc/{worker.pid}/status").read_text(encoding="utf-8")
    return int(told.partition("VmRSS:")[2].split()[0]) * 1024


def slope(points: list[tuple[float, float]]) -> float:
    """Of the straight line through these points: least squares."""
    count = len(points)
    mean_x, mean_y = (sum(point[axis] for point in points) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


@pytest.mark.timeout(300)
def test_peers_that_stay_while_others_come_and_go_do_not_swell(launch: Launch, seed: int) -> None:
    """Seconds tell nothing of a slow leak; they do tell of what is kept of each life or change."""
    soak = Soak(launch(), 12, seed)
    soak.run(SHORT_S / 3)
    before = soak.descriptors()
    memory = soak.run(SHORT_S)
    assert memory[-1][1] - memory[0][1] < 4.0, memory
    assert soak.descriptors() - before <= 4.0, before


@pytest.mark.faults
@pytest.mark.timeout(7200)
def test_an_hour_of_churn_costs_less_than_a_mebibyte(launch: Launch, record: Record, seed: int) -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "45"))
    soak = Soak(launch(), 50, seed)
    soak.run(minutes * 60 * WARM_UP)
    before, lives = soak.descriptors(), soak.deaths
    memory = soak.run(minutes * 60 * (1 - WARM_UP))
    lives, more = soak.deaths - lives, soak.descriptors() - before
    per_hour = slope(memory) * 3600
    per_life = (memory[-1][1] - memory[0][1]) * 1024 / lives
    record(
        27,
        "Z",
        what=f"50 peers, {soak.deaths} lives and {soak.changes} changes in {minutes:g} min; those of 25 that stay are measured",
        asked="RSS slope < 1 MiB/h, descriptors flat",
        measured=f"{memory[0][1]:.1f} MiB each after {minutes * WARM_UP:.0f} min, {memory[-1][1]:.1f} MiB at the end; the last "
        f"{minutes * (1 - WARM_UP):.0f} min extrapolated: {per_hour:+.2f} MiB/h, {per_life:+.1f} KiB for each of {lives} lives; "
        f"descriptors {before:.1f} each, {more:+.1f}",
        simulated="no scenario: simulated peers share memory",
        held=per_hour < 1.0 and abs(more) <= 1.0,
    )
    assert more <= 4.0
