"""What the bus tests share: waiting with a deadline, free ports, strangers, a supervised SUB, and a scripted node."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from gossip.bus.hush import Hush
from gossip.bus.links import Links
from gossip.bus.sockets import Descriptors, Sockets
from gossip.bus.thread import BusThread
from gossip.config import Config
from gossip.config import Links as LinksConfig
from gossip.core.effects import Changed, Effect, Happened, Input, LinkClosed, LinkUnreached
from gossip.model import Instance

from ..ports import free_port

PATIENCE_S = 15.0


def wait_until(condition: Callable[[], Any], what: str = "the condition", patience_s: float = PATIENCE_S) -> Any:
    """The first true value of `condition`, asked again and again for `patience_s`."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {patience_s:g} s")
        time.sleep(0.002)


class Stranger:
    """A TCP server that greets everyone with `greeting` and then reads until the other end closes, or closes itself."""

    def __init__(self, port: int, greeting: bytes, hang_up: bool) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self._greeting, self._hang_up = greeting, hang_up
        self._open: list[socket.socket] = []
        self.met = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE_S)
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.met += 1
                with contextlib.suppress(OSError):
                    connection.sendall(self._greeting)
                if self._hang_up:
                    connection.close()
                else:
                    self._open.append(connection)


class Rig:
    """A SUB under a link supervisor, turned by the test."""

    def __init__(self, config: Config, seed: int = 1) -> None:
        self.sockets = Sockets.open(config.links)
        self.hush = Hush()
        self.descriptors = Descriptors(config.links.descriptors_share)
        self.links = Links(self.sockets, config.links, random.Random(seed), self.hush, self.descriptors)
        self.heard: list[bytes] = []
        self.closed: list[LinkClosed | LinkUnreached] = []
        self.notices: list[str] = []

    def connect(self, endpoint: str) -> None:
        self.links.connect(endpoint, time.monotonic())

    def disconnect(self, endpoint: str) -> None:
        self.links.disconnect(endpoint, time.monotonic())

    def turn(self) -> None:
        with contextlib.suppress(zmq.Again):
            while True:
                self.heard.append(self.sockets.subscriber.recv(zmq.NOBLOCK))
        self.closed += self.links.on_monitor(time.monotonic())
        self.links.tick(time.monotonic())
        self.notices += self.hush.notices
        self.hush.notices = []

    def turn_until(self, condition: Callable[[], Any], what: str = "the condition", patience_s: float = PATIENCE_S) -> Any:
        def turned() -> Any:
            self.turn()
            return condition()

        return wait_until(turned, what, patience_s)

    def close(self) -> None:
        self.sockets.close()


class Script:
    """A node that records what it is told and answers with what the test prepared. Lists are appended on the bus thread."""

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.on_start: list[Effect] = []
        self.on_leave: list[Effect] = []
        self.answers: Callable[[Input], list[Effect]] = lambda event: []
        self.ticks: list[float] = []
        self.leaves = 0
        self.left = True
        self.interval_s = 0.05
        self._deadline = float("-inf")

    def start(self, now: float) -> list[Effect]:
        self._deadline = now + self.interval_s
        return self.on_start

    def handle(self, event: Input, now: float) -> list[Effect]:
        self.inputs.append(event)
        return self.answers(event)

    def tick(self, now: float) -> list[Effect]:
        self.ticks.append(now)
        self._deadline = now + self.interval_s
        return []

    def next_deadline(self) -> float:
        return self._deadline

    def leave(self, now: float) -> list[Effect]:
        self.leaves += 1
        return self.on_leave

    def got(self, kind: type) -> list[Any]:
        return [event for event in list(self.inputs) if type(event) is kind]


