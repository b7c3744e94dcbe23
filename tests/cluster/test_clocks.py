"""Row 11: the wall clock jumps, and differs from peer to peer: nobody is held dead for it, and a restart in the past is heard."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes.launch import Launcher, Worker, ask_all

from ..ports import free_ports
from .conftest import DEADLINE_S, all_linked, names, nobody_hidden, register_one_each
from .measured import Record, after, rest_until, simulated, spread
from .odd import odd

HOUR_S = 3600.0
JUMPS_S = (-HOUR_S, HOUR_S, -10 * 365 * 24 * HOUR_S)
JUMPED_S = 5.0  # longer than silence takes to be noticed

Launch = Callable[..., Launcher]


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[str, float], str]:
    """Sets how far the wall clock of this name is ahead; returns the file that says so."""

    def set_to(name: str, ahead_s: float) -> str:
        path = tmp_path / name
        (tmp_path / "new").write_text(str(ahead_s), encoding="utf-8")
        (tmp_path / "new").replace(path)
        return str(path)

    return set_to


def test_wall_clocks_that_differ_and_jump_hide_nobody(
    launch: Launch, record: Record, clock: Callable[[str, float], str]
) -> None:
    skews = {"behind": -HOUR_S, "right": 0.0, "ahead": HOUR_S}
    clusters = {name: launch(prefix=odd(wall=clock(name, skew))) for name, skew in skews.items()}
    workers = clusters["right"].peers(names(2))
    for name in ("behind", "ahead"):
        workers += clusters[name].peers(names(2, name), seeds=[workers[0].address])
    register_one_each(workers)
    clusters["right"].agree(workers, {"orders": 6}, DEADLINE_S)
    for number, jump_s in enumerate(JUMPS_S):
        clock("right", jump_s)
        workers[0].call("register", service=f"jump-{number}", id="x", port=9000 + number)
        ask_all(workers, "wait_for", service=f"jump-{number}", timeout=DEADLINE_S)
        told = workers[1].wait_event(lambda event, n=number: event["service"] == f"jump-{n}", DEADLINE_S, "the change")
        assert abs(time.time() + jump_s - told["event"]["at"]) < HOUR_S / 2  # its clock did jump
    rest_until(time.monotonic() + JUMPED_S)
    nobody_hidden(workers)
    kinds = [told["event"]["kind"] for worker in workers for told in tuple(worker.events)]
    suspected = kinds.count("MEMBER_SUSPECTED")
    record(
        11,
        "Z",
        what="wall clocks of 6 processes differ by ±1 h; those of 2 jump by −1 h, +1 h and −10 years",
        asked="no effect on liveness",
        measured=f"0 hidden, {suspected} suspected; each change seen by all",
        simulated=simulated("clocks", "deaths of those that lived on"),
        held=suspected == 0,
    )


@pytest.mark.parametrize("back_s", [HOUR_S, pytest.param(-JUMPS_S[-1], marks=pytest.mark.faults)], ids=["an-hour", "ten-years"])
def test_a_restart_after_the_wall_clock_went_back_is_heard(
    launch: Launch, record: Record, clock: Callable[[str, float], str], back_s: float
) -> None:
    ours, theirs = launch(), launch(prefix=odd(wall=clock("wall", 0.0)))
    others = ours.peers(names(5))
    bind = "127.0.0.1:{},{}".format(*free_ports(2))
    first = theirs.peer("again", id="again", bind=bind, seeds=[others[0].address])
    register_one_each([*others, first])
    for number in range(3):  # more than it will have the next time
        first.call("register", service="former", id=f"former-{number}", port=9000 + number)
    ours.agree([*others, first], {"orders": 6, "former": 3}, DEADLINE_S)
    all_linked([*others, first])
    former = _start_of(first.id, others[0])
    second = theirs.load("again")
    second.wait_loaded()
    clock("wall", -back_s)
    first.kill9()
    first.wait()
    began = time.monotonic()
    second.started(theirs.ask_start(second, id="again", bind=bind, seeds=[others[0].address]))
    second.call("register", service="orders", id="orders-again", port=8001)
    second.call("register", service="latter", id="latter", port=8002)
    back = [
        after(worker, began, lambda event: event["kind"] == "ADDED" and event["service"] == "latter", "its instance")
        for worker in others
    ]
    ours.agree([*others, second], {"orders": 6, "latter": 1}, DEADLINE_S)
    equal = time.monotonic() - began
    started = _start_of(first.id, others[0])
    assert started == former + 1  # it stepped over what was known of it: its own clock said less
    nobody_hidden([*others, second], but=[second])
    record(
        11,
        "Z",
        what=f"killed, and started anew under its id at once, {back_s / HOUR_S:,.0f} h earlier by its wall clock",
        asked="equal ≤ 2 s",
        measured=f"equal views after {equal:.2f} s; what it registered seen after {spread(back)}",
        simulated=simulated("clocks", "equal after a restart, at worst"),
        held=equal <= 2.0,
    )


def _start_of(id: str, at: Worker) -> int:
    """When the life of a member began that this worker knows, in ms of its wall clock."""
    return next(int(told["incarnation"][0]) for told in at.call("members") if told["id"] == id)
