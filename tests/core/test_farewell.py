"""A leaver tells also those who are not linked to it, and lingers no longer than it must."""

from __future__ import annotations

from typing import Any

import pytest

from gossip.core.farewell import Farewell
from gossip.model import MemberState

NEVER = float("inf")


class Repair:
    """Has room for so many conversations; remembers with whom."""

    def __init__(self) -> None:
        self.room = 2
        self.endpoints: list[str] = []

    def converse(self, endpoint: str, now: float, *, dialled: bool) -> bool:
        assert dialled
        if len(self.endpoints) >= self.room:
            return False
        self.endpoints.append(endpoint)
        return True

    def under_way(self, *, dialled: bool) -> int:
        return len(self.endpoints)


@pytest.fixture
def repair() -> Repair:
    return Repair()


@pytest.fixture
def farewell(bench: Any, repair: Any) -> Farewell:
    """I know a to d, and a alone is linked to me."""
    a, *_ = bench.join("a", "b", "c", "d")
    bench.local.fan.add(a.hash)
    return Farewell(bench.local, bench.author, repair)


def contacts(bench: Any, ids: str) -> set[str]:
    return {bench.table.origins[id].contact for id in ids}


def test_who_is_not_linked_yet_is_told_in_conversations_as_there_is_room(bench: Any, farewell: Farewell, repair: Repair) -> None:
    farewell.begin(1.0)
    assert len(repair.endpoints) == 2
    assert set(repair.endpoints) < contacts(bench, "bcd")
    repair.room = 9
    for _ in range(2):
        farewell.tell_unlinked(1.1)
    assert sorted(repair.endpoints) == sorted(contacts(bench, "bcd")), "each once"


def test_who_ended_meanwhile_is_not_told(bench: Any, farewell: Farewell, repair: Repair) -> None:
    repair.room = 0
    farewell.begin(1.0)
    for id in "bcd":
        bench.membership.settle(bench.table.origins[id], MemberState.LEFT, "test", 1.0)
    repair.room = 9
    farewell.tell_unlinked(1.1)
    assert repair.endpoints == []


def test_it_is_over_when_all_are_told_and_nobody_is_linked(bench: Any, farewell: Farewell, repair: Repair) -> None:
    repair.room = 9
    farewell.begin(1.0)
    assert not farewell.is_over(1.1)
    bench.local.fan.remove(bench.table.origins["a"].hash)
    assert not farewell.is_over(1.1)
    repair.endpoints.clear()
    assert farewell.is_over(1.1)


def test_it_is_over_after_its_time_in_any_case(bench: Any, farewell: Farewell) -> None:
    assert farewell.next_deadline(1.0) == NEVER
    farewell.begin(1.0)
    end = 1.0 + bench.local.config.overlay.leave_linger_s
    assert (farewell.next_deadline(1.0), farewell.next_deadline(end)) == (end, NEVER)
    assert [farewell.is_over(now) for now in (end - 0.01, end)] == [False, True]
