"""Each transition of an origin is followed by the directory, the overlay, the digest and one event."""

from __future__ import annotations

from typing import Any

from gossip.core.effects import Changed, Happened
from gossip.core.messages import Belief
from gossip.model import EventKind, MemberState


def kinds(bench: Any) -> list[EventKind]:
    return [effect.kind for effect in bench.effects(Happened)]


def test_an_admitted_member_is_shown_linked_and_told(bench: Any, make: Any) -> None:
    bench.give(make.state("a", put=("i1",)))
    effects = bench.effects()
    assert [type(effect) for effect in effects] == [Changed, Happened]
    assert effects[1].kind is EventKind.MEMBER_JOINED
    assert bench.shown() == make.instance()
    assert make.codec.hash("a") in bench.local.overlay.members
    assert bench.local.links_dirty
    assert bench.table.living == 2


def test_a_suspect_serves_on_and_is_told_once(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.suspect(a, "silent")
    bench.membership.suspect(a, "silent")
    assert kinds(bench) == [EventKind.MEMBER_SUSPECTED]
    assert bench.shown() == make.instance()
    bench.membership.clear(a, "refuted")
    bench.membership.clear(a, "refuted")
    assert kinds(bench) == [EventKind.MEMBER_REFUTED]
    assert a.state is MemberState.ALIVE


def test_the_dead_are_hidden_with_the_reason_and_keep_their_state(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.settle(a, MemberState.DEAD, "its links closed", 5.0)
    changed, happened = bench.effects()
    assert changed == Changed(make.instance(), None, "its links closed")
    assert (happened.kind, happened.after.state, happened.reason) == (EventKind.MEMBER_DEAD, MemberState.DEAD, "its links closed")
    assert a.hash not in bench.local.overlay.members
    assert list(a.instances) == [make.key()]
    assert a.settled_at == 5.0


def test_who_left_is_told_as_such(bench: Any) -> None:
    (a,) = bench.join("a")
    bench.membership.settle(a, MemberState.LEFT, "a left", 5.0)
    assert kinds(bench) == [EventKind.MEMBER_LEFT]


def test_who_refutes_its_death_is_shown_again(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.membership.settle(a, MemberState.DEAD, "", 5.0)
    bench.effects()
    bench.membership.restore(a, again=False)
    assert bench.shown() == make.instance()
    assert kinds(bench) == [EventKind.MEMBER_REFUTED]
    assert a.hash in bench.local.overlay.members


def test_who_comes_back_in_a_new_life_joins(bench: Any) -> None:
    (a,) = bench.join("a")
    bench.membership.settle(a, MemberState.DEAD, "", 5.0)
    bench.effects()
    bench.membership.restore(a, again=True)
    assert kinds(bench) == [EventKind.MEMBER_JOINED]


def test_what_another_believes_is_taken_over(bench: Any) -> None:
    (a,) = bench.join("a")
    for kind, state, told in (
        (EventKind.MEMBER_SUSPECTED, MemberState.SUSPECTED, [EventKind.MEMBER_SUSPECTED]),
        (EventKind.MEMBER_REFUTED, MemberState.ALIVE, [EventKind.MEMBER_REFUTED]),
        (EventKind.MEMBER_REFUTED, MemberState.ALIVE, []),
        (EventKind.MEMBER_DEAD, MemberState.DEAD, [EventKind.MEMBER_DEAD]),
        (EventKind.MEMBER_LEFT, MemberState.DEAD, []),
        (EventKind.MEMBER_JOINED, MemberState.ALIVE, [EventKind.MEMBER_JOINED]),
        (EventKind.MEMBER_LEFT, MemberState.LEFT, [EventKind.MEMBER_LEFT]),
        (EventKind.MEMBER_REFUTED, MemberState.ALIVE, [EventKind.MEMBER_REFUTED]),
    ):
        bench.membership.believe(Belief("a", kind, "told"), 1.0)
        assert (a.state, kinds(bench)) == (state, told)
    bench.membership.believe(Belief("stranger", EventKind.MEMBER_DEAD, "told"), 1.0)
    assert kinds(bench) == []


def test_one_delta_shows_what_its_fold_holds(bench: Any, make: Any) -> None:
    (a,) = bench.join("a", put=("i1",))
    bench.give(make.delta("a", 1, 2, put=("i1", "i2"), removed=(make.key("i1"),)))
    assert sorted(a.instances) == [make.key("i1"), make.key("i2")]
    assert bench.shown("i1") is not None
    assert bench.shown("i2") is not None


def test_an_instance_of_several_origins_goes_with_the_last_of_them(bench: Any, make: Any) -> None:
    bench.join("a", put=("i1",))
    (b,) = bench.join("b", put=("i1",), life=(2_000, 0))
    assert bench.shown() == make.instance(origin="b")
    bench.membership.settle(b, MemberState.DEAD, "dead", 1.0)
    assert bench.shown() == make.instance(origin="a")
    bench.membership.settle(bench.table.origins["a"], MemberState.LEFT, "left", 1.0)
    assert bench.shown() is None


def test_the_new_life_of_a_holder_brings_its_record_to_the_front(bench: Any, make: Any) -> None:
    bench.join("a", put=("i1",), life=(1_000, 1))
    bench.join("b", put=("i1",), life=(2_000, 1))
    bench.give(make.state("a", put=("i1",), life=(3_000, 1)))
    assert bench.effects(Changed) == [Changed(make.instance(origin="b"), make.instance(origin="a"), "registered by a")]
    bench.membership.settle(bench.table.origins["b"], MemberState.DEAD, "", 1.0)
    assert bench.shown() == make.instance(origin="a")
