"""Unseen: what a connection brought that shows in no message, and who is cut off for it.

libzmq hands over whole messages only. The parts of one that never ends, and what a connection brings that claims the routing
id of another, pile up within it: no queue shows them and no option bounds them. But the kernel counts what a connection
brought (Linux), and we count what we read of it; an honest one differs by a message on its way and by what ZeroMQ says itself.

Invariant: nobody is judged by what is still on its way. What libzmq took from the kernel is looked at first, and then whether a
message waits; if none does, all that was taken has been seen but one message, and what is being decoded.
"""

from __future__ import annotations

import mmap
import socket
import sys
from array import array
from collections.abc import Collection
from contextlib import suppress

import zmq

from ..values import dataclass
from . import native
from .doors import Doors
from .floods import cut_off_at, descriptor_of, is_at, received_by

UNSEEN_BYTES_MAX = (1 << 20) + (64 << 10)  # the largest message on its way, and a handshake
COMMANDS_BYTES_PER_S = 16  # heartbeats
PAGE_BYTES = mmap.PAGESIZE
OVERHEAD_BYTES = 16  # of a message, its length and a command's name, at most
LOOK_S = 0.25  # whether memory grew, 15 µs; the longer, the more comes in meanwhile
RARE_LOOK_S = 2.0  # at the connections, some 15 µs each, though memory did not grow
GROWN_BYTES = 8 << 20  # and if it did by so much
LOOK_PER_CONNECTION_S = 0.0005  # if that is longer: who looks at thousands looks less often


@dataclass(slots=True)
class _Caller:
    since: float = float("inf")  # the first look
    taken: int = 0  # bytes that libzmq had at the last look
    seen: int = 0  # bytes of whole messages
    fresh: int = 0  # of these, since the last look


class Unseen:
    """The callers of one bound socket. The bus thread owns it."""

    def __init__(self, asked: zmq.SyncSocket, doors: Doors) -> None:
        self._socket, self._doors = asked, doors
        self._callers: dict[int, _Caller] = {}
        self._due = self._looked_at = float("-inf")
        self._resident = 0  # bytes, at the last look at the connections, or the least since

    @staticmethod
    def available() -> bool:
        """Whether the kernel tells."""
        return sys.platform.startswith("linux")

    def saw(self, frame: zmq.Frame) -> None:
        """A whole message was read. About a microsecond."""
        named = descriptor_of(frame)
        if named is not None:
            caller = self._callers.setdefault(int(named), _Caller())
            caller.seen += len(frame) + OVERHEAD_BYTES
            caller.fresh += len(frame) + OVERHEAD_BYTES

    def look(self, connected: Collection[int], now: float) -> list[str]:
        """Cut off whoever brought too much that nobody saw; who that was. O(connections), when it is due."""
        if now < self._due:
            return []
        self._due = now + max(LOOK_S, LOOK_PER_CONNECTION_S * len(connected))
        resident = _resident()
        self._resident = min(self._resident, resident)
        if resident - self._resident < GROWN_BYTES and now - self._looked_at < RARE_LOOK_S:
            return []
        self._resident, self._looked_at = resident, now
        ports, found = self._doors.ports, {}
        for descriptor in connected:
            taken = _taken(descriptor, ports)
            if taken is not None:
                caller = self._callers.get(descriptor) or _Caller()
                if taken < caller.taken:  # the number is another connection's by now
                    caller = _Caller(seen=caller.fresh)
                caller.since, caller.taken = min(caller.since, now), taken
                found[descriptor] = caller
        pending = {descriptor: caller for descriptor, caller in self._callers.items() if caller.fresh and descriptor not in found}
        self._callers = found | pending  # of these it is not told yet that they came, or they have gone
        for caller in self._callers.values():
            caller.fresh = 0
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            return []
        floods = [
            (descriptor, caller)
            for descriptor, caller in found.items()
            if caller.taken - caller.seen > UNSEEN_BYTES_MAX + COMMANDS_BYTES_PER_S * (now - caller.since)
        ]
        cut = [cut_off_at(descriptor, ports, caller.taken) for descriptor, caller in floods]
        return [whose for whose in cut if whose is not None]

    def next_deadline(self) -> float:
        """When `look` is due."""
        return self._due


def _taken(descriptor: int, ports: Collection[int]) -> int | None:
    """How many bytes libzmq has read from a connection to one of these ports; None if it is gone."""
    with suppress(OSError, ValueError), native.borrowed(descriptor) as twin:
        if is_at(twin, ports):
            received = received_by(twin)
            return None if received is None else received - _waiting(twin)
    return None


def _resident() -> int:
    """How much memory this process holds, in bytes; 0 if the system does not tell."""
    with suppress(OSError, ValueError, IndexError), open("/proc/self/statm", "rb") as told:
        return int(told.read().split()[1]) * PAGE_BYTES
    return 0


def _waiting(twin: socket.socket) -> int:
    """How many bytes the kernel still holds."""
    import fcntl  # here, because Windows has neither
    import termios

    told = array("i", [0])
    fcntl.ioctl(twin.fileno(), termios.FIONREAD, told)
    return told[0]
