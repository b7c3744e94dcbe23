"""Observers of simulated clusters: they see what a peer sees, whatever happens, and nobody counts them."""

from __future__ import annotations

import pytest

from gossip.core.effects import Publish
from gossip.model import EventKind, InstanceState
from gossip.simulation import Cluster, Harsh, SimulatedObserver, SimulatedPeer


@pytest.fixture(params=[1, 2, 3])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(seed=request.param)


def grown(cluster: Cluster, peers: int) -> list[SimulatedPeer]:
    """So many peers, each with one instance of orders, that agree."""
    found = [cluster.spawn() for _ in range(peers)]
    for number, peer in enumerate(found):
        peer.register("orders", port=8000 + number)
    cluster.run_until(cluster.converged)
    cluster.run(1.0)  # until all links are up
    return found


def equal(observer: SimulatedObserver, peer: SimulatedPeer) -> bool:
    """Whether the observer holds what the peer holds, liveness and suspicions included."""
    mine, other = observer.node.local, peer.node.local
    same = mine.table.digest == other.table.digest and observer.lookup("orders") == peer.lookup("orders")
    return same and observer.members() == peer.members()


def followed(cluster: Cluster, observer: SimulatedObserver) -> SimulatedPeer:
    source = observer.observer.source
    return next(peer for peer in cluster.peers if source is not None and peer.id == source.id)


@pytest.mark.parametrize("peers", [1, 3, 30])
def test_an_observer_holds_the_view_within_milliseconds_and_is_no_member(cluster: Cluster, peers: int) -> None:
    found = grown(cluster, peers)
    digests = {peer.node.local.table.digest for peer in found}
    observer = cluster.observe()
    assert cluster.run_until(lambda: observer.observer.synced) < 0.05
    assert len(observer.lookup("orders")) == peers
    assert equal(observer, found[0])
    cluster.run(30.0)
    assert {peer.node.local.table.digest for peer in found} == digests
    assert all(len(peer.members()) == peers for peer in found)
    assert observer.observer.agreement == 1.0


def test_every_change_reaches_an_observer_with_its_reason(cluster: Cluster) -> None:
    a, b, c = grown(cluster, 3)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.synced)
    cluster.run(0.1)
    added = b.register("payments", port=1)
    cluster.run_until(lambda: len(observer.lookup("payments")) == 1, timeout_s=0.1)
    b.drain(added)
    cluster.run_until(lambda: observer.lookup("payments") == (), timeout_s=0.1)
    assert observer.lookup("payments", include_draining=True)[0].state is InstanceState.DRAINING
    b.deregister(added)
    cluster.run_until(lambda: "payments" not in observer.services(), timeout_s=0.1)
    cluster.kill(c)
    cluster.run_until(lambda: len(observer.members()) == 2, timeout_s=1.0)
    told = observer.log.why({c.id})
    assert told[-1].kind is EventKind.MEMBER_DEAD
    assert [event.reason for event in told if event.kind is EventKind.MEMBER_DEAD] == [
        event.reason for event in a.log.why({c.id}) if event.kind is EventKind.MEMBER_DEAD
    ]


def test_suspicions_and_refutations_are_seen(cluster: Cluster) -> None:
    a, b, c = grown(cluster, 3)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.synced)
    cluster.pause(c)
    cluster.run_until(lambda: observer.observer.local.suspects == 1)
    late = cluster.observe(b.contact)
    cluster.run_until(lambda: late.observer.synced and b.node.local.suspects == late.observer.local.suspects, timeout_s=1.0)
    cluster.resume(c)
    cluster.run_until(lambda: observer.observer.local.suspects == 0, timeout_s=2.0)
    cluster.run(1.0)
    assert len(observer.members()) == 3
    assert EventKind.MEMBER_REFUTED in [event.kind for event in observer.log.why({c.id})]


def test_a_peer_that_came_back_is_told_as_such(cluster: Cluster) -> None:
    a, b, _ = grown(cluster, 3)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.synced)
    host, id = b.host, b.id
    cluster.kill(b)
    cluster.run_until(lambda: len(observer.members()) == 2)
    again = cluster.spawn(id=id, host=host, seeds=[a.contact])
    again.register("orders", port=9)
    cluster.run_until(lambda: len(observer.members()) == 3 and len(observer.lookup("orders")) == 3, timeout_s=2.0)
    assert observer.log.why({id})[-1].kind is EventKind.MEMBER_JOINED


def test_the_loss_of_the_source_costs_an_observer_nothing_but_a_moment(cluster: Cluster) -> None:
    peers = grown(cluster, 5)
    observer = cluster.observe(peers[0].contact)
    cluster.run_until(lambda: observer.observer.agreement == 1.0)
    for end in (cluster.kill, cluster.leave, cluster.pause):
        source = followed(cluster, observer)
        assert source.running
        end(source)
        others = [peer for peer in peers if peer.running and not peer.paused]
        living = {peer.id for peer in others}
        cluster.run_until(lambda living=living: set(observer.members()) == living, timeout_s=20.0)
        cluster.run(1.0)
        assert followed(cluster, observer) in others
        assert equal(observer, followed(cluster, observer))
        assert observer.observer.agreement == 1.0


