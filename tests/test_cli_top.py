"""`gossip top` on a real terminal and in a pipe, beside real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gossip import Config, Peer, PeerClosed
from gossip.cli.main import main
from gossip.cli.top.gather import Gatherer

from .terminal import DEADLINE_S, Terminal, needs_tmux

ROOT = Path(__file__).parents[1]
GOSSIP = [sys.executable, "-W", "error", "-m", "gossip.cli.main"]


class Town:
    """Processes that each run a peer with an instance of `orders`."""

    def __init__(self) -> None:
        self.cluster = f"test-top-{uuid.uuid4().hex}"
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.address: dict[str, str] = {}

    def start(self, name: str) -> None:
        seeds = ["--seeds", ",".join(self.address.values())] if self.address else ["--alone"]
        service = ["orders", "--port", "8080", "--instance-id", f"orders-{name}", "--name", name, "--cluster", self.cluster]
        command = [*GOSSIP, "run", *service, "--bind", "127.0.0.1:0", "-o", "json", *seeds]
        self.running[name] = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        output = self.running[name].stdout
        assert output is not None
        self.address[name] = json.loads(output.readline())["address"]

    def kill(self, name: str) -> None:
        process = self.running.pop(name)
        process.kill()
        process.communicate()

    def end(self) -> None:
        for name in list(self.running):
            self.kill(name)

    def environment(self) -> dict[str, str]:
        return {"GOSSIP_SEEDS": ",".join(self.address.values()), "GOSSIP_CLUSTER": self.cluster}


@pytest.fixture
def town() -> Iterator[Town]:
    made = Town()
    try:
        for name in ("a", "b", "c"):
            made.start(name)
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    limits = replace(Config().limits, instances_max=2000, origin_bytes_max=1 << 22)
    cluster = f"test-top-{uuid.uuid4().hex}"
    with Peer("crowd", cluster=cluster, bind="127.0.0.1:0", seeds=[], config=Config(limits=limits)) as one:
        for number in range(1000):
            one.register("orders", port=8080, id=f"orders-{number:04}")
        one.register("payments", port=8081, id="payments-1")
        one.wait_synced(DEADLINE_S)
        yield one


@pytest.fixture
def environment(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where the crowd is, in this process's environment too."""
    found = {"GOSSIP_SEEDS": peer.address, "GOSSIP_CLUSTER": peer.status().cluster}
    for variable, text in found.items():
        monkeypatch.setenv(variable, text)
    return found


@needs_tmux
def test_a_killed_process_is_seen_with_the_reason_then_another_source_then_the_loss_of_all(town: Town) -> None:
    with Terminal([*GOSSIP, "top"], environment=town.environment()) as terminal:
        terminal.until("members 3  services 1  instances 3")
        terminal.press("3")
        terminal.until("by id")
        source, *others = sorted(town.running, key=lambda name: f"as {name}-" not in terminal.screen)
        victim = others[0]
        town.kill(victim)
        screen = terminal.until(lambda screen: "DEAD" in screen and "is gone: its links closed at" in screen)
        assert "members 2" in screen
        assert "links 2 " in screen
        assert any(line.startswith(f"{victim}-") and "DEAD" in line for line in screen.splitlines())
        assert f"as {source}-" in screen
        terminal.press(*["Down"] * (ord(victim) - ord("a")), "Enter")
        screen = terminal.until("remembers it, the newest first")
        assert "MEMBER_DEAD" in terminal.until("MEMBER_DEAD")
        terminal.press("Escape")
        terminal.until("LAST TOLD")
        town.kill(source)
        terminal.until(lambda screen: f"as {others[1]}-" in screen and "members 1" in screen)
        town.kill(others[1])
        terminal.until("NOBODY ANSWERS")


@needs_tmux
def test_each_key_does_what_the_help_says_among_a_thousand_instances(environment: dict[str, str], peer: Peer) -> None:
    with Terminal([*GOSSIP, "top"], environment=environment) as terminal:
        terminal.until("instances 1001")
        for key, shown in (
            ("2", "ORIGIN"),
            ("End", "1001 of 1001"),
            ("Home", "1 of 1001"),
            ("Down", "2 of 1001"),
            ("k", "1 of 1001"),
            ("PageDown", "14 of 1001"),
            ("PageUp", "1 of 1001"),
            ("s", "by id ↑"),
            ("r", "by id ↓"),
            ("/", "type to filter"),
            ("s", "/s▏"),
            ("-", "/s-▏"),
            ("0", "of 1000 "),
            ("7", "of 100 "),
            ("7", "of 10 "),
            ("Enter", "q quit"),
            ("Escape", "1 of 1001"),
            ("Tab", "by id ↑"),
            ("Left", "by id ↓"),
            ("?", "what happened to the row at the cursor"),
            ("Escape", "1 of 1001"),
            ("w", "payments/payments-1, as crowd-"),
            ("q", "1 of 1001"),
            ("p", "PAUSED"),
        ):
            terminal.press(key)
            terminal.until(shown)
        extra = peer.register("orders", port=8080, id="orders-extra")
        terminal.press("1")
        assert "instances 1001" in terminal.until("by service")
        terminal.press("Space")
        terminal.until(lambda screen: "instances 1002" in screen and "PAUSED" not in screen)
        extra.deregister()
        terminal.press("4")
        terminal.until("orders/orders-extra: ")
        terminal.resize(120, 40)
        assert len(terminal.until(lambda screen: "in full" in screen.splitlines()[33]).splitlines()) == 40
        terminal.resize(30, 8)
        terminal.until("too small")


