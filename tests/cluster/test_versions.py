"""Row 26: peers of neighbouring wire versions hold the same, and what a later version appends goes through the older ones."""

from __future__ import annotations

from collections.abc import Callable

from nodes.launch import Launcher, ask_all

from .conftest import DEADLINE_S, names, nobody_hidden, register_one_each
from .measured import Record, rest_until
from .odd import LATER, odd, packed

Launch = Callable[..., Launcher]


def test_two_wire_versions_hold_the_same_and_the_older_passes_on_what_the_later_appends(launch: Launch, record: Record) -> None:
    """There is no earlier release yet: the later version is this code, speaking 2 and appending fields to all it says."""
    ours, later = launch(prefix=odd()), launch(prefix=odd(wire=2, later=1))
    old = ours.peers(names(3, "old"))
    new = later.peers(names(2, "new"), seeds=[old[0].address])
    everybody = [*old, *new]
    register_one_each(everybody)
    ours.agree(everybody, {"orders": 5}, DEADLINE_S)
    everybody.append(later.peer("last", seeds=[old[1].address]))  # hears of the others from an old one, re-encoded
    register_one_each(everybody[-1:])
    for number, worker in enumerate(everybody):
        worker.call("register", service="payments", id=f"payments-{worker.name}", port=9000 + number)
    ours.agree(everybody, {"orders": 6, "payments": 6}, DEADLINE_S)
    assert [status["protocol"] for status in ask_all(everybody, "status")] == [1, 1, 1, 2, 2, 2]
    for origin in [*new, everybody[-1]]:
        held = [worker.call("later")[origin.id] for worker in everybody if worker is not origin]
        assert held == [[packed(LATER), *(f"{service}-{origin.name} {packed(LATER)}" for service in ("orders", "payments"))]] * 5
    lost = new[0]
    lost.kill9()
    everybody.remove(lost)
    ours.agree(everybody, {"orders": 5, "payments": 5}, DEADLINE_S)
    nobody_hidden(everybody, but=[lost])
    counters = [status["counters"] for status in ask_all(everybody, "status")]
    assert [name for one in counters for name in one if name in ("frames_dropped", "frames_unknown", "faults")] == []
    record(
        26,
        "Z",
        what="3 peers of wire version 1 and 3 of version 2, which appends 5 fields to each record and message; one is killed",
        asked="equal; unknown fields relayed byte for byte",
        measured="equal views; the fields of all 3 are held as packed by all 5 others, one had them only through an old one",
        simulated="no scenario (one process has one codec); tests/core/test_codec.py, tests/properties/test_codec.py",
        held=True,
    )


def test_two_wire_versions_apart_nobody_joins_and_both_go_on(launch: Launch, record: Record) -> None:
    ours, far = launch(), launch(prefix=odd(wire=3))
    old = ours.peers(names(2, "old"))
    register_one_each(old)
    ours.agree(old, {"orders": 2}, DEADLINE_S)
    stranger = far.peer("far", seeds=[old[0].address])
    register_one_each([stranger])
    told = old[0].wait_event(lambda event: "wire version 3" in event["reason"], DEADLINE_S, "word of the unknown version")
    rest_until(told["t"] + 1.0)
    far.agree([stranger], {"orders": 1}, DEADLINE_S)
    ours.agree(old, {"orders": 2}, DEADLINE_S)
    nobody_hidden(old)
    lines = [event["event"]["reason"] for event in old[0].events if "wire version" in event["event"]["reason"]]
    record(
        26,
        "Z",
        what="a peer two wire versions ahead",
        asked="is not let in, harms nobody",
        measured=f"ignored; {len(lines)} notice about it at the older peer in 1 s",
        simulated="no scenario",
        held=len(lines) == 1,
    )
