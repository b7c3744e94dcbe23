"""Servers whose workers share one port: several peers hold one instance, and it goes when the last of them does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from gossip import EventKind

from .conftest import PAYMENTS, Host, Observer, eventually, needed, pid_of, recipe

Start = Callable[..., Host]

GUNICORN = recipe("gunicorn")
INHERITED = recipe("gunicorn, with a peer inherited from the master")
UVICORN = recipe("uvicorn and FastAPI")
PLAIN, PRELOAD, GEVENT = GUNICORN.lines


def started(host: Start, observer: Observer, line: str) -> tuple[Host, int]:
    """The host, once all of its workers are seen, and how many they are."""
    program = line.split(maxsplit=1)[0]
    needed(program)
    needed({"gunicorn": "flask", "uvicorn": "fastapi"}[program])
    if line == GEVENT:
        needed("gevent")
    words = line.split()
    workers = int(words[words.index("--workers") + 1])
    running = host(GUNICORN if program == "gunicorn" else UVICORN, line)
    (instance,) = observer.sees(instances=1, members=workers)
    registered(observer, workers)
    assert instance.port == running.port
    return running, workers


def registered(observer: Observer, workers: int) -> None:
    """A worker is seen to join a moment before it is seen to register."""
    eventually(lambda: sum(member.instances > 0 for member in observer.peer.members()) == workers + 1, "the instance of each")


LINES = pytest.mark.parametrize("line", [PLAIN, PRELOAD, GEVENT, *UVICORN.lines], ids=lambda line: " ".join(line.split()[:3]))


@LINES
def test_workers_of_one_port_are_one_instance_that_outlives_each_of_them(host: Start, observer: Observer, line: str) -> None:
    running, workers = started(host, observer, line)
    eventually(lambda: running.get() == PAYMENTS, "the worker's own lookup, over HTTP")

    victim = min(observer.members())
    os.kill(pid_of(victim), signal.SIGKILL)
    eventually(lambda: victim in observer.names(EventKind.MEMBER_DEAD), f"the death of {victim}")
    observer.sees(instances=1, members=workers)  # another worker has come in its place
    assert victim not in observer.members()
    assert observer.events(EventKind.REMOVED) == []

    eventually(lambda: observer.peer.status().links == workers, "a link to each, over which it says goodbye")
    assert running.stop() == 0
    observer.sees(instances=0, members=0)
    assert observer.names(EventKind.MEMBER_DEAD) == [victim]  # all others said goodbye
    assert len(observer.names(EventKind.MEMBER_LEFT)) == workers


@pytest.mark.parametrize("line", [PLAIN, *UVICORN.lines], ids=lambda line: line.split()[0])
def test_the_instance_goes_with_the_last_worker_and_comes_back(host: Start, observer: Observer, line: str) -> None:
    running, workers = started(host, observer, line)
    eventually(lambda: observer.peer.status().links == workers, "a link to each, whose end proves a death")
    running.process.send_signal(signal.SIGSTOP)  # so that nobody is replaced meanwhile
    for worker in observer.members():
        os.kill(pid_of(worker), signal.SIGKILL)
    observer.sees(instances=0, members=0)
    running.process.send_signal(signal.SIGCONT)
    observer.sees(instances=1, members=workers)
    assert running.stop() == 0
    observer.sees(instances=0, members=0)


def test_a_peer_inherited_from_the_master_begins_anew_in_every_worker(host: Start, observer: Observer) -> None:
    needed("gunicorn")
    needed("flask")
    running = host(INHERITED, *INHERITED.lines)
    observer.sees(instances=1, members=5)
    registered(observer, 4)  # the master has none
    eventually(lambda: running.get() == PAYMENTS, "the worker's own lookup, over HTTP")
    victim = running.workers()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: len(observer.events(EventKind.MEMBER_DEAD)) == 1, f"the death of {victim}")
    observer.sees(instances=1, members=5)
    assert observer.events(EventKind.REMOVED) == []
    assert running.stop() == 0
    observer.sees(instances=0, members=0)
    assert len(observer.events(EventKind.MEMBER_DEAD)) == 1
    assert len(observer.events(EventKind.MEMBER_LEFT)) == 5
