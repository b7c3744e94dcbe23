"""The launcher and the demonstration as programs: what they end with, and that they leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from nodes.launch import Launcher, WorkerEnded, WorkerError, until

from .conftest import DEADLINE_S

Run = Callable[..., "subprocess.Popen[str]"]


def gone(pid: int) -> bool:
    """Whether a process is over; one that only waits to be reaped is."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def pids_when_up(program: subprocess.Popen[str]) -> list[int]:
    """Read until the launcher tells the pids of its processes."""
    assert program.stdout is not None
    told = []
    for line in program.stdout:
        told.append(line)
        if "Processes:" in line:
            return [int(pid) for pid in re.findall(r" (\d+)(?:,|$)", line.rpartition("Processes:")[2].rstrip())]
    raise AssertionError(f"it never came up: {told}")


def own_cluster() -> list[str]:
    """Options of a launcher that keep it apart from whoever else runs on this machine."""
    return ["--seed-mode", "seeds", "--cluster", f"test-{uuid.uuid4().hex}"]


@pytest.fixture
def launcher(run_python: Run) -> subprocess.Popen[str]:
    """`nodes/launch.py` with three peers of a cluster of their own."""
    return run_python("nodes/launch.py", "--peers", "3", "--service", "orders:2", *own_cluster())


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_launcher_and_all_its_processes(launcher: subprocess.Popen[str], ending: signal.Signals) -> None:
    pids = pids_when_up(launcher)
    launcher.send_signal(ending)
    rest, _ = launcher.communicate(timeout=DEADLINE_S)
    assert (launcher.returncode, len(pids)) == (0, 3)
    assert "0 left running" in rest.splitlines()[-1]
    assert all(gone(pid) for pid in pids)


def test_no_process_outlives_a_launcher_that_is_killed_not_even_a_stopped_one(launcher: subprocess.Popen[str]) -> None:
    pids = pids_when_up(launcher)
    os.kill(pids[0], signal.SIGSTOP)
    launcher.kill()
    launcher.communicate(timeout=DEADLINE_S)
    until(lambda: all(gone(pid) for pid in pids), DEADLINE_S, f"the end of {pids}")


@pytest.mark.parametrize("lines", [1, 5])
def test_a_launcher_that_is_ended_while_it_starts_leaves_nothing(launcher: subprocess.Popen[str], lines: int) -> None:
    assert launcher.stdout is not None
    told = [launcher.stdout.readline() for _ in range(lines)]
    launcher.terminate()
    rest, _ = launcher.communicate(timeout=DEADLINE_S)
    assert launcher.returncode == 0, (told, rest)
    assert "0 left running" in rest.splitlines()[-1]


def test_a_process_that_dies_is_told_and_started_anew_if_wished(run_python: Run) -> None:
    program = run_python("nodes/launch.py", "--peers", "2", "--restart", "--quiet", *own_cluster())
    pids = pids_when_up(program)
    os.kill(pids[1], signal.SIGKILL)
    assert program.stdout is not None
    assert f"peer-2 (pid {pids[1]}) died: killed by SIGKILL" in program.stdout.readline()
    assert "peer-2 is up" in program.stdout.readline()
    program.terminate()
    rest, _ = program.communicate(timeout=DEADLINE_S)
    assert "1 ended before, 1 restarted, 0 left running" in rest


def test_the_demonstration_observes_all_it_shows(run_python: Run, own_network: Sequence[str]) -> None:
    program = run_python("nodes/demo.py", prefix=own_network)
    shown, _ = program.communicate(timeout=2 * DEADLINE_S)
    assert program.returncode == 0, shown
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "\x1b" not in shown
    steps = re.findall(r"^\d+\. .*$", shown, re.MULTILINE)
    assert (len(steps), shown.count("✓"), shown.count("✗")) == (11, 11, 0)


def test_an_interrupted_demonstration_fails_and_leaves_nothing(run_python: Run, own_network: Sequence[str]) -> None:
    program = run_python("nodes/demo.py", prefix=own_network)
    assert program.stdout is not None
    while "pid" not in (line := program.stdout.readline()):
        assert line, "it ended before it began"
    program.send_signal(signal.SIGINT)
    shown, _ = program.communicate(timeout=DEADLINE_S)
    assert program.returncode == 1
    assert "✗ interrupted" in shown
    assert gone(int(line.split("pid")[1].split()[0]))


def test_a_worker_answers_with_what_its_peer_raised(launch: Callable[..., Launcher]) -> None:
    worker = launch().peer("one", seeds=[])
    with pytest.raises(WorkerError, match="no service 'orders' is known here") as refused:
        worker.call("pick", service="orders")
    assert refused.value.kind == "NoInstances"
    with pytest.raises(WorkerError, match="known are"):
        worker.call("fly")
    with pytest.raises(WorkerError, match="0 of 1 instances of 'orders' are known here"):
        worker.call("wait_for", service="orders", timeout=0.01)


def test_a_call_to_a_process_that_dies_fails_at_once(launch: Callable[..., Launcher]) -> None:
    worker = launch().peer("one", seeds=[])
    waiting = worker.ask("wait_for", service="orders", timeout=600)
    worker.kill9()
    with pytest.raises(WorkerEnded, match="killed by SIGKILL"):
        waiting.result(DEADLINE_S)
    with pytest.raises(WorkerEnded):
        worker.call("members")


def test_a_worker_that_waits_ends_when_its_stdin_closes(launch: Callable[..., Launcher]) -> None:
    worker = launch().peer("one", seeds=[])
    worker.ask("wait_for", service="orders", timeout=600)
    worker.close_input()
    assert worker.wait() == 0
