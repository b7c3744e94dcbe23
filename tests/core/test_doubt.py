"""Three others are asked; the word of one of them ends a doubt, or its time does."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.doubt import DOUBT_LINKS_MIN, DOUBT_PINGS, Doubt
from gossip.core.origin import Origin


@pytest.fixture
def doubt(bench: Any) -> Doubt:
    return Doubt(bench.local)


@pytest.fixture
def asked(bench: Any, doubt: Doubt) -> list[str]:
    """Whom a doubt since 10.0 asks, of five."""
    others: list[Origin] = bench.join(*"abcde")
    return [origin.id for origin in doubt.begin(others, 10.0)]


def test_three_different_ones_are_asked(asked: list[str]) -> None:
    assert len(set(asked)) == DOUBT_PINGS


def test_where_there_are_too_few_nobody_is_asked_and_nothing_doubted(bench: Any, doubt: Doubt) -> None:
    assert doubt.begin(bench.join(*"ab"), 10.0) == []
    assert (doubt.until, doubt.may_begin(DOUBT_LINKS_MIN, 10.0)) == (0.0, True)


def test_few_links_tell_nothing(doubt: Doubt) -> None:
    assert [doubt.may_begin(DOUBT_LINKS_MIN - less, 0.0) for less in (1, 0)] == [False, True]


def test_the_word_of_one_who_was_asked_ends_it_and_no_other(doubt: Doubt, asked: list[str]) -> None:
    (silent, *_) = set("abcde") - set(asked)
    assert not doubt.ends(silent, 11.0)
    assert doubt.ends(asked[0], 11.0)
    assert doubt.until == 11.0
    assert not doubt.ends(asked[1], 11.5)


def test_it_ends_after_its_time_and_the_next_begins_no_sooner_than_as_long_after(doubt: Doubt, asked: list[str]) -> None:
    assert doubt.until == 15.0
    assert not doubt.ends(asked[0], 15.0)
    assert [doubt.may_begin(DOUBT_LINKS_MIN, now) for now in (19.9, 20.0)] == [False, True]


def test_the_ping_of_a_doubt_is_about_me_once(doubt: Doubt, asked: list[str]) -> None:
    doubt.ends(asked[0], 10.1)
    assert [doubt.ping_ended(asked[1]) for _ in range(2)] == [True, False]
