"""Dial-back: a partner of the join tries what a newcomer advertises."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Answer, Asked, Call, HangUp, Happened, Probe, Probed, ProbeOutcome
from gossip.core.messages import DialBack, Reached
from gossip.core.node import Node
from gossip.core.reach import REACH_MAX, Reach
from gossip.simulation import Cluster

OPEN, REFUSED, UNKNOWN = ProbeOutcome.OPEN, ProbeOutcome.REFUSED, ProbeOutcome.UNKNOWN


@pytest.fixture
def reach(bench: Any) -> Reach:
    calls = iter(range(1, 100))
    return Reach(bench.local, new_call=lambda: next(calls), wanted=True)


def answer(reach: Reach, bench: Any, contact: ProbeOutcome, publisher: ProbeOutcome, token: bytes = b"t") -> Reached:
    """What an answerer tells of the member a."""
    bench.join("a")
    a = bench.table.origins["a"]
    reach.asked(token, DialBack("a"))
    assert bench.effects(Probe) == [Probe(a.contact), Probe(a.publisher)]
    reach.probed(a.publisher, publisher)
    assert bench.effects() == []
    reach.probed(a.contact, contact)
    (told,) = bench.effects(Answer)
    assert told.token == token
    found = bench.local.codec.decode(told.frame)
    assert isinstance(found, Reached)
    return found


@pytest.mark.parametrize(
    ("contact", "publisher", "told"), [(OPEN, OPEN, (True, True)), (REFUSED, OPEN, (False, True)), (OPEN, UNKNOWN, (True, None))]
)
def test_an_answerer_tells_what_it_reached(
    reach: Reach, bench: Any, contact: ProbeOutcome, publisher: ProbeOutcome, told: tuple[bool | None, ...]
) -> None:
    found = answer(reach, bench, contact, publisher)
    assert (found.contact, found.publisher) == told


def test_only_what_a_member_advertises_is_dialled(reach: Reach, bench: Any) -> None:
    for asker in ("stranger", "me"):
        reach.asked(b"t", DialBack(asker))
    assert bench.effects() == []


def test_checks_for_others_are_bounded(reach: Reach, bench: Any) -> None:
    bench.join("a")
    for number in range(REACH_MAX + 3):
        reach.asked(b"%d" % number, DialBack("a"))
    assert len(bench.effects(Probe)) == 2 * REACH_MAX
    assert bench.local.counters["dial_backs_refused"] == 3


def test_one_probe_answers_all_who_wait_for_it(reach: Reach, bench: Any) -> None:
    bench.join("a")
    a = bench.table.origins["a"]
    for token in (b"1", b"2"):
        reach.asked(token, DialBack("a"))
    bench.effects()
    for endpoint in (a.contact, a.publisher):
        reach.probed(endpoint, OPEN)
    assert [effect.token for effect in bench.effects(Answer)] == [b"1", b"2"]


def test_what_is_not_reached_is_told_with_what_to_do(reach: Reach, bench: Any) -> None:
    reach.ask("10.0.0.2:7400", 0.0)
    (call,) = bench.effects(Call)
    reach.answered(call.call, Reached("b", False, None))
    effects = bench.effects()
    assert HangUp(call.call) in effects
    notices = [effect.reason for effect in effects if isinstance(effect, Happened)]
    assert len(notices) == 2
    assert "b cannot connect to my contact at 10.0.0.1:7400, which I advertise: the connection is refused" in notices[0]
    assert "publisher at 10.0.0.1:7401, which I advertise: no answer" in notices[1]
    assert all("advertise an address and ports that they reach" in notice for notice in notices)


def test_what_is_reached_is_not_worth_a_word(reach: Reach, bench: Any) -> None:
    reach.ask("10.0.0.2:7400", 0.0)
    (call,) = bench.effects(Call)
    reach.answered(call.call + 1, Reached("b", False, False))  # another call's
    reach.answered(call.call, Reached("b", True, True))
    assert bench.effects() == [HangUp(call.call)]


def test_an_older_partner_never_answers_and_nothing_follows(reach: Reach, bench: Any) -> None:
    reach.ask("10.0.0.2:7400", 0.0)
    (call,) = bench.effects(Call)
    reach.tick(reach.next_deadline() - 0.001)
    assert bench.effects() == []
    reach.tick(reach.next_deadline())
    assert bench.effects() == [HangUp(call.call)]
    assert reach.next_deadline() == float("inf")


@pytest.mark.parametrize("reachable", [True, False])
def test_a_newcomer_learns_at_its_join_whether_it_is_reached(reachable: bool) -> None:
    cluster = Cluster(seed=1)
    seed = cluster.spawn()
    newcomer = cluster.spawn(check_reach=True)
    if not reachable:
        del cluster.publishers[newcomer.publisher]  # as behind a NAT that passes on the contact alone
    cluster.run(1.0)
    notices = [effect.reason for effect in newcomer.history if "cannot connect" in effect.reason]
    assert bool(notices) is not reachable
    assert all(notice.startswith(f"{seed.id} cannot connect to my") for notice in notices)


def test_a_newcomer_asks_once_and_only_if_it_should() -> None:
    cluster = Cluster(seed=1)
    peers = [cluster.spawn(check_reach=number % 2 == 0) for number in range(4)]
    cluster.run(30.0)
    assert [peer.node._reach.wanted for peer in peers] == [False] * 4
    assert [peer.node.local.counters["dial_backs"] for peer in peers] == [1, 0, 1, 0]


def test_a_dial_back_goes_through_the_node(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("a"))), 1.0)
    probes = [effect for effect in node.handle(Asked(b"t", make.codec.encode(DialBack("a"))), 1.0) if isinstance(effect, Probe)]
    assert node.handle(Probed(probes[0].endpoint, OPEN), 1.0) == []
    (told,) = node.handle(Probed(probes[1].endpoint, REFUSED), 1.0)
    assert isinstance(told, Answer)
    assert make.codec.decode(told.frame) == Reached(node.id, True, False)
