"""Hosts whose processes have a peer each and share nothing: Flask's reloader, Celery, multiprocessing, pytest-xdist."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from gossip import EventKind

from .conftest import DEADLINE_S, PAYMENTS, Host, Observer, eventually, needed, pid_of, recipe

Start = Callable[..., Host]

REMEMBERS = recipe("A restart that remembers")
FLASK = recipe("Flask's development server")
CELERY = recipe("Celery")
WORKERS = recipe("multiprocessing")
POOL = recipe("A pool of processes")
XDIST = recipe("pytest-xdist")


# a process that remembers ---------------------------------------------------------------------------------------------


def test_a_restart_with_a_snapshot_is_the_same_member(host: Start, observer: Observer) -> None:
    def id_of_it() -> str:
        observer.sees(instances=1, members=1)
        (id,) = {member.id for member in observer.peer.members()} - {observer.peer.id}
        return id

    first = host(REMEMBERS, *REMEMBERS.lines)
    before = id_of_it()
    assert first.stop() == 0
    observer.sees(instances=0, members=0)
    host(REMEMBERS, *REMEMBERS.lines)
    assert id_of_it() == before
    assert sorted(path.name for path in first.folder.glob("orders.gossip*")) == ["orders.gossip", "orders.gossip.lock"]


# Flask ----------------------------------------------------------------------------------------------------------------


def test_only_the_reloaders_child_registers_and_a_changed_file_starts_another(host: Start, observer: Observer) -> None:
    needed("flask")
    running = host(FLASK, *FLASK.lines)
    observer.sees(instances=1, members=1)
    (first,) = observer.members()
    assert pid_of(first) != running.process.pid
    eventually(lambda: _answers(running), "an answer over HTTP")

    os.utime(running.folder / "app.py")
    eventually(lambda: first in observer.names(EventKind.MEMBER_LEFT), "the goodbye of the child")
    observer.sees(instances=1, members=1)
    assert observer.members() != {first}
    eventually(lambda: _answers(running), "an answer over HTTP")

    os.killpg(running.process.pid, signal.SIGINT)  # what Ctrl-C in a terminal does
    running.ends()
    observer.sees(instances=0, members=0)
    assert observer.events(EventKind.MEMBER_DEAD) == []


def test_without_its_child_the_reloader_ends(host: Start, observer: Observer) -> None:
    needed("flask")
    running = host(FLASK, *FLASK.lines)
    observer.sees(instances=1, members=1)
    (child,) = observer.members()
    os.kill(pid_of(child), signal.SIGKILL)
    assert running.ends() != 0
    observer.sees(instances=0, members=0)


def test_sigterm_to_the_reloader_is_the_death_of_its_child(host: Start, observer: Observer) -> None:
    needed("flask")
    running = host(FLASK, *FLASK.lines)
    observer.sees(instances=1, members=1)
    eventually(lambda: _answers(running), "an answer over HTTP")
    assert running.stop() == 0
    observer.sees(instances=0, members=0)
    assert len(observer.events(EventKind.MEMBER_DEAD)) == 1


def _answers(running: Host) -> bool:
    """Whether the service does; a development server registers before it listens."""
    try:
        return bool(running.get() == PAYMENTS)
    except OSError:
        return False


# Celery ---------------------------------------------------------------------------------------------------------------

ASK = """
import sys, tasks
print(tasks.charge.delay(int(sys.argv[1])).get(timeout=20, interval=0.05))
"""

# Killed in the midst of a task: an idle process may hold the lock of the queue, which billiard's pool cannot get back.
FATAL = """
import os, signal
from tasks import app

@app.task
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""


def charge(running: Host, environment: dict[str, str], amount: int) -> str:
    """What a task answers to another process."""
    command = [sys.executable, "-c", ASK, str(amount)]
    done = subprocess.run(
        command, cwd=running.folder, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr + running.output
    return done.stdout.strip()


def test_every_process_of_celery_that_runs_tasks_has_a_peer(
    host: Start, observer: Observer, environment: dict[str, str], tmp_path: Path
) -> None:
    needed("celery")
    (tmp_path / "fatal.py").write_text(FATAL, encoding="utf-8")
    *before, server = CELERY.lines
    running = host(CELERY, *before, f"{server} --include fatal")
    observer.sees(instances=0, members=2)
    assert running.process.pid not in map(pid_of, observer.members())
    assert charge(running, environment, 5) == "5 by 127.0.0.1:9"

    told = [sys.executable, "-c", "import fatal; fatal.die.delay()"]
    subprocess.run(told, cwd=running.folder, env=environment, timeout=DEADLINE_S, check=True)
    (victim,) = eventually(lambda: observer.names(EventKind.MEMBER_DEAD), "a death")
    observer.sees(instances=0, members=2)
    assert charge(running, environment, 7) == "7 by 127.0.0.1:9"

    assert running.stop() == 0
    observer.sees(instances=0, members=0)
    assert observer.names(EventKind.MEMBER_DEAD) == [victim]


# multiprocessing ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", WORKERS.lines, ids=lambda line: line.split()[-1])
def test_each_process_is_an_instance_of_its_own(host: Start, observer: Observer, line: str) -> None:
    running = host(WORKERS, line)
    found = observer.sees(instances=2, members=2)
    for instance in found:
        with urllib.request.urlopen(f"http://{instance.address}/", timeout=DEADLINE_S) as response:
            assert response.status == 200

    victim = min(observer.members())
    os.kill(pid_of(victim), signal.SIGKILL)
    (left,) = observer.sees(instances=1, members=1)
    assert left in found
    assert running.stop() == 0
    observer.sees(instances=0, members=0)
    assert observer.names(EventKind.MEMBER_DEAD) == [victim]


def test_each_process_of_a_pool_has_a_peer_that_says_goodbye(host: Start, observer: Observer) -> None:
    running = host(POOL, *POOL.lines)
    assert running.ends() == 0, running.output
    assert eval(running.output) == [f"{amount} by {PAYMENTS[0]}" for amount in range(4)]
    observer.sees(instances=0, members=0)
    assert len(observer.names(EventKind.MEMBER_LEFT)) == 2
    assert observer.events(EventKind.MEMBER_DEAD) == []


# pytest-xdist ---------------------------------------------------------------------------------------------------------


def test_workers_of_xdist_do_not_see_each_other(host: Start, tmp_path: Path, environment: dict[str, str]) -> None:
    needed("xdist")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (line,) = XDIST.lines
    running = host(XDIST, f"{line} -p no:cacheprovider -v")
    assert running.ends() == 0, running.output
    assert re.search(r"\b5 passed\b", running.output)
    assert set(re.findall(r"\[(gw\d)\]", running.output)) == {"gw0", "gw1"}
