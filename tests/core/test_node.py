"""The machine: what comes in is dispatched, what is a stranger's is dropped, and a deadline that passed is done with."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.codec import Codec
from gossip.core.effects import (
    Answer,
    Answered,
    Asked,
    Call,
    Connect,
    Effect,
    HangUp,
    Happened,
    Heard,
    LinkClosed,
    LinkUnreached,
    Listen,
    Probe,
    Probed,
    ProbeOutcome,
    Publish,
    Subscribed,
    Unsubscribed,
)
from gossip.core.fields import NUMBER_MAX, PULSE_MAX
from gossip.core.messages import Accusation, Charge, Delta, Evidence, Foreign, Heartbeat, Ping, Pong
from gossip.core.node import Node
from gossip.core.refutations import FLOODED_MAX
from gossip.core.selfhood import Identity
from gossip.model import EventKind, MemberState


@pytest.fixture
def node(node_of: Callable[..., Node]) -> Node:
    return node_of(1)


def meet(node: Node, make: Any, *ids: str, now: float = 0.0) -> None:
    """These peers are known, alive, linked to the node, and it to them."""
    for n, id in enumerate(ids, 20):
        node.handle(Asked(b"t", make.codec.encode_delta(make.state(id, header=make.header(n)))), now)
        node.handle(Subscribed(b"@" + make.codec.hash(id)), now)
    node.tick(now)


def told(node: Node, make: Any, message: Any) -> Heard:
    """A frame on the node's own topic."""
    frame = make.codec.encode_delta(message) if isinstance(message, Delta) else make.codec.encode(message)
    return Heard(b"@" + node.local.me.hash + frame)


def beat(make: Any, id: str, **fields: Any) -> Heartbeat:
    defaults = {"incarnation": make.life, "version": 1, "pulse": 0, "digest": 0}
    return Heartbeat(make.codec.hash(id), **(defaults | fields))


def delegated(node: Node, make: Any, delta: Delta, limit: int | None = None, sender: str = "b", ring: int = 0) -> Heard:
    limit = node.local.fan._origin_positions[ring] if limit is None else limit
    envelope = make.codec.envelope(ring, limit, make.codec.hash(sender))
    return Heard(b"@" + node.local.me.hash + envelope + make.codec.encode_delta(delta))


def run(node: Node, since: float, until: float) -> list[Effect]:
    """Tick at each deadline; a node that asks for the same moment again and again fails."""
    now, effects = since, []
    for _ in range(5_000):
        now = max(now, node.next_deadline())
        if now > until:
            return effects
        effects += node.tick(now)
    raise AssertionError("it ticks for ever")


def only(effects: list[Effect], kind: type) -> list[Any]:
    return [effect for effect in effects if type(effect) is kind]


def notices(effects: list[Effect]) -> list[str]:
    return [e.reason for e in only(effects, Happened) if e.kind is EventKind.NOTICE]


# links and heartbeats ---------------------------------------------------------------------------------------------------


def test_a_node_listens_to_its_own_topic_and_to_what_is_for_all(make: Any) -> None:
    identity = Identity("n1", "n1", "default", "", "10.0.0.1", 7400, 7401, 1_000, 1)
    node = Node(identity, config=Config(), chance=random.Random(1))
    assert node.start(0.0)[:2] == [Listen(b"@" + make.codec.hash("n1")), Listen(b"*")]


def test_a_member_is_linked_within_a_relink_interval(node: Node, make: Any) -> None:
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("b", header=make.header(7)))), 1.0)
    assert only(run(node, 1.0, 1.21), Connect) == [Connect("10.0.0.7:7401")]


def test_who_links_hears_at_once_how_far_i_am(node: Node, make: Any) -> None:
    hash = make.codec.hash("b")
    (publish,) = node.handle(Subscribed(b"@" + hash), 1.0)
    assert publish.frame[:9] == b"@" + hash
    heartbeat = make.codec.decode(publish.frame[9:])
    assert (heartbeat.linked, heartbeat.version, heartbeat.digest) == (True, 1, node.local.table.digest)


