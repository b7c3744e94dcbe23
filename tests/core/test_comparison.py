"""What one partner tells of its view: what to want of it, and what to believe at the end."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.comparison import Comparison
from gossip.core.messages import BUCKETS, Belief, Entries, Entry
from gossip.core.supply import WANTS_PER_FRAME
from gossip.model import EventKind, MemberState

ALL, NONE = b"\xff" * (BUCKETS // 8), bytes(BUCKETS // 8)
DEAD, REFUTED, SUSPECTED = EventKind.MEMBER_DEAD, EventKind.MEMBER_REFUTED, EventKind.MEMBER_SUSPECTED


@pytest.fixture
def table(bench: Any) -> Any:
    """I hold b and c at version 1, and d, who is dead."""
    bench.join("b", "c", "d")
    bench.membership.settle(bench.table.origins["d"], MemberState.DEAD, "test", 0.0)
    return bench.table


def entries(make: Any, *ids: str, version: int = 1, buckets: bytes = ALL, more: bool = False) -> Entries:
    return Entries("p", True, buckets, tuple(Entry(id, make.life, version, 0) for id in ids), more)


def believed(view: Comparison, table: Any) -> list[tuple[str, EventKind]]:
    return [(belief.subject, belief.kind) for belief in view.beliefs(table) if belief.subject != "me"]


def test_what_is_newer_or_unknown_is_wanted_as_what_is_held_of_it(make: Any, table: Any) -> None:
    view = Comparison()
    assert not view.take(entries(make, "b", version=2, more=True), table)
    assert view.take(entries(make, "c", "x"), table)
    assert view.next_wants(table) == (Entry("b", make.life, 1, 0), Entry("x", (0, 0), 0, 0))
    assert view.next_wants(table) == ()


def test_wants_fit_into_frames(make: Any, table: Any) -> None:
    view = Comparison()
    view.take(entries(make, *(f"x{number}" for number in range(WANTS_PER_FRAME + 3))), table)
    assert [len(view.next_wants(table)) for _ in range(3)] == [WANTS_PER_FRAME, 3, 0]


def test_entries_after_the_last_change_no_plan(make: Any, table: Any) -> None:
    view = Comparison()
    assert view.take(entries(make, "b"), table)
    assert not view.take(entries(make, "x"), table)
    assert view.next_wants(table) == ()


def test_who_lives_there_lives_here_and_who_is_missing_of_a_bucket_that_differs_is_dead(make: Any, table: Any) -> None:
    view = Comparison()
    view.take(entries(make, "b", "d"), table)
    assert believed(view, table) == [("b", REFUTED), ("c", DEAD), ("d", REFUTED)]


def test_of_buckets_that_do_not_differ_all_live_on(make: Any, table: Any) -> None:
    view = Comparison()
    view.take(entries(make, buckets=NONE), table)
    assert believed(view, table) == [("b", REFUTED), ("c", REFUTED)]


def test_a_suspicion_is_not_refuted_in_between_and_the_dead_are_restored_before_it(make: Any, table: Any) -> None:
    view = Comparison()
    view.take(entries(make, "b", "c", "d"), table)
    for id in "bd":
        view.suspected[id] = Belief(id, SUSPECTED, "told")
    assert believed(view, table) == [("b", SUSPECTED), ("c", REFUTED), ("d", REFUTED), ("d", SUSPECTED)]


def test_news_are_newer_than_the_entries(make: Any, table: Any) -> None:
    view = Comparison()
    view.take(entries(make, "b", "c"), table)
    view.news |= {"b": Belief("b", DEAD, "told"), "d": None}
    assert believed(view, table) == [("c", REFUTED), ("b", DEAD)]


def test_its_size_is_that_of_whatever_it_tells_most_of(make: Any, table: Any) -> None:
    view = Comparison()
    view.take(entries(make, "b", "c"), table)
    assert view.size == 2
    view.news |= dict.fromkeys("abcde")
    assert view.size == 5
