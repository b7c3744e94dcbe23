"""The commands that ask, as a user meets them: text, JSON, exit codes, signals; against real peers."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gossip import Peer
from gossip.cli.main import main
from gossip.core.messages import Entries
from gossip.core.observer import ObserverNode
from nodes.launch import Launcher, ask_all

ROOT = Path(__file__).parents[1]
DEADLINE_S = 30.0
GOSSIP = [sys.executable, "-W", "error", "-m", "gossip.cli.main"]
ASKING = {  # each command, with arguments for which there is something to be found
    "members": [],
    "services": [],
    "lookup": ["orders"],
    "pick": ["orders"],
    "route": ["/orders/42"],
    "locate": ["orders", "user:42"],
    "watch": ["orders", "--initial", "--count", "1"],
    "why": ["orders-1"],
}
INSTANCE = set("service id host port weight labels routes zone origin state".split())
MEMBER = set("id name address zone state incarnation version instances".split())
EVENT = set("seq at kind service before after reason".split())
FIELDS = {"members": MEMBER, "services": {"service", "instances", "up"}, "watch": EVENT, "why": EVENT}


class Town:
    """Three peers that all tests of this file ask."""

    def __init__(self, stack: ExitStack) -> None:
        self.cluster = f"test-ask-{uuid.uuid4().hex}"
        self.peers: list[Peer] = []
        for name, zone in (("orders-1", "eu-1"), ("orders-2", "eu-2"), ("orders-3", "eu-2")):
            seeds = [peer.address for peer in self.peers[:1]]
            self.peers.append(stack.enter_context(Peer(name, cluster=self.cluster, bind="127.0.0.1:0", seeds=seeds, zone=zone)))
        first, second, third = self.peers
        first.register("orders", host="10.0.0.5", port=8080, id="orders-1", weight=3, labels={"version": "2"}, routes=["/orders"])
        second.register("orders", port=8081, id="orders-2", routes=["/orders"])
        third.register("orders", port=8082, id="orders-3", routes=["/orders/refunds"]).drain()
        for number, peer in enumerate(self.peers):
            peer.register("sessions", port=9000 + number, id=f"sessions-{number}")
        for peer in self.peers:
            peer.wait_for("sessions", 3, DEADLINE_S)
            until(lambda peer=peer: len(peer.lookup("orders", include_draining=True)) == 3, "all of orders")
            until(lambda peer=peer: len(peer.lookup("orders")) == 2, "the drain")

    @property
    def seed(self) -> str:
        return self.peers[0].address


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with ExitStack() as stack:
        yield Town(stack)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, town: Town) -> pytest.MonkeyPatch:
    """No `GOSSIP_*` but whom to ask, and those of the test."""
    for variable in [name for name in os.environ if name.startswith("GOSSIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GOSSIP_CLUSTER", town.cluster)
    monkeypatch.setenv("GOSSIP_SEEDS", town.seed)
    return monkeypatch


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """The command in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """The command in a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        command = [*GOSSIP, *arguments]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()
        process.wait()


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.005)
    return value


def heads_and_rows(shown: str) -> tuple[list[str], list[list[str]]]:
    heads, *rows = [line.split() for line in shown.splitlines()]
    return heads, rows


# what is found --------------------------------------------------------------------------------------------------------


def test_members_are_a_table_of_all_peers_and_of_no_observer(ask: Ask, town: Town) -> None:
    code, shown, errors = ask("members")
    heads, rows = heads_and_rows(shown)
    assert (code, errors) == (0, "")
    assert heads == ["ID", "ADDRESS", "STATE", "ZONE", "INSTANCES"]
    wanted = [[m.id, m.address, "ALIVE", m.zone, str(m.instances)] for m in town.peers[0].members()]
    assert rows == wanted
    assert len(rows) == 3


def test_services_count_instances_and_those_that_are_up(ask: Ask) -> None:
    code, shown, errors = ask("services")
    assert (code, errors) == (0, "")
    assert heads_and_rows(shown) == (["SERVICE", "INSTANCES", "UP"], [["orders", "3", "2"], ["sessions", "3", "3"]])


def test_lookup_shows_only_columns_in_which_something_stands(ask: Ask) -> None:
    heads, rows = heads_and_rows(ask("lookup", "orders")[1])
    assert heads == ["ID", "ADDRESS", "WEIGHT", "STATE", "ZONE", "ROUTES", "LABELS"]
    assert rows[0] == ["orders-1", "10.0.0.5:8080", "3", "UP", "eu-1", "/orders", "version=2"]
    heads, rows = heads_and_rows(ask("lookup", "sessions")[1])
    assert heads == ["ID", "ADDRESS", "WEIGHT", "STATE", "ZONE"]
    assert [row[0] for row in rows] == ["sessions-0", "sessions-1", "sessions-2"]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], ["orders-1", "orders-2"]),
        (["--all"], ["orders-1", "orders-2", "orders-3"]),
        (["--label", "version=2"], ["orders-1"]),
        (["--zone", "eu-2"], ["orders-2"]),
        (["--zone", "eu-2", "--all"], ["orders-2", "orders-3"]),
    ],
)
def test_lookup_filters(arguments: list[str], found: list[str], ask: Ask) -> None:
    code, shown, _ = ask("lookup", "orders", *arguments, "-o", "json")
    assert (code, [one["id"] for one in json.loads(shown)]) == (0, found)


@pytest.mark.parametrize(
    ("arguments", "address"),
    [
        (["--zone", "eu-1"], "10.0.0.5:8080"),
        (["--near", "eu-1"], "10.0.0.5:8080"),
        (["--near", "nowhere", "--exclude", "orders-1"], "127.0.0.1:8081"),
        (["--label", "version=2", "--strategy", "uniform"], "10.0.0.5:8080"),
        (["--exclude", "orders-1", "--strategy", "round_robin"], "127.0.0.1:8081"),
    ],
)
@pytest.mark.parametrize("question", [("pick", "orders"), ("route", "/orders/42/items?a=b")])
def test_pick_and_route_print_a_bare_address(question: tuple[str, str], arguments: list[str], address: str, ask: Ask) -> None:
    assert ask(*question, *arguments) == (0, f"{address}\n", "")


def test_locate_prints_the_owner_and_its_stand_ins(ask: Ask, town: Town) -> None:
    wanted = [one.address for one in town.peers[1].preference_list("sessions", "user:42", 3)]
    assert ask("locate", "sessions", "user:42") == (0, f"{wanted[0]}\n", "")
    assert ask("locate", "sessions", "user:42", "-n", "9") == (0, "".join(f"{one}\n" for one in wanted), "")


def test_why_tells_who_remembers_what(ask: Ask, town: Town) -> None:
    code, shown, errors = ask("why", "orders-3")
    first, *events = shown.splitlines()
    assert (code, errors, first) == (0, "", f"as {town.peers[0].id} remembers it:")
    assert [line.split()[1] for line in events][-2:] == ["ADDED", "CHANGED"] or "MEMBER_JOINED" in shown
    assert "orders/orders-3 at 127.0.0.1:8082" in shown
    assert town.peers[2].id in shown
    assert "DRAINING" in events[-1] or "sessions" in events[-1]


@pytest.mark.parametrize("command", ASKING)
def test_json_of_each_has_the_documented_fields(command: str, ask: Ask) -> None:
    code, shown, errors = ask(command, *ASKING[command], "-o", "json")
    assert (code, errors, len(shown.splitlines())) == (0, "", 1)
    told = json.loads(shown)
    records = told if isinstance(told, list) else [told]
    assert records
    for record in records:
        assert set(record) == FIELDS.get(command, INSTANCE)
    assert isinstance(told, list) == (command not in ("pick", "route", "watch"))


def test_json_of_an_instance_is_what_a_peer_holds(ask: Ask, town: Town) -> None:
    (told,) = json.loads(ask("lookup", "orders", "--label", "version=2", "-o", "json")[1])
    told |= {"labels": tuple(told["labels"].items()), "routes": tuple(told["routes"])}
    (held,) = town.peers[0].lookup("orders", labels={"version": "2"})
    assert told == {name: getattr(held, name) for name in INSTANCE} | {"labels": tuple(held.labels.items())}


# nothing is found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message", "empty"),
    [
        (["lookup", "order"], "Nearest known: 'orders'", "[]"),
        (["pick", "order"], "Nearest known: 'orders'", "null"),
        (["route", "/order"], "Nearest known: '/orders'", "null"),
        (["locate", "session", "key"], "Nearest known: 'sessions'", "[]"),
        (["lookup", "orders", "--zone", "nowhere"], "0 after zone", "[]"),
        (["lookup", "orders", "--label", "version=9"], "0 after labels", "[]"),
        (["pick", "orders", "--exclude", "orders-1", "--exclude", "orders-2"], "0 after exclude", "null"),
        (["why", "nobody"], "remembers nothing about 'nobody'", "[]"),
    ],
)
def test_nothing_found_is_3_and_one_line_on_stderr(arguments: list[str], message: str, empty: str, ask: Ask) -> None:
    code, shown, errors = ask(*arguments)
    assert (code, shown, len(errors.splitlines())) == (3, "", 1)
    assert errors.startswith(f"gossip {arguments[0]}: ")
    assert message in errors
    code, shown, errors = ask(*arguments, "-o", "json")
    assert (code, shown, message in errors) == (3, f"{empty}\n", True)


def test_a_cluster_without_services_is_3(ask: Ask) -> None:
    with Peer("idle", cluster="test-ask-idle", bind="127.0.0.1:0", seeds=[]) as idle:
        whom = ["--cluster", "test-ask-idle", "--seeds", idle.address]
        code, shown, errors = ask("services", *whom)
        assert (code, shown, "no service" in errors) == (3, "", True)
        assert ask("lookup", "orders", *whom)[0] == 3
        assert ask("members", *whom)[0] == 0
        assert ask("services", *whom, "-o", "json")[:2] == (3, "[]\n")


@pytest.mark.parametrize("command", ASKING)
def test_nobody_there_is_1_and_one_line_that_says_where_it_looked(
    command: str, ask: Ask, environment: pytest.MonkeyPatch
) -> None:
    code, shown, errors = ask(command, *ASKING[command], "--seeds", "127.0.0.1:1", "--timeout", "0.2")
    assert (code, shown, len(errors.splitlines())) == (1, "", 1)
    assert errors.startswith(f"gossip {command}: error: no peer of cluster ")
    assert "127.0.0.1:1" in errors
    assert re.search(r"\d\.\d s after the start", errors)


def test_another_cluster_is_1_and_told_as_such(ask: Ask) -> None:
    code, shown, errors = ask("members", "--cluster", "another-one", "--timeout", "1")
    assert (code, shown) == (1, "")
    assert "'another-one'" in errors
    assert "only peers of other clusters did" in errors


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["members", "extra"], 2, "unrecognized arguments"),
        (["lookup"], 2, "SERVICE"),
        (["locate", "orders"], 2, "KEY"),
        (["locate", "orders", "key", "-n", "0"], 2, "above 0"),
        (["pick", "orders", "--strategy", "best"], 2, "invalid choice"),
        (["watch", "--count", "-1"], 2, "above 0"),
        (["watch", "--seconds", "-1"], 2, "less than 0"),
        (["members", "--timeout", "-1"], 2, "less than 0"),
        (["members", "--timeout", "nan"], 2, "not a number of seconds"),
        (["lookup", "orders", "--label", "version"], 2, "not KEY=VALUE"),
        (["members", "-o", "xml"], 2, "invalid choice"),
        (["members", "--seeds", ""], 2, "needs somebody to observe"),
        (["members", "--seeds", "10.0.0.5:7400"], 1, "beyond this machine"),
        (["members", "--seeds", "somewhere"], 2, "--seeds: cannot use 'somewhere'"),
        (["members", "--cluster", "two words"], 2, "--cluster 'two words'"),
        (["pick", "orders", "--near", "two words"], 2, "pass another --near"),
    ],
)
def test_a_wrong_command_line_is_2_and_a_refusal_1(arguments: list[str], code: int, message: str, ask: Ask) -> None:
    ended, shown, errors = ask(*arguments)
    assert (ended, shown) == (code, "")
    assert message in errors
    assert "Traceback" not in errors


# whom to ask ----------------------------------------------------------------------------------------------------------


def test_seeds_may_be_repeated_and_joined_by_commas(ask: Ask, town: Town, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("GOSSIP_SEEDS")
    second, third = (peer.address for peer in town.peers[1:])
    for seeds in (["--seeds", second], ["--seeds", f"127.0.0.1:1,{second}"], ["--seeds", "127.0.0.1:1", "--seeds", third]):
        assert ask("pick", "orders", "--zone", "eu-1", *seeds) == (0, "10.0.0.5:8080\n", "")


def test_an_option_wins_over_the_environment(ask: Ask, town: Town, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_SEEDS", "127.0.0.1:1")
    environment.setenv("GOSSIP_CLUSTER", "another-one")
    assert ask("services", "--seeds", town.seed, "--cluster", town.cluster)[0] == 0


def test_the_environment_of_a_service_serves_its_commands_too(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    for variable, text in {"ID": "orders-1", "BIND": "0.0.0.0:7400", "ADVERTISE": "10.0.0.5", "NAME": "orders-1"}.items():
        environment.setenv(f"GOSSIP_{variable}", text)
    assert ask("services")[0] == 0


def test_without_seeds_the_common_ports_of_this_machine_are_asked(ask: Ask, environment: pytest.MonkeyPatch) -> None:
    environment.delenv("GOSSIP_SEEDS")
    environment.setenv("GOSSIP_CLUSTER", cluster := f"test-ask-{uuid.uuid4().hex}")
    with Peer("common", cluster=cluster) as peer:
        peer.wait_synced(DEADLINE_S)
        code, shown, errors = ask("members", "-o", "json", "--timeout", "20")
        assert (code, errors, [one["id"] for one in json.loads(shown)]) == (0, "", [peer.id])


def test_seeds_beyond_this_machine_are_a_warning_with_insecure(ask: Ask, town: Town) -> None:
    code, _, errors = ask("services", "--seeds", f"{town.seed},192.0.2.1:7400", "--insecure")
    assert (code, errors.startswith("gossip services: warning: seeds 192.0.2.1: ")) == (0, True)


# watch ----------------------------------------------------------------------------------------------------------------


def test_watch_counts_and_ends_after_its_seconds(ask: Ask) -> None:
    code, shown, errors = ask("watch", "sessions", "--initial", "--count", "2")
    assert (code, len(shown.splitlines()), errors) == (0, 2, "")
    assert "ADDED            sessions/sessions-0 at 127.0.0.1:9000, weight 1" in shown
    assert ask("watch", "sessions", "--seconds", "0.05") == (0, "", "")
    code, shown, _ = ask("watch", "orders", "--initial", "--seconds", "0", "-o", "json")
    assert (code, [json.loads(line)["after"]["id"] for line in shown.splitlines()]) in [
        (0, ["orders-1", "orders-2", "orders-3"][:seen]) for seen in range(4)
    ]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_watch_with_0(ending: signal.Signals, start: Start, town: Town) -> None:
    process = start("watch", "sessions", "--initial", "-o", "json")
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["after"]["id"] for _ in range(3)] == ["sessions-0", "sessions-1", "sessions-2"]
    with town.peers[1].register("sessions", port=9009, id="passing"):
        assert json.loads(process.stdout.readline())["kind"] == "ADDED"
    assert json.loads(process.stdout.readline())["kind"] == "REMOVED"
    process.send_signal(ending)
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output, errors) == (0, "", "")


def test_a_signal_ends_the_wait_for_a_cluster(start: Start) -> None:
    process = start("watch", "--seeds", "127.0.0.1:1", "--timeout", "60")
    until(lambda: _catches(process.pid, signal.SIGTERM), "the handler")
    process.terminate()
    output, errors = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, output, errors) == (1, "", "gossip watch: error: interrupted\n")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", ["members", "why"])
def test_a_signal_ends_a_wait_for_an_answer_at_once(
    command: str, ending: signal.Signals, ask: Ask, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = {"members": (ObserverNode, "_on_entries", lambda *_: None), "why": (ObserverNode, "recall", lambda *_: ([], 1))}
    where, name, answer = waits[command]

    def interrupt(*arguments: Any) -> Any:
        threading.Timer(0.05, os.kill, (os.getpid(), ending)).start()
        return answer(*arguments)

    monkeypatch.setattr(where, name, interrupt)
    monkeypatch.setitem(ObserverNode._STEPS, Entries, ObserverNode._on_entries)
    code, shown, errors = ask(command, *ASKING[command], "--timeout", "1000")
    assert (code, shown, errors) == (1, "", f"gossip {command}: error: interrupted\n")


def _catches(pid: int, number: int) -> bool:
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


def test_a_watch_whose_reader_is_gone_ends(start: Start, town: Town) -> None:
    process = start("watch", "sessions", "--initial")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    with town.peers[1].register("sessions", port=9009, id="passing"):  # finds no reader
        process.wait(DEADLINE_S)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (1, "")


# help -----------------------------------------------------------------------------------------------------------------


def examples_of(command: str, ask: Ask) -> list[str]:
    """The examples of a command's help, without the remarks beside them."""
    shown = ask(command, "--help")[1].partition("examples:")[2]
    return [re.split(r" {3,}", line.strip())[0] for line in shown.strip().splitlines()]


