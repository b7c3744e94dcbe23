"""Secrets in files, on the command line and in the environment; and nowhere else: no log, repr, argument or status shows one."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import pickle
import re
import secrets
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gossip import AsyncPeer, ConfigError, GossipError, Peer, new_secret, read_secrets, write_secret
from gossip.bus import keys

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30.0


def gossip(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gossip.cli.main", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.fixture
def cluster() -> str:
    return f"files-{uuid.uuid4().hex}"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file with a fresh secret."""
    write_secret(tmp_path / "cluster.key", new_secret())
    return tmp_path / "cluster.key"


@pytest.fixture
def run() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `gossip run`; ends it at the end."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "gossip.cli.main", "run", "-o", "json", "--verbose", *arguments]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str], holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The next line on stdout that is so."""
    assert process.stdout is not None
    for text in process.stdout:
        told: dict[str, Any] = json.loads(text)
        if holds(told):
            return told
    raise AssertionError("the process ended")


def test_keygen_prints_a_secret_that_passes_or_writes_it_for_its_owner_alone(tmp_path: Path) -> None:
    printed = gossip("keygen")
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}\n", printed.stdout)
    Peer(secret=printed.stdout)
    file = tmp_path / "key"
    written = gossip("keygen", "-o", str(file))
    assert (written.returncode, written.stdout) == (0, "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_secrets(file) != [printed.stdout.strip()]
    again = gossip("keygen", "-o", str(file))
    assert again.returncode == 1
    assert "exists" in again.stderr


def test_a_write_that_fails_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def full(descriptor: int, *_: object, **__: object) -> Iterator[object]:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield

    file = tmp_path / "cluster.key"
    with monkeypatch.context() as patched:
        patched.setattr(keys, "open", full, raising=False)
        with pytest.raises(ConfigError, match="No space left"):
            write_secret(file, new_secret())
    assert not file.exists()
    write_secret(file, new_secret())
    before = file.read_text()
    with pytest.raises(ConfigError, match="exists"):
        write_secret(file, new_secret())
    assert file.read_text() == before


def test_a_file_holds_several_the_newest_first(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    new, old = new_secret(), new_secret()
    write_secret(file, f"# since Monday\n{new}\r\n\n  {old}")
    assert read_secrets(file) == [new, old]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_read_or_change_is_refused(key: Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {re.escape(str(key))}"):
        read_secrets(key)
    for command in (("run",), ("members", "--timeout", "0")):
        done = gossip(*command, "--secret-file", str(key))
        assert done.returncode == 1
        assert "chmod 600" in done.stderr


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe", b"a\n" * 5, b"x" * 70_000])
def test_a_file_without_secrets_is_an_error_that_does_not_show_it(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError, match="secret file") as caught:
        Peer(secret=read_secrets(file))
    assert "xxxx" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot read it"):
        read_secrets(tmp_path / "missing")


def test_there_is_no_secret_among_the_arguments() -> None:
    for command in ("run", "members"):
        done = gossip(command, "--secret", "hush-hush")
        assert done.returncode == 2
        assert "hush-hush" not in done.stderr
        assert "--secret-file" in done.stderr


def test_a_peer_on_the_command_line_is_asked_with_the_same_file_and_rotates_on_hangup(
    run: Callable[..., subprocess.Popen[str]], key: Path, cluster: str
) -> None:
    old = read_secrets(key)[0]
    service = ("orders", "--port", "8080", "--cluster", cluster, "--bind", "127.0.0.1:0", "--alone")
    process = run(*service, GOSSIP_SECRET_FILE=str(key))
    address = line(process, lambda told: told["kind"] == "started")["address"]

    at = ("--cluster", cluster, "--seeds", address)

    def pick(**environment: str) -> subprocess.CompletedProcess[str]:
        return gossip("pick", "orders", *at, "--timeout", "10", **environment)

    assert gossip("pick", "orders", *at, "--secret-file", str(key)).stdout == "127.0.0.1:8080\n"
    assert pick(GOSSIP_SECRET=old).stdout == "127.0.0.1:8080\n"
    new = new_secret()
    key.write_text(f"{new}\n", encoding="ascii")
    process.send_signal(signal.SIGHUP)
    line(process, lambda told: "1 secret is valid now, 0 as before" in told.get("reason", ""))
    assert pick(GOSSIP_SECRET=f"{new},{old}").stdout == "127.0.0.1:8080\n"
    assert pick(GOSSIP_SECRET=new).stdout == "127.0.0.1:8080\n"
    assert gossip("pick", "orders", *at, "--timeout", "1", GOSSIP_SECRET=old).returncode == 1
    key.chmod(0o644)
    process.send_signal(signal.SIGHUP)
    assert process.stderr is not None
    told = next(text for text in process.stderr if "chmod 600" in text)
    assert "stay valid" in told
    arguments = Path(f"/proc/{process.pid}/cmdline")
    if arguments.exists():
        assert not any(secret.encode() in arguments.read_bytes() for secret in (old, new))
    process.terminate()
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert not any(secret in out + err for secret in (old, new))


def test_the_environment_spells_one_several_or_a_file(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = new_secret(), read_secrets(key)[0]
    monkeypatch.setenv("GOSSIP_SECRET", f"{new}, {old}")
    both = Peer.from_env()
    assert both._keyring is not None
    assert list(both._keyring) == list(Peer(secret=[new, old])._keyring or ())
    monkeypatch.setenv("GOSSIP_SECRET_FILE", str(key))
    with pytest.raises(ConfigError, match="GOSSIP_SECRET and GOSSIP_SECRET_FILE are both set"):
        Peer.from_env()
    assert list(Peer.from_env(secret=new)._keyring or ()) == list(Peer(secret=new)._keyring or ())
    monkeypatch.delenv("GOSSIP_SECRET")
    assert list(Peer.from_env()._keyring or ()) == list(Peer(secret=old)._keyring or ())
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=r"GOSSIP_SECRET_FILE: .*chmod 600"):
        Peer.from_env()
    monkeypatch.delenv("GOSSIP_SECRET_FILE")
    monkeypatch.setenv("GOSSIP_SECRET", "much-too-short")
    with pytest.raises(ConfigError, match="From the environment: GOSSIP_SECRET") as caught:
        Peer.from_env()
    assert "much-too-short" not in str(caught.value)


def everything_shown(thing: object, seen: set[int] | None = None, depth: int = 6) -> Iterator[str]:
    """The repr of an object and of all that hangs from it."""
    seen = set() if seen is None else seen
    if id(thing) in seen or depth == 0:
        return
    seen.add(id(thing))
    yield repr(thing)
    inner = thing.values() if isinstance(thing, dict) else thing if isinstance(thing, (list, tuple, set)) else ()
    for part in (*tuple(inner), *(getattr(thing, "__dict__", None) or {}).values()):
        yield from everything_shown(part, seen, depth - 1)


def test_no_repr_status_pickle_or_log_shows_a_secret_or_a_key(cluster: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = secrets.token_bytes(24).hex()
    with Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], secret=secret) as peer:
        peer.rotate_secrets([new_secret(), secret])
        keys = [key for one in peer._keyring or () for key in (one.server_secret, one.client_secret)]
        shown = "\n".join([*everything_shown(peer), json.dumps(peer.status().as_dict()), str(peer.why("a")), caplog.text])
        assert "<keyring of 2 secrets>" in shown
        hidden = [secret, *map(repr, keys), *(key.hex() for key in keys)]
        assert [text for text in hidden if text.strip("b'\"") in shown] == []
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(peer)
        with pytest.raises(ConfigError, match="9 bytes") as caught:
            peer.rotate_secrets([secret, "too short"])
        assert "too short" not in str(caught.value)
        assert len(peer._keyring or ()) == 2, "nothing was changed"


def test_an_open_peer_cannot_rotate_and_one_not_started_can(cluster: str) -> None:
    with pytest.raises(ConfigError, match="this peer has no secret"):
        Peer().rotate_secrets([new_secret()])
    peer = Peer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], secret=new_secret())
    new = new_secret()
    peer.rotate_secrets([new])
    with peer, Peer("b", cluster=cluster, bind="127.0.0.1:0", seeds=[peer.address], secret=new) as other:
        peer.register("orders", port=1)
        other.wait_for("orders", timeout=PATIENCE_S)
    with pytest.raises(GossipError, match="was closed"):
        peer.rotate_secrets([new])


