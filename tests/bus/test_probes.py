from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from gossip.bus import probes as module
from gossip.bus.hush import Hush
from gossip.bus.probes import Probes
from gossip.bus.sockets import Descriptors, Sockets
from gossip.core.effects import Probed, ProbeOutcome

Until = Callable[..., Any]


class Desk:
    """Probes, and the poller they register with."""

    def __init__(self) -> None:
        self.hush, self.poller = Hush(), zmq.Poller()
        self.probes = Probes(self.poller, 0.5, self.hush, Descriptors(0.8))

    def answer(self, endpoint: str, until: Until) -> Probed:
        at_once = self.probes.start(endpoint, 0.0)
        return at_once or until(self.finished)[0]

    def finished(self) -> list[Probed]:
        return [answer for source, _ in self.poller.poll(0) for answer in self.probes.finish(source)]


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_listener_is_open_and_keeps_no_trace(desk: Desk, until: Until) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        assert desk.answer(endpoint, until) == Probed(endpoint, ProbeOutcome.OPEN)
        connection, _ = listener.accept()
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert len(desk.probes) == 0
    assert not desk.poller.sockets


def test_a_port_without_listener_is_refused(desk: Desk, until: Until, unused_port: int) -> None:
    endpoint = f"127.0.0.1:{unused_port}"
    assert desk.answer(endpoint, until) == Probed(endpoint, ProbeOutcome.REFUSED)


def test_no_answer_in_time_is_unknown(desk: Desk) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # fill the backlog: further connects stay unanswered
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        assert desk.probes.start(endpoint, 10.0) is None
        assert desk.probes.next_deadline() == 10.5
        assert desk.probes.tick(10.4) == []
        assert desk.probes.tick(10.5) == [Probed(endpoint, ProbeOutcome.UNKNOWN)]
        assert desk.probes.next_deadline() == float("inf")


@pytest.mark.parametrize("endpoint", ["nonsense", "127.0.0.1:99999", "127.0.0.1:x", "256.1.1.1.1:80", "[::zz]:1", ":"])
def test_an_impossible_endpoint_is_unknown(desk: Desk, endpoint: str) -> None:
    assert desk.probes.start(endpoint, 0.0) == Probed(endpoint, ProbeOutcome.UNTRIED)
    assert len(desk.probes) == 0


def test_probes_beyond_the_bound_are_unknown_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBES_OPEN_MAX", 0)
    assert desk.probes.start("127.0.0.1:1", 0.0) == Probed("127.0.0.1:1", ProbeOutcome.UNTRIED)
    assert desk.hush.counters["probes_refused"] == 1


def test_a_dial_that_reached_itself_found_nobody(desk: Desk) -> None:
    with socket.socket() as dialler:
        dialler.bind(("127.0.0.1", 0))
        dialler.connect(dialler.getsockname())
        assert module._outcome(dialler, 0) is ProbeOutcome.REFUSED


def test_closing_gives_up_what_runs(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        desk.probes.start(f"127.0.0.1:{listener.getsockname()[1]}", 0.0)
        desk.probes.close()
    assert len(desk.probes) == 0
    assert not desk.poller.sockets


def test_a_probed_publisher_serves_on(desk: Desk, sockets: Sockets, until: Until, context: zmq.Context[Any]) -> None:
    endpoint = f"127.0.0.1:{sockets.bind_publisher('127.0.0.1', 0)}"
    for _ in range(300):
        assert desk.answer(endpoint, until).outcome is ProbeOutcome.OPEN
    subscriber = context.socket(zmq.SUB)
    subscriber.subscribe(b"*")
    subscriber.connect(f"tcp://{endpoint}")
    assert sockets.publisher.poll(5000)
    assert sockets.publisher.recv() == b"\x01*"
