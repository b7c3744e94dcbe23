"""What the gateway has seen happen: the last event's number, whether others were ever there, how long a death took.

One watch, followed by one task. Times are this process's own: no clock is compared with another's.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from .. import AsyncPeer, Event, EventKind, Member, PeerClosed

SUSPECTED_MAX = 4096  # members whose suspicion is timed at once
OF_MEMBERS = (EventKind.MEMBER_JOINED, EventKind.MEMBER_DEAD, EventKind.MEMBER_LEFT, EventKind.RESYNC)

Listener = Callable[[Event, float], None]


class News:
    """Follows one peer. `life` tells this process's event numbers from those of another."""

    def __init__(self, peer: AsyncPeer, clock: Callable[[], float] = time.monotonic) -> None:
        self._peer, self._clock = peer, clock
        self.life = secrets.token_hex(6)
        self.last_seq = 0
        self.alone = False
        self._met_others = False
        self._suspected_at: OrderedDict[str, float] = OrderedDict()
        self._listeners: list[Listener] = []
        self._detected: list[Callable[[float], object]] = []

    def listen(self, listener: Listener) -> None:
        """Have every event told, with the time it came. It must not raise."""
        self._listeners.append(listener)

    def on_detection(self, tell: Callable[[float], object]) -> None:
        """Have the seconds told from the first suspicion of a member, as heard here, to its death."""
        self._detected.append(tell)

    async def follow(self) -> None:
        """Until the peer closes."""
        watch = await self._peer.watch(since=0)
        self._look_around()
        try:
            async for event in watch:
                self._take(event, self._clock())
        except PeerClosed:
            pass
        finally:
            watch.close()

    def _take(self, event: Event, now: float) -> None:
        self.last_seq = max(self.last_seq, event.seq)
        if event.kind in OF_MEMBERS:
            self._look_around()
        known = event.after or event.before
        if isinstance(known, Member):
            self._time(event.kind, known.id, now)
        for listener in self._listeners:
            listener(event, now)

    def _look_around(self) -> None:
        others = len(self._peer.members()) > 1
        self._met_others = self._met_others or others
        self.alone = self._met_others and not others

    def _time(self, kind: EventKind, id: str, now: float) -> None:
        if kind is EventKind.MEMBER_SUSPECTED:
            self._suspected_at.setdefault(id, now)
            if len(self._suspected_at) > SUSPECTED_MAX:
                self._suspected_at.popitem(last=False)
        elif kind in (EventKind.MEMBER_REFUTED, EventKind.MEMBER_LEFT):
            self._suspected_at.pop(id, None)
        elif kind is EventKind.MEMBER_DEAD:
            took = now - self._suspected_at.pop(id, now)
            for tell in self._detected:
                tell(took)
