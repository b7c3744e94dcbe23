"""`GET /discover` of a gateway beside the service it replaces, Flask and Redis: real processes.

One client loop for both sides, on bare sockets, so that what is timed is the server: each connection has one request under
way, and every answer is checked. Connections are kept where the server keeps them: Flask's own does not. With 1 connection
a sample is one request; with 16 there is also the rate of all together.
"""

from __future__ import annotations

import json
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .anchors.flask_service import flask_service
from .anchors.redis import redis_server
from .anchors.server import end, library
from .harness.run import AbsentError, Case, Run

CLIENTS = 16
ANSWER_S = 10.0
BY_HAND = "Flask + Redis"


class Side:
    """One of the two servers, as the load sees it."""

    def __init__(self, port: int, path: str, right: dict[str, object]) -> None:
        self.port, self._right = port, right
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()

    def load(self, run: Run, clients: int, requests: int) -> tuple[list[float], float]:
        """The seconds of each request, and how many were answered in a second."""
        took: list[float] = []
        with selectors.DefaultSelector() as ready, ExitStack() as stack:
            for _ in range(clients):
                self._ask(ready, stack)
            start = time.perf_counter()
            while len(took) < requests:
                answered = ready.select(ANSWER_S)
                run.check(bool(answered), f"port {self.port} did not answer within {ANSWER_S:g} s")
                for key, _ in answered:
                    self._read(run, ready, stack, key, took)
            return took, len(took) / (time.perf_counter() - start)

    def _ask(self, ready: selectors.BaseSelector, stack: ExitStack, client: socket.socket | None = None) -> None:
        """The next request, over a connection that is kept, or else a new one: its opening is part of the time."""
        began = time.perf_counter()
        if client is None:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), ANSWER_S))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(client, selectors.EVENT_READ, Asked(began))
        else:
            ready.modify(client, selectors.EVENT_READ, Asked(began))
        client.sendall(self._request)

    def _read(
        self, run: Run, ready: selectors.BaseSelector, stack: ExitStack, key: selectors.SelectorKey, took: list[float]
    ) -> None:
        client, asked = key.fileobj, key.data
        assert isinstance(client, socket.socket)
        part = client.recv(65536)
        run.check(bool(part), f"port {self.port} hung up in the middle of an answer")
        asked.answer += part
        if (body := body_of(asked.answer)) is None:
            return
        took.append(time.perf_counter() - asked.began)
        run.check(json.loads(body) == self._right, f"port {self.port} answered {body!r}")
        if b"\r\nconnection: close\r\n" in asked.answer.lower():
            ready.unregister(client)
            client.close()
            self._ask(ready, stack)
        else:
            self._ask(ready, stack, client)


@dataclass(slots=True)
class Asked:
    """A request under way."""

    began: float
    answer: bytes = b""


def body_of(answer: bytes) -> bytes | None:
    """The body, if all of it is there."""
    head, end_of_head, body = answer.partition(b"\r\n\r\n")
    if not end_of_head:
        return None
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return body if len(body) >= int(length.partition(b":")[2]) else None


@contextmanager
def started(cluster: str) -> Iterator[tuple[int, str]]:
    """A gateway as a process: its port, and the address of its peer."""
    for name in ("starlette", "uvicorn", "httpx", "prometheus_client"):
        library(name, name)
    command = [sys.executable, "-m", "gossip.cli.main", "gateway", "--listen", "127.0.0.1:0", "--bind", "127.0.0.1:0"]
    process = subprocess.Popen([*command, "--cluster", cluster], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        told = process.stdout.readline()
        if "http://" not in told:
            raise AbsentError("the gateway did not start")
        port = int(told.partition("http://")[2].partition(",")[0].rpartition(":")[2])
        yield port, told.partition("peer at ")[2].partition(",")[0]
    finally:
        end([process])  # type: ignore[list-item]
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def gateway() -> Iterator[Side]:
    """A gateway that holds one registration."""
    with started("discover") as (port, _):
        register(port)
        yield Side(port, "/discover?name=orders", {"address": "10.0.0.1:8080"})


def register(port: int) -> None:
    """As with the original."""
    body = json.dumps({"name": "orders", "address": "10.0.0.1", "port": 8080}).encode()
    head = f"POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), ANSWER_S) as client:
        client.sendall(head.encode() + body)
        answer = b""
        while body_of(answer) is None:
            answer += client.recv(65536)


@contextmanager
def original() -> Iterator[Side]:
    """Flask over Redis, with the same registration. Raises `AbsentError`."""
    with redis_server() as redis_port, flask_service(redis_port) as client:
        client.register("orders", "10.0.0.1", 8080)
        yield Side(client.port, "/discover/orders", {"name": "orders", "address": "10.0.0.1", "port": 8080})


def measure(run: Run) -> None:
    """Both sides, in turn."""
    requests = run.pick(1_000, 100)
    with ExitStack() as stack:
        ours = stack.enter_context(gateway())
        theirs = run.attempt(BY_HAND, lambda: stack.enter_context(original()))
        sides = [("gateway", ours), *([(BY_HAND, theirs)] if theirs is not None else [])]
        anchor = BY_HAND if theirs is not None else None
        cases: list[Case] = []
        for name, side in sides:
            cases += cases_of(run, name, side, requests, anchor if name != BY_HAND else None)
        run.interleave(cases, rounds=run.pick(8, 2))


def cases_of(run: Run, name: str, side: Side, requests: int, anchor: str | None) -> Iterator[Case]:
    """One at a time, and many at once."""
    one, many, rate = "/discover, 1 client", f"/discover, {CLIENTS} clients", f"/discover a second, {CLIENTS} clients"
    rates: list[float] = []

    def crowd() -> list[float]:
        took, rate = side.load(run, CLIENTS, requests)
        rates.append(rate)
        return took

    def beside(what: str) -> str | None:
        return f"{anchor} {what}" if anchor else None

    yield Case(f"{name} {one}", lambda: side.load(run, 1, requests)[0], beside(one))
    yield Case(f"{name} {many}", crowd, beside(many))
    yield Case(f"{name} {rate}", lambda: [rates.pop()], beside(rate), "1/s", more=True)
