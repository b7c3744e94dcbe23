"""Lives of one id: clocks that jump, restarts that know nothing, two processes at once, and one long away."""

from __future__ import annotations

from ...core.effects import Happened
from ...model import EventKind
from ..peers import SimulatedPeer
from ..stage import QUIET_MAX_S, Stage

HOUR_S = 3600.0
AWAY_S = 900.0  # the state of the dead is dropped after 600 s, their floors are kept
JUMPS_S = (-HOUR_S, HOUR_S, -10 * 365 * 24 * HOUR_S)


def clocks(stage: Stage) -> None:
    """Row 11."""
    seeds = [f"10.0.0.{number}:7400" for number in (1, 2, 3)]
    for _ in range(stage.size):
        stage.register(stage.spawn(seeds=seeds, wall_skew_s=stage.random.uniform(-HOUR_S, HOUR_S)))
    stage.until(stage.checkers.settled, QUIET_MAX_S)
    stage.run(5.0)
    worst, start = 0.0, stage.now
    while stage.now - start < stage.seconds:
        for jump_s in JUMPS_S:
            stage.cluster.jump(stage.random.choice(stage.living), jump_s)
        stage.run(10.0)
        again = stage.random.choice(stage.living)
        stage.restart(again, lose_clock_s=-stage.random.choice(JUMPS_S))
        worst = max(worst, stage.until(stage.checkers.settled, 30.0))
        stage.run(5.0)
    lived = sum(len(told) for id, told in stage.deaths.items() if id not in _restarted(stage))
    stage.figure("deaths of those that lived on", lived, 0)
    stage.figure("equal after a restart, at worst", worst, 2.0, "s")
    stage.calm(10.0)


def _restarted(stage: Stage) -> set[str]:
    return {process.line for process in stage.truth.processes.values() if process.life > 1}


def restarts(stage: Stage) -> None:
    """Row 12. The former life had more instances than the next one registers."""
    stage.grow()
    worst, start = 0.0, stage.now
    while stage.now - start < stage.seconds:
        peer = stage.random.choice(stage.living)
        for _ in range(3):
            stage.register(peer)
        stage.run(1.0)
        again = stage.restart(peer, lose_clock_s=stage.random.choice((1.0, HOUR_S, 24 * HOUR_S)), registering=False)
        stage.register(again)
        worst = max(worst, stage.until(stage.checkers.settled, 30.0))
        stage.run(3.0)
    stage.figure("equal after a restart, at worst", worst, 2.0, "s")
    stage.calm(10.0)
    stage.figure("ghosts", stage.checkers.counts["I2"], 0)


def duplicate_id(stage: Stage) -> None:
    """Row 13."""
    stage.grow()
    older = stage.living[stage.size // 2]
    id, start = older.id, stage.now
    younger = stage.spawn(id=id, seeds=[stage.living[0].contact])
    stage.register(younger)
    lives: set[tuple[int, int]] = set()
    told = {older: float("inf"), younger: float("inf")}

    def parted() -> bool:
        for peer, at in told.items():
            if at == float("inf") and any(map(_tells_of_two, peer.history)):
                told[peer] = stage.now - start
        lives.update(peer.node.local.me.incarnation for peer in told if peer.id == id)
        return older.id != younger.id and max(told.values()) < float("inf")

    stage.until(parted, 30.0)
    stage.run(stage.seconds)
    stage.figure("told at both", max(told.values()), 5.0, "s")
    stage.figure("ids taken by the older", int(older.id != id), 0)
    stage.figure("incarnations besides the first two", len(lives) - 2, 6)
    stage.calm(10.0)


def _tells_of_two(effect: Happened) -> bool:
    return effect.kind is EventKind.NOTICE and "DuplicatePeerId" in effect.reason


def retention(stage: Stage) -> None:
    """Row 14. Away until only floors are left of the dead, and until not even those: what was known of others is a ghost."""
    stage.grow()
    for away_s in (AWAY_S, stage.seconds):
        for peer in stage.living:
            stage.register(peer)
        stage.run(5.0)
        cut, still, dying, *others = stage.living
        stage.partition([cut], [still], [dying, *others])
        stage.pause([still])
        stage.run(10.0)
        _change_all(stage, dying, others)
        stage.run(away_s)
        told = sum(stage.revivals[peer, dying.id] for peer in others)
        stage.heal()
        stage.resume([still])
        stage.calm(15.0, f"full sync after {away_s / 60:.0f} min")
        stage.run(20.0)
        back = sum(stage.revivals[peer, dying.id] for peer in others) - told
        stage.figure(f"second lives after {away_s / 60:.0f} min", back, 0)
    stage.figure("ghosts", stage.checkers.counts["I2"], 0)


def _change_all(stage: Stage, dying: SimulatedPeer, others: list[SimulatedPeer]) -> None:
    stage.kill([dying])
    for peer in others:
        for act in list(stage.truth.processes[peer].acts.values())[:1]:
            stage.deregister(act)
        stage.register(peer)
