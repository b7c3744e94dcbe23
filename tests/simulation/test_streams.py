"""The virtual network by itself: streams, weather, cuts, ends."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.simulation import Harsh, Network, Weather
from gossip.simulation.streams import Connection

HEARTBEATS_S = 40.0


class Line(Connection):
    """A connection from a to b that writes down what each end learns, and when."""

    def __init__(self, network: Network, *, capacity: int = 2000) -> None:
        super().__init__(network, network.host("a"), network.host("b"), capacity, commands=False)
        self.look()
        self.told: list[tuple[str, Any, float]] = []
        self.there.take = lambda item: self.told.append(("b", item, network.now - 1000.0))
        self.back.take = lambda item: self.told.append(("a", item, network.now - 1000.0))

    def near_told(self) -> None:
        self.told.append(("a", "broke", self.network.now - 1000.0))

    def far_told(self) -> None:
        self.told.append(("b", "broke", self.network.now - 1000.0))

    def items(self, end: str) -> list[Any]:
        return [item for who, item, _ in self.told if who == end]


def test_a_stream_keeps_the_order_and_loses_nothing_whatever_packets_are_lost(seed: int) -> None:
    network = Network(seed, Weather(jitter_s=0.5, loss=0.05))
    line = Line(network)
    for number in range(100):
        network.after(number * 0.1, lambda number=number: line.there.send(number, 10))
    network.run(120)
    assert line.items("b") == list(range(100))
    assert network.messages == 100
    assert network.bytes == 1000


def test_a_lost_packet_costs_a_retransmission_timeout() -> None:
    network = Network(1)
    line = Line(network)
    network.set_weather(Weather(loss=1.0), "a", "b")
    line.there.send("late", 10)
    network.run(0.05)
    network.clear_weather()
    network.run(1)
    ((_, _, at),) = line.told
    assert 0.2 <= at <= 0.202


@pytest.mark.parametrize("away", [("a", "b"), ("b", "a")], ids=["data", "acknowledgements"])
@pytest.mark.parametrize(("lost_s", "again_s"), [(0.3, 0.4), (0.5, 0.8), (1.0, 1.6)])
def test_a_tail_is_probed_before_the_retransmission_timeout_doubles(
    away: tuple[str, str], lost_s: float, again_s: float
) -> None:
    network = Network(1)
    line = Line(network)
    network.set_weather(Weather(loss=1.0), *away)
    line.there.send("first", 10)
    network.run(lost_s)
    network.clear_weather()
    network.run(again_s - lost_s - 0.01)
    line.there.send("behind it", 10)
    network.run(5)
    *_, (_, last, at) = line.told
    assert last == "behind it"
    assert again_s <= at <= again_s + 0.003


def test_what_waits_behind_a_cut_arrives_after_it_late_and_in_order_up_to_the_high_water_mark() -> None:
    network = Network(1)
    line = Line(network, capacity=5)
    network.cut("a", "b")
    for number in range(8):
        line.there.send(number, 10)
    network.run(5)
    assert line.told == []
    network.heal()
    network.run(5)
    assert line.items("b") == [0, 1, 2, 3, 4]
    assert network.overflowed == 3


def test_into_a_one_way_cut_data_flows_the_other_way_until_it_would_have_to_be_acknowledged() -> None:
    network = Network(1)
    line = Line(network)
    network.cut("a", "b")
    for number in range(10):
        network.after(number * 0.1, lambda number=number: line.back.send(number, 10))
    network.run(5)
    assert line.items("a") == [0, 1, 2]
    network.heal("a", "b")
    network.run(10)
    assert line.items("a") == list(range(10))


def test_both_ends_find_out_by_heartbeats_that_a_cut_lasts() -> None:
    network = Network(1)
    line = Line(network)
    network.partition("a", "b")
    network.run(19.9)
    assert line.told == []
    network.run(HEARTBEATS_S - 19.9)
    assert [(who, what) for who, what, _ in line.told] == [("b", "broke"), ("a", "broke")]
    assert not line.near.connections


def test_a_cut_that_ends_in_time_breaks_nothing() -> None:
    network = Network(1)
    line = Line(network)
    network.partition("a", "b")
    network.run(15)
    network.heal()
    network.run(100)
    assert line.told == []
    assert line.near_open
    assert line.far_open


def test_the_end_of_a_process_is_told_after_what_it_sent_and_waits_where_packets_are_dropped() -> None:
    network = Network(1)
    line, other = Line(network), Line(network)
    line.there.send("last word", 10)
    line.end_near()
    network.run(1)
    assert line.items("b") == ["last word", "broke"]
    network.cut("a", "b")
    other.end_near()
    network.run(1)
    assert other.told == []
    network.heal()
    network.run(1)
    assert other.items("b") == ["broke"]


def test_a_reset_tells_both_ends_at_once() -> None:
    network = Network(1)
    line = Line(network)
    network.reset("b", "a")
    network.run(0.01)
    assert sorted((who, what) for who, what, _ in line.told) == [("a", "broke"), ("b", "broke")]


def test_the_harsh_network_drops_duplicates_and_reorders(seed: int) -> None:
    network = Network(seed)
    network.harsh = Harsh(drop=0.1, duplicate=0.5, reorder_s=1.0)
    line = Line(network)
    for number in range(300):
        line.there.send(number, 10)
    network.run(5)
    arrived = line.items("b")
    assert arrived != sorted(arrived)
    assert len(arrived) > len(set(arrived))
    assert 200 < len(set(arrived)) < 300


def test_the_latest_weather_and_the_latest_word_about_a_cut_win() -> None:
    network = Network(1)
    a, b = network.host("a"), network.host("b")
    network.set_weather(Weather(latency_s=0.1), "a")
    network.set_weather(Weather(latency_s=0.2), targets=["b"])
    assert [path.latency_s for path in (network.path(a, b), network.path(b, a)) if path] == [0.2, 0.0005]
    network.cut(None, "b")
    assert network.path(a, b) is None
    network.heal("a", "b")
    assert network.connected("a", "b")
    assert not network.calm
    network.heal()
    network.clear_weather()
    assert network.calm


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_bytes_are_counted_by_host_whether_or_not_the_connection_still_is(loss: float) -> None:
    network = Network(1, Weather(loss=loss))
    line = Line(network)
    line.there.send("x", 7)
    line.back.send("y", 5)
    for _ in range(2):
        assert network.host("a").sent == (1, 7)
        assert network.host("a").received == (1, 5)
        assert network.host("b").received == (1, 7)
        network.reset("a", "b")
        network.run(10)
        assert not network.host("a").connections


def test_on_a_line_that_loses_nearly_all_the_heartbeats_of_zmtp_run_out(seed: int) -> None:
    network = Network(seed)
    lines = [Line(network) for _ in range(50)]
    network.set_weather(Weather(loss=0.8), None, "a")
    network.run(600)
    assert sum(("a", "broke") in [(who, what) for who, what, _ in line.told] for line in lines) > 10
    others = [Line(Network(seed, Weather(loss=0.05))) for _ in range(3)]
    for line in others:
        line.network.run(600)
        assert line.told == []
