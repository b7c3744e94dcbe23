"""Bad networks: loss everywhere, loss at a few, one-way silence in turns, and single messages out of order."""

from __future__ import annotations

from ..network import GENTLE, Harsh, Weather
from ..peers import SimulatedPeer
from ..stage import Stage

FAULTY_SHARE = 0.01
FLIP_S = 20.0


def loss(stage: Stage) -> None:
    """Row 2."""
    stage.grow()
    stage.network.set_weather(Weather(loss=0.2))
    end = stage.now + stage.seconds
    while stage.now < end:
        stage.register(stage.random.choice(stage.living), watched=True)
        stage.run(1.0)
    stage.run(5.0)
    stage.figure("false deaths", stage.checkers.counts["I4"], 0)
    stage.figure("p99 visibility", stage.visibility(), 3.0, "s")
    stage.calm(10.0)


def _faulty(stage: Stage) -> tuple[list[SimulatedPeer], list[SimulatedPeer]]:
    faulty = stage.some(stage.living, FAULTY_SHARE)
    stage.truth.trouble(faulty)
    return faulty, [peer for peer in stage.living if peer not in faulty]


def _recovered(stage: Stage, faulty: list[SimulatedPeer], minutes: float) -> None:
    stage.figure("flips per faulty peer and minute", stage.flips(peer.id for peer in faulty) / minutes, 2.0)
    stage.figure("healthy ones hidden", stage.checkers.counts["I4"], 0)
    stage.truth.ease(faulty, stage.now)
    stage.calm(15.0)


def ingress_loss(stage: Stage) -> None:
    """Row 3: Rapid, section 7."""
    stage.grow()
    faulty, _ = _faulty(stage)
    stage.network.set_weather(Weather(loss=0.8), targets=[peer.host for peer in faulty])
    stage.run(stage.seconds)
    _recovered(stage, faulty, stage.seconds / 60)


def flip_flop(stage: Stage) -> None:
    """Row 4: Rapid, section 7."""
    stage.grow()
    stage.run(10.0)
    messages = stage.network.messages
    stage.run(20.0)
    base = (stage.network.messages - messages) / 20.0
    faulty, others = _faulty(stage)
    hosts, rest = [peer.host for peer in faulty], [peer.host for peer in others]
    messages, start = stage.network.messages, stage.now
    while stage.now - start < stage.seconds:
        stage.network.cut(rest, hosts)
        stage.run(FLIP_S)
        stage.network.heal(rest, hosts)
        stage.run(FLIP_S)
    rate = (stage.network.messages - messages) / (stage.now - start)
    stage.figure("traffic of suspicion, of that at rest", rate / base - 1.0, 2.0)
    _recovered(stage, faulty, (stage.now - start) / 60)


def reorder(stage: Stage) -> None:
    """Row 15. What each peer applies can only be fewer than all deltas, where one pull brings several."""
    stage.grow()
    stage.truth.storm()
    stage.network.set_weather(Weather(latency_s=2.0, jitter_s=0.5))
    stage.network.harsh = Harsh(duplicate=1.0, reorder_s=30.0)
    end = stage.now + stage.seconds
    while stage.now < end:
        stage.write(stage.random.choice(stage.living))
        stage.run(1.0)
    stage.truth.storm_ends(stage.now + 30.0)
    stage.network.harsh = GENTLE
    stage.network.clear_weather()
    stage.run(35.0)  # the last of them arrive
    stage.calm(15.0)
    made = sum(peer.node.local.me.version for peer in stage.living)
    applied = max(peer.node.local.counters["deltas_applied"] + peer.node.local.me.version for peer in stage.living)
    stage.figure("applied, of the distinct deltas", applied / made, 1.0)
