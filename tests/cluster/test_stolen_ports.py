"""Row 18: a peer's ports are taken by somebody else while it is away; when it returns, all are linked again."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from nodes.launch import Launcher, ask_all, until

from ..ports import free_ports
from .conftest import DEADLINE_S, all_linked, nobody_hidden, of_member, register_one_each, standing
from .measured import Record

ASKED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

Launch = Callable[..., Launcher]


class Server:
    """An HTTP server as far as a peer can tell: it answers whatever is said with a refusal, and hangs up."""

    def __init__(self, port: int) -> None:
        self.met = 0
        self._listener = _taken(lambda: socket.create_server(("127.0.0.1", port)), port)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.met += 1
                with connection, contextlib.suppress(OSError):
                    connection.sendall(ASKED)


class Foreign:
    """A ZeroMQ socket of another kind, or with keys."""

    def __init__(self, port: int, kind: int, *, curve: bool) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._socket = self._context.socket(kind)
        if curve:
            _, self._socket.curve_secretkey = zmq.curve_keypair()
            self._socket.curve_server = True
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED)
        self._met = 0
        _taken(lambda: self._socket.bind(f"tcp://127.0.0.1:{port}"), port)

    @property
    def met(self) -> int:
        with contextlib.suppress(zmq.Again):
            while self._monitor.recv_multipart(zmq.NOBLOCK):
                self._met += 1
        return self._met

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()


def _taken(take: Callable[[], Any], port: int) -> Any:
    """What takes a port, once its former holder's socket is gone."""
    found: list[Any] = []

    def tried() -> bool:
        with contextlib.suppress(OSError, zmq.ZMQError):
            found.append(take())
        return bool(found)

    until(tried, DEADLINE_S, f"port {port} to be free")
    return found[0]


THIEVES: dict[str, Callable[[int], Server | Foreign]] = {
    "HTTP": Server,
    "PULL": lambda port: Foreign(port, zmq.PULL, curve=False),
    "CURVE": lambda port: Foreign(port, zmq.ROUTER, curve=True),
}


@pytest.fixture
def thieves() -> Iterator[Callable[[str, list[int]], list[Server | Foreign]]]:
    taken: list[Server | Foreign] = []

    def take(kind: str, ports: list[int]) -> list[Server | Foreign]:
        taken.extend(map(THIEVES[kind], ports))
        return taken

    yield take
    for thief in taken:
        with contextlib.suppress(zmq.ZMQError):
            thief.close()


@pytest.mark.parametrize("kind", THIEVES)
def test_a_peer_whose_ports_were_taken_meanwhile_is_linked_again_when_it_returns(
    launch: Launch, record: Record, thieves: Callable[[str, list[int]], list[Server | Foreign]], kind: str
) -> None:
    cluster, ports = launch(), free_ports(2)
    bind = "127.0.0.1:{},{}".format(*ports)
    others = standing(cluster, 4)
    away = cluster.peer("away", id="away", bind=bind)
    register_one_each([away])
    cluster.agree([*others, away], {"orders": 5}, DEADLINE_S)
    all_linked([*others, away])
    again = cluster.load("away")
    again.wait_loaded()
    away.kill9()
    met = thieves(kind, ports)  # as soon as they are free: no connect is refused, so the links are dialled on
    for worker in others:
        worker.wait_event(of_member("MEMBER_DEAD", away.id), DEADLINE_S, f"{away.name} gone")
    before = [thief.met for thief in met]
    until(lambda: met[0].met >= before[0] + 2, DEADLINE_S, "two more dials of the stolen contact")
    dials = [thief.met for thief in met]
    for thief in met:
        thief.close()
    met.clear()
    began = time.monotonic()
    again.started(cluster.ask_start(again, id="away", bind=bind))
    all_linked([*others, again])
    linked_s = time.monotonic() - began
    register_one_each([again])
    cluster.agree([*others, again], {"orders": 5}, DEADLINE_S)
    nobody_hidden([*others, again], but=[away])
    aborted = [status["counters"].get("faults", 0) for status in ask_all([*others, again], "status")]
    assert sum(aborted) == 0
    record(
        18,
        "Z",
        what=f"both ports of a peer taken by {kind} while it is away ({dials[0]} and {dials[1]} dials), among 4 others",
        asked="linked again ≤ 5 s",
        measured=f"all linked {linked_s:.2f} s after it began to return",
        simulated="no scenario: simulated ports have no strangers",
        held=linked_s <= 5.0,
    )