def test_subscriptions_to_other_topics_are_no_links(node: Node) -> None:
    for topic in (b"*", b"", b"@short", b"#" + bytes(8)):
        assert node.handle(Subscribed(topic), 1.0) == []
        assert node.handle(Unsubscribed(topic), 1.0) == []
    assert node.local.fan.subscribers == set()


def test_nothing_is_published_to_observers_once_the_last_is_gone(node: Node) -> None:
    for _ in range(3):  # a stranger may subscribe as often as he likes; his end is told once
        (told,) = node.handle(Subscribed(b"+"), 1.0)
        assert told.frame[:1] == b"+"
    node.handle(Unsubscribed(b"+"), 1.0)
    assert node.tick(5.0) == []


def test_subscriptions_are_bounded(node_of: Any) -> None:
    node = node_of(1, config=Config(limits=Limits(subscribers_max=10)))
    for n in range(1000):
        node.handle(Subscribed(b"@" + n.to_bytes(8, "big")), 1.0)
    assert len(node.local.fan.subscribers) == 10
    assert node.local.counters["subscribers_refused"] == 990


def test_watchers_that_are_linked_get_a_heartbeat_an_interval(node: Node, make: Any) -> None:
    meet(node, make, "b", "c")
    node.handle(Unsubscribed(b"@" + make.codec.hash("c")), 0.0)
    beats = [e.frame[:9] for e in only(run(node, 0.0, 2.9), Publish)]
    assert beats == [b"@" + make.codec.hash("b")] * 3


