"""Silence is counted by the subject's own interval, and three pings must fail before it is evidence."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.watches import PINGS, Watches
from gossip.model import MemberState


@pytest.fixture
def watches(bench: Any) -> Watches:
    """I watch a and b, from 10.0 on."""
    bench.join("a", "b")
    watches = Watches(bench.local)
    watches.only({"a", "b"}, 10.0)
    watches.due((), 10.0)
    return watches


def due(watches: Watches, now: float, *accused: str) -> list[str]:
    return [origin.id for origin, _ in watches.due(accused, now)]


def test_pings_go_out_so_that_the_last_is_sent_when_it_counts_as_silent(watches: Watches) -> None:
    a, ended = watches.of["a"], []
    for at in (12.0, 12.5, 13.0):
        watches.spoke("b", at)
        assert (due(watches, at - 0.01), due(watches, at)) == ([], ["a"])
        watches.pinged(a, at, sent=True)
        assert due(watches, at + 0.49) == []
        ended.append(watches.missed(a, at + 0.5))
    assert ended == [False, False, True]


def test_who_has_spoken_is_not_silent_though_a_ping_was_lost(watches: Watches) -> None:
    watches.one_ping_decides("a")
    watches.spoke("a", 11.2)
    assert not watches.missed(watches.of["a"], 11.5)
    assert watches.of["a"].missed == 0


def test_where_there_is_another_reason_one_ping_decides(watches: Watches) -> None:
    watches.one_ping_decides("a")
    watches.one_ping_decides("nobody i watch")
    assert watches.missed(watches.of["a"], 11.5)


def test_after_as_many_lost_pings_silence_counts_anew(watches: Watches) -> None:
    a = watches.of["a"]
    assert [watches.missed(a, 13.0) for _ in range(PINGS)] == [False, False, True]
    assert (a.quiet_since, a.missed) == (13.0, 0)


def test_the_accused_the_dead_and_who_is_being_asked_are_not_asked(bench: Any, watches: Watches) -> None:
    assert due(watches, 12.5, "a") == ["b"]
    watches.only({"a", "b"}, 12.5)
    watches.pinged(watches.of["b"], 12.5, sent=True)
    bench.membership.settle(bench.table.origins["a"], MemberState.DEAD, "test", 12.5)
    assert due(watches, 13.0) == []


def test_a_ping_that_found_no_room_is_sent_a_little_later(watches: Watches) -> None:
    for origin, watch in watches.due((), 12.5):
        watches.pinged(watch, 12.5, sent=origin.id == "b")
    assert watches.next_deadline() == 13.0
    assert due(watches, 13.0) == ["a"]


def test_half_of_them_may_be_quiet(watches: Watches) -> None:
    watches.spoke("b", 11.5)
    assert [watches.quiet(now) for now in (11.9, 12.0, 13.5)] == [0, 1, 2]


def test_silence_never_counts_through_a_pause_of_mine(watches: Watches) -> None:
    watches.paused(60.0)
    assert (due(watches, 61.9), due(watches, 62.1)) == ([], ["a", "b"])


def test_who_is_no_longer_watched_is_forgotten_and_who_stays_is_not_heard_by_that(watches: Watches) -> None:
    watches.only({"a", "c"}, 11.0)
    assert {id: watch.quiet_since for id, watch in watches.of.items()} == {"a": 10.0, "c": 11.0}
    watches.only((), 12.0)
    assert watches.next_deadline() == float("inf")
