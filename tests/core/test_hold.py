"""When most fall silent at once verdicts wait: once, and not for ever."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Happened
from gossip.core.hold import Hold

HOLD_S = 30.0


@pytest.fixture
def hold(bench: Any) -> Hold:
    """Of me and a to h."""
    bench.join(*"abcdefgh")
    return Hold(bench.local)


def covers(bench: Any, hold: Hold, now: float) -> bool:
    return hold.covers(bench.table.origins["a"], now)


def silence(hold: Hold, ids: str, now: float) -> None:
    for id in ids:
        hold.silenced(id, now)


def test_more_than_half_begin_a_hold_and_half_do_not(bench: Any, hold: Hold) -> None:
    silence(hold, "abcd", 10.0)
    assert not covers(bench, hold, 11.0)
    silence(hold, "e", 11.0)
    assert covers(bench, hold, 11.0)
    assert hold.until == 11.0 + HOLD_S
    assert len(bench.effects(Happened)) == 1


def test_it_ends_after_its_time_and_a_second_needs_a_peace(bench: Any, hold: Hold) -> None:
    silence(hold, "abcde", 10.0)
    assert covers(bench, hold, 10.0)
    assert not covers(bench, hold, 10.0 + HOLD_S)
    for accused, again in ((True, False), (False, True)):
        hold.tick(10.0 + HOLD_S, accused=accused)
        assert hold.until is None
        silence(hold, "abcde", 41.0)
        assert covers(bench, hold, 41.0) is again


def test_it_ends_when_nobody_is_accused_any_more(bench: Any, hold: Hold) -> None:
    silence(hold, "abcde", 10.0)
    assert covers(bench, hold, 10.0)
    hold.tick(11.0, accused=True)
    assert hold.until is not None
    hold.tick(12.0, accused=False)
    assert hold.until is None


def test_silences_apart_are_no_mass_failure(bench: Any, hold: Hold) -> None:
    for number, id in enumerate("abcde"):
        hold.silenced(id, 10.0 * number)
    assert not covers(bench, hold, 41.0)


def test_who_refuted_was_not_silent(bench: Any, hold: Hold) -> None:
    silence(hold, "abcde", 10.0)
    hold.refuted("c")
    assert not covers(bench, hold, 10.0)
