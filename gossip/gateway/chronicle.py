"""What the gateway remembers of what it saw, for who looks in later: the last events, and since when each thing is known.

Times are this process's own: an age says how long this gateway has known it, and compares no clock with another's.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from .. import AsyncPeer, Event, EventKind, Instance, Member

RECENT_MAX = 200  # events kept; more: a longer past on the page, more memory
AGES_MAX = 20_000  # instances and members whose ages are kept; of what is beyond, the oldest are forgotten

Key = tuple[str, ...]  # service and id of an instance, or the id of a member


class Chronicle:
    """Told of every event by `News`."""

    def __init__(self, peer: AsyncPeer, clock: Callable[[], float] = time.monotonic) -> None:
        self._peer, self._clock = peer, clock
        self._began = clock()
        self._since: OrderedDict[Key, float] = OrderedDict()
        self.recent: deque[Event] = deque(maxlen=RECENT_MAX)

    def hear(self, event: Event, now: float) -> None:
        """One more event. O(1), but for a RESYNC."""
        self.recent.append(event)
        if event.kind is EventKind.RESYNC:
            self._look_around(now)
            return
        known = event.after or event.before
        if isinstance(known, Instance):
            if event.kind is EventKind.ADDED:
                self._note(known.key, now)
            elif event.kind is EventKind.REMOVED:
                self._since.pop(known.key, None)
        elif event.kind in (EventKind.MEMBER_JOINED, EventKind.MEMBER_DEAD, EventKind.MEMBER_LEFT) and known is not None:
            self._note((known.id,), now)

    def known_s(self, thing: Instance | Member) -> float:
        """How long it has been known here; of a member that is dead or left, how long it has been that. O(1)."""
        key = thing.key if isinstance(thing, Instance) else (thing.id,)
        return round(max(self._clock() - self._since.get(key, self._began), 0.0), 3)

    def _note(self, key: Key, now: float) -> None:
        self._since[key] = now
        self._since.move_to_end(key)
        if len(self._since) > AGES_MAX:
            self._since.popitem(last=False)

    def _look_around(self, now: float) -> None:
        """Events were missed: what is new begins now, what is gone is forgotten."""
        services = self._peer.services()
        there: set[Key] = {one.key for name in services for one in self._peer.lookup(name, include_draining=True)}
        there |= {(member.id,) for member in self._peer.members(include_dead=True)}
        self._since = OrderedDict((key, since) for key, since in self._since.items() if key in there)
        for key in there - self._since.keys():
            self._note(key, now)
