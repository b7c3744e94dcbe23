"""Clusters that are built converged, and what is measured of them."""

from __future__ import annotations

import pytest

from gossip.model import EventKind
from gossip.simulation import Cluster
from gossip.simulation.measure import idle, spread


@pytest.mark.parametrize("size", [1, 2, 17, 18, 150])
def test_a_settled_cluster_is_as_one_that_joined(size: int, seed: int) -> None:
    cluster = Cluster.settled(size, seed)
    assert cluster.converged()
    assert {len(peer.members()) for peer in cluster.peers} == {size}
    before = {peer.id: set(peer.links) for peer in cluster.peers}
    cluster.run(15)
    assert cluster.converged()
    assert {peer.id: set(peer.links) for peer in cluster.peers} == before
    assert all(peer.node.agreement == 1.0 and peer.node.synced for peer in cluster.peers)
    kinds = {event.kind for peer in cluster.peers for event in peer.history}
    assert kinds <= {EventKind.MEMBER_JOINED, EventKind.NOTICE}
    assert sum(peer.node.local.counters["accusations_made"] for peer in cluster.peers) == 0


def test_each_peer_of_a_settled_cluster_has_a_view_of_its_own(seed: int) -> None:
    cluster = Cluster.settled(60, seed)
    hosts = [peer.host for peer in cluster.peers]
    cluster.run(2)
    cluster.network.partition(hosts[:30], hosts[30:])
    cluster.peers[3].register("web", port=1)
    cluster.run(60)
    assert {len(peer.members()) for peer in cluster.peers} == {30}
    assert [len(peer.lookup("web")) for peer in cluster.peers] == [1] * 30 + [0] * 30
    cluster.network.heal()
    cluster.run_until(cluster.converged, 30)
    assert [len(peer.lookup("web")) for peer in cluster.peers] == [1] * 60


def test_a_settled_cluster_takes_joins_deaths_changes_and_restarts_as_any_other(seed: int) -> None:
    cluster = Cluster.settled(80, seed)
    cluster.run(2)
    newcomer = cluster.spawn()
    cluster.peers[5].register("web", port=1)
    cluster.run_until(cluster.converged, 5)
    assert len(newcomer.lookup("web")) == 1
    cluster.kill(cluster.peers[7])
    cluster.leave(cluster.peers[8])
    cluster.run_until(cluster.converged, 5)
    cluster.restart(cluster.peers[5])
    cluster.run_until(cluster.converged, 10)
    assert [peer.lookup("web") for peer in cluster.running] == [()] * 79


def test_a_settled_cluster_is_replayed_by_its_seed() -> None:
    def trace(seed: int) -> str:
        cluster = Cluster.settled(50, seed)
        cluster.run(2)
        cluster.kill(cluster.peers[4])
        cluster.run(5)
        return cluster.trace

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_a_change_goes_to_everybody_over_two_trees_in_a_few_hops(seed: int) -> None:
    cluster = Cluster.settled(200, seed)
    cluster.run(2)
    found = spread(cluster, cluster.peers[50])
    assert len(found.hops) == 199
    assert min(found.hops.values()) == 1
    assert found.hops_max <= 7
    assert found.messages <= 2.1 * 200
    assert cluster.tap is None


def test_silence_costs_a_heartbeat_for_each_watcher(seed: int) -> None:
    cluster = Cluster.settled(100, seed)
    cluster.run(3)
    found = idle(cluster, 10)
    assert 7.5 <= found.messages_per_s <= 8.5
    assert found.bytes_per_s <= 600
    assert found.wire_bytes_per_s <= 3000
