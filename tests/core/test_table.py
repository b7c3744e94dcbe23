"""The table counts exactly what it holds alive."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from gossip.core.messages import BUCKETS, IdHash
from gossip.core.origin import Origin
from gossip.core.table import Table, stamp
from gossip.model import MemberState


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def add(table: Table, make: Any) -> Any:
    def build(id: str, version: int = 1) -> Origin:
        origin = Origin(id, make.codec.hash(id), make.life, make.header(3), "")
        origin.version = version
        table.add(origin)
        return origin

    return build


def test_the_digest_is_the_sum_over_the_living(table: Table, add: Any) -> None:
    a, b, c = add("a"), add("b"), add("c")
    table.settle(b, MemberState.DEAD, 1.0)
    assert table.digest == sum(stamp(o.hash, o.incarnation, o.version) for o in (a, c)) % 2**64
    assert table.living == 2
    assert sum(table.sums) % 2**64 == table.digest


def test_views_that_differ_only_in_who_lives_differ(table: Table, add: Any) -> None:
    a = add("a")
    before = table.digest
    table.settle(a, MemberState.LEFT, 1.0)
    assert table.digest != before
    table.revive(a)
    assert table.digest == before


def test_a_suspect_counts_as_living(table: Table, add: Any) -> None:
    a = add("a")
    a.state = MemberState.SUSPECTED
    assert list(table.alive()) == [a]


def test_a_change_is_counted_anew(table: Table, add: Any) -> None:
    a = add("a")
    table.before_change(a)
    a.version = 2
    table.after_change(a)
    assert table.digest == stamp(a.hash, a.incarnation, 2)


def test_a_change_of_the_dead_is_not_counted(table: Table, add: Any) -> None:
    a = add("a")
    table.settle(a, MemberState.DEAD, 1.0)
    table.before_change(a)
    a.version = 2
    table.after_change(a)
    assert table.digest == 0
    assert not any(table.sums)


def test_differing_buckets_lead_to_the_entries_that_differ(table: Table, add: Any) -> None:
    other = Table()
    for id in ("a", "b", "c"):
        add(id)
    for origin in list(table.origins.values())[:2]:
        other.add(origin)
    differing = table.differing(other.packed_sums())
    assert differing == {table.origins["c"].hash[0]}
    assert [entry.origin for entry in table.entries(differing)] == ["c"]
    assert table.differing(table.packed_sums()) == set()
    assert len(table.packed_sums()) == 8 * BUCKETS


def test_entries_name_no_dead(table: Table, add: Any) -> None:
    table.settle(add("a"), MemberState.DEAD, 1.0)
    assert table.entries(set(range(BUCKETS))) == []


def test_of_the_long_dead_only_the_floor_is_kept(table: Table, add: Any) -> None:
    a = add("a", 7)
    table.settle(a, MemberState.DEAD, 100.0)
    table.expire(700.0, state_s=600, retention_s=1000, floors_max=10)
    assert a.id in table.origins
    table.expire(700.1, state_s=600, retention_s=1000, floors_max=10)
    assert a.id not in table.origins
    assert a.hash not in table.by_hash
    assert table.floors["a"].version == 7
    assert table.known("a") == table.floors["a"]


def test_a_floor_ends_with_the_retention_counted_from_the_death(table: Table, add: Any) -> None:
    table.settle(add("a"), MemberState.DEAD, 100.0)
    table.expire(1100.0, state_s=600, retention_s=1000, floors_max=10)
    assert table.expire(1100.1, state_s=600, retention_s=1000, floors_max=10) == ["a"]
    assert table.known("a") is None


def test_floors_beyond_their_bound_end_oldest_first(table: Table, add: Any) -> None:
    for at, id in enumerate(("a", "b", "c", "d")):
        table.settle(add(id), MemberState.DEAD, float(at))
    assert table.expire(700.0, state_s=600, retention_s=1e6, floors_max=2) == ["a", "b"]
    assert sorted(table.floors) == ["c", "d"]


def test_the_floor_of_the_dead_knows_where_to_dial_and_that_of_a_leaver_does_not(table: Table, add: Any) -> None:
    table.settle(add("dead"), MemberState.DEAD, 0.0)
    table.settle(add("left"), MemberState.LEFT, 0.0)
    table.expire(700.0, state_s=600, retention_s=1e6, floors_max=10)
    assert {id: floor.contact for id, floor in table.floors.items()} == {"dead": "10.0.0.3:7400", "left": ""}


def test_an_origin_that_comes_back_has_no_floor(table: Table, add: Any) -> None:
    table.settle(add("a"), MemberState.DEAD, 0.0)
    table.expire(700.0, state_s=600, retention_s=1e6, floors_max=10)
    add("a")
    assert not table.floors


def test_a_removed_origin_leaves_no_trace(table: Table, add: Any) -> None:
    table.remove(add("a"))
    settled = add("b")
    table.settle(settled, MemberState.LEFT, 0.0)
    table.remove(settled)
    assert (table.digest, table.living, table.origins, table.by_hash, table.floors) == (0, 0, {}, {}, {})


def test_a_peer_that_changes_for_hours_remembers_few_of_its_former_versions() -> None:
    stamp.cache_clear()
    tracemalloc.start()
    try:
        for version in range(1, 50_001):
            stamp(IdHash(b"12345678"), (1_800_000_000_000, 1 << 63), version)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        stamp.cache_clear()
    assert kept < 4 << 20
