"""Floods: who brings too much is known by what it brought and what waits of it; only connections of ours are touched."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from gossip.bus.drains import AHEAD_S
from gossip.bus.floods import STALL_S, WEIGHT_BYTES, Flood, cut_off, received_from
from gossip.bus.sockets import NEVER_MS, Sockets
from gossip.config import Config, Links
from gossip.core.effects import Asked, Connect, Heard, Listen, Subscribed
from gossip.model import EventKind

Until = Callable[..., Any]

SMALL, LARGE = zmq.Frame(b"x"), zmq.Frame(bytes(WEIGHT_BYTES))
linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells what it received on Linux")


@pytest.fixture
def config() -> Config:
    return Config(links=dataclasses.replace(Links(), messages_per_s=100, subscriptions_per_s=20))


def brought(flood: Flood, messages: int, source: object = "a", frame: zmq.Frame = SMALL) -> list[int]:
    """The numbers of the messages at which it was found to flood."""
    return [number for number in range(1, messages + 1) if flood.took(frame, source)]  # type: ignore[arg-type]


def test_one_message_more_than_a_second_s_worth_is_a_flood_and_told_once() -> None:
    flood = Flood(10)
    flood.begin(0.0)
    assert brought(flood, 30) == [11]
    assert flood.caught == {"a"}
    assert brought(flood, 10, "b") == []


def test_who_goes_on_for_longer_may_bring_more() -> None:
    flood = Flood(10)
    flood.begin(0.0)
    assert brought(flood, 10) == []
    flood.begin(2.0)
    assert brought(flood, 30) == [21]


def test_a_socket_that_was_read_to_its_end_begins_anew() -> None:
    flood = Flood(10)
    for turn in range(5):
        flood.begin(turn / 100)
        assert brought(flood, 10) == []
        flood.emptied(turn / 100)


def test_large_messages_weigh_more() -> None:
    flood = Flood(10)
    flood.begin(0.0)
    assert brought(flood, 10, frame=LARGE) == [6]


def test_only_a_patient_one_allows_more_after_a_stall() -> None:
    patient, other = Flood(10, patient=True), Flood(10)
    for flood in (patient, other):
        flood.emptied(0.0)
        flood.begin(5.0)
    assert brought(patient, 70) == [61]
    assert brought(other, 70) == [11]
    patient.emptied(0.0)
    patient.begin(1000 * STALL_S)
    assert brought(patient, 700) == [10 * (1 + int(STALL_S)) + 1]


def test_whence_a_message_came_is_not_asked_before_all_together_brought_too_much() -> None:
    asked: list[zmq.Frame] = []
    flood = Flood(10, lambda frame: asked.append(frame) or "a")  # type: ignore[func-returns-value]
    flood.begin(0.0)
    assert brought(flood, 10, None) == []
    assert asked == []
    assert brought(flood, 11, None) == [11]
    assert len(asked) == 11


# connections ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def asker(sockets: Sockets, context: zmq.Context[Any]) -> Any:
    """A stranger who asked once, with the frame that came of it."""
    host = "::1" if os.path.exists("/proc/net/if_inet6") and b"::1" in _loopbacks() else "127.0.0.1"
    port = sockets.bind_contact(host, 0)
    made = context.socket(zmq.DEALER)
    made.setsockopt(zmq.IPV6, 1)
    made.connect(f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}")
    made.send(b"x" * 100)
    assert sockets.contact.poll(10_000)
    sockets.contact.recv()
    return made, sockets.contact.recv(copy=False), port


def _loopbacks() -> bytes:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return b""
    return b"::1"


def test_the_connection_that_brought_a_frame_is_ended(asker: Any, sockets: Sockets, until: Until) -> None:
    stranger, frame, port = asker
    stranger.setsockopt(zmq.RECONNECT_IVL, NEVER_MS)
    monitor = stranger.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    assert cut_off(frame, {port}, 100) is not None
    assert monitor.poll(10_000)
    stranger.disable_monitor()
    monitor.close(linger=0)


@linux
def test_the_kernel_tells_how_much_a_connection_brought(asker: Any) -> None:
    _, frame, port = asker
    received = received_from(frame, {port})
    assert received is not None
    assert 100 < received < 1000
    assert received_from(frame, {port + 1}) is None


@linux
def test_a_connection_that_did_not_bring_so_much_is_spared(asker: Any) -> None:
    _, frame, port = asker
    assert cut_off(frame, {port}, 10_000) is None
    assert received_from(frame, {port}) is not None


class Stale:
    """A frame whose connection is gone, and its descriptor's number by now that of this socket."""

    def __init__(self, of: socket.socket) -> None:
        self._number = str(of.fileno())

    def get(self, what: str) -> str:
        assert what == "__fd"
        return self._number


