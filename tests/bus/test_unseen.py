"""Unseen: who brings what shows in no message is cut off; who is honest is not, however much it brings at once."""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from gossip.bus import unseen as module
from gossip.bus.sockets import FRAME_BYTES_MAX
from gossip.bus.unseen import UNSEEN_BYTES_MAX, Unseen
from gossip.core.effects import Answer, Asked, Subscribed
from gossip.model import EventKind

Until = Callable[..., Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells what it received on Linux")

MORE = b"\x01\x00"  # a part of no bytes, which more follow
COMMAND = 4
GREETING_BYTES = 64
SEGMENT_BYTES = 100  # the kernel keeps a KiB of a subscriber: longer segments wait for room until a timer lets a few through


def frame(body: bytes, flags: int = 0) -> bytes:
    return bytes([flags, len(body)]) + body if len(body) < 256 else bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def hello(kind: bytes, identity: bytes = b"") -> bytes:
    """Greeting and READY of ZMTP 3.1, without a secret."""
    properties = ((b"Socket-Type", kind), (b"Identity", identity))
    told = b"".join(bytes([len(name)]) + name + struct.pack(">I", len(value)) + value for name, value in properties)
    return b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32) + frame(b"\x05READY" + told, COMMAND)


@pytest.fixture
def dial() -> Iterator[Callable[..., socket.socket]]:
    """Plain TCP with the handshake done."""
    made: list[socket.socket] = []

    def connect(endpoint: str, kind: bytes = b"DEALER", identity: bytes = b"") -> socket.socket:
        host, port = endpoint.split(":")
        connection = socket.socket()
        made.append(connection)
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        connection.connect((host, int(port)))
        connection.sendall(hello(kind, identity))
        with connection.makefile("rb") as told:  # what is said before libzmq said READY would be taken for the handshake
            assert len(told.read(GREETING_BYTES)) == GREETING_BYTES
            flags, length = told.read(2)
            assert flags == COMMAND
            assert told.read(length).startswith(b"\x05READY")
        return connection

    yield connect
    for connection in made:
        connection.close()


def hung_up_on(connection: socket.socket, data: bytes) -> bool:
    """Send this again and again, until it is."""
    deadline = time.monotonic() + 30
    connection.settimeout(5)
    try:
        while time.monotonic() < deadline:
            connection.sendall(data)
    except OSError:
        return True
    return False


def is_served(running: Any, context: Any, until: Until) -> bool:
    """Whether an honest asker is answered, and an honest subscriber known."""
    running.node.answers = lambda event: [Answer(event.token, event.frame)] if type(event) is Asked else []
    asker, subscriber = context.socket(zmq.DEALER), context.socket(zmq.SUB)
    asker.setsockopt(zmq.RCVTIMEO, 10_000)
    asker.connect(f"tcp://{running.contact}")
    asker.send(b"honest")
    subscriber.subscribe(b"*")
    subscriber.connect(f"tcp://{running.publisher}")
    until(lambda: Subscribed(b"*") in running.node.got(Subscribed))
    return bool(asker.recv() == b"honest")


@pytest.mark.parametrize(
    ("port", "kind", "data"),
    [
        ("contact", b"DEALER", MORE * 5000),
        ("contact", b"DEALER", frame(bytes(200), 1) * 500),
        ("publisher", b"SUB", MORE * 5000),
    ],
)
def test_a_message_that_never_ends_has_its_connection_cut_off(
    running: Any, context: Any, dial: Callable[..., socket.socket], until: Until, port: str, kind: bytes, data: bytes
) -> None:
    assert hung_up_on(dial(getattr(running, port), kind), data)
    until(lambda: running.thread.counters.get("connections_flooded"))
    told = until(lambda: [one.reason for one in running.happenings if one.kind is EventKind.NOTICE])
    assert "bytes of no whole message: the connection was cut off" in told[0]
    assert is_served(running, context, until)


def test_a_connection_that_claims_another_s_routing_id_is_cut_off_and_the_other_is_not(
    running: Any, context: Any, dial: Callable[..., socket.socket], until: Until
) -> None:
    holder = dial(running.contact, identity=b"me")
    holder.sendall(frame(b"first"))
    until(lambda: running.node.got(Asked))
    assert hung_up_on(dial(running.contact, identity=b"me"), frame(b"me" * 50) * 500)
    holder.sendall(frame(b"second"))
    until(lambda: running.node.got(Asked)[-1].frame == b"second")
    assert is_served(running, context, until)


