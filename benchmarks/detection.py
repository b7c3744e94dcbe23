"""How long a dead, hung or leaving peer stays in the lookups of all others, beside how soon others notice.

Real processes on loopback. In each round the oldest of N calm peers is ended: by SIGKILL, by SIGSTOP (and then resumed), or
by a graceful leave. A time runs from just before that to the moment an observer's lookups no longer named its instances,
stamped by the observer; then a newcomer takes its place. Raw: a PUB process is killed, and N - 1 SUB processes stamp their
monitor's DISCONNECTED, the first that anybody can know. A peer that lives and was hidden fails the run, and so does one
that is seen too long. The clock is CLOCK_MONOTONIC, one for all processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import zmq
from zmq.utils.monitor import recv_monitor_message

from nodes.launch import Launcher, Told, Worker, ask_all, until

from .anchors.etcd import Etcd, etcd_server
from .anchors.pyre import pyre_cluster
from .anchors.serf import serf_cluster
from .anchors.swim import swim_kill
from .harness.run import Run

SERVICE = "detected"
INSTANCES = 3  # of each peer
ROUND_MAX_S = 5.0  # a victim that is to be seen anywhere after this fails the run
HANG_MAX_S = 15.0  # the same for a stopped one
BACK_MAX_S = 15.0  # and for a resumed one that is still missing
SETTLE_S = 60.0
CALM_S = 0.5  # so long the links must have stayed as they are, before a kill
LINKED_S = 20.0
LEASE_S = 5
PYRE_MAX_S = 60.0
SPAWN = multiprocessing.get_context("spawn")  # the launcher's threads forbid a fork


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
    """N peers, the oldest of which is ended and replaced again and again. Remembers who was hidden while it lived."""

    def __init__(self, launcher: Launcher, peers: int) -> None:
        self._launcher = launcher
        self._peers = peers
        self._ended: set[str] = set()
        self._changes = 0
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

    def end_oldest(self, end: Callable[[Worker], float], max_s: float = ROUND_MAX_S) -> tuple[float, list[float | None]]:
        """When it was ended, and when each of the others no longer saw its instances."""
        victim = self._living.pop(0)
        self._ended.add(victim.id)
        ended_t = end(victim)
        seen_t = [gone_t(observer, victim.id, ended_t + max_s) for observer in self._living]
        victim.wait()
        return ended_t, seen_t

    def hang_oldest(self) -> tuple[float, list[float | None], float, list[float | None]]:
        """When it was stopped and when the others noticed; when it was resumed and when they had all of it back."""
        victim, *others = self._living
        self._living = [*others, victim]
        self._ended.add(victim.id)  # to be hidden is its due
        stopped_t = time.monotonic()
        victim.stop()
        try:
            seen_t = [gone_t(observer, victim.id, stopped_t + HANG_MAX_S) for observer in others]
        finally:
            resumed_t = time.monotonic()
            victim.cont()
        back_t = [back_since(observer, victim.id, resumed_t, resumed_t + BACK_MAX_S) for observer in others]
        return stopped_t, seen_t, resumed_t, back_t

    def replace(self) -> None:
        """A newcomer instead of the ended one."""
        newcomer = self._launcher.peer(f"peer{self._started}")
        self._started += 1
        self._register(newcomer)
        self._living.append(newcomer)

    def change(self) -> float:
        """Seconds until all others saw one more instance of the oldest, of another service."""
        self._changes += 1
        name, (first, *others) = f"change-{self._changes}", self._living
        began = time.monotonic()
        first.ask("register", service="changed", id=name, port=1)

        def is_it(event: Told) -> bool:
            return bool(event["kind"] == "ADDED" and event["after"]["id"] == name)

        seen_t = [observer.wait_event(is_it, ROUND_MAX_S, f"{name} at all")["t"] for observer in others]
        first.call("deregister", service="changed", id=name)
        return float(max(seen_t)) - began

    def look_for_hidden(self) -> None:
        """Who was taken for dead by anybody so far, and had not been ended."""
        for worker in self._launcher.workers:
            self.hidden |= hidden_at(worker) - self._ended


def gone_t(observer: Worker, victim: str, deadline_t: float) -> float | None:
    """When the last instance of the victim was gone from this observer's lookups; None if not by the deadline."""
    return _nth_t(observer, lambda event: is_removal(event, victim), deadline_t)


