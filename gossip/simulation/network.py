"""The virtual network: one heap of events, one clock, one seed.

A connection behaves as a TCP stream does: it delays, keeps the order, and loses what is under way only when it breaks.
While two hosts are cut from each other nothing passes between them and nobody is told (a blackhole); what a sender
sends into it is lost, as it is when a ZeroMQ queue outlives its link. `loss` drops single messages at random, which no
TCP does: it tests what the rules owe to numbers alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

STREAMS_MAX = 1 << 16  # remembered; those whose messages have all arrived are forgotten


class Network:
    """Clock, event heap, and the fate of each message. Hosts are named by their address text."""

    def __init__(self, seed: int = 0, *, latency_s: float = 0.0005, jitter_s: float = 0.0005, loss: float = 0.0) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.latency_s = latency_s
        self.jitter_s = jitter_s
        self.loss = loss
        self.cut: set[tuple[str, str]] = set()  # (from, to)
        self.messages = 0
        self.bytes = 0
        self.events = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._arrivals: dict[tuple[object, object], float] = {}

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a time; equal times in the order of asking."""
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, what))

    def after(self, delay_s: float, what: Callable[[], None]) -> None:
        """Do something after a while."""
        self.at(self.now + delay_s, what)

    def connected(self, source: str, target: str) -> bool:
        """Whether packets pass both ways, as a TCP connection needs."""
        return (source, target) not in self.cut and (target, source) not in self.cut

    def partition(self, *groups: list[str]) -> None:
        """Cut every host of a group from every host of the others."""
        self.heal()
        for group in groups:
            for other in groups:
                if other is not group:
                    self.cut.update((a, b) for a in group for b in other)

    def heal(self) -> None:
        """All cuts end."""
        self.cut.clear()

    def send(
        self,
        source: str,
        target: str,
        stream: tuple[object, object],
        size: int,
        deliver: Callable[[], None],
        *,
        lossless: bool = False,
    ) -> None:
        """Deliver a message of a stream after its delay, in order, unless it is lost. `lossless`: ZeroMQ's own commands."""
        self.messages += 1
        self.bytes += size
        if not self.connected(source, target) or (self.loss and not lossless and self.random.random() < self.loss):
            return
        arrival = self.now + self.latency_s + self.jitter_s * self.random.random()
        arrival = max(arrival, self._arrivals.get(stream, 0.0))
        self._arrivals[stream] = arrival
        if len(self._arrivals) > STREAMS_MAX:
            self._arrivals = {stream: at for stream, at in self._arrivals.items() if at > self.now}
        self.at(arrival, deliver)

    def step(self) -> bool:
        """Run the next event; False if there is none."""
        if not self._heap:
            return False
        self.now, _, what = heapq.heappop(self._heap)
        self.events += 1
        what()
        return True

    def run(self, seconds: float) -> None:
        """Run all events of so many seconds."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.step()
        self.now = end
