"""Deaths: many at once, in the middle of a change, and in clusters so small that few are left to tell."""

from __future__ import annotations

from ..network import Weather
from ..peers import SimulatedPeer
from ..stage import Stage, quantile

DEAD_SHARE = 0.3
LATE_S = 1.0
RELAYS = 4
STARVED_S = 2.0
REPORT_S = 1.0
REPORTED_MAX = 6.0  # of some 60 reports; a stall of less than a tick's lateness is not noticed


def _gone_from(stage: Stage, ids: list[str], most_s: float, at: list[SimulatedPeer] | None = None) -> float:
    """How long until none of these peers, by default all that run, holds any of those ids for a member."""
    awake = at or [peer for peer in stage.living if not peer.paused]
    return stage.until(lambda: not any(id in stage.checkers.shown[peer].members for peer in awake for id in ids), most_s)


def crash_loss(stage: Stage) -> None:
    """Row 7."""
    stage.grow()
    stage.network.set_weather(Weather(loss=0.2))
    stage.run(5.0)
    dead = stage.some(stage.living, DEAD_SHARE)
    died = {peer.id: stage.now for peer in dead}
    stage.kill(dead)
    stage.figure("survivors equal", stage.until(stage.checkers.settled, 60.0), 15.0, "s")
    stage.run(stage.seconds)
    stage.figure("deaths seen, p99", quantile(stage.death_waits(died), 0.99), 10.0, "s")
    seen = sum(len({peer for _, peer in stage.deaths.get(id, ()) if peer.running}) for id in died)
    stage.figure("deaths not seen", len(died) * len(stage.living) - seen, 0)
    stage.calm(10.0)


def mass_crash(stage: Stage) -> None:
    """Row 31."""
    stage.grow()
    dead = stage.some(stage.living, DEAD_SHARE)
    messages, start = stage.network.messages, stage.now
    stage.kill(dead)
    stage.until(stage.checkers.settled, 60.0)
    stage.run(10.0)
    each = (stage.network.messages - messages) / len(stage.living)
    stage.figure("messages per survivor and dead", each / len(dead), 30.0)
    stage.figure("links to the dead", _links_to(stage, dead), 0)
    stage.run(max(0.0, stage.seconds - (stage.now - start)))
    stage.calm(15.0)


def _links_to(stage: Stage, dead: list[SimulatedPeer]) -> int:
    """How many links the living still want to these."""
    endpoints = {peer.publisher for peer in dead}
    return sum(link.endpoint in endpoints for peer in stage.living for link in peer.node.mesh.links.values())


def pauses(stage: Stage) -> None:
    """Row 9, simulated: a process that stood still knows that it did."""
    stage.grow()
    end, worst, accused = stage.now + stage.seconds, 0.0, 0
    while stage.now < end:
        still = stage.some(stage.living, 0.1)
        stage.pause(still)
        stage.run(stage.random.choice((2.5, 5.0, 10.0)))
        before = sum(peer.node.local.counters["accusations_made"] for peer in still)
        stage.resume(still)
        worst = max(worst, stage.until(stage.checkers.settled, 30.0))
        stage.run(6.0)
        accused += sum(peer.node.local.counters["accusations_made"] for peer in still) - before
    stage.figure("back, at worst", worst, 2.0, "s")
    stage.figure("accusations by those that stood still", accused, 0)
    stage.calm(10.0)


def half_change(stage: Stage) -> None:
    """Row 28. Its last words reach a few relays only, and come from there, a second late, when the verdict is long reached."""
    stage.grow()
    revived = unheard = 0
    end = stage.now + stage.seconds
    while stage.now < end and len(stage.living) > 18:  # where all are linked to all, nobody relays
        dying = stage.random.choice(stage.living)
        linked = dying.node.local.fan.subscribers
        relays = stage.random.sample([peer for peer in stage.living if peer.node.local.me.hash in linked], RELAYS)
        others = [peer for peer in stage.living if peer is not dying and peer not in relays]
        stage.truth.trouble([dying, *relays])
        stage.network.set_weather(Weather(latency_s=LATE_S), [peer.host for peer in relays])
        stage.run(5.0)
        stage.network.cut([dying.host], [peer.host for peer in others])
        for _ in range(3):
            stage.register(dying)
        stage.run(0.02)
        stage.kill([dying])
        stage.network.heal([dying.host], [peer.host for peer in others])
        _gone_from(stage, [dying.id], 10.0, others)
        seen, late = _lives_told(stage, dying, others), stage.counted("late_deltas")
        stage.run(5 * LATE_S)
        revived += _lives_told(stage, dying, others) - seen
        unheard += stage.counted("late_deltas") == late
        stage.network.clear_weather()
        stage.truth.ease(relays, stage.now)
    stage.figure("second lives", revived, 0)
    stage.figure("deaths after which no change came late", unheard, 0)  # else nothing was tried
    stage.calm(10.0)


def slow(stage: Stage) -> None:
    """Row 10, simulated, after Lifeguard: a fifth of the processes is starved of its processor."""
    stage.grow()
    starved = stage.some(stage.living, 0.2)
    stage.truth.trouble(starved)
    before = sum(peer.node.local.counters["accusations_made"] for peer in starved)
    for peer in starved:
        stage.cluster.slow(peer, STARVED_S)
    end = stage.now + stage.seconds
    while stage.now < end:
        for peer in starved:  # its callers run out of time, too, and blame the others
            others = [act for act in stage.truth.acts.values() if act.owner.peer is not peer]
            peer.report_failure(stage.random.choice(others).made)
        stage.run(REPORT_S)
    accused = sum(peer.node.local.counters["accusations_made"] for peer in starved) - before
    for peer in starved:
        stage.cluster.slow(peer, 0.0)
    stage.truth.ease(starved, stage.now)
    stage.figure("healthy ones held dead", stage.checkers.counts["I4"], 0)
    stage.figure("flips of each slow one", stage.flips(peer.id for peer in starved), 1)
    stage.figure("accusations by each slow one", accused / len(starved), REPORTED_MAX)
    stage.calm(10.0)


def _lives_told(stage: Stage, of: SimulatedPeer, at: list[SimulatedPeer]) -> int:
    """How often these were told that it lives."""
    return sum(stage.revivals[peer, of.id] for peer in at)


def two_of_one_host(stage: Stage) -> None:
    """Row 29: two that watch each other, and share their fate."""
    stage.grow()
    twins = [stage.spawn(host="10.9.9.9", port=port) for port in (7400, 7500)]
    for twin in twins:
        stage.register(twin)
    stage.until(stage.checkers.settled, 30.0)
    stage.run(5.0)
    stage.kill(twins)
    stage.figure("gone everywhere", _gone_from(stage, [twin.id for twin in twins], 30.0), 0.5, "s")
    stage.calm(10.0)


def two_of_three(stage: Stage) -> None:
    """Row 29."""
    stage.grow()
    dead = stage.living[1:]
    stage.kill(dead)
    stage.figure("gone", _gone_from(stage, [peer.id for peer in dead], 30.0), 0.5, "s")
    stage.calm(10.0)


def other_hangs(stage: Stage) -> None:
    """Row 29. Half is not more than half: its silence is believed."""
    stage.grow()
    hung = stage.living[-1]
    stage.pause([hung])
    stage.figure("gone", _gone_from(stage, [hung.id], 60.0), 7.0, "s")
    stage.calm(10.0)
