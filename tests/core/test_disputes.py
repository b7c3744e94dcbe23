"""Dead here and alive there: accused once before all, and each time before its own subject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.disputes import CHARGES_PER_ACCUSATION, Disputes
from gossip.core.messages import Charge, Entry, Evidence, Sync
from gossip.model import MemberState

SILENT = Evidence.SILENT


@pytest.fixture
def bench(bench: Any) -> Any:
    """I hold b alive, c dead, and l as one who left."""
    bench.join("b", "c", "l")
    bench.membership.settle(bench.table.origins["c"], MemberState.DEAD, "test", 0.0)
    bench.membership.settle(bench.table.origins["l"], MemberState.LEFT, "test", 0.0)
    bench.effects()
    return bench


def disputes_of(bench: Any) -> Disputes:
    heard = bench.detector.accusations
    return Disputes(
        bench.local, publish=heard.of_death, to_its_face=heard.to_its_face, charges_against=bench.detector.cases.against
    )


@pytest.fixture
def disputes(bench: Any) -> Disputes:
    return disputes_of(bench)


def entry(bench: Any, id: str, pulse: int = 0) -> Entry:
    return Entry(id, bench.make.life, 1, pulse)


def test_only_the_dead_are_disputed_and_no_higher_life_of_theirs(bench: Any, disputes: Disputes) -> None:
    assert disputes.over(entry(bench, "c")) == Charge("c", bench.make.life, 0, SILENT)
    assert [disputes.over(entry(bench, id)) for id in ("b", "l", "stranger")] == [None] * 3
    assert disputes.over(entry(bench, "c", pulse=1)) is None


def test_who_is_only_remembered_is_disputed_too(bench: Any, disputes: Disputes) -> None:
    bench.merger.expire(10_000.0)
    assert "c" in bench.table.floors
    assert disputes.over(entry(bench, "c")) == Charge("c", bench.make.life, 0, SILENT)


def test_it_is_disputed_at_all_that_is_held_against_it(bench: Any, disputes: Disputes) -> None:
    bench.hear(bench.accusation("b", SILENT, "c", pulse=4), 1.0)
    charge = disputes.over(entry(bench, "c"))
    assert charge is not None
    assert charge.pulse == 4


def test_one_life_is_disputed_once_and_with_its_subject_each_time(bench: Any, disputes: Disputes) -> None:
    charge = Charge("c", bench.make.life, 0, SILENT)
    assert [len(disputes.with_partner(partner, [charge], 1.0)) for partner in ("b", "b", "c", "c")] == [1, 0, 1, 1]


def test_what_is_told_to_its_face_makes_no_accuser_of_me(bench: Any, disputes: Disputes) -> None:
    disputes.with_partner("b", [Charge("b", bench.make.life, 0, SILENT)], 1.0)
    assert bench.table.origins["b"].state is MemberState.ALIVE
    disputes.with_partner("c", [Charge("b", bench.make.life, 1, SILENT)], 1.0)
    assert bench.table.origins["b"].state is MemberState.SUSPECTED


def test_many_charges_are_told_in_parts(bench: Any, disputes: Disputes) -> None:
    charges = [Charge(f"x{number}", bench.make.life, 0, SILENT) for number in range(CHARGES_PER_ACCUSATION + 3)]
    assert [len(made.charges) for made in disputes.accuse(charges, 1.0)] == [CHARGES_PER_ACCUSATION, 3]


def test_who_is_held_dead_hears_its_obituary_until_it_refutes(bench: Any, disputes: Disputes) -> None:
    def sync(id: str, pulse: int = 0) -> Sync:
        return Sync(id, bench.make.life, 1, pulse, True, bytes(2048))

    told = disputes.obituary(sync("c"))
    assert told is not None
    assert [charge.subject for charge in told.charges] == ["c"]
    assert [disputes.obituary(sync("b")), disputes.obituary(sync("c", pulse=1))] == [None, None]


def test_the_memory_of_disputes_is_bounded(bench_of: Callable[[Config], Any]) -> None:
    bench = bench_of(Config(limits=Limits(members_max=10)))
    disputes = disputes_of(bench)
    charges = [Charge(f"x{number}", bench.make.life, 0, SILENT) for number in range(12)]
    disputes.with_partner("b", charges, 1.0)
    assert bench.local.counters["disputes_forgotten"] > 0
    assert [len(disputes.with_partner("b", [charge], 1.0)) for charge in (charges[0], charges[-1])] == [1, 0]
