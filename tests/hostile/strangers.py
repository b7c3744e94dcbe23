"""What a stranger without the secret can do with plain TCP: row 19 of the faults. Each attack is a round, again and again."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable

TOPICS = 200_000
IDLE = 300
MUTATED_PER_ROUND = 500
PAUSE_S = 0.1  # between two rounds of one kind: some hundred hostile connections a second in all
TIMEOUT_S = 1.0

Place = tuple[str, int]
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"


def greeting(mechanism: bytes) -> bytes:
    """The first 64 bytes of ZMTP 3.1."""
    return SIGNATURE + b"\x03\x01" + mechanism.ljust(20, b"\0") + b"\0" + bytes(31)


def frame(body: bytes, flags: int = 0) -> bytes:
    """One ZMTP frame."""
    if len(body) < 256:
        return bytes([flags, len(body)]) + body
    return bytes([flags | 2]) + struct.pack(">Q", len(body)) + body


def ready(kind: bytes) -> bytes:
    """The NULL handshake of a socket of this kind."""
    return greeting(b"NULL") + frame(b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind, 4)


class Strangers:
    """Threads that attack the two ports of a peer until `end`. Counts rounds by kind; what fails is what should fail."""

    def __init__(self, contact: Place, publisher: Place, rng: random.Random, kinds: Iterable[str] | None = None) -> None:
        self._contact, self._publisher, self._rng = contact, publisher, rng
        self._over = threading.Event()
        self._idle: list[socket.socket] = []
        self.rounds: Counter[str] = Counter()
        attacks: dict[str, Callable[[], None]] = {
            "garbage": self._garbage,
            "half-open": self._half_open,
            "idle": self._sit,
            "multipart": self._multipart,
            "topics": self._topics,
            "oversized": self._oversized,
            "mutated": self._mutated,
            "hello": self._long_hello,
        }
        chosen = attacks if kinds is None else {kind: attacks[kind] for kind in kinds}
        self._threads = [threading.Thread(target=self._run, args=item, daemon=True) for item in chosen.items()]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Stop, and close all."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for one in self._idle:
            one.close()

    def _run(self, kind: str, attack: Callable[[], None]) -> None:
        while not self._over.wait(PAUSE_S):
            with contextlib.suppress(OSError):
                attack()
            self.rounds[kind] += 1

    def _dial(self, place: Place | None = None) -> socket.socket:
        return socket.create_connection(place or self._rng.choice((self._contact, self._publisher)), TIMEOUT_S)

    def _said(self, data: bytes, place: Place | None = None) -> None:
        """Say it, and see the other end hang up, or not."""
        with self._dial(place) as to:
            to.sendall(data)
            to.settimeout(0.02)
            with contextlib.suppress(TimeoutError):
                while to.recv(4096):
                    pass

    def _garbage(self) -> None:
        self._said(self._rng.randbytes(self._rng.randrange(1, 4096)))

    def _half_open(self) -> None:
        hello = frame(b"\x05HELLO\x01\x00" + self._rng.randbytes(192), 4)
        self._said((greeting(b"CURVE") + hello)[: self._rng.randrange(1, 64 + len(hello))])

    def _sit(self) -> None:
        """300 connections that say nothing, made anew when they were hung up on."""
        kept = []
        for one in self._idle:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while one.recv(4096):
                    pass
                one.close()
                continue
            kept.append(one)
        self._idle = kept
        while len(self._idle) < IDLE and not self._over.is_set():
            self._idle.append(self._dial())

    def _multipart(self) -> None:
        self._said(ready(b"DEALER") + frame(b"x" * 100, 1) * 20_000, self._contact)

    def _topics(self) -> None:
        with self._dial(self._publisher) as to:
            to.sendall(ready(b"SUB"))
            for start in range(0, TOPICS, 1000):
                to.sendall(b"".join(frame(b"\x01topic-%08d" % number) for number in range(start, start + 1000)))
                if self._over.is_set():
                    return

    def _oversized(self) -> None:
        size = self._rng.choice((513, (1 << 20) + 1, 1 << 40, (1 << 64) - 1))
        self._said(self._rng.choice((greeting(b"CURVE"), ready(b"DEALER"))) + b"\x02" + struct.pack(">Q", size) + b"x" * 65536)

    def _mutated(self) -> None:
        honest = bytes([1, 1]) + self._rng.randbytes(8) + bytes([0x93, 0xA1, 0x61, 0x01, 0xC0]) * 20
        frames = []
        for _ in range(MUTATED_PER_ROUND):
            body = bytearray(honest)
            for _ in range(self._rng.randrange(1, 8)):
                body[self._rng.randrange(len(body))] = self._rng.randrange(256)
            frames.append(frame(bytes(body)))
        self._said(ready(b"DEALER") + b"".join(frames), self._contact)

    def _long_hello(self) -> None:
        """A handshake command just below the limit, of which the last bytes never come."""
        with self._dial(self._contact) as to:
            to.sendall(greeting(b"CURVE") + b"\x06" + struct.pack(">Q", (1 << 20) - 16) + b"\x05HELLO" + bytes(900_000))
            time.sleep(0.2)