def test_a_descriptor_that_is_another_s_by_now_is_not_touched(sockets: Sockets) -> None:
    port = sockets.bind_contact("127.0.0.1", 0)
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as host_program, ours, theirs:
        listening = host_program.getsockname()
        with socket.create_connection(listening) as dialled:
            for mine in (ours, host_program, dialled):
                frame: Any = Stale(mine)
                assert cut_off(frame, {port}, 0) is None
                assert received_from(frame, {port}) is None
            stale: Any = Stale(host_program)
            assert cut_off(stale, {listening[1]}, 0) is None, "a listening socket is no connection"
            accepted, _ = host_program.accept()
            with accepted:
                accepted.sendall(b"still open")
                assert dialled.recv(100) == b"still open"
        ours.sendall(b"still open")
        assert theirs.recv(100) == b"still open"


def test_a_frame_of_no_connection_cuts_nobody() -> None:
    assert cut_off(zmq.Frame(b"made here"), {1}, 0) is None
    assert received_from(zmq.Frame(b"made here"), {1}) is None


# the bus ----------------------------------------------------------------------------------------------------------------


def notices(running: Any, of: str) -> list[str]:
    return [told.reason for told in running.happenings if told.kind is EventKind.NOTICE and of in told.reason]


def test_an_asker_that_floods_is_cut_off_and_others_are_answered(
    running: Any, context: zmq.Context[Any], until: Until
) -> None:
    flooder, honest = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    flooder.setsockopt(zmq.SNDHWM, 0)
    flooder.setsockopt(zmq.RECONNECT_IVL, NEVER_MS)
    for asker in (flooder, honest):
        asker.connect(f"tcp://{running.contact}")
    for _ in range(20_000):
        with contextlib.suppress(zmq.Again):  # cut off already
            flooder.send(b"more", zmq.NOBLOCK)
    until(lambda: running.thread.counters.get("connections_flooded"))
    honest.send(b"honest")
    until(lambda: any(asked.frame == b"honest" for asked in running.node.got(Asked)))
    assert len([asked for asked in running.node.got(Asked) if asked.frame == b"more"]) < 10_000
    assert until(lambda: notices(running, "was cut off"))
    assert running.thread.counters["connections_flooded"] == 1


def test_a_subscriber_that_floods_is_cut_off_and_others_are_served(running: Any, context: zmq.Context[Any], until: Until) -> None:
    flooder, honest = context.socket(zmq.XSUB), context.socket(zmq.SUB)
    flooder.setsockopt(zmq.SNDHWM, 0)
    flooder.setsockopt(zmq.RECONNECT_IVL, NEVER_MS)
    flooder.connect(f"tcp://{running.publisher}")
    for number in range(20_000):
        flooder.send(b"\x01topic-%d" % number)
    until(lambda: running.thread.counters.get("connections_flooded"))
    honest.subscribe(b"*")
    honest.connect(f"tcp://{running.publisher}")
    until(lambda: Subscribed(b"*") in running.node.got(Subscribed))


def test_a_link_that_floods_is_dropped_for_a_minute_and_others_stay(
    running: Any, context: zmq.Context[Any], until: Until
) -> None:
    publishers = [context.socket(zmq.XPUB) for _ in range(2)]
    for publisher in publishers:
        publisher.setsockopt(zmq.SNDHWM, 0)
    endpoints = [f"127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}" for publisher in publishers]
    running.call(Listen(b"*"), *(Connect(endpoint) for endpoint in endpoints))
    for publisher in publishers:
        assert publisher.poll(10_000)
    deadline = time.monotonic() + 30
    while not running.thread.counters.get("links_flooded") and time.monotonic() < deadline:
        for _ in range(1000):
            publishers[1].send(b"*more")
    assert running.thread.counters["links_flooded"] == 1
    until(lambda: running.thread.links_up == 1)
    assert until(lambda: notices(running, endpoints[1]))
    publishers[0].send(b"*honest")
    until(lambda: any(heard.frame == b"*honest" for heard in running.node.inputs if hasattr(heard, "frame")))


def test_a_link_that_brought_much_at_once_is_kept_and_all_of_it_is_heard(
    running: Any, context: zmq.Context[Any], until: Until
) -> None:
    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.SNDHWM, 0)
    endpoint = f"127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}"
    running.call(Listen(b"*"), Connect(endpoint))
    assert publisher.poll(10_000)
    most = 100 * AHEAD_S  # of the bound of a second, in this file

    def burst(now: float) -> Any:  # on the bus thread, so that it finds all of it waiting
        for number in range(most):
            publisher.send(b"*%d" % number)
        time.sleep(0.2)  # until libzmq has received it, of which nothing tells
        return [], None

    running.thread.mailbox.call(burst, 30.0)
    until(lambda: sum(isinstance(heard, Heard) for heard in running.node.inputs) == most)
    assert [heard.frame for heard in running.node.inputs if isinstance(heard, Heard)] == [b"*%d" % n for n in range(most)]
    assert "links_flooded" not in running.thread.counters
    assert running.thread.links_up == 1