def test_a_heartbeat_with_a_newer_version_leads_to_a_pull_of_that_origin(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node.handle(told(node, make, beat(make, "b", version=3)), 0.5)
    calls = only(run(node, 0.5, 0.8), Call)
    assert [call.endpoint for call in calls] == ["10.0.0.20:7400"]
    assert [entry.origin for entry in make.codec.decode(calls[0].frame).entries] == ["b"]


def test_a_heartbeat_of_an_earlier_life_is_no_sign_of_life(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node._detector.watches.only({"b"}, 0.0)
    node.handle(told(node, make, beat(make, "b", incarnation=(1, 1))), 0.9)
    assert node._detector.watches.of["b"].quiet_since == 0.0
    node.handle(told(node, make, beat(make, "b")), 0.9)
    assert node._detector.watches.of["b"].quiet_since == 0.9


def test_a_heartbeat_of_one_held_dead_leads_to_a_conversation(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node._membership.settle(node.local.table.origins["b"], MemberState.DEAD, "", 0.1)
    calls = only(node.handle(told(node, make, beat(make, "b")), 0.5), Call)
    assert [call.endpoint for call in calls] == ["10.0.0.20:7400"]


def test_a_heartbeat_of_a_stranger_or_of_myself_is_counted(node: Node, make: Any) -> None:
    for id in ("stranger", "n1"):
        assert node.handle(told(node, make, beat(make, id)), 0.5) == []
    assert node.local.counters["heartbeats_of_strangers"] == 2


def test_two_heartbeats_that_differ_lead_to_a_conversation(node: Node, make: Any) -> None:
    meet(node, make, "b")
    run(node, 0.0, 0.5)
    node.handle(told(node, make, beat(make, "b", digest=99)), 0.5)
    assert only(run(node, 0.5, 1.5), Call) == []
    node.handle(told(node, make, beat(make, "b", digest=99)), 1.5)
    effects = run(node, 1.5, 1.7)
    assert [call.endpoint for call in only(effects, Call)] == ["10.0.0.20:7400"]


# broadcasts -------------------------------------------------------------------------------------------------------------


def test_a_delegated_delta_is_merged_and_its_range_served(node: Node, make: Any) -> None:
    meet(node, make, "b", "c", "d")
    mine = node.local.fan._origin_positions[0]
    effects = node.handle(delegated(node, make, make.delta("b", 1, 2, put=("i1",)), (mine - 1) % 2**64), 1.0)
    assert len(only(effects, Publish)) == 3
    assert node.local.directory.shown(make.key()) is not None


def test_a_duplicate_is_passed_on_and_not_decoded(node: Node, make: Any) -> None:
    meet(node, make, "b", "c")
    mine = node.local.fan._origin_positions[0]
    frame = delegated(node, make, make.delta("b", 0 + 1, 2, put=("i1",)), (mine - 1) % 2**64).frame
    node.handle(Heard(frame), 1.0)
    broken = Heard(frame[:-3] + b"\xc1\xc1\xc1")  # no msgpack
    assert len(only(node.handle(broken, 1.1), Publish)) == 2
    assert node.local.counters["deltas_duplicate"] == 1
    assert node.local.counters["frames_dropped"] == 0


def test_a_gap_is_pulled_from_the_one_who_carried_the_frame(node: Node, make: Any) -> None:
    meet(node, make, "b", "c")
    node.handle(delegated(node, make, make.delta("b", 5, 6), sender="c"), 1.0)
    calls = only(run(node, 1.0, 1.3), Call)
    assert [call.endpoint for call in calls] == ["10.0.0.21:7400"]


def test_a_pull_without_room_is_tried_again(node: Node, make: Any) -> None:
    meet(node, make, "b", "c")
    for n in range(4):
        node._repair.pull(f"x{n}", "10.9.9.9:7400", 1.0)
    node.handle(delegated(node, make, make.delta("b", 5, 6), sender="c"), 1.0)
    run(node, 1.0, 3.9)
    assert "10.0.0.21:7400" in [call.endpoint for call in only(run(node, 3.9, 4.5), Call)]


def test_a_kind_of_later_versions_is_passed_on_and_counted(node: Node, make: Any) -> None:
    meet(node, make, "b")
    mine = node.local.fan._origin_positions[0]
    frame = make.codec.envelope(0, (mine - 1) % 2**64, make.codec.hash("b")) + bytes([1, 255]) + make.codec.cluster_hash + b"news"
    assert len(only(node.handle(Heard(b"@" + node.local.me.hash + frame), 1.0), Publish)) == 1
    assert node.local.counters["frames_unknown"] == 1


# strangers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame", [b"", b"@", b"*", b"#garbage", b"@" + bytes(9), b"@" + bytes(8) + b"\x01D", b"*" + bytes(30), b"@" + b"x" * 400_000]
)
def test_garbage_is_dropped_counted_and_told_once_a_minute(node: Node, frame: bytes) -> None:
    assert len(notices(node.handle(Heard(frame), 1.0))) + node.local.counters["frames_foreign"] == 1
    assert node.handle(Heard(frame), 60.9) == []
    if node.local.counters["frames_dropped"]:
        assert len(notices(node.handle(Heard(frame), 61.0))) == 1
    for asked in (Asked(b"t", frame), Answered(1, frame)):
        node.handle(asked, 62.0)


def test_an_envelope_of_a_third_ring_is_dropped(node: Node, make: Any) -> None:
    frame = make.codec.envelope(2, 5, make.codec.hash("b")) + make.codec.encode_delta(make.state("b"))
    node.handle(Heard(b"@" + node.local.me.hash + frame), 1.0)
    assert node.local.counters["frames_dropped"] == 1
    assert "b" not in node.local.table.origins


def test_an_unknown_kind_is_counted_apart(node: Node, make: Any) -> None:
    frame = bytes([1, 255]) + make.codec.cluster_hash
    assert node.handle(Asked(b"t", frame), 1.0) == []
    assert node.local.counters["frames_unknown"] == 1


def test_who_asks_from_another_cluster_is_told_so(node: Node) -> None:
    other = Codec("other")
    (answer,) = node.handle(Asked(b"t", other.encode(Ping("x", (1, 1), 0))), 1.0)
    assert (answer.token, node.local.codec.decode(answer.frame)) == (b"t", Foreign())


def test_a_ping_answered_from_another_cluster_ends(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node._pings.send(node.local.table.origins["b"], 1.0)
    (call,) = only(node._effects(1.0), Call)
    assert node.handle(Answered(call.call, Codec("other").encode(Foreign())), 1.1) == [HangUp(call.call)]


@pytest.mark.parametrize("start", [1_000, NUMBER_MAX - 1, NUMBER_MAX])
def test_an_accusation_with_the_highest_numbers_leaves_a_node_that_others_understand(node: Node, make: Any, start: int) -> None:
    meet(node, make, "b")
    charge = Charge("n1", (start, 1), PULSE_MAX, Evidence.CLOSED)
    node.handle(Heard(b"*" + make.codec.encode(Accusation("b", make.life, 1, (charge,)))), 1.0)
    run(node, 1.0, 2.0)
    (frame,) = node._author.state_frames(node.local.me)
    assert make.codec.decode(frame).origin == "n1"
    assert make.codec.decode(make.codec.encode(node._heartbeats.of_now(linked=False))).sender == node.local.me.hash


# pings ------------------------------------------------------------------------------------------------------------------


def test_a_ping_is_answered_with_who_i_am_and_whether_the_asker_is_held_alive(node: Node, make: Any) -> None:
    meet(node, make, "b")
    ping = Asked(b"t", make.codec.encode(Ping("b", make.life, 0)))
    (answer,) = only(node.handle(ping, 1.0), Answer)
    assert make.codec.decode(answer.frame) == Pong("n1", node.local.me.incarnation, 0, 1, True)
    node._membership.settle(node.local.table.origins["b"], MemberState.DEAD, "", 1.0)
    (answer,) = only(node.handle(ping, 1.0), Answer)
    assert not make.codec.decode(answer.frame).held_alive


def test_a_member_is_pinged_once_at_a_time_and_its_answer_ends_the_call(node: Node, make: Any) -> None:
    meet(node, make, "b")
    b = node.local.table.origins["b"]
    assert node._pings.send(b, 1.0)
    assert node._pings.send(b, 1.1)
    (call,) = only(node._effects(1.1), Call)
    assert node.handle(Answered(call.call, make.codec.encode(Pong("b", make.life, 0, 1, True))), 1.2) == [HangUp(call.call)]
    assert node.handle(Answered(call.call, make.codec.encode(Pong("b", make.life, 0, 1, True))), 1.2) == []


def test_an_unanswered_ping_ends_the_call_and_accuses(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node._detector.reported(node.local.table.origins["b"], 1.0)
    node._effects(1.0)
    effects = run(node, 1.0, 1.6)
    assert len(only(effects, HangUp)) == 1
    assert node.local.table.origins["b"].state is MemberState.SUSPECTED


def test_a_refutation_is_passed_on_to_all_once_whichever_way_it_came(node: Node, make: Any) -> None:
    meet(node, make, "b")
    frame = make.codec.encode_delta(make.delta("b", 1, 2, header=make.header(20, pulse=1)))
    flooded = only(node.handle(Heard(b"*" + frame), 1.0), Publish)
    assert [effect.frame for effect in flooded] == [b"*" + frame]
    assert only(node.handle(Heard(b"*" + frame), 1.1), Publish) == []


def test_only_refutations_are_taken_from_a_flood_and_only_so_many_a_second_are_passed_on(node: Node, make: Any) -> None:
    meet(node, make, "b")
    change = make.codec.encode_delta(make.delta("b", 1, 2, put=("i1",)))
    assert node.handle(Heard(b"*" + change), 1.0) == []
    assert node.local.table.origins["b"].version == 1
    for pulse in range(1, FLOODED_MAX + 9):
        raised = make.codec.encode_delta(make.delta("b", pulse, pulse + 1, header=make.header(20, pulse=pulse)))
        node.handle(Heard(b"*" + raised), 1.0)
    assert node.local.table.origins["b"].header.pulse == FLOODED_MAX + 8
    assert node.local.counters["refutations_not_flooded"] == 8


def test_who_learns_that_it_is_held_dead_refutes_and_talks(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node._pings.send(node.local.table.origins["b"], 1.0)
    (call,) = only(node._effects(1.0), Call)
    effects = node.handle(Answered(call.call, make.codec.encode(Pong("b", make.life, 0, 1, False))), 1.2)
    assert node.local.me.header.pulse == 1
    assert len(only(effects, Call)) >= 1


def test_a_pong_of_a_newer_version_leads_to_a_pull(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node._pings.send(node.local.table.origins["b"], 1.0)
    (call,) = only(node._effects(1.0), Call)
    node.handle(Answered(call.call, make.codec.encode(Pong("b", make.life, 0, 5, True))), 1.1)
    assert list(node._merger.gaps) == ["b"]


def test_pings_are_bounded(node: Node, make: Any) -> None:
    meet(node, make, *(f"x{n}" for n in range(70)))
    assert [node._pings.send(o, 1.0) for o in list(node.local.table.alive())[1:]].count(False) == 6


def test_a_failure_that_was_reported_pings_who_holds_the_instance(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node.register(make.instance("i1", "n1"), None, 0.0)
    node.handle(told(node, make, make.delta("b", 1, 2, put=("i1",))), 0.5)
    assert [call.endpoint for call in only(node.report_failure(make.key(), 1.0), Call)] == ["10.0.0.20:7400"]
    assert node.report_failure(make.key("unknown"), 1.0) == []


# links that close -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ended", "ports"), [(LinkClosed, (7401, 7400)), (LinkUnreached, (7400,))])
def test_of_a_link_that_closed_both_ports_are_probed_where_it_met_nobody_the_contact_and_a_refusal_condemns(
    node: Node, make: Any, ended: type[LinkClosed | LinkUnreached], ports: tuple[int, ...]
) -> None:
    meet(node, make, "b")
    run(node, 0.0, 0.5)
    effects = node.handle(ended("10.0.0.20:7401"), 0.6)
    for port in ports:
        assert only(effects, Probe) == [Probe(f"10.0.0.20:{port}")]
        effects = node.handle(Probed(f"10.0.0.20:{port}", ProbeOutcome.REFUSED), 0.6)
    run(node, 0.6, 0.7)
    assert node.local.table.origins["b"].state is MemberState.DEAD


# pauses -----------------------------------------------------------------------------------------------------------------


def test_after_a_pause_it_accuses_nobody_and_tells_that_it_lives(node: Node, make: Any) -> None:
    meet(node, make, "b", "c")
    run(node, 0.0, 3.3)  # both are silent and have been pinged
    assert len(node._pings) == 2
    effects = node.tick(60.0)
    assert node.local.me.header.pulse == 1
    assert any("stood still" in reason for reason in notices(effects))
    effects += run(node, 60.0, 60.3)
    assert {o.state for o in node.local.table.origins.values()} == {MemberState.ALIVE}
    assert node.local.counters["accusations_made"] == 0


def test_a_tick_that_is_a_little_late_is_no_pause(node: Node, make: Any) -> None:
    meet(node, make, "b")
    last = node._last_tick
    node.tick(last + 1.9)
    assert node.local.counters["pauses"] == 0


# leaving ----------------------------------------------------------------------------------------------------------------


def test_a_leaver_ends_when_its_subscribers_are_gone(node: Node, make: Any) -> None:
    meet(node, make, "b")
    assert not node.left
    assert len(only(node.leave(1.0), Publish)) == 1
    assert node.leave(1.0) == []
    assert not node.left
    node.handle(Unsubscribed(b"@" + make.codec.hash("b")), 1.1)
    assert node.left


def test_a_leaver_ends_in_any_case_after_a_moment_and_its_deadlines_with_it(node_of: Any, make: Any) -> None:
    node = node_of(1, seeds=["10.0.0.99:7400"])
    meet(node, make, "b")
    node._dialer._next_dial = 1.2
    node.leave(1.0)
    run(node, 1.0, 1.49)
    assert not node.left
    run(node, 1.49, 5.0)
    assert node.left


def test_a_leaver_refutes_nothing(node: Node, make: Any) -> None:
    meet(node, make, "b")
    node.leave(1.0)
    charge = Charge("n1", node.local.me.incarnation, 9, Evidence.SILENT)
    node.handle(Heard(b"*" + make.codec.encode(Accusation("b", make.life, 1, (charge,)))), 1.1)
    assert node.local.me.header.pulse == 0


# lives ------------------------------------------------------------------------------------------------------------------


def former(node: Node, make: Any, start: int, **header: Any) -> Heard:
    return told(node, make, make.state("n1", header=make.header(9, **header), life=(start, 0)))


def test_it_rises_above_a_higher_life_of_itself(node: Node, make: Any) -> None:
    node.handle(former(node, make, 50_000), 1.0)
    assert node.local.me.incarnation > (50_000, 0)
    risen = node.local.me.incarnation
    node.handle(former(node, make, 40_000), 1.1)
    assert node.local.me.incarnation == risen


def test_its_own_earlier_word_is_no_twin(node: Node, make: Any) -> None:
    header = node.local.me.header
    for n in range(5):
        hers = {"boot_ms": header.boot_ms, "boot_nonce": header.boot_nonce}
        assert notices(node.handle(former(node, make, 50_000 + 10_000 * n, **hers), 1.0 + n)) == []
    assert node.id == "n1"


@pytest.mark.parametrize(("boot_ms", "renamed"), [(10**12, False), (1, True)])
def test_of_two_that_share_an_id_the_younger_takes_a_new_one(node: Node, make: Any, boot_ms: int, renamed: bool) -> None:
    effects = []
    for n in range(3):
        effects += node.handle(former(node, make, 50_000 + 10_000 * n, boot_ms=boot_ms), 1.0 + n)
    assert len([reason for reason in notices(effects) if reason.startswith("DuplicatePeerId")]) == 1
    assert (node.id != "n1") is renamed


def test_twice_within_an_hour_is_no_twin(node: Node, make: Any) -> None:
    for n in range(5):
        assert notices(node.handle(former(node, make, 50_000 + 10_000 * n, boot_ms=1), 100.0 * n)) == []


def test_its_memory_of_lives_is_bounded(node: Node, make: Any) -> None:
    for n in range(50):
        node.handle(former(node, make, 50_000 + 10_000 * n, boot_ms=10**12), 1.0)
    assert len(node._self._rises) <= 3


# Agreement --------------------------------------------------------------------------------------------------------------


def test_a_heartbeat_of_one_that_is_not_watched_leaves_no_disagreement(node: Node, make: Any) -> None:
    meet(node, make, *"bcdefghijklmn")
    node.tick(1.0)
    stranger = next(id for id in "bcdefghijklmn" if id not in node._detector.watches.of)
    node.handle(told(node, make, beat(make, stranger, digest=99)), 1.1)
    node.tick(1.5)
    assert node.agreement == 1.0


@pytest.mark.parametrize("synced", [False, True])
def test_a_link_that_came_up_to_one_that_is_not_watched_leaves_no_disagreement(node: Node, make: Any, synced: bool) -> None:
    meet(node, make, *"bcdefghijklmn")
    node.tick(1.0)
    node.local.synced = synced
    stranger = next(id for id in "bcdefghijklmn" if id not in node._detector.watches.of)
    node.handle(told(node, make, beat(make, stranger, digest=99, linked=True)), 1.1)
    for tick in range(20):
        node.tick(1.2 + tick / 10)
    assert node.agreement == 1.0


# Long silence -----------------------------------------------------------------------------------------------------------


def test_who_heard_nobody_for_half_the_retention_forgets_the_others_before_it_speaks(node: Node, make: Any) -> None:
    half = node.local.config.joining.retention_s / 2
    meet(node, make, "b", "c")
    assert [origin.id for origin in node.local.table.alive() if origin is not node.local.me]
    node.handle(Asked(b"token", node.local.codec.encode(Ping("b", (1, 1), 0))), 1.0 + half + 1.0)
    assert list(node.local.table.origins) == [node.id]
    assert not node.local.table.floors
