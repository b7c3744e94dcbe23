"""Bounds: counted each time, told once a minute; and rates."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.bounds import RATE_BURST_S, TOLD_INTERVAL_S, Bounds, Bucket
from gossip.core.codec import TOPIC_SELF
from gossip.core.effects import Answer, Asked, Happened, Subscribed
from gossip.core.merge import ARRIVING_MAX
from gossip.core.messages import Entry, Ping, Sync, Want
from gossip.core.node import Node
from gossip.core.origin import LOG_BYTES_MAX
from gossip.model import MemberState


def test_every_hit_is_counted_and_one_a_minute_and_kind_is_told() -> None:
    counters: Counter[str] = Counter()
    told: list[tuple[str, str]] = []
    bounds = Bounds(counters, lambda subject, why: told.append((subject, why)))
    for now in (0.0, 1.0, TOLD_INTERVAL_S - 1, TOLD_INTERVAL_S):
        bounds.hit("full", "a", "it is full", now)
    bounds.hit("other", "b", "that too", 1.0)
    assert counters == {"full": 4, "other": 1}
    assert [subject for subject, _ in told] == ["a", "a", "b"]


def test_a_rate_grants_its_burst_and_then_so_much_a_second() -> None:
    bucket = Bucket(10, 50)
    granted = sum(bucket.take(1, number / 1000) for number in range(10_000))
    assert granted == 50 + 99
    assert not bucket.take(51, 1e9)
    assert bucket.take(50, 1e9)


def test_a_clock_that_stands_still_or_goes_back_grants_nothing() -> None:
    bucket = Bucket(10, 1)
    assert bucket.take(1, 100.0)
    assert not bucket.take(1, 0.0)
    assert not bucket.take(1, 100.0)


def limited(node_of: Any, **limits: Any) -> Node:
    node: Node = node_of(1, config=Config(limits=dataclasses.replace(Limits(), **limits)))
    return node


@pytest.mark.parametrize(
    ("limit", "message", "counter"),
    [
        ("syncs_per_s", Sync("a", (1_000, 1), 1, 0, True, bytes(2048)), "syncs_refused"),
        ("pings_per_s", Ping("a", (1_000, 1), 0), "pings_unanswered"),
    ],
)
def test_what_strangers_ask_has_a_rate(node_of: Any, make: Any, limit: str, message: Any, counter: str) -> None:
    node = limited(node_of, **{limit: 2.0})
    frame = make.codec.encode(message)
    effects = [effect for number in range(100) for effect in node.handle(Asked(b"%d" % number, frame), 1.0)]
    assert sum(isinstance(effect, Answer) for effect in effects) == 2 * RATE_BURST_S
    assert sum(isinstance(effect, Happened) for effect in effects) == 1
    assert node.local.counters[counter] == 100 - 2 * RATE_BURST_S


def test_a_small_want_yields_no_more_than_the_rate_of_answers(node_of: Any, make: Any) -> None:
    node = limited(node_of, answer_bytes_per_s=3000)
    labels = {f"k{number}": "v" * 20 for number in range(20)}
    states = [dataclasses.replace(make.state(f"m{n}"), put=(make.instance("i", f"m{n}", labels=labels),)) for n in range(20)]
    for state in states:
        node.handle(Asked(b"t", make.codec.encode_delta(state)), 0.0)
    want = make.codec.encode(Want(tuple(Entry(f"m{n}", (0, 0), 0, 0) for n in range(20))))
    sent = [effect for _ in range(50) for effect in node.handle(Asked(b"t", want), 0.0) if isinstance(effect, Answer)]
    assert sum(len(effect.frame) for effect in sent) <= 3000
    assert node.local.counters["answers_refused"] == 50
    assert any(isinstance(effect, Answer) for effect in node.handle(Asked(b"t", want), 10.0))


def test_one_origin_is_sent_once_however_often_it_is_wanted(node_of: Any, make: Any) -> None:
    node: Node = node_of(1)
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("a"))), 0.0)
    want = make.codec.encode(Want((Entry("a", (0, 0), 0, 0),) * 64))
    assert len(node.handle(Asked(b"t", want), 0.0)) == 2  # the state, and Done


def test_members_never_heard_of_have_a_rate(bench_of: Any, make: Any) -> None:
    bench = bench_of(Config(limits=dataclasses.replace(Limits(), members_max=50, joins_per_s=1.0)))
    for number in range(100):
        gone = make.state(f"m{number}")
        bench.give(gone, 0.0)
        known = bench.table.origins.get(f"m{number}")
        if known is not None:
            goodbye = dataclasses.replace(known.header, flags=1)
            bench.give(make.delta(f"m{number}", 1, 2, header=goodbye), 0.0)
    assert bench.local.counters["joins_refused"] == 50
    bench.give(make.state("late"), 2.0)
    assert "late" in bench.table.origins


def test_early_deltas_of_all_together_are_bounded_in_bytes(bench_of: Any, make: Any) -> None:
    bench = bench_of(Config(limits=dataclasses.replace(Limits(), waiting_bytes_max=20_000)))
    bench.join(*(f"m{number}" for number in range(30)))
    for number in range(30):
        for since in range(5, 60):
            bench.give(make.delta(f"m{number}", since, since + 1, put=("i1",)), 0.0)
    assert 10_000 < bench.table.waiting_bytes <= 20_000
    assert bench.table.waiting_bytes == sum(origin.waiting_bytes for origin in bench.table.origins.values())
    assert bench.local.counters["early_refused"] > 0


def test_early_deltas_of_one_origin_are_bounded_in_bytes(bench_of: Any, make: Any) -> None:
    bench = bench_of(Config(limits=dataclasses.replace(Limits(), origin_bytes_max=500)))
    (a,) = bench.join("a")
    for since in range(5, 60):
        bench.give(make.delta("a", since, since + 1, put=("i1",)), 0.0)
    assert 0 < a.waiting_bytes <= 500


def test_states_in_parts_are_bounded_together_and_those_given_up_are_counted_no_longer(bench_of: Any, make: Any) -> None:
    bench = bench_of(Config(limits=dataclasses.replace(Limits(), waiting_bytes_max=20_000)))
    for number in range(3 * ARRIVING_MAX):
        bench.give(make.state(f"x{number}", put=("i1",), parts=2, part=0), 0.0)
    assert 0 < bench.table.waiting_bytes <= 20_000
    assert bench.local.counters["arriving_dropped"] == 2 * ARRIVING_MAX
    (a,) = bench.join("a")
    for part in (0, 1):
        bench.give(make.state("a", 2, put=(f"i{part}",), parts=2, part=part), 0.0)
    assert a.waiting_bytes == 0
    assert len(a.instances) == 2


def test_all_that_is_held_is_bounded_and_freed_when_members_are_forgotten(bench_of: Any, make: Any) -> None:
    bench = bench_of(Config(limits=dataclasses.replace(Limits(), table_bytes_max=5_000)))
    for number in range(100):
        bench.give(make.state(f"m{number}", put=("i1", "i2")), 0.0)
    assert 4_000 < bench.table.held_bytes <= 5_000
    assert bench.local.counters["table_refused"] > 0
    bench.membership.forget_others("a test", 0.0)
    assert bench.table.held_bytes == bench.table.waiting_bytes == 0


def test_the_log_of_an_origin_is_bounded_in_bytes(bench: Any, make: Any) -> None:
    (a,) = bench.join("a")
    labels = {f"k{number}": "v" * 40 for number in range(20)}
    for version in range(1, 40):
        put = tuple(make.instance(f"i{n}", "a", labels=labels) for n in range(30))
        delta = dataclasses.replace(make.delta("a", version, version + 1), put=put)
        assert a.apply(delta, b"x" * 30_000, log_deltas_min=64).value == "applied"
    assert a.log_bytes <= LOG_BYTES_MAX


def test_a_member_is_served_in_place_of_a_stranger_where_too_many_subscribe(node_of: Any, make: Any) -> None:
    node = limited(node_of, subscribers_max=10)
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("a"))), 0.0)
    for number in range(20):
        node.handle(Subscribed(TOPIC_SELF + b"forged%02d" % number), 0.0)
    hash = node.local.codec.hash("a")
    node.handle(Subscribed(TOPIC_SELF + hash), 0.0)
    assert hash in node.local.fan.subscribers
    assert len(node.local.fan.subscribers) == 10
    assert node.local.counters["subscribers_refused"] == 11


def test_who_comes_back_from_the_dead_takes_no_room_that_there_is_not(bench_of: Any, make: Any) -> None:
    bench = bench_of(Config(limits=dataclasses.replace(Limits(), members_max=3)))
    (a,) = bench.join("a")
    bench.membership.settle(a, MemberState.DEAD, "a test", 0.0)
    bench.join("b", "c")
    bench.refutes("a", 1.0)
    assert bench.table.living == 3
    assert a.state is MemberState.DEAD
    assert bench.local.counters["members_refused"] == 1
    (b,) = (bench.table.origins["b"],)
    bench.membership.settle(b, MemberState.DEAD, "a test", 2.0)
    bench.refutes("a", 3.0, pulse=2)
    assert a.state is MemberState.ALIVE


def test_which_stranger_makes_room_depends_on_no_hash_seed(node_of: Any, make: Any) -> None:
    node = limited(node_of, subscribers_max=16)
    node.handle(Asked(b"t", make.codec.encode_delta(make.state("a"))), 0.0)
    strangers = [b"forged%02d" % number for number in range(16)]
    for stranger in strangers:
        node.handle(Subscribed(TOPIC_SELF + stranger), 0.0)
    node.handle(Subscribed(TOPIC_SELF + node.local.codec.hash("a")), 0.0)
    assert set(strangers) - node.local.fan.subscribers == {min(strangers)}