class Bus:
    """A started or unstarted `BusThread` with a scripted node, bound to 127.0.0.1."""

    def __init__(self, config: Config) -> None:
        self.node = Script()
        self.sockets = Sockets.open(config.links)
        self.contact = f"127.0.0.1:{self.sockets.bind_contact('127.0.0.1', 0)}"
        self.publisher = f"127.0.0.1:{self.sockets.bind_publisher('127.0.0.1', 0)}"
        self.changes: list[Changed] = []
        self.happenings: list[Happened] = []
        self.on_batch: Callable[[list[Changed], list[Happened]], None] = self._keep
        self.thread = BusThread("test", self.node, self.sockets, config, self._batch, rng=random.Random(1))

    def call(self, *effects: Effect, result: Any = None) -> Any:
        """Have the bus thread carry out these effects; returns when it has."""
        return self.thread.mailbox.call(lambda now: (list(effects), result), PATIENCE_S)

    def _batch(self, changes: list[Changed], happenings: list[Happened]) -> None:
        self.on_batch(changes, happenings)

    def _keep(self, changes: list[Changed], happenings: list[Happened]) -> None:
        self.changes += changes
        self.happenings += happenings


def run_python(program: str, patience_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with warnings as errors; it has to end by itself."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=patience_s,
        check=False,
    )


def change(port: int) -> Changed:
    """Some change to the catalogue."""
    return Changed(None, Instance("orders", f"i{port}", "127.0.0.1", port), "test")


@pytest.fixture
def config() -> Config:
    return Config.local()


@pytest.fixture
def until() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def unused_port() -> int:
    return free_port()


@pytest.fixture
def a_change() -> Callable[[int], Changed]:
    return change


@pytest.fixture
def python() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_python


@pytest.fixture
def sockets(config: Config) -> Iterator[Sockets]:
    opened = Sockets.open(config.links)
    yield opened
    opened.close()


@pytest.fixture
def rig(config: Config) -> Iterator[Rig]:
    made = Rig(dataclasses.replace(config, links=LinksConfig(handshake_timeout_s=0.5)))
    yield made
    made.close()


@pytest.fixture
def bus(config: Config) -> Iterator[Bus]:
    made = Bus(config)
    yield made
    assert made.thread.stop(leave=False)


@pytest.fixture
def running(bus: Bus) -> Bus:
    bus.thread.start()
    return bus


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    """Someone else's context: sockets of it are other processes as far as the bus can tell."""
    kept: list[object] = []  # so that no socket is collected, with a warning, before it is closed

    class Keeping(zmq.Context[Any]):
        def socket(self, *arguments: Any, **options: Any) -> Any:
            kept.append(super().socket(*arguments, **options))
            return kept[-1]

    made: zmq.Context[Any] = Keeping()
    yield made
    made.destroy(linger=0)


@pytest.fixture
def publish_at(context: zmq.Context[Any]) -> Callable[[int], zmq.Socket[bytes]]:
    """Bind an XPUB to a port of 127.0.0.1, waiting for a former holder's socket to be gone."""

    def bind(port: int) -> zmq.Socket[bytes]:
        publisher = context.socket(zmq.XPUB)
        publisher.setsockopt(zmq.LINGER, 0)
        publisher.setsockopt(zmq.XPUB_VERBOSER, 1)
        wait_until(lambda: bound(publisher, port), f"port {port} to be free")
        return publisher

    def bound(publisher: zmq.Socket[bytes], port: int) -> bool:
        with contextlib.suppress(zmq.ZMQError):
            publisher.bind(f"tcp://127.0.0.1:{port}")
            return True
        return False

    return bind


@pytest.fixture
def stranger_at() -> Iterator[Callable[..., Stranger]]:
    """Start a TCP server that is no peer."""
    made: list[Stranger] = []

    def start(port: int, greeting: bytes, *, hang_up: bool) -> Stranger:
        def listening() -> Stranger | None:
            with contextlib.suppress(OSError):
                return Stranger(port, greeting, hang_up)
            return None

        stranger: Stranger = wait_until(listening, f"port {port} to be free")
        made.append(stranger)
        return stranger

    yield start
    for stranger in made:
        stranger.close()
