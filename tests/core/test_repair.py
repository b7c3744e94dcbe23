"""One conversation brings both sides to one view, of state and of who is alive."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.config import Config, Limits, Repair
from gossip.core.codec import TOPIC_BYTES
from gossip.core.effects import Answer, Answered, Asked, Call, HangUp, Heard, Publish, Subscribed, Unreached
from gossip.core.messages import Accusation, Charge, Delta, Done, Entries, Entry, Evidence, HeaderFlags, Sync, Want
from gossip.core.node import Node
from gossip.model import MemberState


def register(node: Node, make: Any, *ids: str) -> None:
    for id in ids:
        node.register(make.instance(id, node.id), None, 0.0)


def give(node: Node, delta: Delta, make: Any, now: float = 0.0) -> None:
    """A delta arrives over a third party."""
    node.handle(Asked(b"elsewhere", make.codec.encode_delta(delta)), now)


def known(node: Node) -> dict[str, int]:
    return {origin.id: origin.version for origin in node.local.table.alive()}


def ended(node: Node) -> bool:
    return not node._repair.conversations and not node._repair._asked_for


def test_two_strangers_know_each_other_after_one_conversation(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    register(a, make, "i1")
    register(b, make, "i2", "i3")
    wire.talk(a, b, 1.0)
    assert known(a) == known(b) == {"n1": 2, "n2": 3}
    assert a.local.table.digest == b.local.table.digest
    assert ended(a)
    assert HangUp(1) in wire.kept[a.local.me.contact]


def test_those_who_agree_say_no_more_than_that(pair: Any, wire: Any) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    wire.spoken.clear()
    wire.talk(a, b, 2.0)
    assert [(who, type(what)) for who, what in wire.spoken] == [("n1", Sync), ("n2", Entries)]


def test_what_third_parties_said_is_exchanged_both_ways(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    for id in ("x", "y"):
        give(a, make.state(id, 3, put=("i1",)), make)
    give(b, make.state("z", 4), make)
    give(b, make.state("y", 5, put=("i2",)), make)
    wire.talk(a, b, 1.0)
    assert known(a) == known(b) == {"n1": 1, "n2": 1, "x": 3, "y": 5, "z": 4}
    assert ended(a)


def test_only_the_missing_deltas_are_sent_while_the_log_has_them(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    register(b, make, "i1", "i2", "i3")
    wire.spoken.clear()
    wire.talk(a, b, 2.0)
    assert [(d.since, d.version) for d in wire.said("n2", Delta)] == [(1, 2), (2, 3), (3, 4)]


def test_a_newcomer_says_its_state_first_and_the_seed_spreads_it(pair: Any, wire: Any, make: Any) -> None:
    newcomer, seed = pair
    newcomer.local.synced = False
    give(seed, make.state("x"), make)
    seed.local.fan.add(make.codec.hash("x"))
    wire.talk(newcomer, seed, 1.0)
    assert [type(what) for who, what in wire.spoken if who == "n1"][:2] == [Sync, Delta]
    spread = [e.frame for e in wire.kept[seed.local.me.contact] if isinstance(e, Publish)]
    assert any(b"n1" in frame[TOPIC_BYTES:] for frame in spread)


def test_what_third_parties_said_is_not_spread(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    a.local.fan.add(make.codec.hash("someone"))
    give(b, make.state("x", 3), make)
    wire.kept[a.local.me.contact].clear()
    wire.talk(a, b, 2.0)
    assert known(a)["x"] == 3
    assert [e for e in wire.kept[a.local.me.contact] if isinstance(e, Publish)] == []


def test_a_view_of_many_is_exchanged_in_bounded_chunks(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    for n in range(600):
        give(b, make.state(f"b{n}"), make)
    for n in range(300):
        give(a, make.state(f"a{n}"), make)
    wire.talk(a, b, 1.0)
    assert known(a) == known(b)
    assert len(known(a)) == 902
    assert max(len(want.entries) for want in wire.said("n1", Want)) == 64
    assert max(len(entries.entries) for entries in (*wire.said("n1", Entries), *wire.said("n2", Entries))) == 256
    assert ended(a)


def test_states_in_parts_are_pulled_and_offered_whole(wire: Any, node_of: Any, make: Any) -> None:
    config = Config(limits=Limits(state_part_bytes_max=4096, frame_bytes_max=4096))
    a, b = node_of(1, config=config), node_of(2, config=config)
    for node in (a, b):
        wire.add(node)
        register(node, make, *(f"{node.id}i{n}" for n in range(150)))
        node.local.me.log.clear()  # so that only a whole state will do
    wire.talk(a, b, 1.0)
    assert all(delta.parts > 1 for who in ("n1", "n2") for delta in wire.said(who, Delta))
    assert known(a) == known(b)
    assert a.local.directory.count == b.local.directory.count == 300
    assert ended(a)


# who is alive -----------------------------------------------------------------------------------------------------------


def die(node: Node, id: str) -> None:
    node._membership.settle(node.local.table.origins[id], MemberState.DEAD, "test", 1.0)


def test_dead_here_and_alive_there_is_an_accusation_at_both(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    for node in (a, b):
        give(node, make.state("x"), make)
    die(a, "x")
    wire.talk(a, b, 2.0)
    (accusation,) = wire.said("n1", Accusation)
    assert [charge.subject for charge in accusation.charges] == ["x"]
    assert b.local.table.origins["x"].state is MemberState.SUSPECTED
    assert a.local.table.origins["x"].state is MemberState.DEAD
    wire.spoken.clear()
    wire.talk(a, b, 3.0)
    assert wire.said("n1", Accusation) == []  # told once


def test_dead_there_and_alive_here_is_one_too(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    for node in (a, b):
        give(node, make.state("x"), make)
    die(b, "x")
    wire.talk(a, b, 2.0)
    assert [charge.subject for charge in wire.said("n2", Accusation)[0].charges] == ["x"]
    assert a.local.table.origins["x"].state is MemberState.SUSPECTED


@pytest.mark.parametrize("asker_holds", [True, False])
def test_who_is_held_dead_by_its_partner_refutes_within_the_conversation(pair: Any, wire: Any, asker_holds: bool) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    holder, held = (a, b) if asker_holds else (b, a)
    die(holder, held.id)
    wire.talk(a, b, 2.0)
    assert holder.local.table.origins[held.id].state is MemberState.ALIVE
    assert held.local.me.header.pulse == 1
    assert a.local.table.digest == b.local.table.digest
    assert ended(a)


@pytest.mark.parametrize("asker_holds", [True, False])
def test_who_is_held_dead_at_a_pulse_it_never_had_is_told_that_and_refutes_all_of_it(
    pair: Any, wire: Any, make: Any, asker_holds: bool
) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    holder, held = (a, b) if asker_holds else (b, a)
    life = held.local.me.incarnation
    holder._detector.accusations.hear(Accusation("x", make.life, 1, (Charge(held.id, life, 500, Evidence.SILENT),)), b"", 1.0)
    die(holder, held.id)
    wire.talk(a, b, 2.0)
    assert holder.local.table.origins[held.id].state is MemberState.ALIVE
    assert held.local.me.header.pulse == 501


@pytest.mark.parametrize("forgotten", ["asker", "answerer"])
def test_a_floor_is_enough_to_dispute_a_life(pair: Any, wire: Any, make: Any, forgotten: str) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    for node in (a, b):
        give(node, make.state("x"), make)
    holder, other = (a, b) if forgotten == "asker" else (b, a)
    die(holder, "x")
    holder._merger.expire(1000.0)
    wire.talk(a, b, 1000.0)
    assert "x" not in holder.local.table.origins
    assert other.local.table.origins["x"].state is MemberState.SUSPECTED


@pytest.mark.parametrize("asker_saw", [True, False])
def test_a_goodbye_one_side_missed_is_handed_over(pair: Any, wire: Any, make: Any, asker_saw: bool) -> None:
    a, b = pair
    wire.talk(a, b, 1.0)
    for node in (a, b):
        give(node, make.state("x", put=("i1",)), make)
    witness, other = (a, b) if asker_saw else (b, a)
    give(witness, make.delta("x", 1, 2, header=make.header(5, flags=HeaderFlags.LEAVING)), make)
    wire.talk(a, b, 2.0)
    assert other.local.table.origins["x"].state is MemberState.LEFT
    assert other.local.directory.count == 0
    assert a.local.table.digest == b.local.table.digest


def test_who_hears_of_a_higher_life_of_itself_rises_above_it_in_the_same_conversation(wire: Any, node_of: Any, make: Any) -> None:
    former, witness = node_of(1, "same", wall_ms=5_000), node_of(2)
    wire.add(witness)
    register(former, make, "ghost")
    give(witness, make.codec.decode(former._author.state_frames(former.local.me)[0]), make)
    restarted = node_of(1, "same", wall_ms=1_000)
    wire.add(restarted)
    register(restarted, make, "now")
    wire.talk(restarted, witness, 1.0)
    assert restarted.local.me.incarnation > former.local.me.incarnation
    assert list(witness.local.table.origins["same"].instances) == [make.key("now")]
    assert restarted.local.table.digest == witness.local.table.digest


# bounds and failures ----------------------------------------------------------------------------------------------------


def start(node: Node, endpoint: str, now: float, *, dialled: bool = False) -> list[Any]:
    node._repair.converse(endpoint, now, dialled=dialled)
    return node._effects(now)


def test_a_conversation_without_progress_is_given_up_and_frees_what_it_pulled(pair: Any, wire: Any) -> None:
    a, _ = pair
    assert a._repair.pull("x", "10.9.9.9:7400", 1.0)
    assert a._repair._asked_for == {"x": 1}
    assert a._repair.next_deadline() == 4.0
    effects = a.tick(4.0)
    assert HangUp(1) in effects
    assert ended(a)
    assert a.local.counters["conversations_lost"] == 1


def test_a_conversation_whose_dial_comes_to_nobody_ends_at_once_and_makes_room_for_the_next(pair: Any) -> None:
    a, _ = pair
    start(a, "10.9.9.9:7400", 1.0, dialled=True)
    assert not a._repair.converse("10.9.9.9:7400", 1.1, dialled=True)
    assert HangUp(1) in a.handle(Unreached(1), 1.1)
    assert ended(a)
    assert a.local.counters["conversations_lost"] == 1
    assert a._repair.converse("10.9.9.9:7400", 1.1, dialled=True)


def test_a_ping_that_comes_to_nobody_keeps_its_time(pair: Any, wire: Any) -> None:
    """That nobody listens may be a restart, or a firewall: what counts as silence is decided by the ping's deadline."""
    a, b = pair
    wire.talk(a, b, 0.0)
    a._pings.send(a.local.table.origins["n2"], 1.0)
    (call,) = a._pings._open
    a._effects(1.0)
    assert a.handle(Unreached(call), 1.0) == []
    assert len(a._pings) == 1


