from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from gossip.bus import calls as module
from gossip.bus.calls import Calls
from gossip.bus.hush import Hush
from gossip.bus.keys import keyring_of, new_secret
from gossip.bus.knocks import Knocks
from gossip.bus.sockets import Descriptors, Sockets
from gossip.config import Config, Links
from gossip.core.effects import Answered, Refused, Unreached

Until = Callable[..., Any]


class Desk:
    """Calls, the poller they register with, and what they got."""

    def __init__(self, sockets: Sockets, config: Links) -> None:
        self.hush, self.poller = Hush(), zmq.Poller()
        self.calls = Calls(sockets, self.poller, self.hush, Descriptors(0.8), config)
        self.got: list[Answered] = []
        self.failed: list[Refused | Unreached] = []

    def send(self, call: int, endpoint: str, frame: bytes) -> None:
        self.calls.send(call, endpoint, frame, 0.0)

    def turn(self) -> list[Answered]:
        for source, _ in self.poller.poll(0):
            for told in self.calls.receive(source, time.monotonic()):
                (self.got if isinstance(told, Answered) else self.failed).append(told)  # type: ignore[attr-defined]
        return self.got


@pytest.fixture
def desk(sockets: Sockets, config: Config) -> Desk:
    return Desk(sockets, config.links)


@pytest.fixture
def contact(context: zmq.Context[Any]) -> Iterator[tuple[zmq.Socket[bytes], str]]:
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    yield router, f"127.0.0.1:{port}"
    router.close(linger=0)


def test_frames_of_one_call_share_a_connection_and_answers_bear_its_number(desk: Desk, contact: Any, until: Until) -> None:
    router, endpoint = contact
    desk.send(7, endpoint, b"one")
    desk.send(7, endpoint, b"two")
    desk.send(8, endpoint, b"three")
    askers = {}
    for _ in range(3):
        assert router.poll(5000)
        token, frame = router.recv_multipart()
        askers[frame] = token
        router.send_multipart([token, b"answer to " + frame])
    assert askers[b"one"] == askers[b"two"] != askers[b"three"]
    until(lambda: len(desk.turn()) == 3)
    assert sorted(desk.got, key=lambda answer: answer.frame) == [
        Answered(7, b"answer to one"),
        Answered(8, b"answer to three"),
        Answered(7, b"answer to two"),
    ]
    assert len(desk.calls) == 2


def test_who_is_refused_is_told_so_at_once_and_once(desk: Desk, unused_port: int, until: Until) -> None:
    desk.send(7, f"127.0.0.1:{unused_port}", b"one")
    desk.send(7, f"127.0.0.1:{unused_port}", b"two")
    until(lambda: desk.turn() or desk.failed)
    assert desk.failed == [Unreached(7)]
    assert desk.hush.counters["calls_unreached"] == 1
    desk.calls.hang_up(7)
    assert len(desk.calls) == 0


def test_after_hanging_up_nothing_is_heard_and_the_number_is_free(desk: Desk, contact: Any, until: Until) -> None:
    router, endpoint = contact
    desk.send(7, endpoint, b"one")
    token, _ = router.recv_multipart()
    router.send_multipart([token, b"late"])
    sources = until(lambda: len(desk.poller.poll(0)) == 2 and desk.poller.poll(0))  # the socket and its monitor
    desk.calls.hang_up(7)
    desk.calls.hang_up(7)
    assert [desk.calls.receive(source, 0.0) for source, _ in sources] == [[], []]
    assert desk.calls.receive(42, 0.0) == []
    assert len(desk.calls) == 0
    desk.send(7, endpoint, b"anew")
    assert router.recv_multipart()[1] == b"anew"


def test_a_refused_call_is_silent_and_is_not_tried_again(desk: Desk, unused_port: int, context: zmq.Context[Any]) -> None:
    desk.send(1, f"127.0.0.1:{unused_port}", b"hello?")
    assert desk.poller.poll(5000), "its monitor tells that nobody listens"
    assert desk.turn() == []
    router = context.socket(zmq.ROUTER)
    router.bind(f"tcp://127.0.0.1:{unused_port}")
    assert not router.poll(1000), "one call is one try"
    desk.send(1, f"127.0.0.1:{unused_port}", b"still there?")
    desk.calls.hang_up(1)


