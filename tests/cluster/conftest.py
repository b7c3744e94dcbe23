"""Real processes, through nodes/launch.py. Every test has a cluster name of its own, and ends its processes by their pids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gossip.signing import new_signing_key
from nodes.launch import Answer, Launcher, Told, Worker, ask_all, until

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0  # for what must come to pass and has no figure of its own here; speed belongs to the benchmarks


class Signing(Launcher):
    """One whose workers sign, each with the key of its id or name: whoever is started anew, or by mistake again, has the same."""

    keys: Path

    def ask_start(self, worker: Worker, **peer: Any) -> Answer:
        key = self.keys / f"{peer.get('id', worker.name)}.key"
        if not key.exists():
            key.touch(0o600)
            key.write_text(new_signing_key(), encoding="utf-8")
        return super().ask_start(worker, **{"signing_key": str(key), **peer})


OPEN_AND_SIGNED = pytest.mark.parametrize("launch", ["open", "signed"], indirect=True)


@pytest.fixture
def launch(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Launcher]]:
    """Makes launchers of a cluster of this test's own; at the end, no process of theirs may be left.

    With `OPEN_AND_SIGNED` twice, the second time each peer with a key of its own; with `--signed` always so.
    """
    signed = getattr(request, "param", "open") == "signed" or request.config.getoption("--signed")
    launchers: list[Launcher] = []
    cluster = f"test-{uuid.uuid4().hex}"
    with ExitStack() as stack:

        def make(**options: Any) -> Launcher:
            made = (Signing if signed else Launcher)(cluster, **options)
            if isinstance(made, Signing):
                made.keys = tmp_path
            launchers.append(stack.enter_context(made))
            return launchers[-1]

        yield make
    assert [worker for launcher in launchers for worker in launcher.workers if not worker.ended] == []


@pytest.fixture
def own_network() -> Iterator[Sequence[str]]:
    """What a command line begins with so that it runs where nobody holds the common port: for root, a network namespace.

    Others share this machine's network with whoever is there, which the cluster's name makes harmless.
    """
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "nsenter", "ip"))):
        yield ()
        return
    with subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as keeper:  # at the end of its input it goes, and the namespace with it
        assert keeper.stdout is not None
        if keeper.stdout.readline() == "up\n":
            yield ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
        else:  # a container may forbid it
            yield ()


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program of this repository. What still runs at the end is told to stop, so that it ends its own."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        command = [*prefix, sys.executable, *arguments]
        started.append(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8")
        )
        return started[-1]

    yield start
    for program in started:
        program.terminate()
        try:
            program.communicate(timeout=DEADLINE_S)
        finally:
            program.kill()
            assert program.stdout is not None
            program.stdout.close()


def names(count: int, stem: str = "p") -> list[str]:
    """Names of workers."""
    return [f"{stem}{number}" for number in range(count)]


def of_member(kind: str, id: str) -> Callable[[Told], bool]:
    """Whether an event is of this kind and about this member."""
    return lambda event: event["kind"] == kind and (event["after"] or event["before"])["id"] == id


def hidden_at(worker: Worker) -> set[str]:
    """The ids of all peers that this one ever held dead, or whose instances it took away for another reason than their wish."""
    events = [told["event"] for told in tuple(worker.events)]
    dead = {event["before"]["id"] for event in events if event["kind"] == "MEMBER_DEAD"}
    taken = {event["before"]["origin"] for event in events if event["kind"] == "REMOVED"}
    left = {event["before"]["id"] for event in events if event["kind"] == "MEMBER_LEFT"}
    return dead | (taken - left)


def nobody_hidden(workers: Sequence[Worker], *, but: Sequence[Worker] = ()) -> None:
    """No peer was ever hidden from one of these workers, but for some."""
    allowed = {worker.id for worker in but}
    assert {worker.name: hidden for worker in workers if (hidden := hidden_at(worker) - allowed)} == {}


def register_one_each(workers: Sequence[Worker], service: str = "orders") -> None:
    """Each registers one instance, `<service>-<name of the worker>`."""
    for port, worker in enumerate(workers, 8001):
        worker.call("register", service=service, id=f"{service}-{worker.name}", port=port)


def all_linked(workers: Sequence[Worker]) -> None:
    """So few all link to all; only who is linked sees a link close."""
    until(lambda: all(status["links"] >= len(workers) - 1 for status in ask_all(workers, "status")), DEADLINE_S, "links")


def standing(cluster: Launcher, count: int, **peer: Any) -> list[Worker]:
    """So many peers with an instance of orders each, all linked and agreed."""
    workers = cluster.peers(names(count), **peer)
    register_one_each(workers)
    cluster.agree(workers, {"orders": count}, DEADLINE_S)
    all_linked(workers)
    return workers


def removed_of(worker: Worker) -> Callable[[Told], bool]:
    """Whether an event takes away an instance of this one."""
    return lambda event: event["kind"] == "REMOVED" and event["before"]["origin"] == worker.id


def put_by(worker: Worker) -> Callable[[Told], bool]:
    """Whether an event shows an instance of this one."""
    return lambda event: event["kind"] == "ADDED" and event["after"]["origin"] == worker.id


def accusations_by(accuser: Worker, told: Sequence[Worker]) -> list[str]:
    """What these were told that this one says of others."""
    reasons = [event["event"]["reason"] for worker in told for event in tuple(worker.events)]
    return [reason for reason in reasons if reason.startswith(f"{accuser.id} says")]
