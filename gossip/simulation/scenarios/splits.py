"""Cuts between parts of the cluster: whole ones, one host after the other, and links that break again and again."""

from __future__ import annotations

from ..peers import SimulatedPeer
from ..stage import QUIET_MAX_S, Stage

ROUND_S = 12.0
RESET_S = 2.0
BRIDGED_AFTER_S = 2.5  # before the halves are silent


def _halves(stage: Stage) -> tuple[list[SimulatedPeer], list[SimulatedPeer]]:
    living = stage.random.sample(stage.living, len(stage.living))
    return living[: len(living) // 2], living[len(living) // 2 :]


def partition(stage: Stage) -> None:
    """Row 5. What nobody writes about must heal too: who lives differs. The seeds are gone: the dead must be dialled."""
    stage.grow()
    stage.kill(stage.living[:3])
    stage.until(stage.checkers.settled, QUIET_MAX_S)
    for name in ("both sides write", "one side writes", "nobody writes"):
        one, other = _halves(stage)
        writers = {"both sides write": [*one, *other], "one side writes": one}.get(name, [])
        stage.partition(one, other)
        for _ in range(10):
            for peer in stage.some(writers, 0.02) if writers else ():
                stage.write(peer)
            stage.run(stage.seconds / 10)
        stage.calm(15.0, f"equal after the heal, {name}")
        stage.run(10.0)


def bridge(stage: Stage) -> None:
    """Row 5, after "partial partitions" (Alfatafta et al., OSDI 2020): all of one half accuse all of the other, everybody hears
    it by way of one, and everybody has to be heard refuting it at once."""
    stage.grow()
    stage.run(stage.truth.grace_s)
    one, other = _halves(stage)
    stage.partition(one, other)
    stage.run(BRIDGED_AFTER_S)
    stage.spawn(bridge=True, seeds=[one[0].contact, other[0].contact])
    stage.run(stage.seconds)
    stage.figure("hidden within a side", stage.checkers.counts["I4"], 0)
    stage.calm(15.0)


def swizzle(stage: Stage) -> None:
    """Row 6, after FoundationDB: clog one by one, free in another order."""
    stage.grow()
    for _ in range(max(1, round(stage.seconds / ROUND_S))):
        chosen = stage.some(stage.living, 0.3)
        stage.truth.trouble(chosen)
        for peer in chosen:
            stage.network.clog(peer.host)
            stage.run(ROUND_S / 2 / len(chosen))
            stage.write(stage.random.choice(stage.living))
        for peer in stage.random.sample(chosen, len(chosen)):
            stage.network.unclog(peer.host)
            stage.truth.ease([peer], stage.now)
            stage.run(ROUND_S / 2 / len(chosen))
    stage.calm(10.0)


def resets(stage: Stage) -> None:
    """Row 30."""
    stage.grow()
    one, other = _halves(stage)
    start, accused = stage.now, stage.counted("accusations_made")
    while stage.now - start < stage.seconds:
        stage.network.reset(one, other)
        stage.run(RESET_S)
    minutes = (stage.now - start) / 60
    stage.figure("times one peer was hidden, a minute", stage.flips(list(stage.deaths)) / minutes, 1.0)
    rate = (stage.counted("accusations_made") - accused) / len(stage.living) / minutes
    stage.figure("accusations per peer and minute", rate, 10.0)
    stage.calm(10.0)
