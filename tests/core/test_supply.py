"""What follows what somebody holds: deltas while they are in the log, else the state, and not too much a second."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.messages import Entry
from gossip.core.supply import Supply, distinct


@pytest.fixture
def supply(bench: Any) -> Supply:
    """Of b I hold the state at 1 and two deltas since."""
    bench.join("b")
    for version in (2, 3):
        bench.give(bench.make.delta("b", version - 1, version, put=(f"i{version}",)))
    return Supply(bench.local, bench.author)


def versions(bench: Any, frames: list[bytes]) -> list[tuple[int, int]]:
    deltas = [bench.make.codec.decode(frame) for frame in frames]
    return [(delta.since, delta.version) for delta in deltas]


def test_deltas_follow_what_is_held_and_the_state_what_is_not(bench: Any, supply: Supply) -> None:
    life = bench.make.life
    held = [Entry("b", life, 1, 0), Entry("b", life, 2, 0), Entry("b", life, 3, 0), Entry("b", (0, 0), 0, 0)]
    followed = [versions(bench, supply.beyond(entry)) for entry in held]
    assert followed[:3] == [[(1, 2), (2, 3)], [(2, 3)], []]
    assert followed[3][0][0] == 0
    assert followed[3][-1][1] == 3


def test_nothing_follows_what_is_newer_or_unknown_here(bench: Any, supply: Supply) -> None:
    start, nonce = bench.make.life
    for entry in (Entry("b", (start + 1, nonce), 1, 0), Entry("stranger", (0, 0), 0, 0)):
        assert supply.beyond(entry) == []


def test_my_own_state_is_whole(bench: Any, supply: Supply) -> None:
    assert versions(bench, supply.myself()) == [(0, bench.local.me.version)]


def test_all_answers_together_have_a_rate(bench_of: Callable[[Config], Any]) -> None:
    limits = dataclasses.replace(Limits(), answer_bytes_per_s=100_000)
    bench = bench_of(Config(limits=limits))
    supply = Supply(bench.local, bench.author)
    half = [bytes(30_000), bytes(20_000)]
    assert [supply.may_send(half, "x", 1.0) for _ in range(3)] == [True, True, False]
    assert bench.local.counters["answers_refused"] == 1
    assert supply.may_send(half, "x", 1.6)


def test_one_origin_is_wanted_once_at_once(bench: Any) -> None:
    one, again, other = Entry("b", (1, 1), 1, 0), Entry("b", (1, 1), 2, 0), Entry("c", (1, 1), 1, 0)
    assert distinct((one, other, again)) == [again, other]
