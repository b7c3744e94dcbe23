"""Standing: who sent too much that is no message is not listened to for a while."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.codec import DELTA_HEAD, TOPIC_SELF
from gossip.core.effects import Asked, Blame, Blamed, Effect, Happened, Heard, Publish, Shun, Subscribed
from gossip.core.guard import STANDING_S
from gossip.core.messages import Sync
from gossip.core.node import Node
from gossip.core.standing import SOURCES_MAX, Standing

BAD_MAX = Limits().bad_frames_max


@pytest.fixture
def standing() -> Standing:
    return Standing(3, 60.0)


def test_the_last_bad_frame_of_a_minute_is_one_too_many(standing: Standing) -> None:
    assert [standing.misbehaved("a", now) for now in (0.0, 30.0, 59.0)] == [False, False, True]
    assert standing.shunned("a", 118.9)
    assert not standing.shunned("a", 119.0)
    assert not standing.shunned("b", 60.0)


def test_bad_frames_further_apart_are_forgiven(standing: Standing) -> None:
    assert not any(standing.misbehaved("a", 31.0 * number) for number in range(100))


def test_who_was_shunned_begins_anew(standing: Standing) -> None:
    for _ in range(3):
        standing.misbehaved("a", 0.0)
    assert [standing.misbehaved("a", now) for now in (1.0, 60.0, 61.0, 62.0)] == [False, False, False, True]


def test_sources_remembered_are_bounded_and_the_latest_stay(standing: Standing) -> None:
    for number in range(SOURCES_MAX + 10):
        standing.misbehaved(str(number), 0.0)
    assert len(standing) == SOURCES_MAX
    assert [standing.misbehaved(str(SOURCES_MAX + 9), 0.0) for _ in range(2)] == [False, True]


def kinds(effects: list[Effect]) -> list[type]:
    return [type(effect) for effect in effects]


def test_a_bad_frame_on_a_link_is_traced_and_twenty_cut_it(node_of: Any) -> None:
    node: Node = node_of(1)
    source = object()
    (blame,) = [effect for effect in node.handle(Heard(b"@garbage", source), 1.0) if isinstance(effect, Blame)]
    assert blame.source is source
    answers = [node.handle(Blamed("10.0.0.9:7401"), 1.0) for _ in range(BAD_MAX)]
    assert answers[:-1] == [[]] * (BAD_MAX - 1)
    notice, shun = answers[-1]
    assert isinstance(notice, Happened)
    assert shun == Shun("10.0.0.9:7401", STANDING_S)


def test_an_askers_connection_is_not_read_for_a_minute_and_others_are(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    for _ in range(BAD_MAX):
        node.handle(Asked(b"bad", b"garbage"), 1.0)
    sync = make.codec.encode(Sync("a", make.life, 1, 0, True, bytes(2048)))
    assert node.handle(Asked(b"bad", sync), 2.0) == []
    assert node.local.counters["asks_shunned"] == 1
    assert node.handle(Asked(b"good", sync), 2.0) != []
    assert node.handle(Asked(b"bad", sync), 1.0 + STANDING_S) != []


@pytest.mark.parametrize(("place", "other"), [(1, b"~"), (2, b"12345678")])
def test_peers_of_a_later_version_or_another_cluster_do_not_misbehave(node_of: Any, make: Any, place: int, other: bytes) -> None:
    node: Node = node_of(1)
    frame = make.codec.encode(Sync("a", make.life, 1, 0, True, bytes(2048)))
    frame = frame[:place] + other + frame[place + len(other) :]
    for _ in range(3 * BAD_MAX):
        node.handle(Asked(b"t", frame), 1.0)
    assert "connections_shunned" not in node.local.counters


def test_how_many_bad_frames_are_too_many_is_a_setting(node_of: Any) -> None:
    config = Config(limits=dataclasses.replace(Limits(), bad_frames_max=2))
    node: Node = node_of(1, config=config)
    assert [kinds(node.handle(Blamed("e"), 1.0)) for _ in range(2)] == [[], [Happened, Shun]]


def delegated(make: Any, node: Node, body: bytes) -> Heard:
    return Heard(TOPIC_SELF + node.local.me.hash + make.codec.envelope(0, 0, make.codec.hash("a")) + body, "10.0.0.9:7401")


def test_who_passes_on_what_it_had_no_time_to_read_is_not_blamed(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    head = make.codec.encode_delta(make.state("b"))[: DELTA_HEAD.size]
    assert Blame not in kinds(node.handle(delegated(make, node, head + b"garbage"), 1.0))
    assert node.local.counters["frames_dropped"] == 1


def test_what_shows_at_once_to_be_garbage_is_blamed_and_not_passed_on(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    node.handle(Subscribed(TOPIC_SELF + make.codec.hash("x")), 1.0)
    effects = node.handle(delegated(make, node, b"\xff" * 40), 1.0)
    assert Blame in kinds(effects)
    assert Publish not in kinds(effects)
