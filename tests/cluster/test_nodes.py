"""The launcher and the demonstration as programs: what they end with, and that they leave nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nodes.launch import Cluster, Launcher, Told, Worker, WorkerEnded, WorkerError, until
from nodes.plan import Part, Plan, PlanError, from_file, from_flags

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


def test_a_launcher_comes_up_beside_members_and_instances_that_are_not_its_own(
    launch: Callable[..., Launcher], capsys: pytest.CaptureFixture[str]
) -> None:
    strangers = launch(signing_key=None)
    stranger = strangers.peer("stranger")
    stranger.call("register", service="orders", port=9)
    peer = {"seeds": [stranger.address]}
    parts = (Part("peer-1", peer, ({"service": "orders", "port": 8001},)), Part("peer-2", peer))
    assert Cluster(Plan(parts, strangers.cluster, "seeds", seconds=0.0)).run() == 0
    shown = capsys.readouterr().out
    assert "stranger" in shown
    assert "all see all" in shown


def test_a_launcher_whose_peers_do_not_see_each_other_in_time_says_what_each_sees(capsys: pytest.CaptureFixture[str]) -> None:
    parts = tuple(Part(f"peer-{number}", {"seeds": []}) for number in (1, 2))
    assert Cluster(Plan(parts, f"test-{uuid.uuid4().hex}", "seeds", agree_within=0.3)).run() == 1
    shown = capsys.readouterr().out
    assert re.search(r"failed: not within 0\.3 s: equal views: peer-1 sees the members \['peer-1-\w+'\], not \[.*peer-2", shown)
    assert "--agree-within" in shown


def test_a_process_killed_before_all_see_all_does_not_end_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    agree = Launcher.agree

    def killed_meanwhile(launcher: Launcher, workers: Sequence[Worker], *rest: Any, **options: Any) -> Told:
        os.kill(workers[1].pid, signal.SIGKILL)
        workers[1].wait(DEADLINE_S)
        return agree(launcher, workers, *rest, **options)

    monkeypatch.setattr(Launcher, "agree", killed_meanwhile)
    plan = from_flags(3, [("orders", 1)], []).but(cluster=f"test-{uuid.uuid4().hex}", seed_mode="seeds", seconds=1.0, quiet=True)
    assert Cluster(plan).run() == 0
    shown = capsys.readouterr().out
    assert re.search(r"not all see all: peer-2: .*killed by SIGKILL", shown)
    assert re.search(r"peer-2 \(pid \d+\) died: killed by SIGKILL", shown)
    assert "1 ended before, 0 restarted, 0 left running" in shown


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


# plans ----------------------------------------------------------------------------------------------------------------

Describe = Callable[[str], str]


@pytest.fixture
def described(tmp_path: Path) -> Describe:
    """Writes a TOML file; returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "cluster.toml"
        path.write_text(text)
        return str(path)

    return write


def test_the_example_comes_up_serves_and_ends_and_flags_override_it(run_python: Run) -> None:
    own = own_cluster()
    program = run_python("nodes/launch.py", "nodes/example.toml", "--quiet", "--no-restart", *own)
    assert program.stdout is not None
    told = [program.stdout.readline()]
    while "Processes:" not in told[-1]:
        assert told[-1], told
        told.append(program.stdout.readline())
    assert "orders ×3, payments ×2, refunds ×2, database ×1" in told[-1]
    contact = next(line.split()[-1] for line in told if "orders-1 is up" in line)
    consumer = run_python("nodes/consumer.py", "orders", "--requests", "30", "--seed", contact, *own[2:])
    shown, _ = consumer.communicate(timeout=DEADLINE_S)
    assert consumer.returncode == 0, shown
    assert re.findall(r"orders-. +(\d+) answered +0 failed", shown) == ["10", "10", "10"]
    pids = [int(pid) for pid in re.findall(r" (\d+)(?:,|$)", told[-1].rpartition("Processes:")[2].rstrip())]
    os.kill(pids[0], signal.SIGKILL)
    assert "orders-1" in program.stdout.readline()
    program.terminate()
    rest, _ = program.communicate(timeout=DEADLINE_S)
    assert (program.returncode, len(pids)) == (0, 7)
    assert "1 ended before, 0 restarted, 0 left running" in rest  # the file says restart
    assert all(gone(pid) for pid in pids)


def test_a_served_instance_that_dies_comes_back_under_its_id(run_python: Run, described: Describe) -> None:
    path = described("restart = true\n[[peer]]\nname = 'b'\n" + A + "serve = true\n[[peer.instance]]\nservice = 'orders'\n")
    program = run_python("nodes/launch.py", path, *own_cluster())
    pids = pids_when_up(program)
    os.kill(pids[1], signal.SIGKILL)
    assert program.stdout is not None
    told = [program.stdout.readline()]
    while told[-1].split()[1:4] != ["b", "ADDED", "orders/a"]:
        assert told[-1], told
        told.append(program.stdout.readline())
    assert ["b", "REMOVED", "orders/a"] in [line.split()[1:4] for line in told]


