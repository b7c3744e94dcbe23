"""Neighbours follow from the member list alone, and a broadcast from the links."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.messages import IdHash
from gossip.core.overlay import CIRCLE, RINGS, Fan, Overlay, Ring, computed_links, position, slots


def hashes(make: Any, count: int, prefix: str = "p") -> list[IdHash]:
    return [make.codec.hash(f"{prefix}{n}") for n in range(count)]


@pytest.fixture
def me(make: Any) -> IdHash:
    return make.codec.hash("me")


def test_the_rings_order_members_differently(make: Any) -> None:
    orders = [sorted(hashes(make, 20), key=lambda hash: position(ring, hash)) for ring in range(RINGS)]
    assert orders[0] != orders[1]


def test_before_and_after_go_round_the_circle(make: Any) -> None:
    ring = Ring(0)
    for hash in hashes(make, 6):
        ring.add(hash)
    order = [hash for _, hash in ring.places]
    assert ring.before(order[1], 3) == [order[0], order[5], order[4]]
    assert ring.after(order[4], 3) == [order[5], order[0], order[1]]
    assert ring.after(order[0], 99) == order[1:]


def test_a_member_twice_is_once(make: Any, me: IdHash) -> None:
    overlay = Overlay(me, full_mesh_max=17)
    a = make.codec.hash("a")
    overlay.add(a)
    overlay.add(a)
    assert [len(ring.places) for ring in overlay.rings] == [2, 2]
    overlay.remove(a)
    overlay.remove(a)
    assert overlay.members == {me}


def test_a_small_cluster_is_fully_linked(make: Any, me: IdHash) -> None:
    overlay = Overlay(me, full_mesh_max=17)
    others = hashes(make, 16)
    for hash in others:
        overlay.add(hash)
    assert overlay.links(near_only=False) == set(others)
    overlay.add(make.codec.hash("one more"))
    assert len(overlay.links(near_only=False)) < 17


def test_a_newcomer_links_to_the_nearest_first(make: Any, me: IdHash) -> None:
    overlay = Overlay(me, full_mesh_max=17)
    for hash in hashes(make, 40):
        overlay.add(hash)
    near = overlay.links(near_only=True)
    assert near == {hash for ring in overlay.rings for hash in ring.before(me, 3)}
    assert near < overlay.links(near_only=False)


def test_alone_there_is_nobody_to_link_or_watch(me: IdHash) -> None:
    overlay = Overlay(me, full_mesh_max=17)
    assert overlay.links(near_only=False) == overlay.links(near_only=True) == overlay.watched() == set()


@pytest.mark.parametrize("members", [2, 5, 9, 17, 33, 100, 1000])
def test_slots_cover_the_offsets_beyond_the_exact_places_without_overlap(members: int) -> None:
    found = slots(members)
    assert all(low < high for low, high in found)
    assert [low for low, _ in found[1:]] == [high for _, high in found[:-1]]
    assert not found or (found[0][0] == 8 and found[-1][1] == members)


def test_the_links_grow_with_the_logarithm(make: Any, me: IdHash) -> None:
    counts = []
    for size in (30, 1000, 10_000):
        overlay = Overlay(me, full_mesh_max=17)
        for hash in hashes(make, size - 1):
            overlay.add(hash)
        counts.append(len(overlay.links(near_only=False)))
    assert counts[0] <= 16
    assert counts[1] <= 32
    assert counts[2] <= 42


def test_the_parts_of_a_whole_ring_are_disjoint_and_cover_it(make: Any, me: IdHash) -> None:
    fan = Fan(me)
    for hash in hashes(make, 9):
        fan.add(hash)
    parts = fan.parts(0, None)
    assert {hash for hash, _ in parts} == set(hashes(make, 9))
    assert parts[0][1] == position(0, me)  # the farthest answers for the rest of the circle
    for (_, limit), (farther, _) in zip(parts[1:], parts, strict=False):
        assert limit == position(0, farther)


def test_a_part_names_only_subscribers_inside_it(make: Any, me: IdHash) -> None:
    fan = Fan(me)
    for hash in hashes(make, 9):
        fan.add(hash)
    mine = position(1, me)
    limit = (mine + CIRCLE // 2) % CIRCLE
    inside = {hash for hash in hashes(make, 9) if (position(1, hash) - mine) % CIRCLE < CIRCLE // 2}
    assert {hash for hash, _ in fan.parts(1, limit)} == inside


def test_the_limit_itself_is_outside_and_my_own_place_is_an_empty_part(make: Any, me: IdHash) -> None:
    fan = Fan(me)
    a = make.codec.hash("a")
    fan.add(a)
    assert fan.parts(0, position(0, a)) == []
    assert fan.parts(0, position(0, me)) == []


def test_a_subscriber_counts_once_however_often_it_subscribes(make: Any, me: IdHash) -> None:
    fan = Fan(me)
    a = make.codec.hash("a")
    fan.add(a)
    fan.add(a)
    assert [hash for hash, _ in fan.parts(0, None)] == [a]
    fan.remove(a)
    fan.remove(a)
    assert fan.parts(0, None) == []
    assert fan.subscribers == set()


def test_who_takes_a_new_id_sees_its_subscribers_from_its_new_place(make: Any, me: IdHash) -> None:
    fan, other = Fan(me), Fan(make.codec.hash("other"))
    for hash in hashes(make, 9):
        fan.add(hash)
        other.add(hash)
    fan.turn_to(make.codec.hash("other"))
    assert fan.parts(0, None) == other.parts(0, None)


def test_my_own_subscription_is_no_finger(me: IdHash) -> None:
    fan = Fan(me)
    fan.add(me)
    assert fan.parts(0, None) == []


@pytest.mark.parametrize(("members", "audience"), [(17, range(16, 17)), (40, range(4, 9))])
def test_all_of_a_small_cluster_and_the_watchers_in_a_larger_one_surely_link_to_me(
    make: Any, me: IdHash, members: int, audience: range
) -> None:
    overlay = Overlay(me, full_mesh_max=17)
    for hash in hashes(make, members - 1):
        overlay.add(hash)
    assert len(overlay.audience()) in audience
    assert me not in overlay.audience()


@pytest.mark.parametrize("count", [1, 2, 17, 18, 60])
def test_computed_links_are_those_each_member_would_choose(make: Any, count: int) -> None:
    members = hashes(make, count)
    found = computed_links(members, full_mesh_max=17)
    for member in members:
        own = Overlay(member, full_mesh_max=17)
        for other in members:
            own.add(other)
        assert found[member] == own.links(near_only=False)
