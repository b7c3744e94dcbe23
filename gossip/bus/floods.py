"""Floods: which connection brings more than an honest one could, and how it is cut off.

libzmq's receive queues have no bound here (`sockets.py` says why), so what waits in them is bounded by us: libzmq deals
messages out in turns among connections, so a flood shows within the turn that meets it, whoever else is asking. An honest
link may bring much at once after this process stood still, for its other end publishes whether we read or not; so what it is
allowed grows with the time since the SUB was last read to its end. Who asks or answers waits for the other.

Invariant: a descriptor that libzmq names is touched only while it is a connection to a port of ours, and has brought as
much as it is blamed for: by now the number may be another connection's, or a socket of the host program.
"""

from __future__ import annotations

import contextlib
import heapq
import socket
import sys
from collections.abc import Callable, Collection, Hashable

import zmq

from ..model import join_address
from ..values import dataclass
from . import native

STALL_S = 60.0  # a process that stood still for longer allows no more than after so long
WEIGHT_BYTES = 64 * 1024  # each begun so many bytes of a message count as one message
LOOKED_AT = 8  # connections, at the end of a turn
DISCARD_BYTES = 64 * 1024
DISCARDS_MAX = 1024  # reads of what the kernel still holds: more than any receive buffer
_RECEIVED_AT = 128  # tcpi_bytes_received in struct tcp_info
MESSAGE_BYTES_MIN = 2  # of ZMTP, on the wire


@dataclass(slots=True)
class _Brought:
    """By one connection, since the socket was last read to its end: so much, the first at this time."""

    since: float
    frame: zmq.Frame  # the latest: it names the connection
    weight: int = 0
    bytes: int = 0
    base: tuple[int, int] | None = None  # what the kernel had received, and we had read, at the first look


class Flood:
    """What each connection of one socket brought since that was last read to its end. The bus thread owns it.

    `patient`: an honest connection of this kind goes on sending, unanswered, while this process stands still.
    """

    __slots__ = ("_brought", "_now", "_patient", "_per_s", "_since", "_source_of", "_total", "caught")

    def __init__(
        self, per_s: float, source_of: Callable[[zmq.Frame], Hashable] = lambda frame: None, *, patient: bool = False
    ) -> None:
        self._per_s = per_s
        self._source_of = source_of
        self._patient = patient
        self._now = 0.0
        self._since = float("inf")  # when the socket was last read to its end
        self._total = 0
        self._brought: dict[Hashable, _Brought] = {}
        self.caught: set[Hashable] = set()  # sources that brought too much

    def begin(self, now: float) -> None:
        """A turn begins to read. O(1)."""
        self._now = now
        self._since = min(self._since, now)

    def took(self, frame: zmq.Frame, source: Hashable = None) -> bool:
        """A message was read. Whether its source has with it, for the first time, brought too much. O(1).

        `source` None: as long as all together have not brought too much, none has, and nobody asks whence a message came.
        """
        size = len(frame)
        weight = 1 + size // WEIGHT_BYTES
        if source is None:
            self._total += weight
            if self._total <= self._per_s:
                return False
            source = self._source_of(frame)
        brought = self._brought.get(source)
        if brought is None:
            brought = self._brought[source] = _Brought(self._since if self._patient else self._now, frame)
        brought.weight += weight
        brought.bytes += size + MESSAGE_BYTES_MIN
        brought.frame = frame
        if brought.weight <= self._allowed(brought) or source in self.caught:
            return False
        self.caught.add(source)
        return True

    def growing(self, ports: Collection[int]) -> list[zmq.Frame]:
        """A frame of each connection of which, as the kernel tells, more waits than it may bring.

        For the end of a turn that left something unread; from the second such turn on, and of the `LOOKED_AT` that brought
        most. Without it a flood would be known only by what was read of it, and libzmq takes in a hundred times as much.
        """
        found = []
        for source, brought in heapq.nlargest(LOOKED_AT, self._brought.items(), key=lambda item: item[1].weight):
            received = None if source in self.caught else received_from(brought.frame, ports)
            if received is None:
                continue
            if brought.base is None:
                brought.base = received, brought.bytes
            before, read = brought.base
            waiting = (received - before) - (brought.bytes - read)
            if brought.weight * (1 + waiting / brought.bytes) > self._allowed(brought):
                self.caught.add(source)
                found.append(brought.frame)
        return found

    def _allowed(self, brought: _Brought) -> float:
        return self._per_s * (1 + min(self._now - brought.since, STALL_S))

    def emptied(self, now: float) -> None:
        """The socket was read to its end. O(connections that brought anything)."""
        self._since, self._total = now, 0
        if self._brought or self.caught:
            self._brought.clear()
            self.caught.clear()


def descriptor_of(frame: zmq.Frame) -> str | None:
    """The descriptor of the connection that brought a message, as libzmq names it; None for what libzmq says itself."""
    try:
        return str(frame.get("__fd"))
    except zmq.ZMQError:
        return None


def received_from(frame: zmq.Frame, ports: Collection[int]) -> int | None:
    """How many bytes came over the connection that brought this frame; None if it is gone, or the system does not tell."""
    with contextlib.suppress(OSError, ValueError, TypeError), native.borrowed(int(descriptor_of(frame) or "")) as twin:
        if is_at(twin, ports):
            return received_by(twin)
    return None


def cut_off(frame: zmq.Frame, ports: Collection[int], bytes_least: int) -> str | None:
    """End the connection that brought this frame, and throw away what the kernel still holds of it.

    Returns whose it was, `ip:port`; None if it is gone, or if its descriptor is by now that of anything else: of what is no
    connection to one of these ports, or did not bring so many bytes.
    """
    named = descriptor_of(frame)
    return None if named is None else cut_off_at(int(named), ports, bytes_least)


def cut_off_at(descriptor: int, ports: Collection[int], bytes_least: int) -> str | None:
    """The same of the connection with this descriptor."""
    try:
        with native.borrowed(descriptor) as twin:
            theirs = twin.getpeername()  # fails for a listening socket
            if not is_at(twin, ports):
                return None
            received = received_by(twin)
            if received is not None and received < bytes_least:
                return None
            twin.shutdown(socket.SHUT_RDWR)
            _discard(twin)
    except (OSError, ValueError, TypeError):
        return None
    return join_address(theirs[0].removeprefix("::ffff:"), theirs[1])


def is_at(twin: socket.socket, ports: Collection[int]) -> bool:
    """Whether our end is at one of these ports."""
    mine = twin.getsockname()
    return isinstance(mine, tuple) and mine[1] in ports  # of a UNIX socket it is a text


def received_by(twin: socket.socket) -> int | None:
    """How many bytes came over a connection. Linux tells."""
    if not sys.platform.startswith("linux"):
        return None
    told = twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED_AT + 8)[_RECEIVED_AT:]
    return int.from_bytes(told, sys.byteorder) if len(told) == 8 else None


def _discard(twin: socket.socket) -> None:
    """libzmq would still read what was received before the end."""
    twin.setblocking(False)
    with contextlib.suppress(OSError):  # nothing more, or reset
        for _ in range(DISCARDS_MAX):
            if not twin.recv(DISCARD_BYTES):
                return
