"""How long a killed peer stays in the lookups of all others, beside how long raw ZeroMQ takes to tell of a lost link.

    python -m benchmarks.detection                  # N = 10, 20 rounds
    python -m benchmarks.detection --peers 10 30 --rounds 40

Real processes on loopback. In each round the oldest of N calm peers is killed by SIGKILL. A time runs from just before
the kill to the moment an observer's lookups no longer named the victim's instances, stamped by the observer; then a
newcomer takes its place. Raw: a PUB process is killed, and N - 1 SUB processes stamp their monitor's DISCONNECTED, which
is the first anybody can know. Half of the raw rounds run before the others and half after them, on the quiet machine.
The clock is CLOCK_MONOTONIC, one for all processes.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import zmq
from zmq.utils.monitor import recv_monitor_message

from nodes.launch import Launcher, Told, Worker, WorkerError, ask_all, interruptible, until

SERVICE = "detected"
INSTANCES = 3  # of each peer
ROUND_MAX_S = 5.0  # a victim that is to be seen anywhere after this fails the run
SETTLE_S = 60.0
CALM_S = 0.5  # so long the links must have stayed as they are, before a kill
LINKED_S = 20.0
SPAWN = multiprocessing.get_context("spawn")  # the launcher's threads forbid a fork
Tell = Callable[[str], None]


@dataclass
class Sample:
    """Seconds from a kill until each observer knew, by round; how many observers did not know in time."""

    rounds: list[list[float]] = field(default_factory=list)
    missed: int = 0

    def add(self, killed_t: float, seen_t: list[float | None]) -> None:
        """One round: when each observer knew, None if not in time."""
        times = [at - killed_t for at in seen_t if at is not None]
        self.missed += len(seen_t) - len(times)
        if len(times) == len(seen_t):
            self.rounds.append(times)

    @property
    def single(self) -> list[float]:
        """One time for each observer of each round."""
        return [one for times in self.rounds for one in times]

    @property
    def last(self) -> list[float]:
        """One time for each round: when the last observer knew."""
        return [max(times) for times in self.rounds]


# the registry ---------------------------------------------------------------------------------------------------------


class Population:
    """N peers, the oldest of which is killed and replaced again and again. Remembers who was hidden while it lived."""

    def __init__(self, launcher: Launcher, peers: int) -> None:
        self._launcher = launcher
        self._peers = peers
        self._killed: set[str] = set()
        self.hidden: set[str] = set()  # ids of peers that somebody took for dead and that lived
        self._living = launcher.peers([f"peer{number}" for number in range(peers)])
        self._started = peers
        for worker in self._living:
            self._register(worker)

    def _register(self, worker: Worker) -> None:
        for number in range(INSTANCES):
            worker.call("register", service=SERVICE, id=f"{worker.name}-{number}", port=8001 + number)

    def settle(self) -> None:
        """Wait until all hold the same, and their links have come to rest."""
        self._launcher.agree(self._living, {SERVICE: INSTANCES * self._peers}, SETTLE_S)
        calm_since, links = time.monotonic(), [-1]
        statuses: list[Told] = []

        def calm() -> bool:
            nonlocal calm_since, links, statuses
            statuses = ask_all(self._living, "status")
            links, former = [status["links"] for status in statuses], links
            if links != former or any(status["agreement"] < 1.0 for status in statuses):
                calm_since = time.monotonic()
            time.sleep(CALM_S / 5)
            return time.monotonic() - calm_since >= CALM_S

        until(
            calm,
            SETTLE_S,
            lambda: f"calm, N={self._peers}: agreement and links {[(s['agreement'], s['links']) for s in statuses]}",
        )
        self.look_for_hidden()

    def kill_oldest(self) -> tuple[float, list[float | None]]:
        """When it was killed, and when each of the others no longer saw its instances."""
        victim = self._living.pop(0)
        killed_t = victim.kill9()
        self._killed.add(victim.id)
        seen_t = [gone_t(observer, victim.id, killed_t + ROUND_MAX_S) for observer in self._living]
        victim.wait()
        return killed_t, seen_t

    def replace(self) -> None:
        """A newcomer instead of the killed one."""
        newcomer = self._launcher.peer(f"peer{self._started}")
        self._started += 1
        self._register(newcomer)
        self._living.append(newcomer)

    def look_for_hidden(self) -> None:
        """Who was taken for dead by anybody so far, and was not killed."""
        for worker in self._launcher.workers:
            self.hidden |= hidden_at(worker) - self._killed


def gone_t(observer: Worker, victim: str, deadline_t: float) -> float | None:
    """When the last instance of the victim was gone from this observer's lookups; None if not by the deadline."""

    def removals() -> list[Told]:
        told = [told for told in tuple(observer.events) if is_removal(told["event"], victim)]
        return told if len(told) >= INSTANCES else []

    try:
        found: float = until(removals, max(0.0, deadline_t - time.monotonic()), "removals")[-1]["t"]
    except TimeoutError:
        return None
    return found if found <= deadline_t else None


