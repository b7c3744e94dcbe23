"""Scenes on real networks take their time and next to no CPU, so some of them are played at once, each on hosts of its own.

The first test of this folder begins those of all tests of this run; each test then waits for its own. Without root, `ip` or a
tap device all of them are skipped, and say why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from gossip.simulation.stage import Figure

from ..faults_record import Record
from . import scenes
from .bed import missing
from .worlds import RealWorld, SimulatedWorld

HOSTS = 5
AT_ONCE = 4  # clusters of five processes: what a machine of two cores bears
LONG_S = 60
SEEDS = 10  # of the simulated twin
LENIENCE = 2.0  # a busy machine is no defect: what is asked for is held by `make faults`, twice that by every run


@dataclass(frozen=True, slots=True)
class Play:
    """One scene, for so long."""

    scene: str
    seconds: int
    writes: str = ""
    preset: str = "lan"

    def __str__(self) -> str:
        return "-".join(word for word in (self.writes, f"{self.seconds}s") if word)

    def on(self, world: RealWorld | SimulatedWorld) -> scenes.Figures:
        """Play it there."""
        options = {"writes": self.writes} if self.writes else {}
        figures: scenes.Figures = getattr(scenes, self.scene)(world, self.seconds, **options)
        return figures

    def simulated(self) -> scenes.Figures:
        """What it shows in the simulator: the worst of several seeds."""
        runs = [self.on(SimulatedWorld(HOSTS, preset=self.preset, seed=seed)) for seed in range(SEEDS)]
        return [max(same, key=lambda figure: figure.value) for same in zip(*runs, strict=True)]


class Troupe:
    """Plays scenes on real hosts."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="scene")
        self._lock = threading.Lock()
        self._closed = False
        self._worlds: list[RealWorld] = []

    def begin(self, play: Play) -> Future[scenes.Figures]:
        """Play it as soon as there is room."""
        return self._pool.submit(self._play, play)

    def _play(self, play: Play) -> scenes.Figures:
        world = RealWorld(HOSTS, preset=play.preset)
        with self._lock:
            if self._closed:
                raise RuntimeError("the tests are over")
            self._worlds.append(world)
        world.begin()
        try:
            return play.on(world)
        finally:
            world.close()

    def close(self) -> None:
        """End what is still being played."""
        with self._lock:
            self._closed = True
        for world in self._worlds:
            world.close()
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def bed() -> None:
    """Skips where no hosts can be made."""
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest) -> None:
    """The first test of this folder begins the scenes, so that they are played while others run."""
    if not missing():
        request.getfixturevalue("plays")


@pytest.fixture(scope="session")
def plays(bed: None, request: pytest.FixtureRequest) -> Iterator[dict[Play, Future[scenes.Figures]]]:
    """All scenes of this run, being played: those of every test run first, then the longest."""
    wanted = {item.callspec.params.get("play") for item in request.session.items if hasattr(item, "callspec")}
    troupe = Troupe()
    try:
        yield {play: troupe.begin(play) for play in sorted((p for p in wanted if p), key=_turn)}
    finally:
        troupe.close()


def _turn(play: Play) -> tuple[bool, int]:
    return play.seconds >= LONG_S, -play.seconds


@pytest.fixture
def hold(
    play: Play, plays: dict[Play, Future[scenes.Figures]], record: Record, pytestconfig: pytest.Config
) -> Callable[[int, str, str], None]:
    """`hold(row, what, asked)`: wait for the scene of this test, write down what it measured, and judge it."""

    def judge(row: int, what: str, asked: str) -> None:
        figures = plays[play].result()
        twin = told(play.simulated()) if pytestconfig.option.record_faults else None
        held = all(figure.held for figure in figures)
        record(row, "N", what=what, asked=asked, measured=told(figures), simulated=twin, held=held)
        assert [str(figure) for figure in figures if figure.value > figure.most * (LENIENCE if figure.unit else 1)] == []

    return judge


def told(figures: list[Figure]) -> str:
    """Figures in one line."""
    return "; ".join(f"{figure.name} {figure.value:.4g}{figure.unit and ' '}{figure.unit}" for figure in figures)