def test_progress_postpones_the_end(pair: Any, make: Any) -> None:
    a, _ = pair
    a._repair.pull("x", "10.9.9.9:7400", 1.0)
    a.handle(Answered(1, make.codec.encode_delta(make.state("x", part=0, parts=2, version=2))), 3.9)
    assert a._repair.next_deadline() == pytest.approx(6.9)


def test_a_partner_that_never_ends_is_hung_up_on(pair: Any, make: Any) -> None:
    a, _ = pair
    a._repair.pull("x", "10.9.9.9:7400", 1.0)
    now, effects = 1.0, []
    while HangUp(1) not in effects and now < 200.0:
        now += 2.0
        a.handle(Answered(1, make.codec.encode_delta(make.state("x", part=0, parts=2, version=2))), now)
        effects = a.tick(now)
    assert now == pytest.approx(1.0 + a.local.config.repair.conversation_max_s, abs=2.0)


def test_an_urgent_word_waits_no_longer_than_the_shortest_back_off(pair: Any) -> None:
    a, _ = pair
    for now in (1.0, 10.0, 30.0, 60.0):
        start(a, "10.9.9.9:7400", now)
        a.tick(now + 4.0)
    assert start(a, "10.9.9.9:7400", 65.5) == []
    assert a._repair.converse("10.9.9.9:7400", 65.5, dialled=False, urgent=True)