def test_the_asynchronous_twin_rotates_too(cluster: str) -> None:
    async def scenario() -> None:
        new, old = new_secret(), new_secret()
        async with AsyncPeer("a", cluster=cluster, bind="127.0.0.1:0", seeds=[], secret=old) as peer:
            await peer.register("orders", port=1)
            await peer.rotate_secrets([new])
            async with AsyncPeer("b", cluster=cluster, bind="127.0.0.1:0", seeds=[peer.address], secret=new) as other:
                await other.wait_for("orders", timeout=PATIENCE_S)

    asyncio.run(scenario())


FORKS = """
import os, sys, time
from gossip import Peer, new_secret

new, old = new_secret(), new_secret()
with Peer("parent", cluster=sys.argv[1], bind="127.0.0.1:0", seeds=[], secret=old, fork="restart") as peer:
    peer.register("orders", port=1)
    peer.rotate_secrets([new])
    seen, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            peer.register("child", port=2)
            while len(peer.members()) < 2:
                time.sleep(0.01)
            peer.wait_synced(30)
            code = 0 if peer.lookup("orders") else 2
            os.read(seen, 1)  # what lives for milliseconds may come and go between two looks of the parent
            peer.close()
        finally:
            os._exit(code)
    peer.wait_for("child", timeout=30)
    os.write(tell, b".")
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_begins_anew_with_the_secrets_that_are_valid_now(cluster: str) -> None:
    command = [sys.executable, "-c", FORKS, cluster]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_weak_secret_in_a_file_is_told_with_the_variable_of_the_file(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key.write_text("much-too-short\n")
    monkeypatch.setenv("GOSSIP_SECRET_FILE", str(key))
    with pytest.raises(ConfigError, match="From the environment: GOSSIP_SECRET_FILE") as caught:
        Peer.from_env()
    assert "much-too-short" not in str(caught.value)