def back_since(observer: Worker, victim: str, since_t: float, deadline_t: float) -> float | None:
    """When the last instance of a resumed one was there again."""

    def is_back(event: Told) -> bool:
        return bool(event["kind"] == "ADDED" and event["after"]["origin"] == victim)

    return _nth_t(observer, is_back, deadline_t, since_t)


def _nth_t(observer: Worker, wanted: Callable[[Told], bool], deadline_t: float, since_t: float = 0.0) -> float | None:
    """When as many events of a kind had come as a peer has instances; the latest so many."""

    def found() -> list[Told]:
        told = [told for told in tuple(observer.events) if told["t"] >= since_t and wanted(told["event"])]
        return told if len(told) >= INSTANCES else []

    try:
        at: float = until(found, max(0.0, deadline_t - time.monotonic()), "events")[-1]["t"]
    except TimeoutError:
        return None
    return at if at <= deadline_t else None


def is_removal(event: Told, origin: str) -> bool:
    """Whether an event says that an instance of this peer is gone."""
    before = event["before"]
    return bool(event["kind"] == "REMOVED" and before["service"] == SERVICE and before["origin"] == origin)


def hidden_at(observer: Worker) -> set[str]:
    """The ids of all peers that this one ever held dead, or whose instances it took away; nobody here leaves or deregisters."""
    events = [told["event"] for told in tuple(observer.events)]
    dead = {event["before"]["id"] for event in events if event["kind"] == "MEMBER_DEAD"}
    removed = [event["before"] for event in events if event["kind"] == "REMOVED"]
    return dead | {instance["origin"] for instance in removed if instance["service"] == SERVICE}


def leave(victim: Worker) -> float:
    """Tell it to leave; when."""
    at = time.monotonic()
    victim.expected_to_end = True
    victim.ask("leave")
    return at


class Registry:
    """One cluster of N, kept through all rounds of one run."""

    def __init__(self, run: Run, launcher: Launcher, peers: int) -> None:
        self._run = run
        self._peers = peers
        self._population = Population(launcher, peers)
        self._population.settle()

    def kill(self) -> None:
        """One round of SIGKILL."""
        self._end(Worker.kill9, "kill -9", f"raw disconnect, N = {self._peers}")

    def leave(self) -> None:
        """One round of a graceful leave."""
        self._end(leave, "leave", f"one change, N = {self._peers}")

    def change(self) -> None:
        """One round of an ordinary change, told and stamped in the same way."""
        self._run.record(f"one change, N = {self._peers}", [self._population.change()])

    def _end(self, end: Callable[[Worker], float], what: str, anchor: str | None) -> None:
        self._note(what, *self._population.end_oldest(end), ROUND_MAX_S, anchor)
        self._population.replace()
        self._population.settle()

    def hang(self) -> None:
        """One round of SIGSTOP and SIGCONT."""
        stopped_t, seen_t, resumed_t, back_t = self._population.hang_oldest()
        self._note("SIGSTOP", stopped_t, seen_t, HANG_MAX_S, None)
        self._note("SIGCONT", resumed_t, back_t, BACK_MAX_S, None)
        self._population.settle()

    def _note(self, what: str, began_t: float, seen_t: list[float | None], max_s: float, anchor: str | None) -> None:
        sample = Sample()
        sample.add(began_t, seen_t)
        self._run.check(not sample.missed, f"{what}, N = {self._peers}: {sample.missed} observers did not see it in {max_s:g} s")
        hidden = len(self._population.hidden)
        self._run.check(not hidden, f"{what}, N = {self._peers}: {hidden} living peers were hidden from somebody")
        self._run.record(f"{what}, N = {self._peers}", sample.last, anchor=anchor)
        self._run.record(f"{what}, one observer, N = {self._peers}", sample.single)


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


