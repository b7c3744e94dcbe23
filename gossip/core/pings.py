"""Pings: asking a member over a fresh connection whether it lives, and who it is.

Invariant: at most one ping per member is under way; each ends in an answer, a stranger's answer, or its deadline.
"""

from __future__ import annotations

from collections.abc import Callable

from ..values import dataclass
from .effects import Call, HangUp
from .local import Local
from .messages import Ping
from .origin import Origin

PINGS_MAX = 64
NEVER = float("inf")


@dataclass(slots=True)
class _Open:
    origin: str
    contact: str
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
            self._local.bounds.hit("pings_refused", origin.id, f"{PINGS_MAX} pings are under way; {origin.id} has to wait", now)
            return False
        local, call = self._local, self._new_call()
        self._open[call] = _Open(origin.id, origin.contact, now + local.config.detection.ping_timeout_s)
        me = local.me
        local.out.append(Call(call, origin.contact, local.codec.encode(Ping(me.id, me.incarnation, me.header.pulse))))
        return True

    def answered(self, call: int) -> Origin | None:
        """Somebody answered: the member that was pinged, if this call was a ping and it is still reached there."""
        ping = self._open.get(call)
        return None if ping is None else self._end(call, ping)

    def _end(self, call: int, ping: _Open) -> Origin | None:
        del self._open[call]
        self._local.out.append(HangUp(call))
        origin = self._local.table.origins.get(ping.origin)
        return origin if origin is not None and origin.contact == ping.contact else None

    def overdue(self, now: float) -> list[Origin]:
        """Give up the pings whose time is over; the members they were for."""
        if not self._open:
            return []
        ended = [self._end(call, ping) for call, ping in list(self._open.items()) if ping.deadline <= now]
        return [origin for origin in ended if origin is not None]

    def paused(self, now: float) -> None:
        """My process stood still: the answers may wait unread."""
        for ping in self._open.values():
            ping.deadline = now + self._local.config.detection.ping_timeout_s

    def next_deadline(self) -> float:
        """When the next ping is given up."""
        return min(ping.deadline for ping in self._open.values()) if self._open else NEVER
