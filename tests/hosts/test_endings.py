"""However a process with a peer ends: it does not hang, and others learn of it, as of a leave or as of a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gossip import EventKind

from .conftest import DEADLINE_S, Host, Observer, eventually, recipe

SERVICE = recipe("A process of your own")

PROGRAM = """
import os, sys, threading, time
from gossip import Peer

def told_to():
    print("ready", flush=True)
    sys.stdin.readline()

def fails():
    raise SystemError("mine")

"""

LEAVES = {
    "end-of-block": ("with Peer.from_env() as peer: peer.register('orders', port=1); told_to()", 0),
    "sys.exit": ("with Peer.from_env() as peer: peer.register('orders', port=1); told_to(); sys.exit(3)", 3),
    "exception": ("with Peer.from_env() as peer: peer.register('orders', port=1); told_to(); fails()", 1),
    "atexit": (
        "import atexit; peer = Peer.from_env().start(); atexit.register(peer.close); peer.register('orders', port=1); told_to()",
        0,
    ),
}
CRASHES = {
    "os._exit": ("with Peer.from_env() as peer: peer.register('orders', port=1); told_to(); os._exit(4)", 4),
    "without-close": ("peer = Peer.from_env().start(); peer.register('orders', port=1); told_to()", 0),
    "without-close-by-exception": ("peer = Peer.from_env().start(); peer.register('orders', port=1); told_to(); fails()", 1),
}

Run = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Iterator[Run]:
    """Starts a program, and returns when it is ready; it goes on when it is told a line."""
    started: list[subprocess.Popen[str]] = []

    def start(source: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM + source]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        assert started[-1].stdout is not None
        assert started[-1].stdout.readline() == "ready\n", started[-1].communicate(timeout=DEADLINE_S)
        return started[-1]

    yield start
    for program in started:
        program.kill()
        program.communicate(timeout=DEADLINE_S)


def ended(program: subprocess.Popen[str], observer: Observer, kind: EventKind) -> int:
    """The exit code of a program that was told to go on, and whose end the observer has seen as this kind of event."""
    program.communicate("\n", timeout=DEADLINE_S)
    observer.sees(instances=0, members=0)
    assert [event.kind for event in observer.events(EventKind.MEMBER_LEFT, EventKind.MEMBER_DEAD)] == [kind]
    return program.returncode


@pytest.mark.parametrize(("source", "code"), LEAVES.values(), ids=LEAVES)
def test_an_end_that_closes_the_peer_is_a_leave(run: Run, observer: Observer, source: str, code: int) -> None:
    program = run(source)
    observer.sees(instances=1, members=1)
    assert ended(program, observer, EventKind.MEMBER_LEFT) == code


@pytest.mark.parametrize(("source", "code"), CRASHES.values(), ids=CRASHES)
def test_an_end_that_does_not_is_a_crash_to_others(run: Run, observer: Observer, source: str, code: int) -> None:
    program = run(source)
    observer.sees(instances=1, members=1)
    assert ended(program, observer, EventKind.MEMBER_DEAD) == code


def test_an_exception_in_another_thread_ends_nothing(run: Run, observer: Observer) -> None:
    program = run(
        "with Peer.from_env() as peer:\n"
        "    other = threading.Thread(target=fails)\n"
        "    other.start()\n"
        "    other.join()\n"
        "    peer.register('orders', port=1)\n"
        "    told_to()\n"
    )
    observer.sees(instances=1, members=1)
    assert ended(program, observer, EventKind.MEMBER_LEFT) == 0


def test_sigterm_without_a_handler_is_a_crash_to_others(run: Run, observer: Observer) -> None:
    program = run("with Peer.from_env() as peer: peer.register('orders', port=1); told_to()")
    observer.sees(instances=1, members=1)
    program.terminate()
    assert program.wait(DEADLINE_S) == -signal.SIGTERM
    observer.sees(instances=0, members=0)
    assert len(observer.events(EventKind.MEMBER_DEAD)) == 1


# the recipe -----------------------------------------------------------------------------------------------------------


def test_sigterm_with_the_handler_shown_is_a_leave(host: Callable[..., Host], observer: Observer) -> None:
    running = host(SERVICE, *SERVICE.lines)
    (instance,) = observer.sees(instances=1, members=1)
    with urllib.request.urlopen(f"http://{instance.address}/", timeout=DEADLINE_S) as response:
        assert response.status == 200
    assert running.stop() == 0
    observer.sees(instances=0, members=0)
    assert observer.events(EventKind.MEMBER_DEAD) == []


def test_the_service_shown_is_back_after_a_kill_and_a_restart(host: Callable[..., Host], observer: Observer) -> None:
    running = host(SERVICE, *SERVICE.lines)
    first = observer.sees(instances=1, members=1)
    os.kill(running.process.pid, signal.SIGKILL)
    assert running.ends() == -signal.SIGKILL
    observer.sees(instances=0, members=0)
    host(SERVICE, *SERVICE.lines)
    second = observer.sees(instances=1, members=1)
    assert [one.key for one in first] == [one.key for one in second]


# busy hosts -----------------------------------------------------------------------------------------------------------

BUSY = """
import json

def burn():
    number = 0
    while True:
        number += 1

with Peer.from_env(name=f"busy-{os.getpid()}") as peer:
    peer.register("orders", id=str(os.getpid()), port=1)
    watch = peer.watch()
    told_to()
    peer.wait_for("payments", timeout=30)
    peer.wait_for("orders", 2, timeout=30)
    for _ in range(4):
        threading.Thread(target=burn, daemon=True).start()
    took, until = [], time.monotonic() + 6
    while time.monotonic() < until:
        at = time.perf_counter()
        assert len(peer.lookup("payments")) == 1 and peer.pick("orders")
        took.append(time.perf_counter() - at)
    events = []
    while event := watch.take():
        events.append(str(event.kind))
    took.sort()
    at = lambda share: took[int(share * (len(took) - 1))]
    print(json.dumps({"events": events, "n": len(took), "p50_us": at(0.5) * 1e6, "p999_us": at(0.999) * 1e6,
                      "max_ms": at(1) * 1e3, "lag_s": peer.status().loop_lag_s}))
"""


def test_nobody_alive_is_declared_dead_while_two_hosts_burn_cpu_in_four_threads_each(run: Run, observer: Observer) -> None:
    programs = [run(BUSY), run(BUSY)]
    observer.sees(instances=2, members=2)
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    told = []
    for program in programs:
        output, errors = program.communicate(timeout=2 * DEADLINE_S)
        assert program.returncode == 0, errors
        told.append(json.loads(output))
    print(told)
    eventually(lambda: len(observer.names(EventKind.MEMBER_LEFT)) == 2, "both goodbyes")
    assert observer.events(EventKind.MEMBER_DEAD) == []
    assert [one for one in told if "MEMBER_DEAD" in one["events"]] == []
