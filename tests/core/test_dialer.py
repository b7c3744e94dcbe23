"""Seeds, the lost, the common port; and when a peer is synced."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from gossip.config import Config
from gossip.core.codec import Codec
from gossip.core.dialer import RENDEZVOUS_PORTS
from gossip.core.effects import Answered, Asked, Bind, Bound, Call, Effect, Happened, Heard
from gossip.core.messages import Entries, Entry, Foreign, Heartbeat, Sync
from gossip.core.node import Node
from gossip.core.selfhood import Identity
from gossip.model import EventKind, MemberState, PeerState


def calls(effects: list[Effect]) -> list[str]:
    return list(dict.fromkeys(effect.endpoint for effect in effects if isinstance(effect, Call)))


def run(node: Node, until: float, since: float = 0.0) -> list[Effect]:
    """Tick at each deadline; the effects."""
    now, effects = since, []
    for _ in range(10_000):
        now = max(now, node.next_deadline())
        if now > until:
            return effects
        effects += node.tick(now)
    raise AssertionError("it ticks for ever")


def notices(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Happened) and effect.kind is EventKind.NOTICE]


def test_with_nobody_to_ask_it_is_synced_at_once(node_of: Any) -> None:
    node = node_of(1)
    assert node.synced
    assert node.state is PeerState.READY
    assert not node.isolated


def test_my_own_address_among_the_seeds_is_nobody_to_ask(node_of: Any) -> None:
    assert node_of(1, seeds=["10.0.0.1:7400"]).synced


def test_another_name_of_my_own_address_is_found_out_by_dialling_it(node_of: Any) -> None:
    node = node_of(1, seeds=["10.0.0.99:7400"])
    assert not node.synced
    for answer in node.handle(Asked(b"t", sync_of(node)), 0.1):
        node.handle(Answered(1, answer.frame), 0.1)
    assert node.synced
    assert not node._dialer.expects_others


def sync_of(node: Node) -> bytes:
    """What its first conversation says."""
    me, local = node.local.me, node.local
    return local.codec.encode(Sync(me.id, me.incarnation, me.version, 0, False, local.table.packed_sums()))


def test_one_conversation_with_a_synced_peer_makes_synced(pair: Any, wire: Any) -> None:
    a, b = pair
    a.local.synced = False
    wire.talk(a, b, 0.5)
    assert a.synced


def test_a_conversation_with_one_that_is_not_synced_does_not(pair: Any, wire: Any) -> None:
    a, b = pair
    a.local.synced = b.local.synced = False
    a._dialer._seeds = [b.local.me.contact]
    wire.talk(a, b, 0.5)
    assert not a.synced


def test_without_an_answer_it_serves_after_two_seconds_and_says_so(node_of: Any) -> None:
    node = node_of(1, seeds=["10.0.0.2:7400"])
    assert notices(run(node, 1.9)) == []
    (told, synced) = notices(run(node, 2.1, 1.9))
    assert "no synced peer answered" in told
    assert "seeds" in told
    assert node.synced
    assert node.isolated  # it has seeds and hears nobody
    assert node.state is PeerState.ISOLATED
    assert synced == "n1 is synced"


def test_a_synced_peer_that_is_telling_all_it_holds_is_heard_out(node_of: Any, make: Any) -> None:
    node, other = node_of(1, seeds=["10.0.0.2:7400"]), node_of(2)
    listing = Entries(other.id, True, bytes([255] * 32), (Entry(other.id, other.local.me.incarnation, 1, 0),), False)
    node.handle(Answered(1, other.local.codec.encode(listing)), 1.9)
    part = make.state(other.id, life=other.local.me.incarnation, version=1, part=0, parts=2, put=("i1",))
    run(node, 2.5, 1.9)
    node.handle(Answered(1, other.local.codec.encode_delta(part)), 2.5)
    timeout_s = node.local.config.repair.timeout_s
    assert notices(run(node, 2.4 + timeout_s, 2.5)) == []
    assert not node.synced
    told = notices(run(node, 2.6 + timeout_s, 2.4 + timeout_s))  # it fell silent in the midst of it
    assert any("no synced peer answered" in line for line in told)
    assert node.synced


def test_alone_it_dials_its_seeds_about_every_second(node_of: Any) -> None:
    node = node_of(1, seeds=["10.0.0.2:7400"])
    dials = [e for e in run(node, 60.0) if isinstance(e, Call)]
    assert set(calls(dials)) == {"10.0.0.2:7400"}
    assert 10 <= node._calls <= 25  # an unanswered one takes 3 s


def test_with_company_it_dials_the_lost_and_the_seeds_that_are_no_members(
    node_of: Any, make: Any
) -> None:
    node = node_of(1, seeds=["10.0.0.77:7400"])
    for number, id in ((50, "alive"), (51, "dead"), (52, "left")):
        node.handle(Asked(b"t", make.codec.encode_delta(make.state(id, header=make.header(number)))), 0.0)
    node.local.synced = True
    for id, state in (("dead", MemberState.DEAD), ("left", MemberState.LEFT)):
        node._membership.settle(node.local.table.origins[id], state, "", 0.0)
    node._detector.watches.only(set(), 0.0)
    node._peak = 2
    found, now = set(), 0.0
    for _ in range(40):
        now += 20.0
        node._dialer.tick(now)
        found |= set(calls(node._effects(now)))
        node._repair.tick(now + 10)
    assert found == {"10.0.0.77:7400", "10.0.0.51:7400"}


def test_the_forgotten_dead_are_dialled_on(node_of: Any, make: Any) -> None:
    node = node_of(1)
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("x", header=make.header(51)))), 0.0)
    node._membership.settle(node.local.table.origins["x"], MemberState.DEAD, "", 0.0)
    node._merger.expire(700.0)
    node._effects(700.0)
    node._dialer._dial_somebody(700.0)
    assert calls(node._effects(700.0)) == ["10.0.0.51:7400"]


def test_the_address_of_the_dead_is_not_dialled_once_a_living_member_has_it(node_of: Any, make: Any) -> None:
    node = node_of(1)
    for id in ("old", "new"):
        node.handle(Asked(b"t", make.codec.encode_delta(make.state(id, header=make.header(51)))), 0.0)
    node._membership.settle(node.local.table.origins["old"], MemberState.DEAD, "", 0.0)
    node._effects(0.0)
    node._dialer._dial_somebody(1.0)
    assert calls(node._effects(1.0)) == []


def test_after_a_mass_loss_it_dials_every_second_for_a_minute(node_of: Any, make: Any) -> None:
    node = node_of(1)
    for n in range(4):
        node.handle(Asked(b"t", make.codec.encode_delta(make.state(f"x{n}"))), 0.0)
    assert node._dialer._pause(0.0) >= 2
    node._dialer.mass_loss(10.0)
    assert node._dialer._pause(11.0) <= 1.2
    assert node._dialer.next_deadline() <= 11.2
    assert node._dialer._pause(70.1) >= 2


@pytest.mark.parametrize(("living", "pause_s"), [(2, 1.0), (6, 3.0), (20, 10.0), (50, 10.0), (200, 40.0)])
def test_the_pause_between_dials_grows_with_the_cluster(node_of: Any, make: Any, living: int, pause_s: float) -> None:
    node = node_of(1)
    for n in range(living - 1):
        node.handle(Asked(b"t", make.codec.encode_delta(make.state(f"x{n}"))), 0.0)
    assert 0.8 * pause_s <= node._dialer._pause(0.0) <= 1.2 * pause_s


def test_a_peer_with_my_id_at_a_seed_is_not_taken_for_me(wire: Any, node_of: Any) -> None:
    twin = node_of(2, "same", wall_ms=1_000)
    me = node_of(1, "same", wall_ms=2_000, seeds=[twin.local.me.contact])
    for node in (me, twin):
        wire.add(node)
    me._repair.conversations.clear()
    wire.talk(me, twin, 0.1)
    assert me._dialer.expects_others


# zero configuration -----------------------------------------------------------------------------------------------------


@pytest.fixture
def zero(node_of: Any) -> Node:
    """A node that has just asked to bind the first common port."""
    return node_of(1, zero_configuration=True)


def port(node: Node) -> int:
    return int(node._dialer.rendezvous.endpoint.rpartition(":")[2])


def test_who_binds_the_common_port_first_is_synced_and_looks_no_further(zero: Node) -> None:
    assert not zero.synced
    zero.handle(Bound("127.0.0.1:7400", True), 0.1)
    assert zero.synced
    assert [e for e in run(zero, 30.0, 0.1) if isinstance(e, Bind)] == []


def test_who_finds_it_taken_dials_it(zero: Node) -> None:
    assert calls(zero.handle(Bound("127.0.0.1:7400", False), 0.1)) == ["127.0.0.1:7400"]


def test_while_a_port_is_asked_for_it_is_not_asked_for_again(zero: Node) -> None:
    assert [e for e in run(zero, 1.9) if isinstance(e, Bind)] == []


def test_a_port_of_another_cluster_is_left_for_the_next(zero: Node) -> None:
    zero.handle(Bound("127.0.0.1:7400", False), 0.1)
    zero.handle(Answered(1, Codec("other").encode(Foreign())), 0.2)
    assert port(zero) == 7402
    assert [e.endpoint for e in zero.tick(0.2) if isinstance(e, Bind)] == ["127.0.0.1:7402"]


def test_a_port_that_does_not_answer_twice_is_left_for_the_next(zero: Node) -> None:
    zero.handle(Bound("127.0.0.1:7400", False), 0.1)
    zero.tick(3.1)
    assert port(zero) == 7400
    zero.handle(Bound("127.0.0.1:7400", False), 3.5)
    zero.tick(6.5)
    assert port(zero) == 7402


def test_after_the_last_port_comes_the_first_again(zero: Node) -> None:
    now = 0.0
    for expected in (*RENDEZVOUS_PORTS[1:], RENDEZVOUS_PORTS[0]):
        zero.handle(Bound(zero._dialer.rendezvous.endpoint, False), now)
        zero.handle(Answered(zero._calls, Codec("other").encode(Foreign())), now)
        assert port(zero) == expected
        now += 2.0
        zero.tick(now)


def test_the_port_is_left_alone_while_its_holder_lives_and_bound_after_its_death(zero: Node, wire: Any, node_of: Any) -> None:
    holder = node_of(2)
    wire.add(zero)
    wire.add(holder)
    wire.nodes["127.0.0.1:7400"] = holder
    wire.carry(zero, zero.handle(Bound("127.0.0.1:7400", False), 0.1), 0.1)
    assert zero.synced
    assert [e for e in run(zero, 2.5, 0.1) if isinstance(e, Bind)] == []
    zero._membership.settle(zero.local.table.origins[holder.id], MemberState.DEAD, "", 2.5)
    assert [e.endpoint for e in run(zero, 4.0, 2.5) if isinstance(e, Bind)] == ["127.0.0.1:7400"]


def test_a_twin_at_the_common_port_is_asked_again(zero: Node, wire: Any, node_of: Any) -> None:
    twin = node_of(2, "n1")
    wire.add(zero)
    wire.add(twin)
    wire.nodes["127.0.0.1:7400"] = twin
    wire.carry(zero, zero.handle(Bound("127.0.0.1:7400", False), 0.1), 0.1)
    assert [e.endpoint for e in run(zero, 1.5, 0.1) if isinstance(e, Bind)] == ["127.0.0.1:7400"]


def test_the_holder_of_a_later_port_dials_the_earlier_ones(zero: Node) -> None:
    for _ in range(2):
        zero.handle(Bound(zero._dialer.rendezvous.endpoint, False), 0.1)
        zero.handle(Answered(zero._calls, Codec("other").encode(Foreign())), 0.1)
    zero._dialer._dial_somebody(0.1)
    assert calls(zero._effects(0.1)) == []
    zero.handle(Bound("127.0.0.1:7404", True), 0.1)
    for _ in range(20):
        zero._dialer._dial_somebody(0.1)
    assert sorted(calls(zero._effects(0.1))) == ["127.0.0.1:7400", "127.0.0.1:7402"]


def test_seeds_that_were_resolved_are_dialled_while_alone(node_of: Any) -> None:
    node = node_of(1, seeds=["10.0.0.2:7400"])
    effects = node.set_seeds(["10.0.0.3:7400", "10.0.0.1:7400"], 0.5)
    assert calls(effects) == ["10.0.0.3:7400"]
    assert not node.synced
    node.set_seeds(["10.0.0.1:7400"], 0.6)
    assert node.synced


def test_addresses_that_are_known_are_dialled_while_others_are_awaited(node_of: Any) -> None:
    node = node_of(1, seeds=None)
    assert calls(node.set_seeds(["10.0.0.3:7400"], 0.1, pending=True)) == ["10.0.0.3:7400"]
    assert calls(node.set_seeds(["10.0.0.3:7400", "10.0.0.4:7400"], 0.2)) == ["10.0.0.4:7400"]


def test_my_own_address_is_somebody_to_ask_while_others_are_awaited(node_of: Any) -> None:
    node = node_of(1, seeds=None)
    node.set_seeds(["10.0.0.1:7400"], 0.1, pending=True)
    assert not node.synced
    node.set_seeds(["10.0.0.1:7400"], 0.2)
    assert node.synced


def test_who_is_synced_because_nobody_answered_has_not_joined(node_of: Any, wire: Any) -> None:
    node = node_of(1, seeds=["10.0.0.2:7400"])
    run(node, 2.5)
    assert (node.synced, node.joined) == (True, False)
    other = node_of(2)
    wire.add(node)
    wire.add(other)
    wire.carry(other, other.set_seeds([node.local.me.contact], 2.6), 2.6)
    assert (other.joined, node.joined) == (True, False)
    beat = Heartbeat(other.local.me.hash, other.local.me.incarnation, 1, 0, 0, False, True)
    frame = b"@" + node.local.me.hash + other.local.codec.encode(beat)
    node.handle(Heard(frame), 2.7)
    assert not node.joined
    agreeing = replace(beat, digest=node.local.table.digest)
    node.handle(Heard(b"@" + node.local.me.hash + other.local.codec.encode(agreeing)), 2.8)
    assert node.joined


def test_seeds_are_dialled_beside_the_common_port(node_of: Any) -> None:
    node = node_of(1, seeds=["10.0.0.2:7400"], zero_configuration=True)
    node.handle(Bound("127.0.0.1:7400", True), 0.1)
    assert not node.synced
    assert node.local.counters["conversations"] == 1


def test_an_answer_about_a_bind_without_zero_configuration_is_ignored(node_of: Any) -> None:
    assert node_of(1, config=Config()).handle(Bound("127.0.0.1:7400", True), 1.0) == []


# an earlier life ------------------------------------------------------------------------------------------------------

THEN = ["10.0.0.7:7400", "10.0.0.8:7400"]


def resyncs(effects: list[Effect]) -> list[str]:
    return [effect.reason for effect in effects if isinstance(effect, Happened) and effect.kind is EventKind.RESYNC]


def test_a_restart_without_seeds_dials_those_of_its_past_and_is_isolated_while_it_hears_nobody(node_of: Any) -> None:
    node = node_of(1, seeds=[], past=[*THEN, "10.0.0.1:7400"])  # its own address is nobody to ask
    assert (node.holds_past, node.isolated, node.synced, node.state) == (True, True, False, PeerState.ISOLATED)
    assert set(calls(run(node, 8.0))) == set(THEN)
    assert node.synced  # the deadline
    assert node.isolated


def test_seeds_and_those_of_the_past_are_dialled_in_turns(config: Config) -> None:
    seeds = [f"10.0.1.{number}:7400" for number in range(10)]
    identity = Identity("a", "a", "default", "", "10.0.0.1", 7400, 7401, 1_000, 1)
    first = calls(Node(identity, config=config, chance=Random(1), seeds=seeds, past=THEN).start(0.0))
    assert len(first) == config.repair.pulls_max
    assert set(THEN) < set(first)


def test_a_past_that_nobody_confirms_gives_way_in_the_end_and_is_dialled_on(node_of: Any) -> None:
    node = node_of(1, seeds=[], past=THEN)
    hold_s = node.local.config.detection.isolated_hold_s
    assert resyncs(run(node, hold_s - 0.1)) == []
    assert node.holds_past
    (told,) = resyncs(run(node, hold_s + 0.1, hold_s - 0.1))
    assert "look everything up again" in told
    assert (node.holds_past, node.isolated, node.looks_back) == (False, False, True)
    assert set(calls(run(node, hold_s + 15, hold_s + 0.1))) == set(THEN)


def test_whoever_hears_nobody_for_half_the_retention_looks_for_its_past_no_more(node_of: Any) -> None:
    joining = replace(Config().joining, retention_s=100.0)
    node = node_of(1, seeds=[], past=THEN, config=replace(Config(), joining=joining))
    run(node, 49.0)
    assert node.looks_back
    assert calls(run(node, 60.0, 49.0))
    assert not node.looks_back
    assert calls(run(node, 90.0, 60.0)) == []


def test_a_past_gives_way_when_a_synced_peer_told_all_and_not_before(node_of: Any, wire: Any) -> None:
    node, other, unsynced = node_of(1, seeds=[], past=THEN), node_of(2), node_of(3)
    for one in (node, other, unsynced):
        wire.add(one)
    unsynced.local.synced = False
    wire.talk(node, unsynced, 0.5)
    assert (node.holds_past, node.synced, node.isolated) == (True, False, False)
    assert resyncs(wire.kept[node.local.me.contact]) == []
    wire.talk(node, other, 0.6)
    assert (node.holds_past, node.synced, node.looks_back) == (False, True, False)
    assert len(resyncs(wire.kept[node.local.me.contact])) == 1


def test_nothing_of_the_past_is_told_to_anybody(node_of: Any, wire: Any) -> None:
    node, other = node_of(1, seeds=[], past=THEN), node_of(2)
    for one in (node, other):
        wire.add(one)
    wire.talk(other, node, 0.5)
    assert set(other.local.table.origins) == {node.id, other.id}
    assert not other.looks_back


def test_a_life_begins_above_the_one_that_was_saved_whatever_the_clock_says() -> None:
    def born(wall_ms: int, saved_start: int) -> tuple[int, int]:
        return Identity("a", "a", "default", "", "10.0.0.1", 7400, 7401, wall_ms, 9, saved_start).incarnation

    assert born(1_000, 5_000) == (5_001, 9)
    assert born(6_000, 5_000) == (6_000, 9)
    assert born(0, -1) == (0, 9)