def is_removal(event: Told, origin: str) -> bool:
    """Whether an event says that an instance of this peer is gone."""
    return bool(event["kind"] == "REMOVED" and event["before"]["origin"] == origin)


def hidden_at(observer: Worker) -> set[str]:
    """The ids of all peers that this one ever held dead, or whose instances it took away; nobody here leaves or deregisters."""
    events = [told["event"] for told in tuple(observer.events)]
    dead = {event["before"]["id"] for event in events if event["kind"] == "MEMBER_DEAD"}
    return dead | {event["before"]["origin"] for event in events if event["kind"] == "REMOVED"}


def measure_gossip(peers: int, rounds: int, tell: Tell) -> tuple[Sample, int]:
    """All rounds; returns the times, and how many living peers were ever hidden."""
    sample = Sample()
    with Launcher(f"detection-{os.getpid()}-{peers}") as launcher:
        population = Population(launcher, peers)
        population.settle()
        for number in range(1, rounds + 1):
            killed_t, seen_t = population.kill_oldest()
            sample.add(killed_t, seen_t)
            tell(f"gossip N={peers} {number}/{rounds}: {round_in_words(killed_t, seen_t)}")
            population.replace()
            population.settle()
        return sample, len(population.hidden)


# raw ZeroMQ -----------------------------------------------------------------------------------------------------------


def run_publisher(pipe: Connection) -> None:
    """The raw process that is to be killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        pipe.send(socket.bind_to_random_port("tcp://127.0.0.1"))
        pipe.poll(None)  # until the kill, or the end of who started it


def run_observer(pipe: Connection) -> None:
    """A raw subscriber process: for each port it is told, says when it is linked, and stamps when the link was lost."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with zmq.Context() as context:
        while True:
            try:
                port = pipe.recv()
            except EOFError:
                return
            with context.socket(zmq.SUB) as socket:
                socket.linger = 0
                socket.reconnect_ivl = -1
                socket.subscribe(b"")
                monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
                socket.connect(f"tcp://127.0.0.1:{port}")
                pipe.send(event_t(monitor, zmq.EVENT_HANDSHAKE_SUCCEEDED, LINKED_S))
                pipe.send(event_t(monitor, zmq.EVENT_DISCONNECTED, LINKED_S + ROUND_MAX_S))
                socket.disable_monitor()


def event_t(monitor: zmq.Socket[bytes], wanted: int, timeout_s: float) -> float | None:
    """When the monitor told of this event, None if it did not."""
    while monitor.poll(round(1000 * timeout_s)):
        at = time.monotonic()
        if recv_monitor_message(monitor)["event"] == wanted:
            return at
    return None


@contextmanager
def process(target: Callable[[Connection], None]) -> Iterator[tuple[int, Connection]]:
    """A raw process: its pid, and a pipe to it. It is ended by its own handle."""
    ours, theirs = SPAWN.Pipe()
    running = SPAWN.Process(target=target, args=(theirs,), daemon=True)
    running.start()
    theirs.close()
    try:
        assert running.pid is not None
        yield running.pid, ours
    finally:
        running.kill()
        running.join()
        ours.close()


