"""Leaps of numbers are believed from their origin's own mouth alone."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Answered, Asked, Call, HangUp, Heard
from gossip.core.jumps import QUESTIONS_MAX, REFUTED_S
from gossip.core.local import LIFE_LEAP_MS, VERSION_LEAP
from gossip.core.messages import Accusation, Charge, Delta, Evidence, Ping, Pong, Sync, Want
from gossip.core.node import Node
from gossip.model import MemberState

FAR = 1 << 62


@pytest.fixture
def node(node_of: Any, make: Any) -> Node:
    """A node that knows the member a, at version 1."""
    found: Node = node_of(1)
    tell(found, make, make.state("a"))
    assert found.local.table.origins["a"].version == 1
    return found


def tell(node: Node, make: Any, delta: Delta, now: float = 0.0) -> list[Any]:
    """A third party carries a delta here."""
    return node.handle(Asked(b"somebody", make.codec.encode_delta(delta)), now)


def pings(node: Node, effects: list[Any]) -> list[Call]:
    calls = [effect for effect in effects if isinstance(effect, Call)]
    return [call for call in calls if isinstance(node.local.codec.decode(call.frame), Ping)]


def held(node: Node, id: str = "a") -> tuple[int, int]:
    origin = node.local.table.origins[id]
    return origin.incarnation[0], origin.version


def leaps(make: Any) -> list[Delta]:
    start, nonce = make.life
    return [
        make.state("a", 1, life=(start + LIFE_LEAP_MS + 1, nonce)),
        make.state("a", 1, life=(FAR, nonce)),
        make.state("a", VERSION_LEAP + 2),
        make.delta("a", 1, FAR),
        make.state("a", FAR, life=(start + 1, nonce)),
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_leap_is_not_believed_and_its_origin_is_asked_where_it_is_known_to_live(node: Node, make: Any, number: int) -> None:
    contact = node.local.table.origins["a"].contact
    forged = leaps(make)[number]
    if forged.header is not None:
        forged.header = make.header(66)  # the forger's own place
    (ping,) = pings(node, tell(node, make, forged))
    assert ping.endpoint == contact
    effects = node.handle(Answered(ping.call, make.codec.encode(Pong("a", make.life, 0, 1, True))), 0.1)
    assert HangUp(ping.call) in effects
    assert held(node) == (make.life[0], 1)
    assert node.local.counters["jumps_refused"] == 1
    assert pings(node, tell(node, make, forged, 0.2)) == []  # it was looked into a moment ago


@pytest.mark.parametrize("number", range(5))
def test_what_its_origin_says_itself_is_believed_and_pulled(node: Node, make: Any, number: int) -> None:
    said = leaps(make)[number]
    (ping,) = pings(node, tell(node, make, said))
    node.handle(Answered(ping.call, make.codec.encode(Pong("a", said.incarnation, 0, said.version, True))), 0.1)
    calls = [effect for effect in node.tick(1.0) if isinstance(effect, Call) and effect.endpoint == ping.endpoint]
    (pull,) = [call for call in calls if isinstance(node.local.codec.decode(call.frame), Want)]
    said.since, said.header = 0, said.header or make.header(2)
    node.handle(Answered(pull.call, make.codec.encode_delta(said)), 1.1)
    assert held(node) == (said.incarnation[0], said.version)


def test_what_comes_within_a_day_or_a_million_is_taken_at_once(node: Node, make: Any) -> None:
    start, nonce = make.life
    tell(node, make, make.state("a", VERSION_LEAP))
    tell(node, make, make.state("a", 7, life=(start + LIFE_LEAP_MS, nonce)))
    assert held(node) == (start + LIFE_LEAP_MS, 7)


def test_a_restart_after_a_quiet_week_is_no_leap_for_who_saw_the_week_pass(node: Node, make: Any) -> None:
    week_s = 7 * 86400.0
    tell(node, make, make.state("a", 1, life=(make.life[0] + round(1000 * week_s), 9)), week_s)
    assert held(node)[0] == make.life[0] + 1000 * week_s


def test_who_moved_is_asked_at_its_new_place_when_nobody_answers_at_the_old(node: Node, make: Any) -> None:
    moved = make.state("a", 1, life=(FAR, 9), header=make.header(77))
    (first,) = pings(node, tell(node, make, moved))
    (second,) = pings(node, node.tick(node._jumps.next_deadline()))
    assert (first.endpoint, second.endpoint) == (node.local.table.origins["a"].contact, "10.0.0.77:7400")
    node.handle(Answered(second.call, make.codec.encode(Pong("a", (FAR, 9), 0, 1, True))), 1.0)
    assert node._jumps.doubts(moved, 1.0) is False


def test_another_who_answers_there_vouches_for_nobody(node: Node, make: Any) -> None:
    forged = make.state("a", 1, life=(FAR, 9))
    (ping,) = pings(node, tell(node, make, forged))
    node.handle(Answered(ping.call, make.codec.encode(Pong("b", (FAR, 9), 0, 1, True))), 0.1)
    assert held(node) == (make.life[0], 1)
    assert node.local.counters["jumps_refused"] == 1


def test_an_unknown_origin_with_numbers_far_ahead_is_asked_before_it_is_a_member(node: Node, make: Any) -> None:
    (ping,) = pings(node, tell(node, make, make.state("x", 1, life=(FAR, 9), header=make.header(50))))
    assert ping.endpoint == "10.0.0.50:7400"
    assert "x" not in node.local.table.origins


def test_questions_are_bounded_and_end(node: Node, make: Any) -> None:
    asked = 0
    for number in range(2 * QUESTIONS_MAX):
        asked += len(pings(node, tell(node, make, make.state(f"x{number}", 1, life=(FAR, 9)))))
    assert asked == QUESTIONS_MAX
    assert node.local.counters["jumps_unasked"] == QUESTIONS_MAX
    node.tick(10.0)
    node.tick(10.0 + REFUTED_S)
    assert node._jumps.next_deadline() == float("inf")


@pytest.mark.parametrize(("start", "pulse"), [(FAR, 0), (1_000, 2 * VERSION_LEAP)])
def test_an_accusation_of_a_life_far_above_the_known_one_is_not_believed(node: Node, make: Any, start: int, pulse: int) -> None:
    incarnation = (start, make.life[1])
    forged = Accusation("z", make.life, 1, (Charge("a", incarnation, pulse, Evidence.CLOSED),))
    node.handle(Heard(b"*" + make.codec.encode(forged)), 1.0)
    assert node.local.table.origins["a"].state is MemberState.ALIVE
    assert node.local.counters["charges_doubted"] == 1


def test_a_join_of_an_honest_peer_asks_nothing(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    node.handle(Asked(b"t", make.codec.encode(Sync("b", make.life, 1, 0, False, bytes(2048)))), 0.0)
    assert pings(node, node.handle(Asked(b"t", make.codec.encode_delta(make.state("b"))), 0.0)) == []
    assert "b" in node.local.table.origins
