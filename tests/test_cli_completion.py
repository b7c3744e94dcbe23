"""`gossip completion`, in the real shells: what Tab makes of a line."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections.abc import Iterator

import pytest

from gossip import Peer
from gossip.cli import completion
from gossip.cli.main import MODULES, main

from .terminal import Terminal, needs_tmux

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(gossip completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -D -u; eval "$(gossip completion zsh)"'),
    "fish": (["fish", "--no-config", "-i"], "gossip completion fish | source"),
}


def installed(shell: str) -> object:
    there = shutil.which(shell) is not None
    return pytest.param(shell, marks=pytest.mark.skipif(not there, reason=f"{shell} is not installed (.ci/tools)"))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    cluster = f"test-completion-{uuid.uuid4().hex}"
    with Peer("completer", cluster=cluster, bind="127.0.0.1:0", seeds=[]) as one:
        one.register("payments", port=8080, id="payments-1")
        one.wait_synced(30)
        yield one


@needs_tmux
@pytest.mark.parametrize("shell", [installed(shell) for shell in SHELLS])
def test_tab_completes_a_command_an_option_and_the_name_of_a_service(shell: str, peer: Peer) -> None:
    command, source = SHELLS[shell]
    environment = {"GOSSIP_SEEDS": peer.address, "GOSSIP_CLUSTER": peer.status().cluster}
    with Terminal(command, width=160, environment=environment) as terminal:
        terminal.type(f"{source}; clear; echo 'it is' sourced")
        terminal.press("Enter")
        terminal.until("it is sourced")
        for typed, completed in (
            ("gossip memb", "gossip members"),
            ("gossip watch --init", "gossip watch --initial"),
            ("gossip lookup pay", "gossip lookup payments"),
        ):
            terminal.press("C-u")
            terminal.type(typed)
            terminal.press("Tab")
            terminal.until(completed)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_command_is_completed(shell: str) -> None:
    script = completion.script(shell)
    assert [name for names in MODULES.values() for name in names if name not in script] == []


def test_names_are_of_services_members_and_instances(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOSSIP_SEEDS", peer.address)
    monkeypatch.setenv("GOSSIP_CLUSTER", peer.status().cluster)
    assert main(["completion", "services"]) == 0
    assert capsys.readouterr() == ("payments\n", "")
    assert main(["completion", "names"]) == 0
    assert capsys.readouterr() == ("completer\npayments\npayments-1\n", "")


def test_where_nobody_answers_nothing_is_completed_and_nothing_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOSSIP_SEEDS", "127.0.0.1:1")
    monkeypatch.setattr(completion, "PATIENCE_S", 0.05)
    assert main(["completion", "names"]) == 0
    assert capsys.readouterr() == ("", "")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 1
    shown, errors = capsys.readouterr()
    assert (shown, "pip install 'gossip-registry[cli]', or '.[cli]' in a clone" in errors) == ("", True)


def test_an_unknown_shell_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "cmd.exe"]) == 2
    assert "SHELL" in capsys.readouterr().err