@contextmanager
def processes(count: int, target: Callable[[Connection], None]) -> Iterator[list[Connection]]:
    """Several raw processes; the pipes to them."""
    if not count:
        yield []
        return
    with process(target) as (_, pipe), processes(count - 1, target) as pipes:
        yield [pipe, *pipes]


def measure_raw(peers: int, rounds: int, tell: Tell) -> Sample:
    """Kill a publisher so many times."""
    sample = Sample()
    with processes(peers - 1, run_observer) as observers:
        for number in range(1, rounds + 1):
            with process(run_publisher) as (pid, publisher):
                port = publisher.recv()
                for pipe in observers:
                    pipe.send(port)
                if None in [pipe.recv() for pipe in observers]:
                    raise TimeoutError(f"a raw subscriber was not linked within {LINKED_S:g} s")
                killed_t = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                seen_t = [pipe.recv() for pipe in observers]
            sample.add(killed_t, seen_t)
            tell(f"raw    N={peers} {number}/{rounds}: {round_in_words(killed_t, seen_t)}")
    return sample


# the table ------------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    """Print one table; exit code 1 if a living peer was hidden or a dead one was seen too long."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detection",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--peers", type=at_least(2), nargs="+", default=[10], metavar="N", help="numbers of processes (default: 10)"
    )
    parser.add_argument("--rounds", type=at_least(1), default=20, help="kills for each N (default: 20)")
    options = parser.parse_args(arguments)
    interruptible()
    failures, tables = [], []
    try:
        for peers in options.peers:
            raw = measure_raw(peers, math.ceil(options.rounds / 2), progress)
            gossip, hidden = measure_gossip(peers, options.rounds, progress)
            after = measure_raw(peers, options.rounds // 2, progress)
            raw = Sample(raw.rounds + after.rounds, raw.missed + after.missed)
            tables.append(table(peers, raw, gossip, hidden))
            if gossip.missed:
                failures.append(f"N={peers}: {gossip.missed} times a killed peer was still seen after {ROUND_MAX_S:g} s")
            if hidden:
                failures.append(f"N={peers}: {hidden} living peers were hidden")
    except (TimeoutError, WorkerError) as error:
        failures.append(str(error))
    except KeyboardInterrupt:
        failures.append("interrupted")
    print("\n" + "\n\n".join(tables))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def table(peers: int, raw: Sample, gossip: Sample, hidden: int) -> str:
    """What was measured at one N."""
    lines = [f"N = {peers:<3d} {'':38s}     p50       p99       max   times"]
    for what, times in (
        ("raw ZeroMQ: DISCONNECTED at one observer", raw.single),
        ("raw ZeroMQ: DISCONNECTED at all others", raw.last),
        ("gossip: gone at one observer", gossip.single),
        ("gossip: gone at all others", gossip.last),
    ):
        lines.append(f"{what:43s} {figures(times)}   {len(times):5d}")
    if raw.rounds and gossip.rounds:
        ratio = statistics.median(gossip.last) / statistics.median(raw.last)
        lines.append(f"{'ratio of the p50 at all others':43s} {ratio:7.2f} ×")
    lines.append(f"{'living peers that were ever hidden':43s} {hidden:7d}")
    return "\n".join(lines)


def figures(times_s: list[float]) -> str:
    """Median, 99th percentile (nearest rank) and maximum in milliseconds."""
    if not times_s:
        return "      -         -         -   "
    times = sorted(times_s)
    shown = statistics.median(times), times[math.ceil(0.99 * len(times)) - 1], times[-1]
    return " ".join(f"{1000 * one:6.1f} ms" for one in shown)


def round_in_words(killed_t: float, seen_t: list[float | None]) -> str:
    """One round in one line."""
    times = [at - killed_t for at in seen_t if at is not None]
    if len(times) < len(seen_t):
        return f"{len(seen_t) - len(times)} of {len(seen_t)} observers did not see it within {ROUND_MAX_S:g} s"
    return f"all others know after {1000 * max(times):.1f} ms, the first after {1000 * min(times):.1f} ms"


def at_least(least: int) -> Callable[[str], int]:
    """A whole number that is not below `least`, for argparse."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least} on")
        return int(text)

    return number


def progress(text: str) -> None:
    """What has just been done."""
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
