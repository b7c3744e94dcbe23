"""All faults at random, one after the other and at once; nothing may break."""

from __future__ import annotations

from collections.abc import Callable

from ..network import GENTLE, Harsh, Weather
from ..peers import SimulatedPeer
from ..stage import Stage

CUT_S = (2.0, 25.0)
CLOCK_S = (-7200.0, 7200.0)


class _Mix:
    """What is going on now, and when each of it ends."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.random = stage.random
        self.ends: list[tuple[float, Callable[[], None]]] = []
        self.split = self.stormy = False

    def later(self, least_s: float, most_s: float, end: Callable[[], None]) -> None:
        """Something ends by itself."""
        self.ends.append((self.stage.now + self.random.uniform(least_s, most_s), end))

    def finish(self) -> None:
        """Whatever is due ends."""
        due = [end for at, end in self.ends if at <= self.stage.now]
        self.ends = [(at, end) for at, end in self.ends if at > self.stage.now]
        for end in due:
            end()

    def one(self) -> SimulatedPeer:
        """A peer that is awake."""
        return self.random.choice([peer for peer in self.stage.living if not peer.paused])

    # faults -------------------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Users register and withdraw."""
        for _ in range(self.random.randrange(1, 5)):
            self.stage.write(self.one())

    def spawn(self) -> None:
        """A newcomer, unless there are many already."""
        if len(self.stage.living) < 1.2 * self.stage.size:
            seeds = [peer.contact for peer in self.random.sample(self.stage.living, 3)]
            self.stage.register(self.stage.spawn(seeds=seeds))

    def end(self) -> None:
        """A kill or a goodbye, unless few are left."""
        if len(self.stage.living) > 0.7 * self.stage.size:
            if self.random.random() < 0.5:
                self.stage.kill([self.one()])
            else:
                self.stage.leave(self.one())

    def restart(self) -> None:
        """Nothing saved, the clock behind or ahead."""
        self.stage.restart(self.one(), lose_clock_s=self.random.choice((0.0, 5.0, 3600.0, -3600.0)))

    def pause(self) -> None:
        """SIGSTOP for a while."""
        peer = self.one()
        self.stage.pause([peer])
        self.later(0.5, 15.0, lambda: self.stage.resume([peer]) if peer.running else None)

    def cut(self) -> None:
        """A split into two, three, or one against all."""
        if not self.split:
            self.split = True
            shuffled = self.random.sample(self.stage.living, len(self.stage.living))
            at = self.random.choice((1, len(shuffled) // 3, len(shuffled) // 2))
            self.stage.partition(shuffled[:at], shuffled[at:])
            self.later(*CUT_S, self.heal)

    def heal(self) -> None:
        """The split ends."""
        self.split = False
        self.stage.heal()

    def storm(self) -> None:
        """Loss that costs time, or a network that no TCP is: single messages are lost, doubled, late."""
        if self.stormy:
            return
        self.stormy = True
        if self.random.random() < 0.5:
            self.stage.network.set_weather(Weather(loss=self.random.uniform(0.0, 0.2), jitter_s=0.01))
        else:
            self.stage.truth.storm()
            self.stage.network.harsh = Harsh(drop=0.1, duplicate=0.2, reorder_s=self.random.choice((0.1, 1.0, 3.0)))
        self.later(2.0, 15.0, self.clear)

    def clear(self) -> None:
        """It ends."""
        self.stormy = False
        self.stage.network.clear_weather()
        if self.stage.network.harsh is not GENTLE:
            self.stage.network.harsh = GENTLE
            self.stage.truth.storm_ends(self.stage.now)

    def jump(self) -> None:
        """A wall clock is set."""
        self.stage.cluster.jump(self.one(), self.random.uniform(*CLOCK_S))

    def reset(self) -> None:
        """All links between some hosts break."""
        hosts = [peer.host for peer in self.random.sample(self.stage.living, 6)]
        self.stage.network.reset(hosts[:3], hosts[3:])

    def clog(self) -> None:
        """One hears nothing for a while, and then all at once."""
        peer = self.one()
        self.stage.truth.trouble([peer])
        self.stage.network.clog(peer.host)

        def free() -> None:
            self.stage.network.unclog(peer.host)
            self.stage.truth.ease([peer], self.stage.now)

        self.later(0.5, 8.0, free)


FAULTS = (
    *(10 * [_Mix.write]),
    *(2 * [_Mix.spawn]),
    *(2 * [_Mix.end]),
    *(2 * [_Mix.restart]),
    *(2 * [_Mix.pause]),
    *(2 * [_Mix.cut]),
    *(2 * [_Mix.storm]),
    _Mix.jump,
    _Mix.reset,
    _Mix.clog,
)


def mix(stage: Stage) -> None:
    """All of the matrix."""
    stage.grow()
    going = _Mix(stage)
    end = stage.now + stage.seconds
    while stage.now < end:
        fault = going.random.choice(FAULTS)
        stage.note(fault.__name__)
        fault(going)
        stage.run(stage.random.uniform(0.1, 2.0))
        going.finish()
    going.clear()
    for _, finish in going.ends:
        finish()
    stage.calm(60.0)
