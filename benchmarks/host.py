"""What a peer and the program around it cost each other: a host that computes, in one process with its peer.

The host's loop is pure Python and never waits, the worst neighbour there is under one interpreter lock. Its speed with a
peer that hears 100 changes a second is measured beside the same loop alone, in turns. Then the other way: while the host
burns in 0, 1, 2 and 4 threads, how late its bus thread looks up (`loop_lag_s`), and how long a change takes to be seen
there. A host that computes and is taken for dead by anybody fails the run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection

from gossip import Member, MemberState, Peer, Registration, Watch

from .harness.crew import Hand, crew
from .harness.run import Case, Run
from .visibility import _seen

CLUSTER = "host"
OTHERS = 4
CHANGES_PER_S = 100
STEPS = 1000  # of the loop, between two looks at the clock
THREADS = (0, 1, 2, 4)
LOAD_SETTLE_S = 1.0
ARRIVE_S = 2.0
GAP_S = 0.05
DOUBTED = (MemberState.SUSPECTED, MemberState.DEAD)


def steps_for(seconds: float) -> float:
    """Steps of a loop of plain arithmetic, a second of wall clock."""
    began, done, value = time.perf_counter(), 0, 0
    while (now := time.perf_counter()) - began < seconds:
        for step in range(STEPS):
            value = (value * 31 + step) & 0xFFFF
        done += STEPS
    return done / (now - began)


@contextmanager
def burning(threads: int) -> Iterator[None]:
    """So many threads compute meanwhile."""
    over = threading.Event()

    def burn() -> None:
        while not over.is_set():
            steps_for(0.01)

    burners = [threading.Thread(target=burn) for _ in range(threads)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        over.set()
        for burner in burners:
            burner.join()


def be_alone(pipe: Connection) -> None:
    """The anchor: the host without a peer."""
    while True:
        pipe.send(steps_for(pipe.recv()[1]))


def be_host(pipe: Connection, seed: str) -> None:
    """The host with its peer: computes when told, alone or in threads while changes arrive."""
    with Peer("host", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[seed]) as peer:
        peer.wait_synced(30.0)
        peer.register("host", port=1)
        watch = peer.watch("visible")
        pipe.send(peer.id)
        while True:
            command, argument = pipe.recv()
            if command == "compute":
                pipe.send(steps_for(argument))
            else:
                _seen(watch)
                with burning(argument):
                    time.sleep(LOAD_SETTLE_S)
                    pipe.send("burning")
                    pipe.recv()
                    lag = peer.status().loop_lag_s
                pipe.send((_seen(watch), lag))


def be_other(pipe: Connection, seed: str | None) -> None:
    """Any other peer: registers one after the other when told, keeps changing on wish, and tells what it saw of the host."""
    with Peer("other", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[seed] if seed else []) as peer:
        pipe.send(peer.address)
        watch = peer.watch(None)
        mine = peer.register("steady", port=1)
        made: list[Registration] = []
        weight = 0
        until = time.monotonic()
        while True:
            while time.monotonic() < until and not pipe.poll(1 / CHANGES_PER_S):
                weight = weight % 99 + 1
                mine.update(weight=weight)
            command, argument = pipe.recv()
            if command == "change":
                until = time.monotonic() + argument
            elif command == "register":
                while made:  # those of the round before: each must find room
                    made.pop().deregister()
                started = {}
                for number in range(argument[1]):
                    id = f"{argument[0]}-{number}"
                    started[id] = time.time()
                    made.append(peer.register("visible", port=1, id=id))
                    time.sleep(GAP_S)
                pipe.send(started)
            else:
                pipe.send(_doubts(watch, argument))


def _doubts(watch: Watch, id: str) -> list[str]:
    """Why this member was suspected or held dead."""
    members = ((event.after, event.reason) for event in iter(watch.take, None) if isinstance(event.after, Member))
    return [reason for member, reason in members if member.id == id and member.state in DOUBTED]


def with_changes(host: Hand, changer: Hand, seconds: float) -> list[float]:
    """The host's speed while the changes arrive."""
    changer.say(("change", seconds + 1.0))
    return [host.ask(("compute", seconds))]


def seen_under_load(run: Run, host: Hand, changer: Hand, threads: int, changes: int, round: int) -> None:
    """Changes one by one, while the host burns."""
    host.ask(("burn", threads))
    started = changer.ask(("register", (f"{threads}-{round}", changes)))
    time.sleep(ARRIVE_S)
    seen, lag = host.ask("done")
    run.check(len(seen) == changes, f"the host saw {len(seen)} of {changes} changes while it burned in {threads} threads")
    run.record(f"seen, {threads} threads", [seen[id] - at for id, at in started.items()], anchor=f"seen, {THREADS[0]} threads")
    run.record(f"loop lag, {threads} threads", [lag])


def measure(run: Run) -> None:
    """First what the peer costs the host, then what the host costs the peer."""
    seconds = run.pick(2.0, 0.5)
    with crew(be_other, [(None,)]) as (seed,), crew(be_alone, [()]) as (alone,):
        address = seed.hear()
        with crew(be_other, [(address,)] * OTHERS) as others, crew(be_host, [(address,)]) as (host,):
            for other in others:
                other.hear()
            id = host.hear()
            embedded = partial(with_changes, host, others[0], seconds)
            cases = [
                Case("host alone", lambda: [alone.ask(("compute", seconds))], None, "1/s", more=True),
                Case(f"host with a peer, {CHANGES_PER_S} changes/s", embedded, "host alone", "1/s", more=True),
            ]
            run.interleave(cases, rounds=run.pick(10, 2))
            for round in range(run.pick(4, 1)):
                for threads in THREADS:
                    seen_under_load(run, host, others[1], threads, run.pick(30, 5), round)
            for other in others:
                said = other.ask(("suspicions", id))
                run.check(not said, f"a host that only computes was suspected: {said}")
