"""Dial-back: a partner of the join tries what a newcomer advertises."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Answer, Asked, Call, HangUp, Happened, Probe, Probed, ProbeOutcome
from gossip.core.messages import DialBack, Reached, Sync
from gossip.core.node import Node
from gossip.core.reach import ASKS_MAX, CHECK_INTERVAL_S, CHECK_RATE_PER_S, CHECKS_MAX, Reach
from gossip.simulation import Cluster

OPEN, REFUSED, UNKNOWN, UNTRIED = ProbeOutcome.OPEN, ProbeOutcome.REFUSED, ProbeOutcome.UNKNOWN, ProbeOutcome.UNTRIED


@pytest.fixture
def reach(bench: Any) -> Reach:
    calls = iter(range(1, 100))
    return Reach(bench.local, new_call=lambda: next(calls), sync=lambda: bench.sync("me"), wanted=True)


def answer(reach: Reach, bench: Any, contact: ProbeOutcome, publisher: ProbeOutcome, token: bytes = b"t") -> Reached:
    """What an answerer tells of the member a."""
    bench.join("a")
    a = bench.table.origins["a"]
    reach.asked(token, DialBack("a"), "a", 0.0)
    assert bench.effects(Probe) == [Probe(a.contact), Probe(a.publisher)]
    reach.probed(a.publisher, publisher)
    assert bench.effects() == []
    reach.probed(a.contact, contact)
    return told(bench, token)


def told(bench: Any, token: bytes) -> Reached:
    """The one answer that went out, to this token."""
    (answer,) = bench.effects(Answer)
    assert answer.token == token
    found = bench.local.codec.decode(answer.frame)
    assert isinstance(found, Reached)
    return found


@pytest.mark.parametrize(
    ("contact", "publisher", "found", "tried"),
    [
        (OPEN, OPEN, (True, True), (True, True)),
        (REFUSED, OPEN, (False, True), (True, True)),
        (OPEN, UNKNOWN, (True, None), (True, True)),
        (UNTRIED, REFUSED, (None, False), (False, True)),
        (OPEN, UNTRIED, (True, None), (True, False)),
    ],
)
def test_an_answerer_tells_what_it_reached_and_what_it_could_not_try(
    reach: Reach, bench: Any, contact: ProbeOutcome, publisher: ProbeOutcome, found: tuple[Any, ...], tried: tuple[bool, ...]
) -> None:
    said = answer(reach, bench, contact, publisher)
    assert ((said.contact, said.publisher), (said.contact_tried, said.publisher_tried)) == (found, tried)


@pytest.mark.parametrize(("asker", "opened_by"), [("stranger", "stranger"), ("me", "me"), ("a", None), ("a", "b")])
def test_only_a_member_that_opened_this_connection_under_its_id_is_dialled(
    reach: Reach, bench: Any, asker: str, opened_by: str | None
) -> None:
    bench.join("a", "b")
    reach.asked(b"t", DialBack(asker), opened_by, 0.0)
    assert bench.effects() == []
    assert bench.local.counters["dial_backs_of_strangers"] == 1


def test_a_member_is_checked_once_in_ten_seconds_whoever_asks_however_often(reach: Reach, bench: Any) -> None:
    bench.join("a")
    for number in range(1000):
        reach.asked(b"%d" % number, DialBack("a"), "a", number * 0.003)
    assert len(bench.effects(Probe)) == 2
    reach.asked(b"later", DialBack("a"), "a", CHECK_INTERVAL_S)
    assert len(bench.effects(Probe)) == 2
    assert bench.local.counters["dial_backs_refused"] == 999


def test_many_forged_members_cause_no_more_connects_than_the_rate(reach: Reach, bench: Any) -> None:
    ids = [f"forged-{number}" for number in range(200)]
    bench.join(*ids)
    probes = 0
    for number in range(6000):  # for 30 s
        id = ids[number % len(ids)]
        reach.asked(b"t", DialBack(id), id, number * 0.005)
        for probe in bench.effects(Probe):
            probes += 1
            reach.probed(probe.endpoint, OPEN)
    assert probes <= 2 * (CHECKS_MAX + 30 * CHECK_RATE_PER_S)


def test_who_is_refused_hears_that_nothing_was_checked(reach: Reach, bench: Any) -> None:
    bench.join("a")
    reach.asked(b"1", DialBack("a"), "a", 0.0)
    bench.effects()
    reach.asked(b"2", DialBack("a"), "a", 1.0)
    said = told(bench, b"2")
    assert (said.contact_tried, said.publisher_tried) == (False, False)


def test_checks_under_way_are_bounded_and_that_is_told(reach: Reach, bench: Any) -> None:
    ids = [f"m{number}" for number in range(CHECKS_MAX + 3)]
    bench.join(*ids)
    for id in ids:
        reach.asked(id.encode(), DialBack(id), id, 0.0)
    effects = bench.effects()
    assert sum(isinstance(effect, Probe) for effect in effects) == 2 * CHECKS_MAX
    assert bench.local.counters["dial_backs_refused"] == 3
    assert len([effect for effect in effects if isinstance(effect, Happened)]) == 1


def test_one_probe_answers_all_who_wait_for_it(reach: Reach, bench: Any) -> None:
    a, _ = bench.join("a", "b", header=bench.make.header(3))  # two members at one place
    for id in ("a", "b"):
        reach.asked(id.encode(), DialBack(id), id, 0.0)
    bench.effects()
    for endpoint in (a.contact, a.publisher):
        reach.probed(endpoint, OPEN)
    assert [effect.token for effect in bench.effects(Answer)] == [b"a", b"b"]


def asked(reach: Reach, bench: Any, now: float = 0.0) -> int:
    """The call on which I asked b."""
    reach.ask("10.0.0.2:7400", now)
    sync, dial_back = bench.effects(Call)
    assert isinstance(bench.local.codec.decode(sync.frame), Sync)
    assert bench.local.codec.decode(dial_back.frame) == DialBack("me")
    assert sync.call == dial_back.call
    return int(sync.call)


def test_what_is_not_reached_is_told_with_what_to_do(reach: Reach, bench: Any) -> None:
    call = asked(reach, bench)
    reach.answered(call, Reached("b", False, None), 0.0)
    effects = bench.effects()
    assert HangUp(call) in effects
    notices = [effect.reason for effect in effects if isinstance(effect, Happened)]
    assert len(notices) == 2
    assert "b cannot connect to my contact at 10.0.0.1:7400, which I advertise: the connection is refused" in notices[0]
    assert "publisher at 10.0.0.1:7401, which I advertise: no answer" in notices[1]
    assert all("advertise an address and ports that they reach" in notice for notice in notices)


def test_what_is_reached_is_not_worth_a_word(reach: Reach, bench: Any) -> None:
    call = asked(reach, bench)
    reach.answered(call + 1, Reached("b", False, False), 0.0)  # another call's
    reach.answered(call, Reached("b", True, True), 0.0)
    assert bench.effects() == [HangUp(call)]
    assert reach.next_deadline() == float("inf")


def test_what_was_not_checked_is_no_news_and_another_member_is_asked(reach: Reach, bench: Any) -> None:
    (a,) = bench.join("a")
    call = asked(reach, bench)
    reach.answered(call, Reached("b", True, None, True, False), 0.0)
    assert bench.effects() == [HangUp(call)]
    reach.tick(reach.next_deadline())
    assert [effect.endpoint for effect in bench.effects(Call)] == [a.contact, a.contact]
    assert bench.local.counters["dial_backs_unchecked"] == 1


def test_a_partner_that_never_answers_is_given_up_and_a_few_others_asked(reach: Reach, bench: Any) -> None:
    bench.join("a")
    call = asked(reach, bench)
    reach.tick(reach.next_deadline() - 0.001)
    assert bench.effects() == []
    reach.tick(reach.next_deadline())
    assert bench.effects() == [HangUp(call)]
    while reach.next_deadline() < float("inf"):
        reach.tick(reach.next_deadline())
    assert bench.local.counters["dial_backs"] == ASKS_MAX
    assert bench.effects(Happened) == []


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


def test_a_first_peer_without_seeds_asks_the_first_who_joins_it() -> None:
    cluster = Cluster(seed=1)
    first = cluster.spawn(check_reach=True, seeds=())
    newcomer = cluster.spawn()
    del cluster.publishers[first.publisher]
    cluster.run(2.0)
    notices = [effect.reason for effect in first.history if "cannot connect" in effect.reason]
    assert len(notices) == 1
    assert notices[0].startswith(f"{newcomer.id} cannot connect to my publisher")


def sync_of(make: Any, id: str) -> bytes:
    sync: bytes = make.codec.encode(Sync(id, make.life, 1, 0, True, bytes(2048)))
    return sync


def test_a_dial_back_goes_through_the_node(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    node.handle(Asked(b"t", sync_of(make, "a")), 1.0)
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("a"))), 1.0)
    probes = [effect for effect in node.handle(Asked(b"t", make.codec.encode(DialBack("a"))), 1.0) if isinstance(effect, Probe)]
    assert node.handle(Probed(probes[0].endpoint, OPEN), 1.0) == []
    (told,) = node.handle(Probed(probes[1].endpoint, REFUSED), 1.0)
    assert isinstance(told, Answer)
    assert make.codec.decode(told.frame) == Reached(node.id, True, False)


def test_a_forged_delta_on_another_connection_has_nobody_dialled(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    node.handle(Asked(b"one", make.codec.encode_delta(make.state("victim"))), 1.0)
    node.handle(Asked(b"one", sync_of(make, "somebody")), 1.0)
    effects = [node.handle(Asked(token, make.codec.encode(DialBack("victim"))), 1.0) for token in (b"one", b"two")]
    assert effects == [[], []]
