"""My links: the publishers my SUB is connected to.

Invariant: an endpoint is connected as long as some id needs it, and dropped once: ids are counted per endpoint, or
dropping a dead peer's link would cut its successor on the same port. A replaced link is dropped only when the new ones
are up, or after a while (make before break).
"""

from __future__ import annotations

from collections import Counter

from ..values import dataclass
from .effects import Connect, Disconnect, Effect
from .messages import IdHash


@dataclass(slots=True)
class Link:
    """One publisher. `up` once it answered my subscription."""

    endpoint: str
    since: float
    up: bool = False


class Mesh:
    """Owns the links; returns what the shell must do to them."""

    __slots__ = ("_endpoints", "_retiring_until", "links")

    def __init__(self) -> None:
        self.links: dict[IdHash, Link] = {}
        self._endpoints: Counter[str] = Counter()
        self._retiring_until = float("inf")

    def aim(self, wanted: dict[IdHash, str], living: set[IdHash], now: float, *, timeout_s: float) -> list[Effect]:
        """Move towards these links. Links to living members that are no longer wanted wait for the new ones."""
        effects: list[Effect] = []
        for hash, endpoint in wanted.items():
            link = self.links.get(hash)
            if link is None or link.endpoint != endpoint:
                if link is not None:
                    effects += self._drop(hash)
                effects += self._take(hash, endpoint, now)
        surplus = [hash for hash in self.links if hash not in wanted]
        settled = all(self.links[hash].up or now >= self.links[hash].since + timeout_s for hash in wanted)
        for hash in surplus:
            if settled or hash not in living:
                effects += self._drop(hash)
        waits = [self.links[hash].since + timeout_s for hash in wanted if not self.links[hash].up]
        self._retiring_until = max(waits, default=now) if surplus and not settled else float("inf")
        return effects

    def _take(self, hash: IdHash, endpoint: str, now: float) -> list[Effect]:
        self.links[hash] = Link(endpoint, now)
        self._endpoints[endpoint] += 1
        return [Connect(endpoint)] if self._endpoints[endpoint] == 1 else []

    def _drop(self, hash: IdHash) -> list[Effect]:
        endpoint = self.links.pop(hash).endpoint
        self._endpoints[endpoint] -= 1
        if self._endpoints[endpoint]:
            return []
        del self._endpoints[endpoint]
        return [Disconnect(endpoint)]

    def came_up(self, hash: IdHash) -> bool:
        """The publisher answered; whether that is new and surplus links may now go."""
        link = self.links.get(hash)
        if link is None or link.up:
            return False
        link.up = True
        return self._retiring_until != float("inf")

    def broke(self, endpoint: str) -> list[IdHash]:
        """The connection to this endpoint closed: who was reached there."""
        found = [hash for hash, link in self.links.items() if link.endpoint == endpoint]
        for hash in found:
            self.links[hash].up = False
        return found

    def next_deadline(self) -> float:
        """When surplus links are dropped in any case."""
        return self._retiring_until
