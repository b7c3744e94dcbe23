"""Row 25: every process is replaced, one after the other, while others look its service up: no answer is empty."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from nodes.launch import Launcher, ask_all

from .conftest import DEADLINE_S, names, nobody_hidden
from .measured import Record

Launch = Callable[..., Launcher]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [4, pytest.param(20, marks=pytest.mark.faults)])
def test_a_rolling_restart_leaves_no_lookup_empty(launch: Launch, record: Record, count: int) -> None:
    cluster = launch()
    readers = cluster.peers(names(2, "reader"))
    fleet = cluster.peers(names(count, "old"))
    services = {worker: f"s{number // 2}" for number, worker in enumerate(fleet)}  # two instances each
    for number, (worker, service) in enumerate(services.items()):
        worker.call("register", service=service, id=worker.name, port=8001 + number)
    both = dict.fromkeys(services.values(), 2)
    cluster.agree([*readers, *fleet], both, DEADLINE_S)
    ask_all(readers, "read", service=list(both))
    began = time.monotonic()
    for number, (former, service) in enumerate(services.items()):
        successor = cluster.load(f"new{number}")
        successor.wait_loaded()
        assert former.leave() == 0
        successor.started(cluster.ask_start(successor))
        successor.call("register", service=service, id=successor.name, port=9001 + number)
        ask_all(readers, "wait_for", service=service, n=2, timeout=DEADLINE_S)
    took_s = time.monotonic() - began
    seen = ask_all(readers, "reading")
    cluster.agree(cluster.running, both, DEADLINE_S)
    nobody_hidden(cluster.running)
    lookups, empty = (sum(one[what] for one in seen) for what in ("lookups", "empty"))
    slowest_us = max(one["p99_ns"] for one in seen) / 1000
    record(
        25,
        "Z",
        what=f"rolling restart of {count} peers, two for each service, in {took_s:.0f} s",
        asked="0 empty answers under 1,000 lookups/s for a service with ≥ 2 instances",
        measured=f"{empty} empty answers of {lookups:,}, {lookups / took_s:,.0f}/s by 2 readers, p99 {slowest_us:.0f} µs",
        simulated="no scenario: simulated readers look when all is done",
        held=empty == 0 and lookups / took_s >= 1000,
    )
    assert lookups > 0
    assert empty == 0
    assert min(one["fewest"] for one in seen) in (1, 2)  # 2 where no read fell between a leave and the successor's registration
