"""Calls: one short-lived DEALER for each question to another peer's ROUTER.

A call is one try: its connection is never made anew, so an answer always belongs to the questions of this call. Failure
is silence; the core's own timeout ends every call with a hang-up. Source: the request half of anti-entropy (Demers 1987).
"""

from __future__ import annotations

import zmq

from ..core.effects import Answered
from .hush import Hush
from .sockets import Descriptors, Sockets, whole_frames

CALLS_OPEN_MAX = 256  # above it new calls are dropped and counted, which looks like loss to the core
ANSWERS_PER_TURN = 64  # of one call
DESCRIPTORS_PER_CALL = 2  # the socket's signaller and the connection


class Calls:
    """All open calls of one peer. Not thread-safe: the bus thread owns it."""

    def __init__(self, sockets: Sockets, poller: zmq.Poller, hush: Hush, descriptors: Descriptors) -> None:
        self._sockets = sockets
        self._poller = poller
        self._hush = hush
        self._descriptors = descriptors
        self._open: dict[int, zmq.SyncSocket] = {}
        self._numbers: dict[zmq.SyncSocket, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def send(self, call: int, endpoint: str, frame: bytes, now: float) -> None:
        """Send on this call, to the ROUTER at `ip:port`; the first frame opens it. Dropped and counted when that fails."""
        dealer = self._open.get(call) or self._dial(call, endpoint, now)
        if dealer is None:
            return
        try:
            dealer.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            self._hush.count("calls_unsent")

    def hang_up(self, call: int) -> None:
        """Close the call's socket; what was not sent or read yet is lost. Unknown calls are ignored."""
        dealer = self._open.pop(call, None)
        if dealer is not None:
            del self._numbers[dealer]
            self._poller.unregister(dealer)
            dealer.close(linger=0)

    def receive(self, source: object) -> list[Answered]:
        """What waits on this socket, if it is (still) one of ours; at most `ANSWERS_PER_TURN`."""
        if not isinstance(source, zmq.Socket) or source not in self._numbers:
            return []
        call = self._numbers[source]
        answers = []
        for frame in whole_frames(source, ANSWERS_PER_TURN):
            if frame is None:
                self._hush.count("calls_multipart")
            else:
                answers.append(Answered(call, frame))
        return answers

    def _dial(self, call: int, endpoint: str, now: float) -> zmq.SyncSocket | None:
        if len(self._open) >= CALLS_OPEN_MAX or not self._descriptors.reserve(now, DESCRIPTORS_PER_CALL):
            self._hush.tell("calls_refused", now, f"a call to {endpoint} was dropped: {len(self._open)} are open")
            return None
        try:
            dealer = self._sockets.caller()
        except zmq.ZMQError as error:
            self._hush.tell("calls_refused", now, f"a call to {endpoint} was dropped: {error.strerror}")
            return None
        try:
            dealer.setsockopt(zmq.IPV6, int("[" in endpoint))
            dealer.connect(f"tcp://{endpoint}")
        except zmq.ZMQError as error:
            dealer.close(linger=0)
            self._hush.tell("calls_undiallable", now, f"cannot call {endpoint!r}: {error.strerror}")
            return None
        self._open[call] = dealer
        self._numbers[dealer] = call
        self._poller.register(dealer, zmq.POLLIN)
        return dealer
