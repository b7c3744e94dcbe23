"""Over arbitrary memberships: everybody is reached, twice, in a logarithm of hops; and links are sticky."""

from __future__ import annotations

import math
import random
from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.core.codec import id_hash
from gossip.core.messages import IdHash
from gossip.core.overlay import RINGS, Fan, Overlay


def hashes(count: int, salt: int) -> list[IdHash]:
    return [id_hash("default", f"peer-{salt}-{n}") for n in range(count)]


def built(members: list[IdHash], *, full_mesh_max: int = 17) -> dict[IdHash, Overlay]:
    overlays = {}
    for me in members:
        overlay = overlays[me] = Overlay(me, full_mesh_max=full_mesh_max)
        overlay.members = set(members)
        for ring in overlay.rings:
            ring.places = []
        for hash in members:
            for ring in overlay.rings:
                ring.add(hash)
    return overlays


def fans(overlays: dict[IdHash, Overlay]) -> dict[IdHash, Fan]:
    """Everybody's linked subscribers, with all links up by the rule."""
    found = {me: Fan(me) for me in overlays}
    for subscriber, overlay in overlays.items():
        for publisher in overlay.links(near_only=False):
            found[publisher].add(subscriber)
    return found


def broadcast(fans: dict[IdHash, Fan], origin: IdHash, ring: int) -> dict[IdHash, int]:
    """Messages of one broadcast over one ring: peer -> hops; fails if anybody gets two."""
    hops: dict[IdHash, int] = {origin: 0}
    waiting: deque[tuple[IdHash, int | None]] = deque([(origin, None)])
    received: Counter[IdHash] = Counter()
    while waiting:
        peer, limit = waiting.popleft()
        for subscriber, reach in fans[peer].parts(ring, limit):
            received[subscriber] += 1
            hops.setdefault(subscriber, hops[peer] + 1)
            waiting.append((subscriber, reach))
    assert origin not in received
    assert max(received.values(), default=1) == 1
    return hops


memberships = st.integers(2, 90).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, 2**32)))


@settings(max_examples=40)
@given(memberships)
def test_a_broadcast_reaches_everybody_once_on_each_ring_in_a_logarithm_of_hops(membership: tuple[int, int]) -> None:
    members = hashes(*membership)
    linked = fans(built(members))
    for ring in range(RINGS):
        for origin in random.Random(membership[1]).sample(members, min(5, len(members))):
            hops = broadcast(linked, origin, ring)
            assert set(hops) == set(members)
            assert max(hops.values()) <= math.log(len(members), 4) + 2


def test_among_five_hundred_too() -> None:
    members = hashes(500, 1)
    linked = fans(built(members))
    for ring in range(RINGS):
        for origin in members[:5]:
            hops = broadcast(linked, origin, ring)
            assert len(hops) == 500
            assert max(hops.values()) <= 7


@settings(max_examples=25)
@given(memberships)
def test_with_everybody_linked_one_ring_is_one_hop_and_one_copy(membership: tuple[int, int]) -> None:
    members = hashes(*membership)
    linked = fans(built(members, full_mesh_max=100))
    hops = broadcast(linked, members[0], 0)
    assert set(hops) == set(members)
    assert max(hops.values()) == 1


@settings(max_examples=40)
@given(memberships)
def test_i_watch_whoever_i_am_a_watcher_of(membership: tuple[int, int]) -> None:
    members = hashes(*membership)
    overlays = built(members)
    for me, overlay in overlays.items():
        assert overlay.watched() == {subject for subject in members if me in overlays[subject].watchers(subject)}
        assert min(len(members) - 1, 4) <= len(overlay.watchers(me)) <= 8
        assert me not in overlay.watchers(me)
        assert overlay.watched() <= overlay.links(near_only=False)


@settings(max_examples=40)
@given(memberships, st.randoms(use_true_random=False))
def test_places_and_first_links_do_not_depend_on_the_order_of_arrival(membership: tuple[int, int], chance: random.Random) -> None:
    members = hashes(*membership)
    found = []
    for _ in range(2):
        chance.shuffle(members)
        me = min(members)
        overlay = Overlay(me, full_mesh_max=17)
        for hash in members:
            overlay.add(hash)
        found.append(([ring.places for ring in overlay.rings], overlay.links(near_only=False), overlay.watchers(me)))
    assert found[0] == found[1]


@settings(max_examples=25)
@given(memberships, st.lists(st.integers(0, 200), max_size=60))
def test_coming_and_going_leaves_the_rings_of_those_who_stay(membership: tuple[int, int], changes: list[int]) -> None:
    members = hashes(*membership)
    others = hashes(201, membership[1] + 1)
    overlay = Overlay(members[0], full_mesh_max=17)
    present = set(members)
    for hash in members:
        overlay.add(hash)
    for n in changes:
        (overlay.remove if others[n] in present else overlay.add)(others[n])
        present ^= {others[n]}
        links = overlay.links(near_only=False)
        assert links <= present - {members[0]}
    assert overlay.members == present
    for ring in overlay.rings:
        assert ring.places == sorted(ring.places)
        assert {hash for _, hash in ring.places} == present


def test_a_join_moves_few_links(seed: int) -> None:
    size = 300
    members = hashes(size, seed)
    overlays = built(members)
    before = {me: overlay.links(near_only=False) for me, overlay in overlays.items()}
    moved = 0
    for n in range(5):
        newcomer = id_hash("default", f"newcomer-{seed}-{n}")
        for me, overlay in overlays.items():
            overlay.add(newcomer)
            after = overlay.links(near_only=False)
            moved += len(after - before[me])
            before[me] = after
    assert moved / 5 <= 60  # exact offsets would move more than 2,000