def test_answers_of_several_parts_are_dropped_and_counted(desk: Desk, contact: Any, until: Until) -> None:
    router, endpoint = contact
    desk.send(7, endpoint, b"one")
    token, _ = router.recv_multipart()
    router.send_multipart([token, b"a", b"b"])
    router.send_multipart([token, b"honest"])
    until(desk.turn)
    assert desk.got == [Answered(7, b"honest")]
    assert desk.hush.counters["calls_multipart"] == 1


def test_calls_beyond_the_bound_are_dropped_and_counted(desk: Desk, contact: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALLS_OPEN_MAX", 3)
    _, endpoint = contact
    for call in range(5):
        desk.send(call, endpoint, b"x")
    assert len(desk.calls) == 3
    assert desk.hush.counters["calls_refused"] == 2
    desk.calls.hang_up(0)
    desk.send(5, endpoint, b"x")
    assert len(desk.calls) == 3


def test_a_full_queue_drops_instead_of_blocking(desk: Desk, unused_port: int) -> None:
    for _ in range(2500):
        desk.send(1, f"127.0.0.1:{unused_port}", b"x")
    assert desk.hush.counters["calls_unsent"] >= 1


def test_an_impossible_endpoint_is_counted(desk: Desk) -> None:
    desk.send(1, "not an endpoint", b"x")
    assert desk.hush.counters["calls_undiallable"] == 1
    assert len(desk.calls) == 0


def test_a_call_that_is_hung_up_while_it_connects_or_breaks_holds_up_no_other(desk: Desk, contact: Any, until: Until) -> None:
    router, endpoint = contact
    for number in range(0, 2000, 2):
        desk.send(number, endpoint, b"hung up at once")
        desk.send(number + 1, endpoint, b"?")
        if number % 8 == 0:
            until(lambda: router.poll(0))
        while router.poll(0):
            router.send_multipart([router.recv_multipart()[0], b"!"], zmq.NOBLOCK)
        desk.calls.hang_up(number)
        desk.turn()
        desk.calls.hang_up(number + 1)
    desk.got.clear()
    desk.send(-1, endpoint, b"last")
    asked = until(lambda: router.poll(0) and router.recv_multipart()[1] == b"last")
    assert asked


def test_an_answerer_that_floods_ends_the_call(sockets: Sockets, contact: Any, until: Until) -> None:
    router, endpoint = contact
    router.setsockopt(zmq.SNDHWM, 0)
    desk = Desk(sockets, dataclasses.replace(Links(), messages_per_s=100))
    desk.send(1, endpoint, b"question")
    assert router.poll(5000)
    token, _ = router.recv_multipart()
    for number in range(1000):
        router.send_multipart([token, b"%d" % number])
    until(lambda: desk.turn() is None or desk.hush.counters.get("calls_flooded"))
    assert len(desk.got) < 1000
    heard = len(desk.got)
    desk.send(1, endpoint, b"once more")
    assert not router.poll(200), "nothing more is said on it"
    assert len(desk.turn()) == heard
    desk.calls.hang_up(1)
    desk.calls.hang_up(1)
    assert len(desk.calls) == 0


def test_what_is_kept_for_the_next_knock_is_bounded(
    config: Config, unused_port: int, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    monkeypatch.setattr(module, "SAID_BYTES_MAX", 1000)
    keyring = keyring_of(new_secret())
    sockets, hush = Sockets.open(config.links, keyring), Hush()
    calls = Calls(sockets, zmq.Poller(), hush, Descriptors(0.8), config.links, Knocks(hush, keyring))
    with socket.create_server(("127.0.0.1", unused_port)):  # takes the connection and says nothing
        for _ in range(10):
            calls.send(1, f"127.0.0.1:{unused_port}", bytes(100), 0.0)
        assert hush.counters == {}
        calls.send(1, f"127.0.0.1:{unused_port}", b"x", 0.0)
        calls.send(1, f"127.0.0.1:{unused_port}", b"x", 0.0)
        assert hush.counters == {"calls_overfull": 1}
        assert calls.next_deadline() == float("inf")
        calls.hang_up(1)
        assert len(calls) == 0
    sockets.close()
