"""The command `gossip` as a user meets it: help, errors, exit codes, lines on stdout."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import gossip
from gossip.cli.main import main

ROOT = Path(__file__).parents[1]
DEADLINE_S = 30.0


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No `GOSSIP_*` but those of the test."""
    for variable in [name for name in os.environ if name.startswith("GOSSIP_")]:
        monkeypatch.delenv(variable)
    return monkeypatch


Gossip = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Gossip]:
    """Starts the command in a process of its own; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-m", "gossip.cli.main", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def lines_until(process: subprocess.Popen[str], wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """JSON lines up to the first that is wanted."""
    assert process.stdout is not None
    told = []
    for line in process.stdout:
        told.append(json.loads(line))
        if wanted(told[-1]):
            return told
    raise AssertionError(f"it ended: {told}")


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, the rest of stdout, stderr."""
    output, errors = process.communicate(timeout=DEADLINE_S)
    return process.returncode, output, errors


def commands(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The names of all commands, as the error of a wrong one tells them."""
    assert main(["fly"]) == 2
    return re.findall(r"[a-z-]+", capsys.readouterr().err.partition("choose from")[2].partition(")")[0])


def test_help_has_two_examples_and_fits_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = commands(capsys)
    assert set(names) >= set("run members services lookup pick route locate watch why demo".split())
    for name in ("", *names):
        assert main([*name.split(), "--help"]) == 0
        shown, _ = capsys.readouterr()
        examples = shown.partition("examples:")[2].strip().splitlines()
        told = [line for line in examples if f"gossip {name}".strip() in line]
        assert len(told) >= 2, f"{name}: {examples}"
        assert [line for line in shown.splitlines() if len(line) > 80] == []


def test_a_command_waits_for_the_import_of_its_own_module_alone() -> None:
    script = """if True:
        import sys
        from gossip.cli.main import MODULES, parser
        parser("members")
        print(sorted(name for name in MODULES if f"gossip.cli.{name}" in sys.modules), "rich" in sys.modules)
    """
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "['ask'] False\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gossip {gossip.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        ([], "`gossip --help` tells more"),
        (["lookup"], "required: SERVICE. `gossip lookup --help` tells more"),
        (["fly"], "invalid choice: 'fly'"),
        (["run", "--fly"], "unrecognized arguments: --fly. `gossip run --help` tells more"),
        (["run", "--certficate=a.cert"], "--certficate=a.cert; did you mean --certificate? `gossip run --help` tells more"),
        (["run", "orders"], "where does orders listen? Say --port"),
        (["run", "--port", "80", "--label", "a=b"], "--port, --label without a service"),
        (["run", "orders", "--port", "http"], "invalid int value: 'http'"),
        (["run", "orders", "--port", "80", "--label", "version"], "'version' is not KEY=VALUE"),
        (["run", "orders", "--port", "80", "--ttl", "soon"], "'soon' is not a number of seconds"),
        (["run", "--alone", "--seed", "127.0.0.1:7400"], "not allowed with argument"),
        (["run", "--seeds", "orders"], "--seeds: cannot use 'orders'"),
        (["run", "--seed", "dns:localhost"], "Say 'dns:localhost:7400'"),
        (["run", "--seed", "::1:7400"], "in brackets"),
        (["run", "--seeds", "file:"], "Say --seeds file:/etc/gossip/seeds"),
        (["lookup", "orders", "--seeds", "orders"], "--seeds: cannot use 'orders'"),
        (["gateway", "--listen", "here"], "--listen 'here' is not host:port"),
        (["run", "--name", "two words"], "--name 'two words'"),
        (["run", "--bind", "10.0.0.5"], "Say --bind '10.0.0.5:7400'"),
        (["run", "--bind", "0.0.0.0:7400"], "--bind: 0.0.0.0 is every address"),
        (["run", "orders", "--port", "99999"], "--port 99999 is not an int from 1 to 65535"),
        (["run", "orders", "--port", "80", "--weight", "0"], "--weight 0"),
        (["run", "orders", "--port", "80", "--host", "!"], "--host '!' is no host name"),
        (["run", "orders", "--port", "80", "--instance-id", "!"], "Pass another --instance-id or leave it out"),
        (["run", "orders", "--port", "80", "--route", "orders"], "--route 'orders' is not a path"),
        (["run", "orders", "--port", "80", "--ttl", "-1"], "--ttl -1.0: a time to live"),
    ],
)
def test_a_wrong_command_line_is_told_on_stderr_and_ends_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    shown, errors = capsys.readouterr()
    assert (shown, message in errors) == ("", True), errors


def test_a_service_that_cannot_be_registered_is_found_before_the_peer_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gossip.Peer, "start", lambda peer: pytest.fail("it was started"))
    assert main(["run", "orders", "--port", "99999", "--alone"]) == 2
    assert "--port 99999" in capsys.readouterr().err
    peer = gossip.Peer("orders-1", bind="127.0.0.1:0", seeds=[])
    with pytest.raises(gossip.RegistrationError, match="port 99999"):
        peer.register("orders", port=99999)
    with pytest.raises(gossip.PeerClosed):
        peer.register("orders", port=9999)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "10.0.0.5:7400"], "Pass the cluster's --secret-file (`gossip keygen` makes one), or --insecure if"),
        (["--seed", "dns:gossip.internal:7400"], "seeds gossip.internal: beyond this machine"),
        (["--seeds", "127.0.0.1:7400,10.0.0.5:7400"], "seeds 10.0.0.5: beyond this machine"),
    ],
)
def test_what_the_library_refuses_is_told_on_stderr_and_ends_with_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = [] if arguments[0].startswith("--seed") else ["--alone"]
    assert main(["run", *alone, *arguments]) == 1
    shown, errors = capsys.readouterr()
    assert shown == ""
    assert errors.startswith("gossip run: error: ")
    assert message in errors
    assert "Traceback" not in errors


def test_json_lines_begin_with_who_it_is_and_then_tell_each_event(run: Gossip) -> None:
    service = ["orders", "--port", "8080", "--weight", "2", "--label", "version=2", "--route", "/orders", "--instance-id", "o-1"]
    process = run("run", *service, "--name", "one", "--zone", "a", "--alone", "-o", "json")
    started, *events = lines_until(process, lambda told: told["kind"] == "ADDED")
    assert (started["kind"], started["pid"]) == ("started", process.pid)
    assert started["id"].startswith("one-")
    assert started["address"].startswith("127.0.0.1:")
    assert events[-1]["after"] == started["instance"]
    assert events[-1]["after"] == {
        "service": "orders",
        "id": "o-1",
        "host": "127.0.0.1",
        "port": 8080,
        "weight": 2,
        "labels": {"version": "2"},
        "routes": ["/orders"],
        "zone": "a",
        "origin": started["id"],
        "state": "UP",
    }
    process.send_signal(signal.SIGTERM)
    assert ended(process)[::2] == (0, "")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_makes_it_leave_gracefully_and_end_with_0(run: Gossip, ending: signal.Signals) -> None:
    common = ["--cluster", f"test-cli-{os.getpid()}-{ending}", "-o", "json"]
    watcher = run("run", *common, "--name", "watcher", "--alone")
    (first,) = lines_until(watcher, lambda told: told["kind"] == "started")
    leaver = run("run", "orders", "--port", "8080", *common, "--name", "leaver", "--seed", first["address"])
    (second,) = lines_until(leaver, lambda told: told["kind"] == "started")
    lines_until(watcher, lambda told: told["kind"] == "ADDED")
    leaver.send_signal(ending)
    told = lines_until(watcher, lambda told: told["kind"] == "MEMBER_LEFT")
    assert told[-1]["before"]["id"] == second["id"]
    assert [one["reason"] for one in told if one["kind"] in ("MEMBER_SUSPECTED", "MEMBER_DEAD")] == []
    assert ended(leaver)[::2] == (0, "")


def test_text_lines_tell_what_happened_and_why(run: Gossip) -> None:
    process = run("run", "orders", "--port", "8080", "--route", "/orders", "--ttl", "0.1", "--alone", "--name", "one")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("started one-")
    shown = ""
    while "REMOVED" not in shown:
        shown = process.stdout.readline()
        assert shown, "it ended"
    assert "orders/127.0.0.1:8080 at 127.0.0.1:8080, weight 1, /orders (its time to live of 0.1 s ran out)" in shown
    process.send_signal(signal.SIGINT)
    assert ended(process)[::2] == (0, "")


def test_a_restart_with_a_snapshot_has_the_same_id(run: Gossip, tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        process = run("run", "--alone", "--name", "one", "--snapshot", str(tmp_path / "snapshot"), "-o", "json")
        ids += [told["id"] for told in lines_until(process, lambda told: told["kind"] == "started")]
        process.terminate()
        assert ended(process)[::2] == (0, "")
    assert ids[0] == ids[1]


def test_verbose_logs_to_stderr(run: Gossip) -> None:
    process = run("run", "--alone", "--name", "one", "--verbose")
    assert process.stdout is not None
    assert process.stdout.readline()
    process.terminate()
    code, _, errors = ended(process)
    assert code == 0
    assert "= one: MEMBER_JOINED" in errors


def test_an_open_address_is_a_warning_on_stderr(run: Gossip) -> None:
    process = run("run", "--bind", "127.0.0.1:0", "--advertise", "10.0.0.5", "--alone", "--insecure")
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert "gossip run: warning: advertise 10.0.0.5: this peer is open" in ended(process)[2]


def test_it_ends_when_nobody_reads_any_more(run: Gossip) -> None:
    process = run("run", "orders", "--port", "8080", "--ttl", "0.3", "--alone")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()  # the next event finds no reader
    with suppress(ValueError):
        process.wait(DEADLINE_S)
    assert process.stderr is not None
    assert (process.wait(DEADLINE_S), process.stderr.read()) == (1, "")
    process.stderr.close()


def test_a_file_of_seeds_written_later_is_found(run: Gossip, tmp_path: Path) -> None:
    common = ["--cluster", f"test-cli-{os.getpid()}-file", "-o", "json"]
    second = run("run", *common, "--name", "second", "--seed", f"file:{tmp_path}/seeds")
    lines_until(second, lambda told: told["kind"] == "started")
    first = run("run", *common, "--name", "first", "--alone")
    (started,) = lines_until(first, lambda told: told["kind"] == "started")
    (tmp_path / "seeds").write_text(f"{started['address']}\n")
    told = lines_until(second, lambda told: told["kind"] == "MEMBER_JOINED" and told["after"]["name"] == "first")
    assert told[-1]["after"]["id"] == started["id"]


def test_what_no_option_says_the_environment_may(run: Gossip, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_NAME", "of-the-environment")
    environment.setenv("GOSSIP_BIND", "127.0.0.2:0")
    environment.setenv("GOSSIP_SEEDS", "none")
    environment.setenv("GOSSIP_ZONE", "a")
    process = run("run", "orders", "--port", "80", "--name", "of-the-option", "-o", "json")
    (started,) = lines_until(process, lambda told: told["kind"] == "started")
    assert started["id"].startswith("of-the-option-")
    assert started["address"].startswith("127.0.0.2:")
    assert started["instance"]["zone"] == "a"
    process.terminate()
    assert ended(process)[::2] == (0, "")


@pytest.mark.parametrize(
    ("option", "outcome"), [([], "beyond this machine"), (["--insecure"], "warning"), (["--no-insecure"], "beyond this machine")]
)
def test_an_option_wins_over_the_environment(
    option: list[str], outcome: str, environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("GOSSIP_INSECURE", "1" if option == ["--no-insecure"] else "0")
    assert main(["run", "--bind", "192.0.2.1:7400", "--alone", *option]) == 1  # no machine has that address
    assert outcome in capsys.readouterr().err


def test_an_error_of_the_environment_names_the_variable(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment.setenv("GOSSIP_BIND", "somewhere")
    assert main(["run", "--alone"]) == 1
    assert capsys.readouterr().err.startswith("gossip run: error: bind: cannot use 'somewhere'")
    environment.setenv("GOSSIP_INSECURE", "maybe")
    assert main(["run", "--alone"]) == 1
    assert capsys.readouterr().err.startswith("gossip run: error: GOSSIP_INSECURE='maybe' is none of")


def test_a_variable_that_misses_one_of_ours_is_a_warning(run: Gossip, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("GOSSIP_SEED", "127.0.0.1:7400")
    process = run("run", "--alone")
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert "gossip run: warning: the environment variable GOSSIP_SEED is ignored" in ended(process)[2]
