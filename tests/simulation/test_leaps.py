"""Fault 22, as far as it goes without signatures: forged numbers in a whole cluster, and honest ones that leap."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.codec import DELTA_HEAD
from gossip.core.effects import Heard, Publish
from gossip.core.messages import Delta
from gossip.simulation import SimulatedPeer

WEEK_S = 7 * 86400.0
FAR = 1 << 62


def forge(town: Any, victim: SimulatedPeer, incarnation: tuple[int, int], version: int) -> None:
    """Everybody, the victim too, is told of an empty state of the victim, as by a member that lies."""
    codec = victim.node.local.codec
    header = victim.node.local.me.header
    frame = codec.encode_delta(Delta(victim.id, "", incarnation, 0, version, header))
    for peer in town.cluster.running:
        peer.feed(Heard(b"@" + peer.node.local.me.hash + frame))


@pytest.mark.parametrize("what", ["life", "version", "both"])
def test_the_honest_origin_stays_visible_whatever_is_forged_about_it(town: Any, what: str) -> None:
    place = town(6, seed=3)
    victim = place[2]
    victim.register("orders", port=80, id="orders-1")
    place.cluster.run(1.0)
    start, nonce = victim.node.local.me.incarnation
    incarnation = (start, nonce) if what == "version" else (FAR, 1)
    seen: list[list[list[str]]] = []
    for _ in range(30):
        forge(place, victim, incarnation, 1 if what == "life" else FAR)
        place.cluster.run(0.1)
        seen.append(place.seen("orders"))
    assert seen == [[["orders-1"]] * 6] * 30
    assert victim.node.local.me.incarnation[0] < start + 60_000
    place.agree(15)
    assert place.deaths() == []


def test_a_forged_life_at_the_end_of_numbers_leaves_the_peer_able_to_restart(town: Any) -> None:
    place = town(4, seed=4)
    victim = place[1]
    forge(place, victim, ((1 << 63) - 1, 1), (1 << 63) - 1)
    place.cluster.run(2.0)
    place.cluster.kill(victim)
    place.gone(victim)
    again = place.cluster.spawn(id=victim.id, host=victim.host)
    again.register("orders", port=80, id="orders-2")
    place.agree(10)
    assert place.seen("orders") == [["orders-2"]] * 4


@pytest.mark.parametrize("skew_s", [0.0, WEEK_S, 20 * 365 * 86400.0])
def test_a_restart_with_a_clock_far_ahead_is_everywhere_in_seconds(town: Any, skew_s: float) -> None:
    place = town(8, seed=5)
    former = place[3]
    place.cluster.kill(former)
    place.gone(former)
    again = place.cluster.spawn(id=former.id, host=former.host, wall_skew_s=skew_s)
    again.register("orders", port=80, id="orders-1")
    assert place.agree(30) < 5
    assert place.seen("orders") == [["orders-1"]] * 8


def test_a_newcomer_with_a_clock_far_ahead_is_everywhere_in_seconds(town: Any) -> None:
    place = town(8, seed=6)
    newcomer = place.cluster.spawn(wall_skew_s=20 * 365 * 86400.0)
    newcomer.register("orders", port=80, id="orders-1")
    assert place.agree(30) < 5
    assert place.seen("orders") == [["orders-1"]] * 9


def test_a_link_that_carries_garbage_is_cut_for_a_minute_by_all_and_others_go_on(town: Any, notices_of: Any) -> None:
    place = town(6, seed=7)
    liar, honest = place[5], place.peers[:5]
    for _ in range(30):
        liar.perform([Publish(b"*garbage")])
    place.cluster.run(1.0)
    for peer in honest:
        assert peer.node.local.counters["links_shunned"] == 1
        assert any(liar.publisher in notice for notice in notices_of(peer))
        assert peer.links[liar.publisher].link is None
    honest[0].register("orders", port=80, id="orders-1")
    place.cluster.run(5.0)
    assert place.seen("orders") == [["orders-1"]] * 6
    place.cluster.run(70.0)
    assert all(peer.links[liar.publisher].link is not None for peer in honest)
    assert place.deaths() == []


def test_a_liar_cannot_have_the_links_of_honest_relays_cut(town: Any) -> None:
    place = town(20, seed=8)
    liar = place[0]
    codec, local = liar.node.local.codec, liar.node.local
    head = codec.encode_delta(Delta("nobody", "", (1_700_000_000_000, 1), 0, 1, local.me.header))[: DELTA_HEAD.size]
    for _ in range(40):
        local.broadcast(head + b"garbage")
        effects, local.out = local.out, []
        liar.perform(effects)
    place.cluster.run(2.0)
    assert sum(peer.node.local.counters["frames_dropped"] for peer in place.peers) > 40
    assert [peer.node.local.counters["links_shunned"] for peer in place.peers] == [0] * 20
