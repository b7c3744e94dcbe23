"""A neighbour differs if its digest was never mine of late, twice in a row."""

from __future__ import annotations

import pytest

from gossip.config import Heartbeats
from gossip.core.digests import HISTORY_MAX, NEVER, Digests
from gossip.core.messages import IdHash

N, M = IdHash(b"n" * 8), IdHash(b"m" * 8)


@pytest.fixture
def digests() -> Digests:
    made = Digests(Heartbeats())  # history 1 s, grace 0.1 s, two mismatches
    made.now_is(1, 0.0)
    return made


def test_one_difference_is_none(digests: Digests) -> None:
    digests.heard(N, 99, 10.0, urgent=False)
    assert digests.differing(10.2) == []
    assert digests.agreement() == 0.0


def test_two_in_a_row_are_a_difference_and_told_once(digests: Digests) -> None:
    for at in (10.0, 11.0):
        digests.heard(N, 99, at, urgent=False)
        found = digests.differing(at + 0.2)
    assert found == [N]
    assert digests.differing(11.3) == []
    digests.heard(N, 99, 12.0, urgent=False)
    assert digests.differing(12.2) == []  # counts anew


def test_an_agreement_between_two_differences_counts_them_anew(digests: Digests) -> None:
    for at, digest in ((10.0, 99), (11.0, 1), (12.0, 99)):
        digests.heard(N, digest, at, urgent=False)
        assert digests.differing(at + 0.2) == []


def test_it_is_judged_only_after_the_grace(digests: Digests) -> None:
    digests.heard(N, 99, 10.0, urgent=True)
    assert digests.next_deadline() == pytest.approx(10.1)
    assert digests.differing(10.05) == []
    assert digests.differing(10.1) == [N]
    assert digests.next_deadline() == NEVER


def test_what_becomes_mine_within_the_grace_is_no_difference(digests: Digests) -> None:
    digests.heard(N, 2, 10.0, urgent=True)
    digests.now_is(2, 10.05)
    digests.now_is(3, 10.06)
    assert digests.differing(10.2) == []


def test_what_was_mine_a_moment_before_is_no_difference(digests: Digests) -> None:
    digests.now_is(2, 9.5)
    digests.heard(N, 1, 10.4, urgent=True)
    assert digests.differing(10.6) == []


def test_what_was_mine_long_ago_is_one(digests: Digests) -> None:
    digests.now_is(2, 9.5)
    digests.heard(N, 1, 10.6, urgent=True)
    assert digests.differing(10.8) == [N]


def test_a_link_that_came_up_in_agreement_makes_no_neighbour(digests: Digests) -> None:
    digests.heard(N, 1, 10.0, urgent=True)
    assert digests.neighbours == {}


def test_a_link_that_came_up_is_forgotten_once_judged(digests: Digests) -> None:
    digests.heard(N, 99, 10.0, urgent=True)
    digests.differing(10.2)
    assert digests.neighbours == {}


def test_the_agreement_is_the_share_of_neighbours_that_have_my_digest(digests: Digests) -> None:
    assert digests.agreement() == 1.0
    digests.heard(N, 99, 10.0, urgent=False)
    digests.heard(M, 1, 10.0, urgent=False)
    digests.differing(10.2)
    assert digests.agreement() == 0.5
    digests.forget({M})
    assert digests.agreement() == 1.0


def test_the_history_is_bounded_in_number_and_time(digests: Digests) -> None:
    for step in range(HISTORY_MAX + 100):
        digests.now_is(step + 2, 1.0)
    assert len(digests._recent) == HISTORY_MAX
    digests.differing(4.0)
    assert not digests._recent
