"""Row 16: who subscribes and reads nothing costs the publisher little, the others nothing, and it catches up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from nodes.launch import Launcher, Told, Worker, until

from ..ports import free_ports
from .conftest import DEADLINE_S, hidden_at, standing
from .measured import Record, after, spread

LABELS = {f"label-{number}": "x" * 80 for number in range(10)}  # so that a change weighs a kilobyte
BURST = 90  # changes between two looks
WEIGHTS = 99  # so that each of a burst has its own, and the last another than that of the burst before
WARM_UP = 34 * BURST  # changes before memory is measured: logs, histories and caches are full by then
MIB = 1 << 20

Launch = Callable[..., Launcher]


class Writer:
    """Changes an instance of one peer again and again; sees how its memory grows, and when the others learn of a change."""

    def __init__(self, publisher: Worker, others: list[Worker]) -> None:
        self._publisher, self._others = publisher, others
        self.writes, self.waits = 0, list[float]()
        self.dead: list[str] = []  # whom others held dead meanwhile
        publisher.call("register", service="busy", id="busy", port=9, labels=LABELS)
        while self.writes < WARM_UP:
            self._burst()
        self.waits.clear()
        self._before = self._most = _rss(publisher)

    def write(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._burst()
            self._most = max(self._most, _rss(self._publisher))

    @property
    def _weight(self) -> int:
        return 1 + self.writes % WEIGHTS

    @property
    def changes(self) -> int:
        return self.writes - WARM_UP

    @property
    def grown_mib(self) -> float:
        return (self._most - self._before) / MIB

    def _burst(self) -> None:
        at = 0.0
        for _ in range(BURST):
            self.writes += 1
            at = time.monotonic()
            self._publisher.call("update", service="busy", id="busy", weight=self._weight)  # its history shares the labels
        self.waits += [after(worker, at, self._shows_the_last, "a change") for worker in self._others]
        for worker in (self._publisher, *self._others):  # some thousand events of a kilobyte each
            self.dead += hidden_at(worker)
            worker.events.clear()

    def _shows_the_last(self, event: Told) -> bool:
        # ADDED for whom no link to the publisher was up yet, and who was told all at once
        shown = event["after"] if event["kind"] in ("ADDED", "CHANGED") else None
        return bool(shown) and shown["service"] == "busy" and shown["weight"] == self._weight


def _rss(worker: Worker) -> int:
    """Bytes that it holds in memory."""
    told = Path(f"/proc/{worker.pid}/status").read_text(encoding="utf-8")
    return int(told.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.fixture
def mute() -> Iterator[Callable[[str], None]]:
    """Subscribes to all that a publisher says, as an observer may, and never reads."""
    context: zmq.Context[Any] = zmq.Context()
    subscriber = context.socket(zmq.SUB)

    def subscribe(endpoint: str) -> None:
        subscriber.setsockopt(zmq.RCVHWM, 1)
        for topic in (b"+", b"*"):
            subscriber.setsockopt(zmq.SUBSCRIBE, topic)
        subscriber.connect(f"tcp://{endpoint}")

    yield subscribe
    subscriber.close(linger=0)
    context.term()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [6.0, pytest.param(30.0, marks=pytest.mark.faults)])
def test_a_member_that_reads_nothing_costs_its_publisher_little_and_catches_up(
    launch: Launch, record: Record, seconds: float
) -> None:
    cluster = launch()
    publisher, *others, slow = standing(cluster, 5)
    writer = Writer(publisher, others)
    slow.stop()
    writer.write(seconds)
    publisher.call("register", service="last", id="last", port=11)
    resumed = time.monotonic()
    slow.cont()
    # its lookups are asked, not its events: of those it may have got a RESYNC in place of what it was too slow for
    until(lambda: slow.call("lookup", service="last"), DEADLINE_S, "the last change at the one that had stopped")
    caught_up_s = time.monotonic() - resumed
    cluster.agree([publisher, *others, slow], {"orders": 5, "busy": 1, "last": 1}, DEADLINE_S)
    weights = [worker.call("lookup", service="busy")[0]["weight"] for worker in (publisher, slow)]
    assert set(writer.dead) <= {slow.id}
    record(
        16,
        "Z",
        what=f"a member stopped for {seconds:g} s, {writer.changes:,} changes of 1 KB meanwhile, 4 others",
        asked="publisher + ≤ 8 MiB, others unharmed; it catches up ≤ 2 s",
        measured=f"publisher + {writer.grown_mib:.1f} MiB; the others saw changes after {spread(writer.waits)}; "
        f"caught up after {caught_up_s:.2f} s",
        simulated="no scenario: simulated queues hold no bytes",
        held=writer.grown_mib <= 8 and caught_up_s <= 2,
    )
    assert weights[0] == weights[1]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [3.0, pytest.param(30.0, marks=pytest.mark.faults)])
def test_an_observer_that_never_reads_costs_its_publisher_little(
    launch: Launch, record: Record, mute: Callable[[str], None], seconds: float
) -> None:
    cluster, (contact, port) = launch(), free_ports(2)
    others = standing(cluster, 3)
    publisher = cluster.peer("publisher", bind=f"127.0.0.1:{contact},{port}")
    cluster.agree([publisher, *others], {"orders": 3}, DEADLINE_S)
    writer = Writer(publisher, others)
    mute(f"127.0.0.1:{port}")
    writer.write(seconds)
    cluster.agree([publisher, *others], {"orders": 3, "busy": 1}, DEADLINE_S)
    assert writer.dead == []
    record(
        16,
        "Z",
        what=f"an observer that never reads, {writer.changes:,} changes of 1 KB in {seconds:g} s, 3 others",
        asked="publisher + ≤ 8 MiB, others unharmed",
        measured=f"publisher + {writer.grown_mib:.1f} MiB; the others saw changes after {spread(writer.waits)}",
        simulated="no scenario: simulated queues hold no bytes",
        held=writer.grown_mib <= 8,
    )