@pytest.mark.parametrize("command", ASKING)
def test_the_examples_of_the_help_run(command: str, ask: Ask, town: Town, tmp_path: Path, environment: Any) -> None:
    script = tmp_path / "gossip"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(GOSSIP)} "$@"\n')
    stand_ins = {"curl": 'echo "$@"', "jq": "cat"}  # nothing listens at those addresses; not every machine has jq
    for name, text in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
    for file in tmp_path.iterdir():
        file.chmod(0o755)
    environment.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for example in examples_of(command, ask):
        line = re.sub(r"(--seeds) \S+", rf"\1 {town.seed}", example)
        line += " --seconds 0.2" if command == "watch" else ""
        run = subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (run.returncode, run.stderr) == (0, ""), line
        assert run.stdout or example == "gossip watch", line


# a cluster of processes -----------------------------------------------------------------------------------------------


def test_thirty_processes_are_asked_and_never_count_who_asks(start: Start, environment: pytest.MonkeyPatch) -> None:
    count = 30
    cluster = f"test-ask-{uuid.uuid4().hex}"
    with Launcher(cluster) as launcher:
        workers = launcher.peers([f"p{number}" for number in range(count)])
        for port, worker in enumerate(workers, 8001):
            worker.call("register", service="orders", id=f"orders-{worker.name}", port=port, routes=["/orders"])
        launcher.agree(workers, {"orders": count}, 60.0)
        environment.setenv("GOSSIP_CLUSTER", cluster)
        environment.setenv("GOSSIP_SEEDS", workers[17].address)
        watch = start("watch", "-o", "json")

        def told(*arguments: str) -> Any:
            run = subprocess.run([*GOSSIP, *arguments, "-o", "json"], cwd=ROOT, capture_output=True, text=True, check=False)
            assert (run.returncode, run.stderr) == (0, ""), arguments
            assert {status["members"] for status in ask_all(alive, "status")} == {len(alive)}
            return json.loads(run.stdout)

        alive = list(workers)
        assert {one["id"] for one in told("members")} == {worker.id for worker in workers}
        assert told("services") == [{"service": "orders", "instances": count, "up": count}]
        assert {one["origin"] for one in told("lookup", "orders")} == {worker.id for worker in workers}
        assert told("pick", "orders")["id"] in {f"orders-{worker.name}" for worker in workers}
        assert told("route", "/orders/1")["service"] == "orders"
        owners = alive[3].call("owners", service="orders", keys=["a", "b"])
        assert [told("locate", "orders", key)[0]["id"] for key in "ab"] == owners
        victim = alive.pop(5)
        victim.kill9()
        launcher.agree(alive, {"orders": count - 1}, 60.0)
        ends = [event for event in told("why", victim.name) if event["kind"] == "MEMBER_DEAD"]
        assert [(event["before"]["id"], victim.id in event["reason"]) for event in ends] == [(victim.id, True)]
        assert {one["id"] for one in told("members")} == {worker.id for worker in alive}
        assert watch.stdout is not None
        seen = (json.loads(line) for line in watch.stdout)
        died = next(event for event in seen if event["kind"] == "MEMBER_DEAD")
        assert died["before"]["id"] == victim.id
