"""The fault matrix: every fault the simulator can make, by name, each with the figure it is to hold.

    report = play("partition", seed=7)
    report.ok       # no invariant was broken
    report.held     # and every figure is what the matrix asks for
"""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ...config import Config
from ...errors import ConfigError
from ..checkers import Broken
from ..stage import Report, Stage
from . import authority, deaths, insiders, joining, lives, mix, splits, weather


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row, or a part of one, of the fault matrix. `minutes`: simulated, of the fault phase."""

    name: str
    row: str
    what: str
    run: Callable[[Stage], None]
    peers: int
    minutes: float
    asked: str  # the figure to hold, in the words of the matrix
    few: int = 0  # peers of the quick run in CI; 0: as many
    brief: float = 0.0  # minutes of the quick run; 0: as many
    config: Config | None = None
    grace_s: float = 10.0
    least: int = 3
    signed: bool = False  # whether all peers have keys, and refuse what is not signed
    certified: bool = False  # whether there is an authority as well
    seeds: int = 10  # with which `make sim` plays it

    def quick(self) -> Scenario:
        """The same with so few peers and minutes that it runs with every test."""
        return replace(self, peers=self.few or self.peers, minutes=self.brief or self.minutes)


_RETENTION = replace(Config(), joining=replace(Config().joining, retention_s=3600.0))
_ALL = (
    Scenario("join", "1", "1,000 peers join at once from 3 seeds", joining.join, 1000, 0.5,
             "equal views ≤ 15 s; no peer above 3 × its computed links", few=100, seeds=3),
    Scenario("newcomers", "1", "peers join a busy cluster one after the other", joining.newcomers, 100, 0.2,
             "no change waits for repair: p99 visibility ≤ 0.25 s; ≤ 0.25 % of its copies lost", few=60, brief=0.1, seeds=5),
    Scenario("loss", "2", "20 % loss on all links, a registration a second", weather.loss, 50, 5.0,
             "0 false deaths; p99 visibility ≤ 3 s; equal ≤ 10 s after", few=30, brief=1.0),
    Scenario("ingress-loss", "3", "80 % ingress loss on 1 % of 1,000", weather.ingress_loss, 1000, 2.0,
             "only the faulty hidden; ≤ 2 flips per faulty peer a minute", few=60, brief=1.0, seeds=3),
    Scenario("flip-flop", "4", "1 % hear nobody for 20 s, then all for 20 s, in turn", weather.flip_flop, 1000, 2.0,
             "only the faulty hidden; ≤ 2 flips per faulty peer a minute; traffic ≤ 2 × base", few=60, brief=1.4, seeds=3),
    Scenario("partition", "5", "halves cut from each other for 60 s: writes on both sides, on one, on none", splits.partition,
             1000, 1.0, "equal ≤ 15 s after each heal", few=40, seeds=3),
    Scenario("partition-long", "5", "the same for 30 minutes", splits.partition, 60, 30.0, "equal ≤ 15 s after each heal",
             few=16, brief=30.0, seeds=3),
    Scenario("bridge", "5", "halves cut from each other, and a newcomer that reaches both", splits.bridge, 100, 0.25,
             "nobody hidden within a half; equal ≤ 15 s after the heal", few=60),
    Scenario("swizzle", "6", "hosts are clogged one by one, freed in another order, again and again", splits.swizzle, 30, 10.0,
             "equal ≤ 10 s after the last", few=16, brief=2.0),
    Scenario("crash-loss", "7", "30 % die at once under 20 % loss", deaths.crash_loss, 100, 0.5,
             "survivors equal ≤ 15 s; deaths seen p99 ≤ 10 s", few=50),
    Scenario("pauses", "9", "a tenth of the processes stands still for 2.5 to 10 s, again and again", deaths.pauses, 30, 2.0,
             "back ≤ 2 s; those that stood still accuse nobody", few=16, brief=0.7),
    Scenario("slow", "10", "2 of 10 processes are starved for a minute: each runs for a moment every 2 s", deaths.slow, 10, 1.0,
             "healthy peers held dead: 0; slow ones ≤ 1 flip each"),
    Scenario("clocks", "11", "wall clocks jump by −1 h, +1 h, −10 years, and differ by ±1 h", lives.clocks, 30, 1.0,
             "no effect on liveness; restart after a backward jump equal ≤ 2 s", few=16, brief=0.5),
    Scenario("restart-lower-clock", "12", "restarts under the same id, nothing saved, the clock behind", lives.restarts, 30, 1.0,
             "refuted and re-issued ≤ 2 s; no ghost", few=16, brief=0.5, seeds=120),
    Scenario("duplicate-id", "13", "two live processes with one id", lives.duplicate_id, 20, 0.5,
             "event at both ≤ 5 s; the younger takes a new id; ≤ 6 incarnations"),
    Scenario("retention", "14", "away longer than the retention, back with old state", lives.retention, 12, 62.0,
             "stale state of others ignored; full sync ≤ 15 s", config=_RETENTION, few=8),
    Scenario("reorder", "15", "every message three times, up to 30 s out of order, 2 s of delay", weather.reorder, 20, 3.0,
             "equal; applied = distinct deltas", few=10, brief=1.0, grace_s=60.0),
    Scenario("insiders", "22", "a tenth of the peers forge, alter, replay, delete, inflate numbers and flood; all sign",
             insiders.insiders, 20, 0.3, "0 forged, altered or replayed registrations accepted, 0 deleted; honest peers converge",
             few=12, brief=0.2, grace_s=15.0, signed=True, seeds=100),
    Scenario("authority", "22", "certificates forged, borrowed, missing, narrow, expired, revoked in mid-run; false revocations",
             authority.authority, 20, 0.5, "0 shown that no certificate covers; revoked: gone ≤ 1 s; nobody else put out",
             few=12, brief=0.3, grace_s=15.0, certified=True, seeds=100),
    Scenario("half-change", "28", "killed in the middle of a change; a change that arrives after the verdict", deaths.half_change,
             30, 1.0, "stays dead; no second life", few=24, brief=0.5),
    Scenario("two-of-one-host", "29", "two peers of one host die together", deaths.two_of_one_host, 30, 0.2,
             "verdicts ≤ 0.5 s", few=10),
    Scenario("two-of-three", "29", "two of three die", deaths.two_of_three, 3, 0.2, "verdicts ≤ 0.5 s"),
    Scenario("other-of-two-hangs", "29", "of two, the other hangs", deaths.other_hangs, 2, 0.5, "verdict ≤ 7 s", least=2),
    Scenario("resets", "30", "a firewall resets all links between two halves every 2 s", splits.resets, 60, 2.0,
             "nobody hidden twice a minute; accusations bounded", few=20, brief=1.0),
    Scenario("mass-crash", "31", "30 % of 1,000 die at once", deaths.mass_crash, 1000, 0.5,
             "messages per survivor ≤ 30 × the dead", few=100, seeds=3),
    Scenario("mix", "all", "churn, loss, duplicates, reordering, partitions, restarts, pauses and clock jumps at random", mix.mix,
             100, 3.0, "no invariant broken", few=30, brief=1.0, grace_s=15.0, seeds=100),
)  # fmt: skip
SCENARIOS = {scenario.name: scenario for scenario in _ALL}


def scenario_of(name: str) -> Scenario:
    """A scenario by its name. Raises `ConfigError`."""
    found = SCENARIOS.get(name)
    if found is None:
        raise ConfigError(f"there is no scenario {name!r}: it is one of {', '.join(SCENARIOS)}")
    return found


def play(
    scenario: str | Scenario,
    *,
    seed: int = 0,
    peers: int | None = None,
    minutes: float | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Report:
    """Run one scenario; the same arguments give the same report but for `events_per_s`. Raises `ConfigError`."""
    chosen = scenario_of(scenario) if isinstance(scenario, str) else scenario
    size = chosen.peers if peers is None else peers
    if size < chosen.least:
        raise ConfigError(f"the scenario {chosen.name!r} needs {chosen.least} peers or more, not {size}")
    seconds = 60 * (chosen.minutes if minutes is None else minutes)
    stage = Stage(
        seed, peers=size, seconds=seconds, config=chosen.config, grace_s=chosen.grace_s, signed=chosen.signed,
        certified=chosen.certified, progress=progress,
    )  # fmt: skip
    started, began = time.perf_counter(), stage.now
    with _without_collector():
        _run(chosen, stage)
    took = time.perf_counter() - started
    network = stage.network
    return Report(
        chosen.name, size, seed, stage.cluster.trace, network.events, network.events / took, stage.now - began,
        stage.checkers.broken, stage.figures,
    )  # fmt: skip


def _run(scenario: Scenario, stage: Stage) -> None:
    try:
        scenario.run(stage)
    except Exception as error:  # noqa: BLE001 - I7: nothing may come out of a peer
        told = traceback.format_exc().splitlines()[-8:]
        stage.checkers.broken.append(Broken("I7", f"{error!r} was raised", stage.seed, stage.checkers.now, "", tuple(told)))


@contextmanager
def _without_collector() -> Iterator[None]:
    """The tables of a thousand peers hold no cycles worth looking for again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


__all__ = ["SCENARIOS", "Scenario", "play", "scenario_of"]
