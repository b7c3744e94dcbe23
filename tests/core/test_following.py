"""How long a source may be silent, and when views are compared with it again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gossip.core.effects import Connect, Disconnect
from gossip.core.following import Following, Source
from gossip.core.messages import Heartbeat


@pytest.fixture
def following(bench: Any) -> Following:
    """The source is a, since 10.0."""
    (a,) = bench.join("a")
    following = Following(bench.local)
    following.follow(a, 10.0)
    return following


def source_of(following: Following) -> Source:
    assert following.source is not None
    return following.source


def beats(bench: Any, following: Following, now: float, *, differs: bool = False) -> bool:
    a = bench.table.origins["a"]
    beat = Heartbeat(a.hash, a.incarnation, 1, 0, bench.table.digest + differs, linked=False, synced=True)
    return following.heard(source_of(following), beat, now)


def test_its_link_is_the_only_one(bench: Any, following: Following) -> None:
    a, (b,) = bench.table.origins["a"], bench.join("b")
    following.lose()
    following.follow(a, 11.0)
    following.follow(b, 12.0)
    assert bench.effects() == [Disconnect(a.publisher), Connect(a.publisher), Disconnect(a.publisher), Connect(b.publisher)]


def test_another_id_at_the_same_publisher_needs_no_other_link(bench: Any, following: Following) -> None:
    a = bench.table.origins["a"]
    (b,) = bench.join("b", header=a.header)
    bench.effects()
    following.follow(b, 11.0)
    assert (source_of(following).id, bench.effects()) == ("b", [])


def test_until_it_is_heard_it_has_the_time_that_a_link_takes_and_then_three_of_its_intervals(
    bench: Any, following: Following
) -> None:
    links = bench.local.config.links
    patience = links.connect_timeout_s + links.handshake_timeout_s
    assert following.next_deadline(talking=False) == 10.0 + patience
    bench.table.origins["a"].header = dataclasses.replace(bench.table.origins["a"].header, interval_ms=2000)
    assert beats(bench, following, 11.0)
    assert not beats(bench, following, 12.0)
    assert [following.is_silent(now) for now in (17.9, 18.0)] == [False, True]


def test_it_agrees_while_its_digest_is_mine(bench: Any, following: Following) -> None:
    agreed = []
    for differs in (True, False, True):
        beats(bench, following, 11.0, differs=differs)
        agreed.append(source_of(following).agrees)
    assert agreed == [False, True, False]


def test_a_difference_is_compared_at_once_and_ever_later_while_that_brings_nothing(bench: Any, following: Following) -> None:
    backoff_s, waits = bench.local.config.repair.backoff_s, []
    for now in (100.0, 200.0, 300.0):
        beats(bench, following, now, differs=True)
        waits.append(next(after for after in range(100) if following.to_compare(now + after)))
        following.compared(moved=False)
    assert waits == [0, backoff_s, 2 * backoff_s]
    following.compared(moved=True)
    beats(bench, following, 400.0, differs=True)
    assert following.to_compare(400.0)


def test_what_was_lost_is_compared_once_and_not_while_a_conversation_goes_on(bench: Any, following: Following) -> None:
    beats(bench, following, 10.0)
    following.compare_within(0.2, 10.0)
    following.compare_within(0.5, 10.0)
    assert (following.next_deadline(talking=False), following.next_deadline(talking=True)) == (10.2, 13.0)
    assert [following.to_compare(now) for now in (10.1, 10.2, 10.3)] == [False, True, False]


def test_without_a_source_there_is_nothing_to_wait_for(following: Following) -> None:
    following.compare_within(0.0, 10.0)
    following.lose()
    assert following.source is None
    assert (following.is_silent(99.0), following.to_compare(99.0)) == (False, False)
    assert following.next_deadline(talking=False) == float("inf")
