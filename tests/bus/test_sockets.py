from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from gossip.bus import sockets as module
from gossip.bus.sockets import FRAME_BYTES_MAX, TOPIC_BYTES_MAX, Descriptors, Sockets, routed_frames, whole_frames
from gossip.config import Config
from gossip.errors import ConfigError

Until = Callable[..., Any]


def test_every_socket_has_its_options(sockets: Sockets, config: Config) -> None:
    caller = sockets.caller()
    queue = config.links.queue_messages_max
    for socket_, frame_max, send_queue in (
        (sockets.publisher, TOPIC_BYTES_MAX, queue),
        (sockets.subscriber, FRAME_BYTES_MAX, 0),
        (sockets.contact, FRAME_BYTES_MAX, queue),
        (caller, FRAME_BYTES_MAX, queue),
    ):
        assert socket_.getsockopt(zmq.LINGER) == 0
        assert socket_.getsockopt(zmq.MAXMSGSIZE) == frame_max
        assert socket_.getsockopt(zmq.SNDHWM) == send_queue
        assert socket_.getsockopt(zmq.RCVHWM) == 0
        assert socket_.getsockopt(zmq.HANDSHAKE_IVL) == 3000
        assert socket_.getsockopt(zmq.CONNECT_TIMEOUT) == 2000
        assert socket_.getsockopt(zmq.ROUTING_ID) == b""
    assert sockets.publisher.getsockopt(zmq.HEARTBEAT_IVL) == 0
    assert sockets.subscriber.getsockopt(zmq.HEARTBEAT_IVL) == 10_000
    assert sockets.subscriber.getsockopt(zmq.RECONNECT_IVL) > 3_600_000
    assert caller.getsockopt(zmq.RECONNECT_IVL) == -1
    caller.close()


def test_port_zero_takes_a_free_port_and_a_given_port_is_kept(sockets: Sockets, unused_port: int) -> None:
    assert sockets.bind_contact("127.0.0.1", unused_port) == unused_port
    assert sockets.bind_publisher("127.0.0.1", 0) not in (0, unused_port)


def test_a_taken_port_is_an_error_that_says_where_why_and_what_to_do(sockets: Sockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for bind in (sockets.bind_contact, sockets.bind_publisher):
            with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: another socket listens there.*bind="):
                bind("127.0.0.1", port)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.1", 0), ("127.0.0.1", 70_000), ("no such host", 1)])
def test_an_impossible_address_is_an_error(sockets: Sockets, host: str, port: int) -> None:
    with pytest.raises(ConfigError, match="cannot bind the contact socket"):
        sockets.bind_contact(host, port)


def test_an_ipv6_address_is_bound_in_brackets(sockets: Sockets) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 here")
    port = sockets.bind_contact("::1", 0)
    with socket.create_connection(("::1", port), timeout=5):
        pass


def test_an_extra_bind_answers_whether_it_was_possible(sockets: Sockets, unused_port: int, context: zmq.Context[Any]) -> None:
    sockets.bind_contact("127.0.0.1", 0)
    assert sockets.bind_extra(f"127.0.0.1:{unused_port}")
    assert not sockets.bind_extra(f"127.0.0.1:{unused_port}")
    assert not sockets.bind_extra("not an endpoint")
    asker = context.socket(zmq.DEALER)
    asker.connect(f"tcp://127.0.0.1:{unused_port}")
    asker.send(b"question")
    assert sockets.contact.poll(5000)
    assert next(routed_frames(sockets.contact, 1))[1] == b"question"


def test_equal_subscriptions_are_all_told_and_the_end_of_the_last_subscriber(sockets: Sockets, until: Until) -> None:
    port = sockets.bind_publisher("127.0.0.1", 0)
    told: list[bytes | None] = []

    def told_so_far() -> list[bytes | None]:
        told.extend(topic for topic, _ in whole_frames(sockets.publisher, 100))
        return sorted(told, key=repr)

    other, third = zmq.Context(), zmq.Context()
    subscribers = [other.socket(zmq.SUB), third.socket(zmq.SUB)]
    for subscriber in subscribers:
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        subscriber.subscribe(b"@abcdefgh")
        subscriber.subscribe(b"*")
    subscribers[0].subscribe(b"first")
    until(lambda: told_so_far() == [b"\x01*"] * 2 + [b"\x01@abcdefgh"] * 2 + [b"\x01first"])
    other.destroy(linger=0)
    until(lambda: told_so_far()[:1] == [b"\x00first"])
    third.destroy(linger=0)
    until(lambda: told_so_far()[:3] == [b"\x00*", b"\x00@abcdefgh", b"\x00first"])
    assert len(told) == 8


def test_a_connection_that_subscribes_twice_leaves_nobody_behind(sockets: Sockets, context: Any, until: Until) -> None:
    port = sockets.bind_publisher("127.0.0.1", 0)
    told: list[bytes | None] = []
    twice, once = context.socket(zmq.XSUB), context.socket(zmq.SUB)
    for subscriber in (twice, once):
        subscriber.connect(f"tcp://127.0.0.1:{port}")
    twice.send(b"\x01+")
    twice.send(b"\x01+")
    once.subscribe(b"+")
    until(lambda: told.extend(topic for topic, _ in whole_frames(sockets.publisher, 10)) or told == [b"\x01+"] * 3)
    once.close(linger=0)
    twice.close(linger=0)
    until(lambda: told.extend(topic for topic, _ in whole_frames(sockets.publisher, 10)) or told[3:] == [b"\x00+"])


def test_listening_twice_to_one_topic_is_told_once(sockets: Sockets, context: zmq.Context[Any]) -> None:
    publisher = context.socket(zmq.XPUB)
    publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    sockets.listen(b"*")
    sockets.listen(b"*")
    sockets.subscriber.connect(f"tcp://127.0.0.1:{port}")
    sockets.listen(b"@last")
    sockets.unlisten(b"*")
    sockets.unlisten(b"*")
    assert publisher.poll(5000)
    assert [publisher.recv() for _ in range(3)] == [b"\x01*", b"\x01@last", b"\x00*"]
    assert not publisher.poll(50)


def test_a_publisher_that_never_pings_drops_a_subscriber_that_froze(
    config: Config, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.2)
    monkeypatch.setattr(module, "HEARTBEAT_TIMEOUT_S", 0.6)
    publisher = Sockets.open(config.links)
    port = publisher.bind_publisher("127.0.0.1", 0)
    program = (
        "import time\nfrom gossip.bus import sockets as s\nfrom gossip.config import Config\n"
        "s.HEARTBEAT_S, s.HEARTBEAT_TIMEOUT_S = 0.2, 0.6\n"
        "o = s.Sockets.open(Config().links)\no.listen(b'*')\n"
        f"o.subscriber.connect('tcp://127.0.0.1:{port}')\ntime.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": os.pathsep.join(["", *sys.path])})
    try:
        until(lambda: next(whole_frames(publisher.publisher, 1), [None])[0] == b"\x01*")
        assert not publisher.publisher.poll(1500), "a living subscriber must stay"
        child.send_signal(signal.SIGSTOP)
        until(lambda: next(whole_frames(publisher.publisher, 1), [None])[0] == b"\x00*")
    finally:
        child.kill()
        child.wait()
        publisher.close()


