"""Each ping ends in an answer, a stranger's answer, or its deadline."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from gossip.core.effects import Answered, Call, HangUp, LinkClosed, Probe, Probed, ProbeOutcome
from gossip.core.messages import Foreign, Ping
from gossip.core.node import Node
from gossip.core.pings import PINGS_MAX, Pings
from gossip.model import MemberState

FIRST_CALL = 7


@pytest.fixture
def pings(bench: Any) -> Pings:
    return Pings(bench.local, new_call=itertools.count(FIRST_CALL).__next__)


@pytest.fixture
def timeout_s(bench: Any) -> float:
    return float(bench.local.config.detection.ping_timeout_s)


def run(wire: Any, node: Node, since: float, until: float) -> None:
    """Tick at each deadline, over the wire."""
    now = since
    for _ in range(1_000):
        now = max(now, node.next_deadline())
        if now > until:
            return
        wire.carry(node, node.tick(now), now)
    raise AssertionError("it ticks for ever")


def test_a_ping_is_a_call_of_the_members_contact_that_says_who_asks(bench: Any, pings: Pings) -> None:
    (b,) = bench.join("b")
    assert pings.send(b, 1.0)
    (call,) = bench.effects()
    assert (type(call), call.call, call.endpoint) == (Call, FIRST_CALL, b.contact)
    assert bench.make.codec.decode(call.frame) == Ping("me", bench.local.me.incarnation, 0)


def test_a_member_is_pinged_once_at_a_time_and_others_beside_it(bench: Any, pings: Pings) -> None:
    b, c = bench.join("b", "c")
    assert [pings.send(origin, 1.0) for origin in (b, b, c)] == [True, True, True]
    assert [call.endpoint for call in bench.effects(Call)] == [b.contact, c.contact]
    assert len(pings) == 2


def test_an_answer_ends_the_ping_and_names_whom_it_was_for(bench: Any, pings: Pings) -> None:
    (b,) = bench.join("b")
    pings.send(b, 1.0)
    bench.effects()
    assert pings.answered(FIRST_CALL) is b
    assert bench.effects() == [HangUp(FIRST_CALL)]
    assert (len(pings), pings.next_deadline()) == (0, float("inf"))


def test_a_second_answer_to_one_ping_is_nobodys(bench: Any, pings: Pings) -> None:
    pings.send(*bench.join("b"), 1.0)
    pings.answered(FIRST_CALL)
    bench.effects()
    assert pings.answered(FIRST_CALL) is None
    assert bench.effects() == []


def test_the_answer_to_a_call_that_is_no_ping_is_nobodys(bench: Any, pings: Pings) -> None:
    pings.send(*bench.join("b"), 1.0)
    bench.effects()
    assert pings.answered(FIRST_CALL + 1) is None
    assert bench.effects() == []
    assert len(pings) == 1


def test_whose_ping_was_answered_is_pinged_again_by_a_new_call(bench: Any, pings: Pings) -> None:
    (b,) = bench.join("b")
    pings.send(b, 1.0)
    pings.answered(FIRST_CALL)
    pings.send(b, 1.1)
    assert [call.call for call in bench.effects(Call)] == [FIRST_CALL, FIRST_CALL + 1]


def test_an_unanswered_ping_ends_at_its_deadline_and_not_before(bench: Any, pings: Pings, timeout_s: float) -> None:
    (b,) = bench.join("b")
    pings.send(b, 1.0)
    bench.effects()
    assert pings.next_deadline() == 1.0 + timeout_s
    assert pings.overdue(0.99 + timeout_s) == []
    assert pings.overdue(1.0 + timeout_s) == [b]
    assert bench.effects() == [HangUp(FIRST_CALL)]
    assert (len(pings), pings.next_deadline()) == (0, float("inf"))


def test_only_what_is_overdue_is_given_up(bench: Any, pings: Pings, timeout_s: float) -> None:
    b, c = bench.join("b", "c")
    pings.send(b, 1.0)
    pings.send(c, 1.2)
    assert pings.overdue(1.0 + timeout_s) == [b]
    assert pings.next_deadline() == 1.2 + timeout_s


def test_an_answer_after_the_deadline_is_nobodys(bench: Any, pings: Pings, timeout_s: float) -> None:
    pings.send(*bench.join("b"), 1.0)
    pings.overdue(1.0 + timeout_s)
    assert pings.answered(FIRST_CALL) is None


def test_after_a_pause_every_ping_has_its_whole_time_again(bench: Any, pings: Pings, timeout_s: float) -> None:
    (b,) = bench.join("b")
    pings.send(b, 1.0)
    pings.paused(60.0)
    assert pings.overdue(60.0) == []
    assert pings.overdue(60.0 + timeout_s) == [b]


def test_pings_are_bounded_and_a_refused_one_asks_nothing_of_the_shell(bench: Any, pings: Pings) -> None:
    origins = bench.join(*(f"x{number}" for number in range(PINGS_MAX + 1)))
    assert [pings.send(origin, 1.0) for origin in origins] == [True] * PINGS_MAX + [False]
    assert len(bench.effects(Call)) == len(pings) == PINGS_MAX
    pings.answered(FIRST_CALL)
    assert pings.send(origins[-1], 1.1)


@pytest.mark.parametrize("how", ["answered", "overdue"])
def test_a_member_that_moved_or_was_forgotten_meanwhile_is_not_held_to_its_ping(
    bench: Any, pings: Pings, timeout_s: float, how: str
) -> None:
    moved, forgotten = bench.join("b", "c")
    for origin in (moved, forgotten):
        pings.send(origin, 1.0)
    moved.header = dataclasses.replace(moved.header, contact_port=7999)
    bench.table.remove(forgotten)
    bench.effects()
    if how == "answered":
        assert [pings.answered(FIRST_CALL), pings.answered(FIRST_CALL + 1)] == [None, None]
    else:
        assert pings.overdue(1.0 + timeout_s) == []
    assert bench.effects() == [HangUp(FIRST_CALL), HangUp(FIRST_CALL + 1)]  # the calls end all the same


# strangers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cluster", ["other", "default"])
def test_a_member_at_whose_address_another_answers_is_dead(wire: Any, pair: Any, node_of: Any, cluster: str) -> None:
    node, former = pair
    wire.talk(node, former, 0.0)
    run(wire, node, 0.0, 0.3)  # it links, and watches
    member = node.local.table.origins[former.id]
    wire.add(node_of(2, "successor", cluster=cluster, wall_ms=9_000))  # at the same address
    wire.carry(node, node.handle(LinkClosed(member.publisher), 0.5), 0.5)
    assert wire.kept[node.local.me.contact][-1] == Probe(member.publisher)
    wire.carry(node, node.handle(Probed(member.publisher, ProbeOutcome.OPEN), 0.5), 0.5)
    run(wire, node, 0.5, 0.7)  # less than a ping's time: it is the answer that tells
    assert member.state is MemberState.DEAD
    assert len(node._pings) == 0


def test_the_same_member_at_its_address_lives_on(wire: Any, pair: Any) -> None:
    node, other = pair
    wire.talk(node, other, 0.0)
    run(wire, node, 0.0, 0.3)
    member = node.local.table.origins[other.id]
    wire.carry(node, node.handle(LinkClosed(member.publisher), 0.5), 0.5)
    wire.carry(node, node.handle(Probed(member.publisher, ProbeOutcome.OPEN), 0.5), 0.5)
    run(wire, node, 0.5, 0.7)
    assert member.state is MemberState.ALIVE
    assert node.local.counters["accusations_made"] == 0


def test_a_foreigner_that_answers_what_nobody_asked_accuses_nobody(wire: Any, pair: Any, node_of: Any) -> None:
    node, other = pair
    wire.talk(node, other, 0.0)
    foreign = node_of(3, cluster="other").local.codec.encode(Foreign())
    assert node.handle(Answered(10_000, foreign), 0.1) == []
    assert node.local.counters["frames_foreign"] == 1
    assert node.local.table.origins[other.id].state is MemberState.ALIVE
