"""Row 13: two live processes with one id: both are told, the younger takes another, and nothing of either is lost."""

from __future__ import annotations

import time
from collections.abc import Callable

from nodes.launch import Launcher, Told, Worker, until

from .conftest import DEADLINE_S, names, register_one_each
from .measured import Record, after, simulated

LOST_S = 5.0

Launch = Callable[..., Launcher]


def test_of_two_live_processes_with_one_id_the_younger_takes_another(launch: Launch, record: Record) -> None:
    cluster = launch()
    others = cluster.peers(names(4))
    older = cluster.peer("older", id="twin")
    shared = older.id  # with the key behind it, where all sign
    register_one_each([*others, older])
    cluster.agree([*others, older], {"orders": 5}, DEADLINE_S)
    lives: set[tuple[int, ...]] = set()
    began = time.monotonic()
    younger = cluster.peer("younger", id="twin")
    register_one_each([younger])

    def parted() -> bool:
        for worker in [*others, older, younger]:
            lives.update(tuple(told["incarnation"]) for told in worker.call("members") if told["id"] == shared)
        return _id(younger) != shared

    until(parted, DEADLINE_S, "an id of its own for the younger")
    told = [after(worker, began, _tells_of_two, "word of the twin") for worker in (older, younger)]
    parted_s = time.monotonic() - began
    older.id, younger.id = _id(older), _id(younger)
    assert older.id == shared
    cluster.agree([*others, older, younger], {"orders": 6}, DEADLINE_S)
    equal_s = time.monotonic() - began
    record(
        13,
        "Z",
        what="a second process starts with the id of one that lives, among 4 others",
        asked="event at both ≤ 5 s; the younger takes a new id; ≤ 6 incarnations",
        measured=f"told at both after {max(told):.2f} s; a new id after {parted_s:.2f} s; equal views after {equal_s:.2f} s; "
        f"{len(lives)} incarnations of the shared id were seen, {len(lives) - 2} besides those that both began with",
        simulated=simulated("duplicate-id"),
        held=max(told) <= LOST_S and len(lives) - 2 <= 6,  # counted as the simulator does
    )


def _id(worker: Worker) -> str:
    return str(worker.call("status")["id"])


def _tells_of_two(event: Told) -> bool:
    return "DuplicatePeerId" in event["reason"]
