"""A refuted accuser is not believed at once about that subject, longer each time."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core import mutes
from gossip.core.mutes import DOUBLINGS_MAX, Mutes


@pytest.fixture
def muted(bench: Any) -> Mutes:
    return Mutes(bench.local)


def peace(muted: Mutes, now: float) -> float:
    """How long from now on b is muted about a, to a second."""
    return next(after for after in range(1000) if not muted.holds("b", "a", now + after))


def test_a_mute_is_about_one_subject_and_ends(muted: Mutes) -> None:
    muted.add("b", "a", 10.0)
    assert [muted.holds(*pair, 14.9) for pair in (("b", "a"), ("c", "a"), ("b", "c"))] == [True, False, False]
    assert not muted.holds("b", "a", 15.0)


def test_it_doubles_up_to_five_minutes(muted: Mutes) -> None:
    waits, now = [], 0.0
    for _ in range(8):
        muted.add("b", "a", now)
        waits.append(peace(muted, now))
        now += waits[-1]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_after_five_minutes_of_peace_it_begins_anew(muted: Mutes) -> None:
    muted.add("b", "a", 0.0)
    muted.add("b", "a", 5.0)
    muted.add("b", "a", 315.0)
    assert peace(muted, 315.0) == 5


def test_no_number_of_refutations_overflows(muted: Mutes) -> None:
    for number in range(100 * DOUBLINGS_MAX):
        muted.add("b", "a", float(number))
    assert peace(muted, 100.0 * DOUBLINGS_MAX - 1) == 300


def test_the_oldest_are_forgotten_beyond_the_bound(bench: Any, muted: Mutes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutes, "MUTES_MAX", 3)
    for accuser in "bcde":
        muted.add(accuser, "a", 0.0)
    assert (len(muted), muted.holds("b", "a", 1.0), muted.holds("e", "a", 1.0)) == (3, False, True)
    assert bench.local.counters["mutes_forgotten"] == 1
