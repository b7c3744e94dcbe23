"""Who takes nothing of what it asked for, or never sends the rest, is hung up on: no connection outlives its bound."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from .conftest import Door, Street, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")

HEAD = "HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def hasty() -> Iterator[Door]:
    """A gateway without patience."""
    with ExitStack() as stack:
        yield Street(stack).open("--patience", "0.3")


def connected(door: Door) -> socket.socket:
    """A client with little room for what it does not read."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(30)
    place = urlsplit(door.url)
    client.connect((place.hostname, place.port))
    return client


def sockets(door: Door) -> int:
    """Those that the gateway has open."""
    links = Path(f"/proc/{door.process.pid}/fd").iterdir()
    return sum(1 for link in links if _is_socket(link))


def _is_socket(link: Path) -> bool:
    try:
        return str(link.readlink()).startswith("socket:")
    except OSError:  # closed since
        return False


def test_a_viewer_that_reads_no_more_is_hung_up_on(hasty: Door) -> None:
    hasty.get("/healthz")  # its own connection is kept
    before = sockets(hasty)
    with connected(hasty) as client:
        client.sendall(f"GET /v1/watch {HEAD}".encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert sockets(hasty) == before + 1
        number = 0

        def gone() -> bool:
            nonlocal number
            number += 1
            hasty.register("unread", 1, labels={str(place): f"{number:04}" * 25 for place in range(9)})
            return sockets(hasty) == before

        until(gone, "the end of a viewer that reads nothing")
        assert "gossip_viewers 0.0" in hasty.get("/metrics").text


def test_who_asks_and_reads_no_answer_is_hung_up_on(hasty: Door) -> None:
    hasty.get("/healthz")
    before = sockets(hasty)
    with connected(hasty) as client:
        client.sendall(f"GET /v1/openapi.json {HEAD}".encode() * 600)
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        until(lambda: sockets(hasty) == before, "the end of a client that reads no answers")


def test_a_body_that_nobody_waits_for_keeps_no_connection(hasty: Door) -> None:
    with connected(hasty) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        answer = b""
        while not answer.endswith(b'{"status": "ok"}'):
            answer += client.recv(4096)
        client.sendall(b"x")
        assert client.recv(1) == b""