def test_an_observer_that_lost_all_serves_its_last_view_and_says_so(cluster: Cluster) -> None:
    (a,) = grown(cluster, 1)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.agreement == 1.0)
    cluster.kill(a)
    cluster.run(20.0)
    assert observer.observer.isolated
    assert len(observer.lookup("orders")) == 1
    again = cluster.spawn(host=a.host, seeds=[])
    again.register("orders", port=1)
    cluster.run_until(lambda: [one.port for one in observer.lookup("orders")] == [1], timeout_s=10.0)
    assert not observer.observer.isolated


def test_what_was_lost_on_the_way_is_fetched(cluster: Cluster) -> None:
    a, b = grown(cluster, 2)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.agreement == 1.0)
    cluster.network.harsh = Harsh(drop=0.5)
    for number in range(40):
        b.register("many", port=100 + number)
        cluster.run(0.05)
    cluster.network.harsh = Harsh()
    cluster.run_until(lambda: cluster.converged() and equal(observer, a), timeout_s=20.0)
    assert len(observer.lookup("many")) == 40


def test_an_observer_recalls_what_a_peer_remembers(cluster: Cluster) -> None:
    a, _, c = grown(cluster, 3)
    cluster.kill(c)
    cluster.run_until(lambda: len(a.members()) == 2)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.synced)
    call = observer.recall(c.id)
    cluster.run_until(lambda: call in observer.recollected, timeout_s=1.0)
    assert observer.recollected[call] == a.log.why({c.id})
    assert EventKind.MEMBER_DEAD in [event.kind for event in observer.recollected[call]]


def test_a_recall_that_nobody_answers_ends_empty(cluster: Cluster) -> None:
    (a,) = grown(cluster, 1)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.synced)
    cluster.pause(a)
    call = observer.recall("orders")
    cluster.run_until(lambda: call in observer.recollected, timeout_s=10.0)
    assert observer.recollected[call] == ()


def test_nothing_is_published_for_observers_while_there_are_none(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[bytes] = []
    publish = SimulatedPeer._ACTIONS[Publish]
    monkeypatch.setitem(SimulatedPeer._ACTIONS, Publish, lambda peer, e: (published.append(e.frame[:1]), publish(peer, e)))
    a, b = grown(cluster, 2)
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.agreement == 1.0)
    b.register("more", port=1)
    cluster.run(2.0)
    assert b"+" in published
    cluster.kill(observer)
    cluster.run(1.0)
    published.clear()
    a.register("others", port=2)
    cluster.run(5.0)
    assert published
    assert b"+" not in published


def test_an_observer_waits_for_a_peer_that_is_in_sync(cluster: Cluster) -> None:
    a = cluster.spawn(seeds=["10.9.9.9:7400"])  # nobody is there: it is synced after two seconds
    observer = cluster.observe(a.contact)
    cluster.run(1.0)
    assert not observer.observer.synced
    cluster.run_until(lambda: observer.observer.synced, timeout_s=3.0)
    assert list(observer.members()) == [a.id]


def test_no_number_of_dead_seeds_hides_a_living_one(cluster: Cluster) -> None:
    (a,) = grown(cluster, 1)
    observer = cluster.observe(*(f"10.9.9.{number}:7400" for number in range(40)), a.contact)
    cluster.run_until(lambda: observer.observer.agreement == 1.0, timeout_s=8.0)
    assert equal(observer, a)


def test_a_source_that_cannot_be_heard_is_left_for_one_that_can(cluster: Cluster) -> None:
    a, b, c = grown(cluster, 3)
    publisher = cluster.publishers.pop(a.publisher)  # whoever is linked stays so; nobody else gets through
    observer = cluster.observe(a.contact)
    cluster.run_until(lambda: observer.observer.synced, timeout_s=1.0)
    assert observer.observer.agreement == 0.0
    cluster.run_until(lambda: observer.observer.agreement == 1.0, timeout_s=10.0)
    assert followed(cluster, observer) in (b, c)
    assert [e.reason for e in observer.history if e.kind is EventKind.NOTICE and a.publisher in e.reason] != []
    cluster.run(30.0)
    assert observer.observer.agreement == 1.0
    cluster.publishers[a.publisher] = publisher


def test_changes_are_seen_though_nobody_can_be_heard(cluster: Cluster) -> None:
    peers = grown(cluster, 3)
    for peer in peers:
        del cluster.publishers[peer.publisher]
    observer = cluster.observe(peers[0].contact)
    cluster.run_until(lambda: observer.observer.synced, timeout_s=1.0)
    for number in range(3):
        peers[number].register("more", port=1 + number)
        cluster.run_until(lambda number=number: len(observer.lookup("more")) == 1 + number, timeout_s=12.0)
        cluster.run(1.0)