@needs_tmux
@pytest.mark.parametrize("ending", ["q", "C-c", "SIGTERM", "an exception"])
def test_the_terminal_is_as_before_whatever_ends_it(ending: str, environment: dict[str, str], tmp_path: Path) -> None:
    broken = """
        import sys
        from gossip.cli.main import main
        from gossip.cli.top import run
        plain, drawn = run.lines, []
        def lines(*given):
            drawn.append(given)
            if len(drawn) > 2:
                raise RuntimeError("broken by the test")
            return plain(*given)
        run.lines = lines
        sys.exit(main(["top"]))
    """
    (tmp_path / "broken.py").write_text(textwrap.dedent(broken))
    command = f"{sys.executable} {tmp_path}/broken.py" if ending == "an exception" else "gossip top"
    command += f" < {os.devnull}" if ending == "q" else ""  # the keys come from the terminal, whatever stdin is
    with Terminal(["bash", "--norc", "--noprofile", "-i"], height=60, environment={**environment, "PS1": "$ "}) as terminal:
        terminal.type(f"stty -a > {tmp_path}/before; echo 'as it' was")
        terminal.press("Enter")
        terminal.until("as it was")
        terminal.type(f"{command} & echo $! > {tmp_path}/pid; fg > {os.devnull}; echo ended $?")
        terminal.press("Enter")
        if ending != "an exception":
            terminal.until("instances 1001")
        if ending == "SIGTERM":
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        elif ending != "an exception":
            terminal.press(ending)
        code = 1 if ending == "an exception" else 0
        screen = terminal.until(f"ended {code}")
        assert "as it was" in screen
        assert ("broken by the test" in screen) is (ending == "an exception")
        terminal.type(f"stty -a > {tmp_path}/after; echo 'typed letters' are seen")
        terminal.press("Enter")
        terminal.until("echo 'typed letters' are seen")
        terminal.until("typed letters are seen")
        assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


# without a terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("environment")
def test_once_is_plain_text_and_needs_no_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["top", "--once"]) == 0
    shown, errors = capsys.readouterr()
    assert errors == ""
    assert "members 1  services 2  instances 1001  events -/s" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("payments")] == [["payments", "1", "1", "1", "UP"]]
    assert any(line.startswith("crowd-") and "ALIVE" in line for line in shown.splitlines())
    assert "\x1b" not in shown


@pytest.mark.usefixtures("environment")
def test_json_is_one_object_a_line(capsys: pytest.CaptureFixture[str], peer: Peer) -> None:
    assert main(["top", "-o", "json", "--count", "2", "--every", "0.01"]) == 0
    first, second = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["services"] == second["services"]
    assert first["services"][1] == {"service": "payments", "instances": 1, "up": 1}
    assert (first["source"], first["events_per_s"], first["state"]) == (peer.id, None, "ready")
    assert [one["links"] for one in first["members"]] == [0]


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_first_print_waits_until_the_view_can_be_judged(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """The first heartbeat of the source comes up to a second after its view."""
    for _ in range(3):
        assert main(["top", "--once", "-o", output]) == 0
        shown = capsys.readouterr().out
        assert json.loads(shown)["agreement"] == 1.0 if output == "json" else "agreement yes" in shown


def test_who_never_agrees_is_printed_all_the_same(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gossip.core.observer.ObserverNode.agreement", 0.0)
    monkeypatch.setattr("gossip.cli.top.run.JUDGED_WITHIN_S", 0.3)
    assert main(["top", "--once"]) == 0
    assert "agreement no" in capsys.readouterr().out


@pytest.mark.parametrize("output", ["text", "json"])
def test_a_watch_that_ends_just_before_it_is_read_ends_the_prints(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    """As by a signal that comes between two looks whether one came."""
    take, takes = Gatherer.take, []

    def ended(gatherer: Gatherer) -> int:
        takes.append(gatherer)
        if len(takes) > 1:
            raise PeerClosed("the watch has ended")
        return take(gatherer)

    monkeypatch.setattr(Gatherer, "take", ended)
    assert main(["top", "-o", output, "--count", "3", "--every", "0.01"]) == 0
    shown = capsys.readouterr()
    assert shown.out
    assert shown.err == ""


def test_in_a_pipe_it_prints_until_a_signal(environment: dict[str, str]) -> None:
    command = [*GOSSIP, "top", "--every", "0.05"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            heads = [line for _, line in zip(range(30), process.stdout, strict=False) if line.startswith("gossip top")]
            assert len(heads) > 1
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0
        finally:
            process.kill()


@needs_tmux
def test_on_a_terminal_without_the_extra_the_error_names_it(environment: dict[str, str], tmp_path: Path) -> None:
    without = "import sys; sys.modules['rich'] = None; from gossip.cli.main import main; print('code', main(['top'])); input()"
    with Terminal([sys.executable, "-c", without], environment=environment) as terminal:
        assert "gossip-registry[cli]" in terminal.until("code 1").replace("\n", "")


def test_where_nobody_answers_it_fails_as_the_other_commands_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--once", "--seeds", "127.0.0.1:1", "--timeout", "0.1"]) == 1
    assert "gossip top: error: no peer of cluster" in capsys.readouterr().err
