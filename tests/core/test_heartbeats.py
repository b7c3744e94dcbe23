"""When I beat, to whom, and what another's must be to be its own."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.effects import Publish
from gossip.core.heartbeats import Heartbeats
from gossip.core.messages import Heartbeat


@pytest.fixture
def beats(bench: Any) -> Heartbeats:
    """Since 10.0, with a and b linked to me."""
    for origin in bench.join("a", "b"):
        bench.local.fan.add(origin.hash)
    beats = Heartbeats(bench.local)
    beats.begin(10.0)
    return beats


def sent(bench: Any) -> dict[str, Heartbeat]:
    """What was told since the last time, by whom it went to; "+" are observers."""
    ids = {b"@" + origin.hash: id for id, origin in bench.table.origins.items()} | {b"+": "+"}
    frames = [effect.frame for effect in bench.effects(Publish)]
    topics = [frame[:9] if frame[:1] == b"@" else frame[:1] for frame in frames]
    decode = bench.make.codec.decode
    return {ids[topic]: decode(frame[len(topic) :]) for topic, frame in zip(topics, frames, strict=True)}


def test_the_first_comes_within_half_an_interval_and_the_others_each_interval(bench: Any, beats: Heartbeats) -> None:
    first = beats.next_at
    assert 10.0 < first < 10.7
    beats.tick(first - 0.01)
    assert sent(bench) == {}
    beats.tick(first)
    assert set(sent(bench)) == {"a", "b"}
    assert beats.next_at == first + 1.0


def test_after_a_pause_no_more_than_one_is_made_up_for(bench: Any, beats: Heartbeats) -> None:
    for _ in range(5):
        beats.tick(99.0)
    assert len(bench.effects(Publish)) <= 2 * 2
    assert beats.next_at > 99.0


def test_only_watchers_that_are_linked_hear_it(bench: Any, beats: Heartbeats) -> None:
    bench.local.fan.remove(bench.table.origins["a"].hash)
    beats.tick(beats.next_at)
    assert set(sent(bench)) == {"b"}


def test_it_tells_how_far_i_am(bench: Any, beats: Heartbeats) -> None:
    me = bench.local.me
    beats.greet(bench.table.origins["a"].hash)
    assert sent(bench) == {"a": Heartbeat(me.hash, me.incarnation, me.version, 0, bench.table.digest, True, bench.local.synced)}


def test_observers_hear_it_while_there_are_any(bench: Any, beats: Heartbeats) -> None:
    beats.greet_observers()
    assert sent(bench) == {}
    bench.local.observed = True
    beats.greet_observers()
    assert sent(bench)["+"].linked
    beats.tick(beats.next_at)
    assert not sent(bench)["+"].linked


def test_one_without_a_number_or_with_one_that_was_heard_is_not_its_own(bench: Any, beats: Heartbeats) -> None:
    a = bench.table.origins["a"]
    a.beat = a.incarnation, 5
    for number, counter in ((0, "heartbeats_unsigned"), (5, "heartbeats_replayed"), (4, "heartbeats_replayed")):
        before = bench.local.counters[counter]
        beat = Heartbeat(a.hash, a.incarnation, 1, 0, 0, linked=False, synced=True, number=number)
        assert not beats.is_its_own(beat, b"", a)
        assert bench.local.counters[counter] == before + 1
