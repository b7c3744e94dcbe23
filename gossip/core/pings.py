"""Pings: asking a member over a fresh connection whether it lives, and who it is.

Invariant: at most one ping per member is under way; each ends in an answer, a stranger's answer, or its deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .effects import Call, HangUp
from .local import Local
from .messages import Ping, Pong
from .origin import Origin

PINGS_MAX = 64
NEVER = float("inf")


@dataclass(slots=True)
class _Open:
    origin: str
    deadline: float


class Pings:
    """Owns the pings under way."""

    def __init__(self, local: Local, *, new_call: Callable[[], int]) -> None:
        self._local = local
        self._new_call = new_call
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def send(self, origin: Origin, now: float) -> bool:
        """Ping a member, unless that is under way; False if too many are."""
        if any(ping.origin == origin.id for ping in self._open.values()):
            return True
        if len(self._open) >= PINGS_MAX:
            return False
        local, call = self._local, self._new_call()
        self._open[call] = _Open(origin.id, now + local.config.detection.ping_timeout_s)
        me = local.me
        local.out.append(Call(call, origin.contact, local.codec.encode(Ping(me.id, me.incarnation, me.header.pulse))))
        return True

    def answered(self, call: int, pong: Pong) -> Origin | None:
        """A pong came: the member that was pinged, if this call was a ping and the member is still known."""
        ping = self._open.get(call)
        if ping is None:
            return None
        self.end(call)
        return self._local.table.origins.get(ping.origin)

    def end(self, call: int) -> None:
        """Hang up, if this call is a ping."""
        if self._open.pop(call, None) is not None:
            self._local.out.append(HangUp(call))

    def overdue(self, now: float) -> list[Origin]:
        """Give up the pings whose time is over; the members they were for."""
        found = []
        for call, ping in [(call, ping) for call, ping in self._open.items() if ping.deadline <= now]:
            self.end(call)
            origin = self._local.table.origins.get(ping.origin)
            if origin is not None:
                found.append(origin)
        return found

    def paused(self, now: float) -> None:
        """My process stood still: the answers may wait unread."""
        for ping in self._open.values():
            ping.deadline = now + self._local.config.detection.ping_timeout_s

    def next_deadline(self) -> float:
        """When the next ping is given up."""
        return min((ping.deadline for ping in self._open.values()), default=NEVER)
