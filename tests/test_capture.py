"""What a relay between two peers sees: nothing of the registry with a secret, all of it without."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import uuid

import pytest

from gossip import Peer

PATIENCE_S = 30.0
WORDS = [b"secretive-service", b"instance-of-mine", b"label-key", b"label-value", b"/a-route", b"a-zone-of-mine", b"peer-name"]


class Relay:
    """A TCP relay at a port of its own that keeps all bytes that pass, either way."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.target = 0
        self.passed = bytearray()
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                came, _ = self._listener.accept()
                self._open.append(came)
                with contextlib.suppress(OSError):
                    onward = socket.create_connection(("127.0.0.1", self.target))
                    self._open.append(onward)
                    for one, other in ((came, onward), (onward, came)):
                        threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self.passed += data
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("secret", [None, secrets.token_urlsafe(32)], ids=["open", "secret"])
def test_a_capture_shows_the_registry_without_a_secret_and_nothing_of_it_with_one(secret: str | None) -> None:
    cluster, relays = f"capture-{uuid.uuid4().hex}", [Relay() for _ in range(4)]
    with contextlib.ExitStack() as ends:
        for relay in relays:
            ends.callback(relay.close)
        peers: list[Peer] = []
        for number in range(2):
            contact, publisher = relays[2 * number : 2 * number + 2]
            with socket.socket() as one, socket.socket() as two:  # the ports behind the relays
                one.bind(("127.0.0.1", 0))
                two.bind(("127.0.0.1", 0))
                contact.target, publisher.target = one.getsockname()[1], two.getsockname()[1]
            peer = Peer(
                f"peer-name-{number}",
                cluster=cluster,
                bind=f"127.0.0.1:{contact.target},{publisher.target}",
                advertise=f"127.0.0.1:{contact.port},{publisher.port}",
                seeds=[other.address for other in peers],
                zone="a-zone-of-mine",
                secret=secret,
            )
            peers.append(ends.enter_context(peer))
        for number, (origin, other) in enumerate((peers, peers[::-1])):
            labels = {"label-key": "label-value"}
            origin.register(f"secretive-service-{number}", port=1, id="instance-of-mine", labels=labels, routes=["/a-route"])
            other.wait_for(f"secretive-service-{number}", timeout=PATIENCE_S)
        passed = b"".join(bytes(relay.passed) for relay in relays)
    assert len(passed) > 500
    assert [word for word in WORDS if (word in passed) is (secret is not None)] == []