def test_a_plan_counts_names_ids_and_ports_up(described: Describe) -> None:
    plan = from_file(
        described("""
        cluster = "shop"
        [[peer]]
        name = "orders"
        count = 2
        zone = "a"
        preset = "wan"
        seeds = ["127.0.0.1:7400"]
        instance = [
            { service = "orders", port = 9000, weight = 3, labels = { version = "2" }, routes = ["/orders"] },
            { service = "refunds", id = "r" },
        ]
        [[peer]]
        name = "web"
        serve = true
        instance = [{ service = "web" }, { service = "api", port = 9000 }]
        """)
    )
    peer = {"zone": "a", "preset": "wan", "seeds": ["127.0.0.1:7400"]}
    orders = {"service": "orders", "weight": 3, "labels": {"version": "2"}, "routes": ["/orders"]}
    assert plan.parts == (
        Part("orders-1", peer, ({**orders, "port": 9000}, {"service": "refunds", "id": "r-1", "port": 8002})),
        Part("orders-2", peer, ({**orders, "port": 9001}, {"service": "refunds", "id": "r-2", "port": 8004})),
        Part("web", {}, ({"service": "web", "id": "web", "port": 0}, {"service": "api", "id": "web", "port": 9000}), serve=True),
    )
    assert plan.counts == {"orders": 2, "refunds": 2, "web": 1, "api": 1}
    assert (plan.cluster, plan.seed_mode, plan.seconds, plan.restart, plan.quiet) == ("shop", "zero", None, False, False)


def test_flags_override_a_plan_and_what_is_not_given_does_not() -> None:
    plan = Plan((Part("a"),), cluster="shop", restart=True, seconds=3.0)
    changed = plan.but(cluster="test", restart=False, seconds=None, quiet=None)
    assert (changed.cluster, changed.restart, changed.seconds, changed.quiet) == ("test", False, 3.0, False)


A = '[[peer]]\nname = "a"\n'
OF_A = A + "[[peer.instance]]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "peer: missing. Add it"),
        ("peer = []", "peer: 0 peers are described. Describe 1 to 200"),
        ("peers = 3", "peers: no such key here. Did you mean 'peer'?"),
        ("[peer]\nname = 'a'", "peer: {'name': 'a'} is not a table in double brackets"),
        ("peer = [1", "is not TOML: "),
        ("[[peer]]\ncount = 2", "[[peer]] number 1: name: missing"),
        (A + "coutn = 2", "[[peer]] number 1: coutn: no such key here. Did you mean 'count'?"),
        (A + "weight = 2", "[[peer]] number 1: weight: no such key here. 'weight' belongs into [[peer.instance]]."),
        (A + "restart = true", "[[peer]] number 1: restart: no such key here. 'restart' belongs above the first [[peer]]."),
        (A + "count = 0", "[[peer]] number 1: count: 0 is not a whole number from 1 to 200"),
        (A + "count = true", "[[peer]] number 1: count: True is not a whole number from 1 to 200"),
        (A + "preset = 'fast'", "[[peer]] number 1: preset: 'fast' is not one of 'local', 'lan', 'wan'"),
        (A + "count = 2\nbind = '127.0.0.1:7410'", "[[peer]] number 1 (a): bind: 2 peers cannot share one"),
        (A + "serve = true", "[[peer]] number 1 (a): serve: there is nothing to serve"),
        (A + "bind = 'nowhere'", "peer 'a': bind: "),
        (A + "zone = 'a b'", "peer 'a': zone="),
        (A + A, "name: two peers are called 'a'"),
        (OF_A + "port = 1", "[[peer]] number 1 (a), [[peer.instance]] number 1: service: missing"),
        (
            OF_A + "service = 'x'\nport = '1'",
            "[[peer]] number 1 (a), [[peer.instance]] number 1: port: '1' is not a whole number",
        ),
        (OF_A + "service = 'x'\nlabels = { v = 2 }", "[[peer.instance]] number 1: labels: {'v': 2} is not a table of texts"),
        (OF_A + "service = 'x'\nport = 0", "peer 'a': cannot register 'x': port 0 is not an int from 1 to 65535"),
        (OF_A + "service = 'x'\nweight = 101", "peer 'a': cannot register 'x': weight 101 is not an int from 1 to 100"),
        (OF_A + "service = 'x'\nroutes = ['orders']", "peer 'a': cannot register 'x': the route 'orders' is not a path"),
        (OF_A + "service = 'x'\nport = 1\n[[peer.instance]]\nservice = 'x'\nport = 1", "'x' has two instances '127.0.0.1:1'"),
    ],
)
def test_a_plan_that_cannot_be_started_is_refused_with_file_key_and_advice(text: str, message: str, described: Describe) -> None:
    path = described(text)
    with pytest.raises(PlanError) as refused:
        from_file(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert message in str(refused.value)


def test_a_file_that_cannot_be_read_and_a_python_without_toml_are_told(
    described: Describe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        from_file(str(tmp_path / "none.toml"))
    monkeypatch.setitem(sys.modules, "tomllib", None)
    monkeypatch.setitem(sys.modules, "tomli", None)
    with pytest.raises(PlanError, match="pip install tomli"):
        from_file(described(A))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nodes/example.toml", "--peers", "3"], 2, "leave --peers, --service and --route out, or the file"),
        (["none.toml"], 1, "nodes/launch.py: error: none.toml: cannot be read"),
        (["--route", "orders=/orders"], 2, "--route of a service that is not started: orders"),
    ],
)
def test_the_launcher_refuses_what_it_cannot_start(run_python: Run, arguments: list[str], code: int, message: str) -> None:
    program = run_python("nodes/launch.py", *arguments)
    shown, _ = program.communicate(timeout=DEADLINE_S)
    assert (program.returncode, message in shown) == (code, True), shown
