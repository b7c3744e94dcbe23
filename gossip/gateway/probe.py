"""How soon a change made here is seen elsewhere: a random member is asked, on this gateway's own clock alone.

    t0  the change is made         t1  "what happened to it?" is asked         t2  the answer holds the change
    visible after (t1 + t2) / 2 - t0: half of the question's round trip is the way back. No clock is compared with another's.

One change and one observer (no member, nobody notices it) every `interval_s`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

from .. import AsyncPeer, AsyncRegistration, GossipError, Instance, Observer

PATIENCE_S = 5.0
ASK_S = 1.0

Observe = Callable[[str], Observer]  # an observer of the member at this address, not started


class Probe:
    """Measures, by changing a label of the gateway's own registration."""

    def __init__(
        self, peer: AsyncPeer, mine: AsyncRegistration, observe: Observe, tell: Callable[[float], object], interval_s: float
    ) -> None:
        self._peer, self._mine, self._observe, self._tell, self._interval_s = peer, mine, observe, tell, interval_s
        self._number = 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.5, 1.5))
            with suppress(GossipError, TimeoutError, OSError):  # nobody to ask, or no answer: nothing was measured
                await self._measure()

    async def _measure(self) -> None:
        others = [member for member in self._peer.members() if member.id != self._peer.id]
        if not others:
            return
        observer = self._observe(random.choice(others).address)
        try:
            await asyncio.to_thread(lambda: observer.start().wait_synced(PATIENCE_S))
            self._number += 1
            changed_at = time.monotonic()
            await self._mine.update(labels={"probe": str(self._number)})
            seen_at = await asyncio.to_thread(self._seen, observer, str(self._number))
        finally:
            await asyncio.to_thread(observer.close)
        if seen_at is not None:
            self._tell(max(seen_at - changed_at, 0.0))

    def _seen(self, observer: Observer, number: str) -> float | None:
        """In a thread. When the member held the change."""
        deadline = time.monotonic() + PATIENCE_S
        name = "/".join(self._mine.instance.key)
        while (asked_at := time.monotonic()) < deadline:
            events = observer.why(name, timeout=ASK_S)
            answered_at = time.monotonic()
            if any(isinstance(event.after, Instance) and event.after.labels.get("probe") == number for event in events):
                return (asked_at + answered_at) / 2
        return None