def test_messages_of_several_parts_are_dropped_whole(sockets: Sockets, context: zmq.Context[Any], until: Until) -> None:
    port = sockets.bind_contact("127.0.0.1", 0)
    stranger = context.socket(zmq.DEALER)
    stranger.connect(f"tcp://127.0.0.1:{port}")
    stranger.send_multipart([b"one", b"two"])
    stranger.send_multipart([b"x"] * 5000)
    stranger.send(b"honest")
    shapes: list[Any] = []
    until(lambda: shapes.extend(question for _, question, _ in routed_frames(sockets.contact, 10)) or len(shapes) == 3)
    assert shapes == [None, None, b"honest"]


def test_closing_is_quick_whatever_waits_to_be_sent(config: Config, unused_port: int) -> None:
    sockets = Sockets.open(config.links)
    sockets.bind_contact("127.0.0.1", 0)
    sockets.bind_publisher("127.0.0.1", 0)
    sockets.subscriber.connect(f"tcp://127.0.0.1:{unused_port}")
    callers = [sockets.caller() for _ in range(5)]
    for caller in callers:
        caller.connect(f"tcp://127.0.0.1:{unused_port}")
        caller.send(bytes(1000), zmq.NOBLOCK)
    began = time.monotonic()
    sockets.close()
    sockets.close()
    assert time.monotonic() - began < 1.0
    assert sockets.context.closed
    assert all(each.closed for each in (sockets.publisher, sockets.subscriber, sockets.contact, sockets.monitor))


def test_descriptors_are_refused_above_the_share_and_granted_again_when_some_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (100, 100))
    used = [70]
    monkeypatch.setattr(module.os, "listdir", lambda folder: ["x"] * used[0])
    descriptors = Descriptors(0.8)
    assert descriptors.reserve(0.0, 9)
    assert not descriptors.reserve(0.5, 2), "what was granted counts until the next count"
    assert descriptors.reserve(0.5, 1)
    assert descriptors.reserve(1.5, 10), "the next count finds them unused"
    used[0] = 90
    assert not descriptors.reserve(3.0, 1)


def test_an_unlimited_process_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY,) * 2)
    assert Descriptors(0.8).reserve(0.0, 10**6)