def measure_raw(peers: int, rounds: int) -> list[list[float]]:
    """Kill a publisher so many times; seconds until each subscriber knew, by round."""
    sample = Sample()
    with processes(peers - 1, run_observer) as observers:
        for _ in range(rounds):
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
    return sample.rounds


# others ---------------------------------------------------------------------------------------------------------------


def measure_serf(run: Run, nodes: int, rounds: int) -> None:
    """Kill an agent of a cluster that is calm; until all others say `failed`."""
    for _ in range(rounds):
        with serf_cluster(nodes) as cluster:
            time.sleep(CALM_S + 2.0)
            began = time.monotonic()
            cluster.agents[-1].kill()
            victim, others = f"n{nodes - 1}", cluster.rpcs[:-1]
            until(lambda: all(rpc.member(victim)["Status"] != "alive" for rpc in others), 60.0, "serf: failed at all others")  # noqa: B023
            run.record(f"serf, N = {nodes}", [time.monotonic() - began])


def measure_etcd(run: Run, leases: int) -> None:
    """Keys under leases of 5 s, renewed as clients do every third of it, whose owners end at a random moment."""
    with etcd_server() as port:
        taken: list[float] = []

        def owner(number: int) -> None:
            client = Etcd(port)
            lease = client.ask("lease/grant", {"TTL": LEASE_S})["ID"]
            client.put(f"key-{number}", "here", lease)
            time.sleep(LEASE_S / 3)
            client.ask("lease/keepalive", {"ID": lease})
            time.sleep(LEASE_S / 3 * number / leases)
            began = time.monotonic()
            while client.get(f"key-{number}") is not None:
                time.sleep(0.02)
            taken.append(time.monotonic() - began)
            client.close()

        owners = [threading.Thread(target=owner, args=(number,)) for number in range(leases)]
        for thread in owners:
            thread.start()
        for thread in owners:
            thread.join()
        run.check(len(taken) == leases, "an owner of an etcd lease did not end")
        run.record("etcd, lease of 5 s", taken)


def measure_pyre(run: Run, nodes: int) -> None:
    """Kill a pyre node, until all others were told EXIT."""
    with pyre_cluster(nodes) as (victim, *others):
        time.sleep(3.0)
        began = time.time()
        os.kill(victim.pid, signal.SIGKILL)
        seen = [hand.hear(PYRE_MAX_S) for hand in others]
        run.check(all(kind == "EXIT" for kind, _, _ in seen), f"pyre told {seen}")
        run.record(f"pyre, N = {nodes}", [max(at for _, _, at in seen) - began])


def measure(run: Run) -> None:
    """First what forks, then the launcher's clusters between two halves of the raw rounds, then the slow ones."""
    if not run.quick:  # it takes half a minute
        run.attempt("pyre, N = 3", measure_pyre, run, 3)
    run.attempt("etcd, lease of 5 s", measure_etcd, run, run.pick(10, 3))
    for peers in run.pick((10, 30), (5,)):
        raw = f"raw disconnect, N = {peers}"
        half = run.pick(10, 1)
        before = measure_raw(peers, half)
        with Launcher(f"detection-{os.getpid()}-{peers}") as launcher:
            registry = Registry(run, launcher, peers)
            for _ in range(run.pick(20, 2)):
                registry.kill()
            for _ in range(run.pick(10, 2)):
                registry.change()
                registry.leave()
            for _ in range(run.pick(6, 1)):
                registry.hang()
        for taken in before + measure_raw(peers, half):  # as many rounds as there were kills, around them
            run.record(raw, [max(taken)])
    run.attempt("serf, N = 10", measure_serf, run, 10, run.pick(3, 1))
    if not run.quick:
        run.attempt("swim-p2p, N = 10", lambda: run.record("swim-p2p, N = 10", [swim_kill(10)]))
