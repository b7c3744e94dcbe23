"""Restarts that remember: what was saved is shown and dialled, and never passed on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from gossip.config import Config
from gossip.core.effects import Changed, Happened
from gossip.model import EventKind
from gossip.simulation import Cluster, SimulatedPeer

Towns = Callable[..., Any]


def states(peer: SimulatedPeer, service: str) -> list[tuple[str, str]]:
    return [(instance.id, str(instance.state)) for instance in peer.lookup(service)]


def test_one_that_restarts_while_all_others_are_gone_serves_what_it_knew_until_they_are_back(town: Towns, seed: int) -> None:
    town = town(5, seed)
    for number, peer in enumerate(town.peers, 1):
        peer.register("web", port=number)
    withdrawn = town[2].register("withdrawn", port=9)
    town.cluster.run(2)
    for peer in town.peers:  # at one instant
        town.cluster.kill(peer)
    town.cluster.run(60)
    alone = town.cluster.restart(town[0], saved=True)
    assert states(alone, "web") == [(f"10.0.0.{number}:{number}", "STALE") for number in (2, 3, 4, 5)]  # its own ended with it
    assert alone.node.isolated
    town.cluster.run(10)
    assert len(states(alone, "web")) == 4
    assert alone.node.isolated
    back = [town.cluster.restart(peer, saved=True) for peer in town.peers[1:5]]
    for number, peer in enumerate([alone, *back], 1):
        peer.register("web", port=number)
    every = [(f"10.0.0.{number}:{number}", "UP") for number in range(1, 6)]
    took = town.cluster.run_until(lambda: all(states(peer, "web") == every for peer in town.cluster.running), 15)
    assert took <= 5
    town.cluster.run(30)
    assert town.seen("withdrawn") == [[]] * 5, withdrawn
    assert all(states(peer, "web") == every for peer in town.cluster.running)
    assert not any(peer.node.isolated for peer in town.cluster.running)


def test_a_restart_finds_the_cluster_though_no_seed_lives(seed: int) -> None:
    cluster = Cluster(seed)
    gone = cluster.spawn()
    others = [cluster.spawn(seeds=[gone.contact]) for _ in range(3)]
    cluster.run_until(cluster.converged, 30)
    others[0].register("web", port=1)
    cluster.run(5)
    cluster.kill(gone)
    cluster.run(2)
    again = cluster.restart(others[2], saved=True)
    assert states(again, "web") == [("10.0.0.2:1", "STALE")]
    assert cluster.run_until(cluster.converged, 10) <= 2
    assert states(again, "web") == [("10.0.0.2:1", "UP")]


def test_nothing_that_was_saved_is_passed_on_and_nothing_is_shown_twice_removed(town: Towns, seed: int) -> None:
    """Row 14: away for longer than anybody remembers, and back with an old state."""
    joining = dataclasses.replace(Config().joining, retention_s=600.0)
    town = town(6, seed, config=dataclasses.replace(Config(), joining=joining))
    *others, leaver, away = town.peers
    withdrawn = others[0].register("withdrawn", port=1)
    leaver.register("left", port=2)
    town.cluster.run(2)
    town.cluster.kill(away)
    town.cluster.run(2)
    others[0].deregister(withdrawn)
    town.cluster.kill(leaver)
    town.cluster.run(1_500)
    shown: list[Changed] = []
    revived: list[Happened] = []

    def saw(peer: SimulatedPeer, effect: Changed | Happened, now: float) -> None:
        if peer is not again and isinstance(effect, Changed) and effect.after is not None:
            shown.append(effect)
        if isinstance(effect, Happened) and effect.subject == leaver.id and effect.kind is not EventKind.NOTICE:
            revived.append(effect)

    again = away
    town.cluster.on_event.append(saw)
    again = town.cluster.restart(away, saved=True)
    assert (len(again.lookup("withdrawn")), len(again.lookup("left"))) == (1, 1)  # STALE: it knows no better yet
    town.cluster.run_until(town.cluster.converged, 15)
    town.cluster.run(60)
    assert (shown, revived) == ([], [])
    assert town.seen("withdrawn") == town.seen("left") == [[]] * 5


def test_a_second_restart_before_anybody_answered_remembers_as_much(town: Towns, seed: int) -> None:
    town = town(3, seed)
    town[1].register("web", port=1)
    town.cluster.run(2)
    for peer in town.peers:
        town.cluster.kill(peer)
    first = town.cluster.restart(town[0], saved=True)
    town.cluster.run(5)
    second = town.cluster.restart(first, saved=True)
    assert states(second, "web") == [("10.0.0.2:1", "STALE")]
    town.cluster.run(40)  # nobody confirmed it for so long that it was given up
    assert states(second, "web") == []
    third = town.cluster.restart(second, saved=True)
    assert states(third, "web") == []
    town.cluster.restart(town[1])
    assert town.cluster.run_until(town.cluster.converged, 10) <= 5  # and still it knows where they were


def test_a_restart_whose_clock_went_back_begins_above_the_life_that_was_saved(town: Towns, seed: int) -> None:
    """Row 12, with something saved: nobody has to tell it of its former life."""
    town = town(6, seed)
    town[3].register("ghost", port=1)
    town.cluster.run(2)
    before = town[3].node.local.me.incarnation
    again = town.cluster.restart(town[3], saved=True, lose_clock_s=10 * 365 * 86400.0)
    assert again.node.local.me.incarnation[0] == before[0] + 1
    again.register("now", port=2)
    town.agree(10)
    town.cluster.run(5)
    assert again.node.local.me.incarnation[0] == before[0] + 1
    assert town.seen("ghost") == [[]] * 6
    assert {len(ids) for ids in town.seen("now")} == {1}
