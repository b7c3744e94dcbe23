"""Peers with different presets in one cluster: each states its own interval and is judged by it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gossip.config import Config
from gossip.model import EventKind
from gossip.simulation import Cluster, Network, SimulatedPeer, Weather

PRESETS = {"local": Config.local, "lan": Config.lan, "wan": Config.wan}
EACH = 4
CALM_S = 300.0

City = Callable[..., Cluster]


@pytest.fixture
def city(seed: int) -> City:
    """A converged cluster of so many peers of each preset, named after it; they come in turns."""

    def build(each: int = EACH, **network: float) -> Cluster:
        cluster = Cluster(seed, network=Network(seed, Weather(**network)))
        for _ in range(each):
            for name, preset in PRESETS.items():
                peer = cluster.spawn(name, config=preset())
                peer.register("web", port=80)
        cluster.run_until(cluster.converged, 60.0)
        cluster.run(5.0)
        return cluster

    return build


def of(cluster: Cluster, preset: str) -> SimulatedPeer:
    """The last of its kind: not the seed of the others."""
    return [peer for peer in cluster.peers if peer.id.startswith(preset)][-1]


def held_dead(cluster: Cluster) -> list[str]:
    return [event.reason for peer in cluster.peers for event in peer.history if event.kind is EventKind.MEMBER_DEAD]


def gone(cluster: Cluster, peer: SimulatedPeer, patience_s: float) -> float:
    """How long until no other that runs holds it for alive."""
    others = [other for other in cluster.running if other is not peer]
    return cluster.run_until(lambda: all(peer.id not in other.members() for other in others), patience_s)


def test_peers_state_the_interval_of_their_own_preset(city: City) -> None:
    cluster = city(each=1)
    for observer in cluster.peers:
        stated = {id.partition("-")[0]: o.header.interval_ms for id, o in observer.node.local.table.origins.items()}
        assert stated == {"local": 1000, "lan": 1000, "wan": 2000}


@pytest.mark.parametrize("network", [{}, {"latency_s": 0.1, "jitter_s": 0.05}], ids=["near", "far"])
def test_they_converge_and_nobody_is_falsely_held_dead(city: City, network: dict[str, float]) -> None:
    cluster = city(**network)
    cluster.run(CALM_S)
    assert cluster.converged()
    assert all(len(peer.lookup("web")) == EACH * len(PRESETS) for peer in cluster.peers)
    assert held_dead(cluster) == []


def test_nobody_doubts_another_for_being_slower_by_its_own_word(city: City) -> None:
    cluster = city()
    cluster.run(CALM_S)
    assert {peer.id: peer.node.local.counters["doubts"] for peer in cluster.peers} == {peer.id: 0 for peer in cluster.peers}


@pytest.mark.parametrize("each", [2, EACH, 8])
def test_nobody_is_falsely_held_dead_in_a_cluster_of_any_size(city: City, each: int) -> None:
    cluster = city(each)
    cluster.run(CALM_S)
    assert held_dead(cluster) == []


@pytest.mark.parametrize("preset", PRESETS)
def test_a_crash_of_each_kind_is_found_by_all_others(city: City, preset: str) -> None:
    cluster = city()
    dead = of(cluster, preset)
    cluster.kill(dead)
    assert gone(cluster, dead, 5.0) < 1.0  # proof by closed links, gathered for 0.1 s at most
    assert all(len(peer.lookup("web")) == EACH * len(PRESETS) - 1 for peer in cluster.running)
    cluster.run(30.0)
    assert {reason.split(" ")[0] for reason in held_dead(cluster)} == {dead.id}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_hang_of_each_kind_is_found_by_all_others_and_so_is_its_return(city: City, preset: str) -> None:
    cluster = city()
    hung = of(cluster, preset)
    cluster.pause(hung)
    patience_s = 3 * hung.node.local.config.heartbeats.interval_s + 2.0 + 15.0 + 5.0  # silence, ping and suspicion of wan
    gone(cluster, hung, patience_s)
    assert {reason.split(" ")[0] for reason in held_dead(cluster)} == {hung.id}
    cluster.resume(hung)
    cluster.run_until(cluster.converged, 30.0)
    cluster.run(60.0)
    assert {reason.split(" ")[0] for reason in held_dead(cluster)} == {hung.id}
    assert cluster.converged()


def test_all_of_one_kind_may_hang_and_the_others_find_it(city: City) -> None:
    cluster = city()
    hung = [peer for peer in cluster.peers if peer.id.startswith("wan")]
    for peer in hung:
        cluster.pause(peer)
    others = [peer for peer in cluster.peers if peer not in hung]
    cluster.run_until(lambda: all(set(peer.members()) == {other.id for other in others} for peer in others), 60.0)
