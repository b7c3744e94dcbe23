"""One origin's log takes deltas in order, without holes, and never goes back."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.messages import Delta, HeaderFlags
from gossip.core.origin import Origin, Outcome


@pytest.fixture
def origin(make: Any) -> Origin:
    """At version 2, with the instance i1."""
    made = Origin("a", make.codec.hash("a"), make.life, make.header(), "")
    take(made, make.state("a", 2, put=("i1",)))
    return made


def take(origin: Origin, delta: Delta, frame: bytes = b"frame", keep: int = 64) -> Outcome:
    return origin.apply(delta, frame, log_deltas_min=keep)


def test_the_next_delta_is_applied(origin: Origin, make: Any) -> None:
    assert take(origin, make.delta("a", 2, 3, put=("i2",), removed=(make.key("i1"),))) is Outcome.APPLIED
    assert origin.version == 3
    assert list(origin.instances) == [make.key("i2")]


def test_a_delta_already_held_is_a_duplicate(origin: Origin, make: Any) -> None:
    assert take(origin, make.delta("a", 1, 2, put=("i9",))) is Outcome.DUPLICATE
    assert list(origin.instances) == [make.key("i1")]


def test_a_delta_without_its_predecessor_is_a_gap(origin: Origin, make: Any) -> None:
    assert take(origin, make.delta("a", 3, 4, put=("i9",))) is Outcome.GAP
    assert origin.version == 2


def test_a_word_of_an_earlier_life_is_refused(origin: Origin, make: Any) -> None:
    assert take(origin, make.state("a", 9, put=("i9",), life=(999, 99))) is Outcome.OLD_LIFE
    assert origin.version == 2


def test_the_nonce_orders_lives_that_began_in_the_same_millisecond(origin: Origin, make: Any) -> None:
    assert take(origin, make.state("a", 1, life=(1_000, 2))) is Outcome.APPLIED
    assert take(origin, make.state("a", 9, life=(1_000, 1))) is Outcome.OLD_LIFE


def test_a_new_life_replaces_all_that_an_earlier_one_said(origin: Origin, make: Any) -> None:
    take(origin, make.delta("a", 2, 3, put=("i2",)))
    assert take(origin, make.state("a", 1, put=("i3",), life=(1_001, 0))) is Outcome.APPLIED
    assert (origin.incarnation, origin.version, list(origin.instances)) == ((1_001, 0), 1, [make.key("i3")])
    assert origin.deltas_since((1_001, 0), 0) is None


def test_a_delta_of_a_new_life_waits_for_its_state(origin: Origin, make: Any) -> None:
    assert take(origin, make.delta("a", 2, 3, life=(1_001, 0))) is Outcome.GAP


def test_a_newer_state_of_the_same_life_is_applied_whatever_is_held(origin: Origin, make: Any) -> None:
    assert take(origin, make.state("a", 9, put=("i2",))) is Outcome.APPLIED
    assert (origin.version, list(origin.instances)) == (9, [make.key("i2")])


def test_a_delta_that_removes_and_puts_one_key_leaves_it(origin: Origin, make: Any) -> None:
    take(origin, make.delta("a", 2, 3, put=("i1",), removed=(make.key("i1"),)))
    assert make.key("i1") in origin.instances


def test_a_state_in_parts_is_applied_when_complete(origin: Origin, make: Any) -> None:
    parts = [make.state("a", 5, put=(f"p{n}",), part=n, parts=3) for n in range(3)]
    assert [take(origin, parts[n]) for n in (2, 0)] == [Outcome.PARTIAL] * 2
    assert (origin.version, list(origin.instances)) == (2, [make.key("i1")])
    assert take(origin, parts[1]) is Outcome.APPLIED
    assert (origin.version, sorted(origin.instances)) == (5, [make.key(f"p{n}") for n in range(3)])
    assert not origin.parts


def test_a_newer_cut_replaces_the_parts_of_an_older_one(origin: Origin, make: Any) -> None:
    take(origin, make.state("a", 5, put=("old",), part=0, parts=2))
    take(origin, make.state("a", 6, put=("new",), part=1, parts=2))
    assert take(origin, make.state("a", 5, put=("older",), part=1, parts=2)) is Outcome.PARTIAL
    assert take(origin, make.state("a", 6, put=("first",), part=0, parts=2)) is Outcome.APPLIED
    assert sorted(origin.instances) == [make.key("first"), make.key("new")]


def test_an_early_delta_fits_once_its_predecessor_is_applied(origin: Origin, make: Any) -> None:
    late, early = make.delta("a", 2, 3), make.delta("a", 3, 4)
    origin.keep_early(early, b"early", 64, 1000)
    assert origin.next_early() is None
    take(origin, late)
    assert origin.next_early() == (early, b"early")


def test_early_deltas_are_bounded(origin: Origin, make: Any) -> None:
    for since in range(10, 20):
        origin.keep_early(make.delta("a", since, since + 1), b"", 4, 1000)
    assert sorted(origin.early) == [10, 11, 12, 13]


def test_early_deltas_that_became_old_are_forgotten(origin: Origin, make: Any) -> None:
    origin.keep_early(make.delta("a", 5, 6), b"", 64, 1000)
    take(origin, make.state("a", 9))
    origin.next_early()
    assert not origin.early


def test_an_early_delta_of_a_new_life_waits_for_that_life(origin: Origin, make: Any) -> None:
    born = make.delta("a", 3, 4, put=("i4",), life=(1_001, 0))
    origin.keep_early(born, b"born", 64, 1000)
    take(origin, make.delta("a", 2, 3))  # the old life reaches the same number
    assert origin.next_early() is None
    take(origin, make.state("a", 3, life=(1_001, 0)))
    assert origin.next_early() == (born, b"born")


def test_an_early_delta_of_a_new_life_is_kept_in_place_of_an_old_one(origin: Origin, make: Any) -> None:
    born = make.delta("a", 5, 6, life=(1_001, 0))
    origin.keep_early(make.delta("a", 5, 6), b"old", 64, 1000)
    origin.keep_early(born, b"born", 64, 1000)
    origin.keep_early(make.delta("a", 5, 6), b"old", 64, 1000)
    assert origin.early[5] == (born, b"born")


def test_what_is_missing_is_answered_from_the_log(origin: Origin, make: Any) -> None:
    for version in (3, 4, 5):
        take(origin, make.delta("a", version - 1, version), f"frame {version}".encode())
    assert origin.deltas_since(make.life, 3) == [b"frame 4", b"frame 5"]
    assert origin.deltas_since(make.life, 5) == []
    assert origin.deltas_since(make.life, 1) is None
    assert origin.deltas_since((999, 0), 4) is None


def test_the_log_keeps_at_least_so_many_deltas_and_little_more_than_a_state_weighs(origin: Origin, make: Any) -> None:
    for version in range(3, 103):
        take(origin, make.delta("a", version - 1, version), b"x" * 100, keep=10)
    assert len(origin.log) == 10
    assert origin.log_bytes == 1000
    assert origin.deltas_since(make.life, 92) is not None
    assert origin.deltas_since(make.life, 91) is None


def test_unknown_fields_stay_with_the_record_they_came_with(origin: Origin, make: Any) -> None:
    take(origin, make.delta("a", 2, 3, put=("i1",), extras={make.key("i1"): (7,)}))
    assert origin.extras == {make.key("i1"): (7,)}
    take(origin, make.delta("a", 3, 4, put=("i1",)))
    assert origin.extras == {}
    take(origin, make.delta("a", 4, 5, put=("i1",), extras={make.key("i1"): (8,)}))
    take(origin, make.delta("a", 5, 6, removed=(make.key("i1"),)))
    assert origin.extras == {}


def test_a_member_shows_what_the_header_says(origin: Origin, make: Any) -> None:
    take(origin, make.delta("a", 2, 3, header=make.header(7, flags=HeaderFlags.LEAVING, interval_ms=250, pulse=3)))
    member = origin.member()
    assert (member.id, member.name, member.address, member.version, member.instances) == ("a", "n7", "10.0.0.7:7400", 3, 1)
    assert (origin.publisher, origin.leaving, origin.interval_s, origin.life) == ("10.0.0.7:7401", True, 0.25, (make.life, 3))
