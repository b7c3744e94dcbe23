"""Breaking the core on purpose makes the fault matrix fail, and the core unbroken does not. Two of the mutations; `make sim`
runs them all."""

from __future__ import annotations

import pytest

from gossip.simulation.scenarios import play

from .mutations import MUTATIONS, SEED, run_all

QUICK = ("gap-check", "incarnations", "link-up")


def test_what_is_broken_is_seen() -> None:
    found = {one["name"]: one["evidence"] for one in run_all(QUICK, processes=1)}
    assert all(found[name] for name in QUICK), found


@pytest.mark.parametrize("name", QUICK)
def test_the_same_run_of_the_whole_core_holds(name: str) -> None:
    mutation = MUTATIONS[name]
    report = play(mutation.scenario, seed=SEED, peers=mutation.peers, minutes=mutation.minutes)
    assert report.held, [*map(str, report.broken), *map(str, report.figures)]
