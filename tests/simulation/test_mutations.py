"""Breaking the core on purpose makes the fault matrix fail, and the core unbroken does not. Some of the mutations; `make sim`
runs them all."""

from __future__ import annotations

from .mutations import run_all

QUICK = ("gap-check", "incarnations", "link-up", "signatures")


def test_what_is_broken_is_seen_and_the_whole_core_holds_in_the_same_run() -> None:
    found = {one["name"]: one for one in run_all(QUICK, processes=1)}
    assert all(found[name]["evidence"] for name in QUICK), found
    assert not any(found[name]["whole"] for name in QUICK), found
