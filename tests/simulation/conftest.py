"""Simulated clusters in a known state, and what the tests ask of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from gossip.model import EventKind
from gossip.simulation import Cluster, SimulatedPeer


class Town:
    """A converged cluster and its peers. The invariants hold unless a test breaks them on purpose."""

    def __init__(self, size: int, seed: int, **options: Any) -> None:
        self.cluster = Cluster(seed, **options)
        self.peers = [self.cluster.spawn() for _ in range(size)]
        self.cluster.run_until(self.cluster.converged, 30)
        self.cluster.run(5)

    def __getitem__(self, index: int) -> SimulatedPeer:
        return self.peers[index]

    def split(self, *groups: Iterable[SimulatedPeer]) -> None:
        """Cut these groups from each other."""
        self.cluster.network.partition(*([peer.host for peer in group] for group in groups))

    def gone(self, peer: SimulatedPeer, patience_s: float = 30.0) -> float:
        """How long until nobody that runs holds this peer for alive."""
        others = [other for other in self.cluster.running if other is not peer and not other.paused]
        id = peer.id
        return self.cluster.run_until(lambda: all(id not in other.members() for other in others), patience_s)

    def agree(self, patience_s: float = 30.0) -> float:
        """How long until all that run hold one view of all that run."""
        return self.cluster.run_until(self.cluster.converged, patience_s)

    def seen(self, service: str) -> list[list[str]]:
        """The ids of a service at each that runs."""
        return [[instance.id for instance in peer.lookup(service)] for peer in self.cluster.running]

    def deaths(self) -> list[str]:
        """Whoever was held dead by anybody, with the reason."""
        return [e.reason for peer in self.peers for e in peer.history if e.kind is EventKind.MEMBER_DEAD]


def notices(peer: SimulatedPeer) -> list[str]:
    return [effect.reason for effect in peer.history if effect.kind is EventKind.NOTICE]


@pytest.fixture
def town() -> Callable[..., Town]:
    return Town


@pytest.fixture
def notices_of() -> Callable[[SimulatedPeer], list[str]]:
    return notices
