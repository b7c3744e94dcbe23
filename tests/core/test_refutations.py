"""What was flooded is taken for a higher pulse alone, and passed on once."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Publish
from gossip.core.messages import Delta
from gossip.core.refutations import FLOODED_MAX, Refutations


@pytest.fixture
def refutations(bench: Any) -> Refutations:
    bench.join("b")
    return Refutations(bench.local, bench.merger)


def refutation(bench: Any, pulse: int = 1, *, since: int = 1, origin: str = "b") -> Delta:
    delta: Delta = bench.make.delta(origin, since, since + 1, header=bench.make.header(5, pulse=pulse))
    return delta


def hear(bench: Any, refutations: Refutations, delta: Delta, now: float = 1.0) -> list[bytes]:
    """What it has me pass on to all."""
    bench.effects()
    refutations.hear(delta, bench.make.codec.encode_delta(delta), now)
    return [effect.frame[1:] for effect in bench.effects(Publish) if effect.frame[:1] == b"*"]


def test_a_higher_pulse_is_taken_and_passed_on_once_as_the_same_bytes(bench: Any, refutations: Refutations) -> None:
    delta = refutation(bench)
    assert hear(bench, refutations, delta) == [bench.make.codec.encode_delta(delta)]
    assert bench.table.origins["b"].header.pulse == 1
    assert hear(bench, refutations, delta) == []


def test_what_refutes_nothing_is_not_taken_this_way(bench: Any, refutations: Refutations) -> None:
    same_pulse, no_header = refutation(bench, 0), bench.make.delta("b", 1, 2, put=("i1",))
    for delta in (same_pulse, no_header, refutation(bench, origin="stranger"), refutation(bench, 9, origin="me")):
        assert hear(bench, refutations, delta) == []
    assert bench.table.origins["b"].version == 1
    assert "stranger" not in bench.table.origins


def test_what_lacks_something_before_it_is_passed_on_once_nevertheless_and_what_lacks_is_pulled(
    bench: Any, refutations: Refutations
) -> None:
    delta = refutation(bench, since=2)
    assert hear(bench, refutations, delta) == [bench.make.codec.encode_delta(delta)]
    assert hear(bench, refutations, delta) == []
    assert bench.table.origins["b"].version == 1
    contact = bench.table.origins["b"].contact
    assert bench.merger.due_gaps(2.0) == [("b", contact)]


def test_what_there_is_no_room_to_keep_is_not_passed_on(bench: Any, refutations: Refutations) -> None:
    most = bench.local.config.repair.reorder_max
    for since in range(10, 10 + most):
        bench.give(bench.make.delta("b", since, since + 1))
    assert hear(bench, refutations, refutation(bench, since=2)) == []


def test_so_many_are_passed_on_a_second_and_the_others_counted(bench: Any, refutations: Refutations) -> None:
    bench.effects()
    for _ in range(FLOODED_MAX + 3):
        refutations.pass_on(b"frame", 1.0)
    assert len(bench.effects(Publish)) == FLOODED_MAX
    assert bench.local.counters["refutations_not_flooded"] == 3