def test_an_asker_that_brings_much_at_once_is_not_cut_off(running: Any, context: Any, until: Until) -> None:
    asker = context.socket(zmq.DEALER)
    asker.connect(f"tcp://{running.contact}")
    for _ in range(40):
        asker.send(bytes(FRAME_BYTES_MAX // 4))
    until(lambda: len(running.node.got(Asked)) == 40)
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 4 * module.LOOK_S)  # several looks
    asker.send(b"last")
    until(lambda: running.node.got(Asked)[-1].frame == b"last")
    assert "connections_flooded" not in running.thread.counters


def test_the_largest_message_may_take_its_time(running: Any, dial: Callable[..., socket.socket], until: Until) -> None:
    asker, message = dial(running.contact), frame(bytes(FRAME_BYTES_MAX))
    asker.sendall(message[:-1])
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 4 * module.LOOK_S)
    asker.sendall(message[-1:])
    until(lambda: running.node.got(Asked))


# a connection as the kernel and libzmq tell of it -----------------------------------------------------------------------


class Told:
    """Stands for a frame of the connection with a descriptor."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor, self._size = descriptor, size

    def get(self, what: str) -> str:
        return str(self._descriptor)

    def __len__(self) -> int:
        return self._size


class Callers:
    """Connections whose counts a test decides."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: dict[int, int] = {}
        self.waiting = 0
        doors: Any = type("Doors", (), {"ports": {1}})
        asked: Any = type("Asked", (), {"getsockopt": lambda _, option: self.waiting})()
        self.unseen = Unseen(asked, doors)
        monkeypatch.setattr(module, "_taken", lambda descriptor, ports: self.taken.get(descriptor))
        monkeypatch.setattr(module, "RARE_LOOK_S", 0.0)
        monkeypatch.setattr(module, "cut_off_at", lambda descriptor, ports, least: str(descriptor))

    def saw(self, descriptor: int, size: int) -> None:
        told: Any = Told(descriptor, size)
        self.unseen.saw(told)

    def look(self, now: float) -> list[str]:
        return self.unseen.look(list(self.taken), now)


@pytest.fixture
def callers(monkeypatch: pytest.MonkeyPatch) -> Callers:
    return Callers(monkeypatch)


def test_one_byte_too_many_is_a_flood(callers: Callers) -> None:
    callers.taken[7] = UNSEEN_BYTES_MAX
    assert callers.look(1.0) == []
    callers.taken[7] = UNSEEN_BYTES_MAX + 5
    assert callers.look(2.0) == [], "heartbeats may have been among it"
    callers.taken[7] = UNSEEN_BYTES_MAX + 1000
    assert callers.look(3.0) == ["7"]


def test_while_a_message_waits_nobody_is_judged(callers: Callers) -> None:
    callers.taken[7], callers.waiting = 10 * UNSEEN_BYTES_MAX, zmq.POLLIN
    assert callers.look(1.0) == []
    callers.saw(7, 10 * UNSEEN_BYTES_MAX)
    callers.waiting = 0
    assert callers.look(2.0) == []


def test_what_was_seen_before_a_connection_was_known_counts(callers: Callers) -> None:
    callers.saw(7, 3 * UNSEEN_BYTES_MAX)
    assert callers.look(1.0) == []
    callers.taken[7] = 3 * UNSEEN_BYTES_MAX
    assert callers.look(2.0) == []


def test_a_number_that_is_another_connection_s_by_now_begins_anew(callers: Callers) -> None:
    callers.saw(7, 9 * UNSEEN_BYTES_MAX)
    callers.taken[7] = 9 * UNSEEN_BYTES_MAX
    assert callers.look(1.0) == []
    callers.saw(7, 3 * UNSEEN_BYTES_MAX)
    callers.taken[7] = 3 * UNSEEN_BYTES_MAX
    assert callers.look(2.0) == []
    callers.taken[7] = 5 * UNSEEN_BYTES_MAX
    assert callers.look(3.0) == ["7"], "what the former one brought is no credit"


def test_the_connections_are_looked_at_when_memory_grew_and_else_rarely(
    callers: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RARE_LOOK_S", 10.0)
    resident = [100 << 20]
    monkeypatch.setattr(module, "_resident", lambda: resident[0])
    callers.taken[7] = 0
    assert callers.look(1.0) == []
    callers.taken[7] = 2 * UNSEEN_BYTES_MAX
    assert callers.look(2.0) == []
    resident[0] += module.GROWN_BYTES
    assert callers.look(3.0) == ["7"]
    assert callers.look(4.0) == []
    assert callers.look(13.5) == ["7"]


def test_looks_are_as_rare_as_there_are_connections(callers: Callers) -> None:
    callers.taken = dict.fromkeys(range(4000), 0)
    callers.look(1.0)
    assert callers.unseen.next_deadline() == pytest.approx(1.0 + 4000 * module.LOOK_PER_CONNECTION_S)
