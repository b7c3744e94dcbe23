"""Every scenario of the fault matrix, small; that runs follow from their seed alone; and that the checkers can see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from gossip.cli.main import main
from gossip.config import Config
from gossip.core.effects import Changed, Happened
from gossip.errors import ConfigError
from gossip.model import EventKind
from gossip.simulation import SimulatedPeer
from gossip.simulation.scenarios import SCENARIOS, play
from gossip.simulation.stage import Stage

SEED = 0  # one for all: what other seeds show is the business of `make sim` and stands in docs/faults.md
FEW = ("--peers", "8", "--minutes", "0.2", "--seed", "5")


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_holds_its_figures(name: str) -> None:
    report = play(SCENARIOS[name].quick(), seed=SEED)
    assert report.held, "\n".join(map(str, [*report.broken, *report.figures]))
    assert report.figures


def test_a_thousand_peers_see_deaths_and_a_change_and_no_invariant_is_broken() -> None:
    stage = Stage(SEED, peers=1000, seconds=5)
    stage.grow()
    stage.run(stage.truth.grace_s)
    stage.kill(stage.some(stage.living, 0.002))
    stage.register(stage.living[0], watched=True)
    assert stage.until(stage.checkers.settled, 30.0) <= 0.5
    assert stage.visibility() <= 0.1
    stage.calm(10.0)
    assert stage.checkers.broken == []


# one seed, one trace ----------------------------------------------------------------------------------------------------


def test_one_seed_gives_one_trace_in_any_process() -> None:
    def run(hash_seed: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "gossip.cli.main", "simulate", "mix", *FEW, "-o", "json"]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        found: dict[str, Any] = json.loads(ended.stdout)
        del found["events_per_s"]
        return found

    first = run("1")
    assert run("2") == first
    assert first["trace"] != play("mix", seed=6, peers=8, minutes=0.2).trace


def test_looking_changes_nothing(seed: int) -> None:
    def trace(*, looking: bool) -> str:
        stage = Stage(seed, peers=6, seconds=10)
        if not looking:
            stage.checkers.look = lambda: None  # type: ignore[method-assign]
        SCENARIOS["restart-lower-clock"].run(stage)
        return stage.cluster.trace

    assert trace(looking=True) == trace(looking=False)


# the command ------------------------------------------------------------------------------------------------------------


def test_the_command_prints_one_json_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "restart-lower-clock", *FEW, "-o", "json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # progress is for terminals
    report = json.loads(out)
    assert {"scenario", "peers", "seed", "ok", "trace", "events", "events_per_s", "broken"} <= report.keys()
    assert (report["scenario"], report["peers"], report["seed"], report["ok"]) == ("restart-lower-clock", 8, 5, True)


def test_the_list_begins_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(SCENARIOS)
    rows = {scenario.row for scenario in SCENARIOS.values()}
    assert rows >= {str(row) for row in (*range(1, 8), *range(11, 16), *range(28, 32))}


def test_a_broken_invariant_ends_with_one_and_the_evidence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gossip.core.selfhood.Selfhood.refute", lambda *_: None)
    assert main(["simulate", "partition", "--peers", "8", "--minutes", "0.3", "--seed", "3", "-o", "json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    first = report["broken"][0]
    assert first["seed"] == 3
    assert first["at"] > 0
    assert first["peer"]
    assert first["evidence"]
    assert main(["simulate", "partition", "--peers", "8", "--minutes", "0.3", "--seed", "3"]) == 1
    text = capsys.readouterr().out
    assert first["what"] in text
    assert "gossip simulate partition --peers 8 --seed 3" in text


def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "no-such"]) == 2
    assert "there is no scenario 'no-such'" in capsys.readouterr().err
    assert main(["simulate"]) == 2
    assert main(["simulate", "mix", "--minutes", "0"]) == 2
    with pytest.raises(ConfigError, match="needs 3 peers"):
        play("mix", peers=2)


# the checkers see -------------------------------------------------------------------------------------------------------


@pytest.fixture
def stage(seed: int) -> Stage:
    """Four peers, equal, at rest."""
    stage = Stage(seed, peers=4, seconds=10)
    stage.grow()
    stage.run(15.0)
    assert stage.checkers.broken == []
    return stage


def found(stage: Stage) -> set[str]:
    return {broken.invariant for broken in stage.checkers.broken}


def test_a_lost_registration_is_seen(stage: Stage) -> None:
    peer = stage.living[1]
    act = next(iter(stage.truth.processes[stage.living[2]].acts.values()))
    peer._unseen.append(Changed(act.made, None, "lost"))
    stage.checkers.judge_convergence()
    assert "I1" in found(stage)


def test_what_comes_back_after_its_removal_is_seen(stage: Stage) -> None:
    act = next(iter(stage.truth.processes[stage.living[2]].acts.values()))
    stage.deregister(act)
    stage.run(1.0)
    peer = stage.living[1]
    stage.saw(peer, Changed(None, act.made, "a ghost"), stage.now)
    assert "I2" in found(stage)


def test_a_false_death_is_seen_and_a_true_one_is_none(stage: Stage) -> None:
    peer, subject = stage.living[1:3]
    member = peer.members()[subject.id]
    stage.saw(peer, Happened(EventKind.MEMBER_DEAD, subject.id, member, member, "a mistake"), stage.now)
    assert found(stage) == {"I4"}
    stage.checkers.broken.clear()
    stage.kill([subject])
    stage.run(5.0)
    assert found(stage) == set()


def _false_death(stage: Stage, peer: SimulatedPeer, subject: SimulatedPeer) -> bool:
    """Whether it would count as one if this peer held that one dead now."""
    before = stage.checkers.counts["I4"]
    member = peer.members()[subject.id]
    stage.saw(peer, Happened(EventKind.MEMBER_DEAD, subject.id, member, member, "a mistake"), stage.now)
    return stage.checkers.counts["I4"] > before


def test_troubles_overlap_and_the_grace_begins_when_the_last_of_them_ends(stage: Stage) -> None:
    peer, subject = stage.living[1:3]
    stage.truth.storm()
    stage.truth.trouble([subject])
    stage.truth.ease([subject], stage.now)
    stage.run(12.0)
    assert not _false_death(stage, peer, subject)  # the storm lasts
    stage.truth.trouble([subject])
    stage.truth.storm_ends(stage.now)
    stage.run(12.0)
    assert not _false_death(stage, peer, subject)
    stage.truth.ease([subject], stage.now)
    stage.run(9.0)
    assert not _false_death(stage, peer, subject)
    stage.run(2.0)
    assert _false_death(stage, peer, subject)


def test_who_starts_during_a_split_is_on_one_side_of_it(stage: Stage) -> None:
    one, other = stage.living[:2], stage.living[2:]
    stage.partition(one, other)
    newcomers = [stage.spawn(seeds=[peer.contact for peer in stage.living]) for _ in range(6)]
    stage.run(20.0)
    assert not {peer.id for peer in one[:1]} & set(other[0].members())
    sides = [sum(newcomer.id in peer.members() for newcomer in newcomers) for peer in (one[0], other[0])]
    assert sum(sides) == len(newcomers)
    stage.heal()
    assert stage.until(stage.checkers.settled, 30.0) < 15.0


def test_half_of_a_change_is_seen(stage: Stage) -> None:
    import dataclasses

    act = next(iter(stage.truth.processes[stage.living[2]].acts.values()))
    half = dataclasses.replace(act.made, weight=99)
    stage.saw(stage.living[1], Changed(act.made, half, "half"), stage.now)
    assert found(stage) == {"I6"}


def test_numbers_that_go_back_are_seen(stage: Stage) -> None:
    import dataclasses

    peer, subject = stage.living[1:3]
    member = peer.members()[subject.id]
    stage.saw(peer, Happened(EventKind.MEMBER_SUSPECTED, subject.id, member, member, ""), stage.now)
    older = dataclasses.replace(member, version=0)
    stage.saw(peer, Happened(EventKind.MEMBER_REFUTED, subject.id, member, older, ""), stage.now)
    assert found(stage) == {"I9"}


def test_a_table_beyond_its_bound_is_seen(seed: int) -> None:
    stage = Stage(seed, peers=4, seconds=10, config=Config())
    stage.grow()
    stage.checkers._bounds["subscribers"] = 2
    stage.run(2.0)
    assert "I5" in found(stage)


def test_what_a_peer_raises_is_a_broken_invariant(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the core failed")

    monkeypatch.setattr("gossip.core.node.Node.deregister", fail)
    report = play("mix", seed=1, peers=8, minutes=0.2)
    assert [broken.invariant for broken in report.broken][-1] == "I7"
    assert "the core failed" in report.broken[-1].what


def test_views_that_differ_are_seen(stage: Stage) -> None:
    stage.partition(stage.living[:1], stage.living[1:])
    stage.run(60.0)
    stage.checkers.judge_convergence()
    assert {"I1", "I3"} <= found(stage)
