"""The ring: whose a key is, on every peer and for ever."""

from __future__ import annotations

import pytest
from uhashring import HashRing

from gossip.catalogue import ring as ring_module
from gossip.catalogue.ring import RING_VNODES, Ring, position
from gossip.errors import ConfigError
from gossip.model import Instance

KEYS = [f"key-{n}" for n in range(300)]


def instances(number: int, weight: int = 1) -> list[Instance]:
    return [Instance("cache", f"host-{n:02}:80", f"host-{n:02}", 80, weight=weight) for n in range(number)]


def theirs(listed: list[Instance]) -> HashRing:
    nodes = {one.id: {"weight": one.weight, "vnodes": RING_VNODES} for one in listed}
    return HashRing(nodes=nodes, hash_fn=ring_module.position)


def test_positions_are_part_of_the_protocol() -> None:
    assert RING_VNODES == 160
    assert position("user:42") == 0xD9279B7CB3A5B282
    assert position("") == 0xE4A6A0577479B2B4


def test_owners_are_part_of_the_protocol() -> None:
    ring = Ring.of(instances(5))
    owners = [ring.locate(f"user:{n}").id for n in range(8)]
    assert owners == [f"host-0{at}:80" for at in (1, 1, 0, 3, 4, 0, 2, 4)]


def test_text_is_hashed_as_utf_8() -> None:
    assert position("naïve") == position("naïve".encode())


def test_lone_surrogates_have_a_place_too() -> None:
    assert position("\ud800") != position("\ud801")


@pytest.mark.parametrize("key", [None, 7, ("a",), bytearray(b"a"), 1.5])
def test_a_key_that_is_neither_text_nor_bytes_is_refused(key: object) -> None:
    with pytest.raises(ConfigError, match="neither str nor bytes"):
        Ring.of(instances(2)).locate(key)  # type: ignore[arg-type]


def test_a_key_beyond_the_last_point_belongs_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring.of(instances(5))
    for place in (ring._points[-1], 2**64 - 1, 0, ring._points[0] - 1):
        monkeypatch.setattr(ring_module, "position", lambda _, place=place: place)
        assert ring.locate("key") is ring._slots[ring._owners[0]]
        assert len(ring.preference_list("key", 5)) == 5


def test_a_key_on_a_point_belongs_to_the_next_as_in_uhashring(monkeypatch: pytest.MonkeyPatch) -> None:
    ring, other = Ring.of(instances(5)), theirs(instances(5))
    for place in ring._points[::37]:
        monkeypatch.setattr(ring_module, "position", lambda _, place=place: place)
        other.runtime._hash_fn = ring_module.position
        assert ring.locate("key").id == other.get_node("key") == ring.preference_list("key", 1)[0].id


def test_a_preference_list_is_that_of_uhashring() -> None:
    ring, other = Ring.of(instances(7)), theirs(instances(7))
    for key in KEYS:
        assert [one.id for one in ring.preference_list(key, 7)] == list(other.iterate_nodes(key))


def test_a_preference_list_has_no_more_than_there_are() -> None:
    ring = Ring.of(instances(3))
    assert len(ring.preference_list("key", 10**30)) == 3
    assert ring.preference_list("key", 0) == ()


def test_an_edit_hashes_only_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    base, named = Ring.of(instances(20)), []

    def counted(key: str) -> int:
        named.append(key.rpartition("-")[0])
        return position(key)

    monkeypatch.setattr(ring_module, "position", counted)
    ring = Ring.of(instances(21)[1:], base)
    assert set(named) == {"host-00:80", "host-20:80"}
    monkeypatch.undo()
    whole = Ring.of(instances(21)[1:])
    assert [ring.locate(key) for key in KEYS] == [whole.locate(key) for key in KEYS]


def test_long_histories_do_not_grow_the_ring() -> None:
    ring = None
    for n in range(200):
        ring = Ring.of([Instance("cache", f"host-{n + at}", "h", 80) for at in range(10)], ring)
    assert ring is not None
    assert len(ring._slots) <= 21
    assert len(ring._points) == 10 * RING_VNODES


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_instances_that_share_points_are_placed_as_by_uhashring_whatever_came_before(
    monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr(ring_module, "position", lambda key: position(key) % 2**bits)
    ring, now = Ring.of(instances(8)), instances(8)
    for gone, weight in [(0, 1), (3, 2), (6, 1), (2, 3)]:
        now = now[:gone] + now[gone + 1 :]
        now[-1] = Instance("cache", now[-1].id, "h", 80, weight=weight)
        ring, other = Ring.of(now, ring), theirs(now)
        assert [ring.locate(key).id for key in KEYS] == [other.get_node(key) for key in KEYS]


@pytest.mark.parametrize("newcomer", ["a:80", "z:80"])
def test_a_newcomer_that_shares_a_point_is_placed_as_by_uhashring(monkeypatch: pytest.MonkeyPatch, newcomer: str) -> None:
    shared = position("host-05:80-7")
    monkeypatch.setattr(ring_module, "position", lambda key: shared if key == f"{newcomer}-3" else position(key))
    before = instances(20)
    after = sorted([*before, Instance("cache", newcomer, "h", 80)], key=lambda one: one.id)
    there, back = Ring.of(after, Ring.of(before)), Ring.of(before, Ring.of(after))
    monkeypatch.setattr(ring_module, "position", lambda _: shared - 1)
    assert there.locate("key").id == max(newcomer, "host-05:80")
    assert back.locate("key").id == "host-05:80"


def test_a_walk_from_a_key_meets_every_instance_once() -> None:
    ring = Ring.of(instances(7))
    assert tuple(ring.along("key")) == ring.preference_list("key", 7)


def test_the_weight_of_a_ring_is_that_of_its_instances_whatever_came_before() -> None:
    base = Ring.of(instances(20, weight=2))
    assert base.weight == 40
    assert Ring.of(instances(21, weight=2)[2:], base).weight == 38


def test_a_ring_is_small() -> None:
    ring = Ring.of(instances(10))
    assert ring._points.itemsize + ring._owners.itemsize <= 12


def test_shares_are_what_the_points_own() -> None:
    listed = [*instances(3), Instance("cache", "heavy:80", "heavy", 80, weight=3)]
    shares = Ring.of(listed).shares()
    assert sum(shares.values()) == pytest.approx(1)
    ring = Ring.of(listed)
    owners = ring.owners_at(100_000)
    assert {name: owners.count(name) / 100_000 for name in shares} == pytest.approx(shares, abs=0.01)


def test_a_key_lies_where_its_owner_is() -> None:
    ring = Ring.of(instances(5))
    owners = ring.owners_at(1 << 16)
    agreeing = sum(owners[int(Ring.place(key) * (1 << 16))] == ring.locate(key).id for key in KEYS)
    assert agreeing >= len(KEYS) - 10  # a place is as coarse as one in 65,536, and 800 points have an edge each


def test_shares_after_an_edit_are_those_of_a_new_ring() -> None:
    before = Ring.of(instances(12))
    assert Ring.of(instances(11), before).shares() == Ring.of(instances(11)).shares()