def test_one_origin_is_never_pulled_from_two(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    give(b, make.state("x"), make)
    assert a._repair.pull("x", "10.9.9.8:7400", 1.0)
    assert a._repair.pull("x", "10.9.9.9:7400", 1.0)
    assert len(a._repair.conversations) == 1
    a._effects(1.0)
    wire.talk(a, b, 1.0)
    assert "x" not in [entry.origin for want in wire.said("n1", Want) for entry in want.entries]
    assert list(a._repair.conversations) == [1]


def test_conversations_are_bounded_and_dials_do_not_keep_pulls_waiting(pair: Any) -> None:
    a, _ = pair
    limit = Repair().pulls_max
    assert [a._repair.pull(f"x{n}", "10.9.9.9:7400", 1.0) for n in range(limit + 1)] == [True] * limit + [False]
    dials = [a._repair.converse(f"10.9.9.{n}:7400", 1.0, dialled=True) for n in range(limit + 1)]
    assert dials == [True] * limit + [False]


def test_one_partner_is_asked_once_at_a_time(pair: Any) -> None:
    a, _ = pair
    assert a._repair.converse("10.9.9.9:7400", 1.0, dialled=False)
    assert not a._repair.converse("10.9.9.9:7400", 1.0, dialled=True)


def test_a_pull_that_brings_nothing_doubles_the_wait_for_that_partner(pair: Any, wire: Any) -> None:
    a, b = pair
    wire.talk(a, b, 0.0)
    contact, now, waits = b.local.me.contact, 1.0, []
    for _ in range(7):
        wire.carry(a, start(a, contact, now), now)
        assert not a._repair.converse(contact, now, dialled=False)
        not_before = a._repair._waits[contact][0]
        waits.append(not_before - now)
        now = not_before
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    assert a._repair.converse(contact, now, dialled=False)


def test_a_pull_that_brought_something_ends_the_wait(pair: Any, wire: Any, make: Any) -> None:
    a, b = pair
    wire.talk(a, b, 0.0)
    wire.talk(a, b, 1.0)
    give(b, make.state("x"), make)
    wire.talk(a, b, 2.0)
    assert a._repair.converse(b.local.me.contact, 2.0, dialled=False)


def test_an_answer_to_a_call_that_ended_is_ignored(pair: Any, make: Any) -> None:
    a, _ = pair
    assert a.handle(Answered(99, make.codec.encode(Done("n2"))), 1.0) == []


def test_a_partner_of_another_cluster_is_left_at_once(wire: Any, node_of: Any) -> None:
    a, foreigner = node_of(1), node_of(2, cluster="other")
    effects = start(a, foreigner.local.me.contact, 1.0)
    (call,) = [effect for effect in effects if isinstance(effect, Call)]
    (answer,) = foreigner.handle(Asked(b"t", call.frame), 1.0)
    assert HangUp(call.call) in a.handle(Answered(call.call, answer.frame), 1.0)
    assert ended(a)
    assert known(foreigner) == {"n2": 1}


def test_a_partner_that_names_endless_members_is_left(wire: Any, node_of: Any, make: Any) -> None:
    a = node_of(1, config=Config(limits=Limits(members_max=100)))
    start(a, "10.9.9.9:7400", 1.0)
    effects = []
    for page in range(10):
        entries = tuple(Entry(f"x{page}-{n}", (1, 1), 1, 0) for n in range(100))
        effects += a.handle(Answered(1, make.codec.encode(Entries("n9", True, bytes(32), entries, True))), 1.0)
    assert HangUp(1) in effects
    assert ended(a)


def test_a_second_list_of_entries_does_not_start_the_plan_anew(pair: Any, make: Any) -> None:
    a, _ = pair
    start(a, "10.9.9.9:7400", 1.0)
    entries = make.codec.encode(Entries("n9", True, bytes(32), (Entry("x", (1, 1), 1, 0),), False))
    assert len(a.handle(Answered(1, entries), 1.0)) == 1
    assert a.handle(Answered(1, entries), 1.0) == []


def test_only_the_askers_own_word_is_spread_by_the_answerer(pair: Any, make: Any) -> None:
    a, _ = pair
    a.local.fan.add(make.codec.hash("someone"))
    sync = Sync("x", make.life, 1, 0, True, bytes(2048))
    a.handle(Asked(b"t", make.codec.encode(sync)), 1.0)
    third = a.handle(Asked(b"t", make.codec.encode_delta(make.state("y"))), 1.0)
    own = a.handle(Asked(b"t", make.codec.encode_delta(make.state("x"))), 1.0)
    assert [sum(isinstance(e, Publish) for e in effects) for effects in (third, own)] == [0, 2]


def test_what_is_wanted_and_not_known_is_answered_with_done(pair: Any, make: Any) -> None:
    a, _ = pair
    (answer,) = a.handle(Asked(b"t", make.codec.encode(Want((Entry("nobody", (0, 0), 0, 0),)))), 1.0)
    assert make.codec.decode(answer.frame) == Done("n1")


def test_an_accusation_of_me_over_a_conversation_is_answered_with_my_new_state(pair: Any, make: Any) -> None:
    a, _ = pair
    charge = Charge("n1", a.local.me.incarnation, 4, Evidence.SILENT)
    effects = a.handle(Asked(b"t", make.codec.encode(Accusation("n9", (1, 1), 1, (charge,)))), 1.0)
    (state,) = [make.codec.decode(e.frame) for e in effects if isinstance(e, Answer)]
    assert (state.origin, state.header.pulse) == ("n1", 5)


@pytest.mark.parametrize("accused_asks", [True, False])
def test_who_tells_the_accused_of_its_case_accuses_nobody(pair: Any, make: Any, accused_asks: bool) -> None:
    a, b = pair
    for id in "uvwxyz":
        give(a, make.state(id), make)
    a.handle(Subscribed(b"@" + b.local.me.hash), 0.5)
    charge = Charge("x", make.life, 0, Evidence.SILENT)
    a.handle(Heard(b"*" + make.codec.encode(Accusation("y", make.life, 1, (charge,)))), 1.0)
    if accused_asks:
        effects = a.handle(Asked(b"t", make.codec.encode(Sync("x", make.life, 1, 0, True, bytes(2048)))), 4.0)
    else:
        a._repair.converse(a.local.table.origins["x"].contact, 4.0, dialled=True)
        call = max(a._repair.conversations)
        listing = Entries("x", True, bytes([255] * 32), (Entry("x", make.life, 1, 0),), False)
        effects = a.handle(Answered(call, make.codec.encode(listing)), 4.0)
    told = [make.codec.decode(effect.frame) for effect in effects if isinstance(effect, (Answer, Call))]
    assert [message.charges[0].subject for message in told if isinstance(message, Accusation)] == ["x"]
    assert not any(isinstance(effect, Publish) and effect.frame[:1] == b"*" for effect in effects)
    assert list(a._detector.cases.of["x"].accusers) == ["y"]
    assert a.local.table.origins["x"].state is MemberState.SUSPECTED


def test_memories_of_partners_askers_and_disputes_are_bounded(pair: Any, make: Any) -> None:
    a, _ = pair
    for n in range(1100):
        a.handle(Asked(f"t{n}".encode(), make.codec.encode(Sync(f"x{n}", (1, 1), 1, 0, True, bytes(2048)))), 1.0)
        a._repair.converse(f"10.1.{n >> 8}.{n & 255}:1", float(n * 10), dialled=True)
        a._repair.tick(n * 10 + 5.0)
    assert len(a._answers) == 1024
    assert len(a._repair._waits) == 1024
