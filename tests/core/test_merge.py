"""Merging is idempotent, never goes back, and does not raise the dead."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.effects import Changed, Happened, Publish
from gossip.core.merge import ARRIVING_MAX, GAPS_MAX
from gossip.core.messages import Evidence, HeaderFlags
from gossip.core.origin import Outcome
from gossip.model import EventKind, MemberState


def leaving(make: Any, **changes: Any) -> Any:
    return make.header(5, flags=HeaderFlags.LEAVING, **changes)


def test_an_unknown_state_is_taken_in_and_news(bench: Any, make: Any) -> None:
    state = make.state("a", 3, put=("i1",))
    taken = bench.give(state)
    assert (taken.outcome, taken.news) == (Outcome.APPLIED, (make.codec.encode_delta(state),))
    assert bench.table.origins["a"].version == 3
    again = bench.give(state)
    assert (again.outcome, again.news) == (Outcome.DUPLICATE, ())


def test_an_ordinary_delta_is_applied_and_no_news(bench: Any, make: Any) -> None:
    bench.join("a")
    taken = bench.give(make.delta("a", 1, 2, put=("i1",)))
    assert (taken.outcome, taken.news) == (Outcome.APPLIED, ())
    assert bench.shown() == make.instance()


def test_a_delta_of_an_unknown_origin_is_a_gap(bench: Any, make: Any) -> None:
    assert bench.give(make.delta("a", 1, 2)).outcome is Outcome.GAP
    assert "a" not in bench.table.origins


def test_reordered_deltas_are_applied_in_order(bench: Any, make: Any) -> None:
    (a,) = bench.join("a")
    bench.merger.missed("a", "10.0.0.5:7400", 0.0)
    for version in (4, 3):
        assert bench.give(make.delta("a", version - 1, version, put=(f"i{version}",))).outcome is Outcome.GAP
    bench.give(make.delta("a", 1, 2, put=("i2",)))
    assert (a.version, sorted(a.instances)) == (4, [make.key(f"i{n}") for n in (2, 3, 4)])
    assert bench.merger.gaps == {}


def test_a_gap_is_pulled_after_a_moment_from_whoever_carried_it(bench: Any) -> None:
    bench.merger.missed("a", "10.0.0.5:7400", 1.0)
    bench.merger.missed("a", "10.0.0.6:7400", 1.1)
    assert bench.merger.next_deadline() == pytest.approx(1.2)
    assert bench.merger.due_gaps(1.1) == []
    assert bench.merger.due_gaps(1.2) == [("a", "10.0.0.5:7400")]
    assert bench.merger.due_gaps(9.0) == []


def test_gaps_are_bounded(bench: Any) -> None:
    for n in range(GAPS_MAX + 1):
        bench.merger.missed(f"o{n}", "10.0.0.5:7400", 1.0)
    assert len(bench.merger.gaps) == GAPS_MAX


def test_a_head_that_would_change_nothing_is_seen_before_it_is_decoded(bench: Any, make: Any) -> None:
    bench.join("a", life=(1_000, 5))
    known = make.codec.hash("a")
    assert bench.merger.is_duplicate(known, (1_000, 5), 1)
    assert bench.merger.is_duplicate(known, (1_000, 4), 9)
    assert not bench.merger.is_duplicate(known, (1_000, 5), 2)
    assert not bench.merger.is_duplicate(known, (1_000, 6), 1)
    assert not bench.merger.is_duplicate(make.codec.hash("stranger"), (1, 1), 1)
    assert not bench.merger.is_duplicate(bench.local.me.hash, bench.local.me.incarnation, 1)


def test_a_word_about_me_is_mine_to_judge(bench: Any, make: Any) -> None:
    delta = make.state("me", 9, life=(9_999, 0))
    assert bench.give(delta).outcome is Outcome.DUPLICATE
    assert bench.about_me == [delta]


# who leaves, who is dead ------------------------------------------------------------------------------------------------


def test_a_goodbye_hides_its_origin(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.give(make.delta("a", 1, 2, header=leaving(make)))
    assert a.state is MemberState.LEFT
    assert bench.shown() is None


def test_a_goodbye_in_a_whole_state_hides_also_what_that_state_no_longer_holds(bench: Any, make: Any) -> None:
    bench.join("a", put=("i1", "i2"))
    bench.give(make.state("a", 4, put=("i2",), header=leaving(make)))
    assert (bench.shown("i1"), bench.shown("i2")) == (None, None)
    assert bench.local.directory.count == 0


def test_a_goodbye_that_removes_hides_what_it_removes(bench: Any, make: Any) -> None:
    bench.join("a", put=("i1",))
    bench.give(make.delta("a", 1, 2, removed=(make.key(),), header=leaving(make)))
    assert bench.shown() is None


def test_who_left_without_being_known_is_not_stored(bench: Any, make: Any) -> None:
    assert bench.give(make.state("a", 2, header=leaving(make))).outcome is Outcome.OLD_LIFE
    assert "a" not in bench.table.origins
    assert bench.effects() == []


def test_a_late_delta_after_the_verdict_is_merged_and_stays_hidden(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.settle(a, MemberState.DEAD, "", 1.0)
    bench.effects()
    taken = bench.give(make.delta("a", 1, 2, put=("i2",)))
    assert (taken.outcome, taken.news) == (Outcome.APPLIED, ())
    assert (a.state, a.version) == (MemberState.DEAD, 2)
    assert bench.effects() == []


def test_a_higher_pulse_voids_the_verdict(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.settle(a, MemberState.DEAD, "", 1.0)
    taken = bench.give(make.delta("a", 1, 2, header=make.header(5, pulse=1)))
    assert a.state is MemberState.ALIVE
    assert len(taken.news) == 1
    assert bench.shown() == make.instance()


def test_a_pulse_below_the_one_that_was_condemned_does_not_void_the_verdict(bench: Any, make: Any) -> None:
    (a, *_) = bench.join("a", "b", "c", "d")
    for accuser in "bcd":
        bench.hear(bench.accusation(accuser, Evidence.CLOSED, "a", pulse=5))
    assert a.state is MemberState.DEAD
    bench.refutes("a", 1.0, pulse=5)
    assert a.state is MemberState.DEAD
    bench.refutes("a", 1.0, pulse=6)
    assert a.state is MemberState.ALIVE


def test_a_new_life_of_the_dead_joins_and_shows_only_what_it_says(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.settle(a, MemberState.DEAD, "", 1.0)
    bench.effects()
    assert bench.give(make.state("a", put=("i2",), life=(2_000, 0))).news
    assert (bench.shown("i1"), bench.shown("i2") is not None) == (None, True)
    assert [effect.kind for effect in bench.effects(Happened)] == [EventKind.MEMBER_JOINED]


def test_a_restart_replaces_what_readers_saw(bench: Any, make: Any) -> None:
    bench.join("a", put=("i1",))
    bench.give(make.state("a", put=("i2",), life=(2_000, 0)))
    assert [(c.before and c.before.id, c.after and c.after.id) for c in bench.effects(Changed)] == [("i1", None), (None, "i2")]


def test_of_the_forgotten_dead_only_a_higher_life_is_taken_in(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.settle(a, MemberState.DEAD, "", 0.0)
    bench.merger.expire(700.0)
    assert "a" in bench.table.floors
    assert bench.give(make.state("a", 5, put=("i1",)), 700.0).outcome is Outcome.OLD_LIFE
    assert bench.local.counters["ghosts_refused"] == 1
    assert bench.give(make.delta("a", 0 + 1, 1 + 0), 700.0).outcome is Outcome.OLD_LIFE
    assert bench.give(make.delta("a", 5, 6), 700.0).outcome is Outcome.GAP
    assert bench.give(make.state("a", 5, header=make.header(5, pulse=1)), 700.0).outcome is Outcome.APPLIED
    assert "a" not in bench.table.floors


def test_a_floor_outlives_the_state_for_the_retention(bench: Any) -> None:
    (a,) = bench.join("a")
    bench.membership.settle(a, MemberState.DEAD, "", 0.0)
    for now in (700.0, 80_000.0):
        bench.merger.expire(now)
        assert "a" in bench.table.floors
    bench.merger.expire(90_000.0)
    assert "a" not in bench.table.floors
    assert bench.local.counters["floors_ended"] == 1


def test_another_process_under_an_id_is_told_by_a_link_it_left(bench: Any, make: Any) -> None:
    bench.join("a")
    bench.local.fan.add(make.codec.hash("a"))
    elsewhere = make.state("a", header=make.header(77), life=(2_000, 0))
    bench.give(elsewhere)
    assert bench.effects(Publish) == [Publish(b"@" + make.codec.hash("a") + make.codec.encode_delta(elsewhere))]


# parts ------------------------------------------------------------------------------------------------------------------


def parts(make: Any, version: int, sizes: list[int], **fields: Any) -> list[Any]:
    return [
        make.state("a", version, put=tuple(f"v{version}p{n}i{k}" for k in range(size)), part=n, parts=len(sizes), **fields)
        for n, size in enumerate(sizes)
    ]


def test_an_unknown_state_in_parts_is_taken_in_when_complete_and_all_its_frames_are_news(bench: Any, make: Any) -> None:
    first, second = parts(make, 4, [2, 3])
    assert bench.give(second).outcome is Outcome.PARTIAL
    assert "a" not in bench.table.origins
    taken = bench.give(first)
    assert taken.outcome is Outcome.APPLIED
    assert sorted(taken.news) == sorted(map(make.codec.encode_delta, (first, second)))
    assert len(bench.table.origins["a"].instances) == 5


def test_a_live_delta_waits_for_the_parts_of_a_known_origin(bench: Any, make: Any) -> None:
    (a,) = bench.join("a")
    first, second = parts(make, 4, [1, 1])
    bench.give(first)
    assert bench.give(make.delta("a", 4, 5, put=("live",))).outcome is Outcome.GAP
    bench.give(second)
    assert (a.version, len(a.instances)) == (5, 3)


def test_a_live_delta_waits_for_the_parts_of_an_unknown_origin(bench: Any, make: Any) -> None:
    first, second = parts(make, 4, [1, 1])
    bench.give(first)
    assert bench.give(make.delta("a", 4, 5, put=("live",))).outcome is Outcome.GAP
    bench.give(second)
    assert (bench.table.origins["a"].version, len(bench.table.origins["a"].instances)) == (5, 3)


def test_a_state_that_overtakes_the_parts_of_an_older_cut_is_news_alone(bench: Any, make: Any) -> None:
    bench.give(parts(make, 4, [1, 1])[1])
    whole = make.state("a", 5, put=("i1",))
    assert bench.give(whole).news == (make.codec.encode_delta(whole),)


def test_the_parts_of_an_earlier_life_do_not_disturb_those_that_are_arriving(bench: Any, make: Any) -> None:
    first, second = parts(make, 1, [1, 1], life=(2_000, 0))
    bench.give(first)
    assert bench.give(make.state("a", 9, put=("old",), life=(1_000, 0))).outcome is Outcome.OLD_LIFE
    assert bench.give(second).outcome is Outcome.APPLIED


def test_origins_that_arrive_in_parts_are_bounded(bench: Any, make: Any) -> None:
    for n in range(ARRIVING_MAX + 3):
        bench.give(make.state(f"o{n}", 2, part=0, parts=2))
    assert list(bench.merger._arriving) == [f"o{n}" for n in range(3, ARRIVING_MAX + 3)]


# bounds -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(bench_of: Callable[[Config], Any]) -> Any:
    """At most ten instances an origin, and three members."""
    return bench_of(Config(limits=Limits(instances_max=10, members_max=3)))


def test_an_unknown_origin_above_the_bound_is_not_taken_in_and_told_once(small: Any, make: Any) -> None:
    for id in "ab":
        assert small.give(make.state(id, put=tuple(f"i{n}" for n in range(11)))).outcome is Outcome.OLD_LIFE
    assert list(small.table.origins) == ["me"]
    assert [effect.kind for effect in small.effects(Happened)] == [EventKind.NOTICE]
    assert small.local.counters["origins_refused"] == 2


def test_a_known_origin_that_grows_above_the_bound_is_not_followed(small: Any, make: Any) -> None:
    (a,) = small.join("a", put=tuple(f"i{n}" for n in range(10)))
    assert small.give(make.delta("a", 1, 2, put=("i10",))).outcome is Outcome.OLD_LIFE
    assert a.version == 1


def test_updates_and_exchanges_within_the_bound_are_no_growth(small: Any, make: Any) -> None:
    ids = tuple(f"i{n}" for n in range(10))
    (a,) = small.join("a", put=ids)
    assert small.give(make.delta("a", 1, 2, put=ids)).outcome is Outcome.APPLIED
    assert small.give(make.delta("a", 2, 3, put=("i10",), removed=(make.key("i0"),))).outcome is Outcome.APPLIED
    assert small.give(make.state("a", 4, put=tuple(f"j{n}" for n in range(10)))).outcome is Outcome.APPLIED
    assert len(a.instances) == 10


def test_what_a_delta_removes_and_puts_again_counts(small: Any, make: Any) -> None:
    (a,) = small.join("a")
    ids = tuple(f"i{n}" for n in range(11))
    assert small.give(make.delta("a", 1, 2, put=ids, removed=tuple(map(make.key, ids)))).outcome is Outcome.OLD_LIFE
    assert a.instances == {}


@pytest.mark.parametrize("known", [False, True])
def test_the_parts_of_a_state_count_together(small: Any, make: Any, known: bool) -> None:
    if known:
        small.join("a")
    outcomes = [small.give(part).outcome for part in parts(make, 4, [5, 5, 5])]
    assert Outcome.APPLIED not in outcomes
    assert small.local.counters["origins_refused"] >= 1
    assert all(len(origin.instances) <= 10 for origin in small.table.origins.values())


@pytest.mark.parametrize("known", [False, True])
def test_the_parts_of_an_older_cut_do_not_count(small: Any, make: Any, known: bool) -> None:
    if known:
        small.join("a", put=tuple(f"i{n}" for n in range(5)))
    small.give(parts(make, 4, [8, 2])[0])
    assert [small.give(part).outcome for part in parts(make, 5, [8, 2])] == [Outcome.PARTIAL, Outcome.APPLIED]


@pytest.mark.parametrize("known", [False, True])
def test_a_part_that_comes_twice_counts_once(small: Any, make: Any, known: bool) -> None:
    if known:
        small.join("a", put=tuple(f"i{n}" for n in range(5)))
    first, second, third = parts(make, 4, [1, 8, 1])
    assert [small.give(part).outcome for part in (first, second, second, third)][-2:] == [Outcome.PARTIAL, Outcome.APPLIED]


def test_more_parts_than_instances_may_be_are_refused(small: Any, make: Any) -> None:
    assert small.give(make.state("a", 2, part=0, parts=12)).outcome is Outcome.OLD_LIFE


def test_beyond_the_bound_of_members_a_newcomer_is_refused_and_a_known_one_followed(small: Any, make: Any) -> None:
    small.join("a", "b")
    assert small.give(make.state("c")).outcome is Outcome.OLD_LIFE
    assert small.local.counters["members_refused"] == 1
    assert [effect.subject for effect in small.effects(Happened)] == ["c"]
    assert small.give(make.delta("a", 1, 2)).outcome is Outcome.APPLIED


def test_the_header_of_a_delta_moves_the_member(bench: Any, make: Any) -> None:
    (a,) = bench.join("a")
    header = dataclasses.replace(a.header, contact_port=9, pulse=1)
    bench.give(make.delta("a", 1, 2, header=header))
    assert a.contact.endswith(":9")
    assert bench.local.links_dirty
