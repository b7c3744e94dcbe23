"""The recipes of docs/embedding.md, run as they stand there: the blocks become files, the shell lines become processes.

Every test has a cluster name of its own; a peer of the test observes what others see of a host. Each host is the leader of
a process group, by whose id it is ended; what is left of the group after a graceful end is a failure.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gossip import Event, EventKind, Instance, Peer

from ..ports import free_port

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
DEADLINE_S = 30.0  # for what must come to pass; speed belongs to the benchmarks
POLL_S = 0.02

T = TypeVar("T")


def needed(module: str) -> None:
    """Skip the test if a host is not installed."""
    pytest.importorskip(module, reason=f"{module} is not installed: pip install 'gossip-registry[hosts]'")


def eventually(condition: Callable[[], T], what: str) -> T:
    """The first true answer of a condition. Fails after the deadline, saying what did not come to pass."""
    deadline = time.monotonic() + DEADLINE_S
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(POLL_S)
    return answer


# recipes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """The blocks under one heading: files by name, and shell lines."""

    files: Mapping[str, str]
    lines: tuple[str, ...]


def recipe(heading: str) -> Recipe:
    """What stands under a heading, up to the next of its rank or above. A block of Python begins with the name of its file."""
    found = re.search(rf"^(##+) {re.escape(heading)}\n", DOCUMENT, re.MULTILINE)
    assert found, f"docs/embedding.md has no heading {heading!r}"
    rest = DOCUMENT[found.end() :]
    end = re.search(rf"^#{{2,{len(found[1])}}} ", rest, re.MULTILINE)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", rest[: end.start() if end else None], re.MULTILINE | re.DOTALL)
    files = {re.split("[ :\n]", body, maxsplit=2)[1]: body for language, body in blocks if language == "python"}
    lines = tuple(line for language, body in blocks if language == "sh" for line in body.splitlines())
    return Recipe(files, lines)


# hosts ----------------------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """A running server: the leader of a process group."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    log: Path

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def get(self) -> Any:
        """What the service answers over HTTP, decoded."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=DEADLINE_S) as response:
            return json.load(response)

    def group(self) -> list[int]:
        """The living processes of the group; zombies, which await whoever adopted them, do not count."""
        listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split(None, 2) for line in listed.splitlines()]
        return [int(pid) for pid, group, state in rows if int(group) == self.process.pid and not state.startswith("Z")]

    def workers(self) -> list[int]:
        """The processes of the group but its leader."""
        return [pid for pid in self.group() if pid != self.process.pid]

    def ends(self) -> int:
        """The exit code, once it has ended by itself. Nothing of its group may be left."""
        code = self.process.wait(DEADLINE_S)
        eventually(lambda: not self.group(), f"the end of all processes of the host; left: {self.group()}\n{self.output}")
        return code

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Tell the leader to stop; its exit code, when nothing is left."""
        self.process.send_signal(signum)
        return self.ends()

    def destroy(self) -> None:
        """Whatever is left, by the id of the group, which is not given anew while one of its processes lives."""
        if self.process.poll() is None or self.group():
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)


@pytest.fixture
def cluster() -> str:
    """A name that no other test has."""
    return f"hosts-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def environment(cluster: str, tmp_path: Path) -> dict[str, str]:
    """What a host finds in its environment; `PORT` is free."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GOSSIP_", "PYTEST_", "COV_"))}
    return {
        **kept,
        "GOSSIP_CLUSTER": cluster,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
        "PORT": str(free_port()),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "XDG_RUNTIME_DIR": str(tmp_path),  # gunicorn has a socket there, and two of them would take it from each other
    }


@pytest.fixture
def host(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Host]]:
    """Starts the shell lines of a recipe in a folder with its files; the last of the lines is the server."""
    started: list[Host] = []

    def start(shown: Recipe, *lines: str) -> Host:
        for name, body in shown.files.items():
            (tmp_path / name).write_text(body, encoding="utf-8")
        script = "\n".join([*lines[:-1], f"exec {lines[-1]}"])
        log = tmp_path / f"host-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["sh", "-ec", script],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(Host(process, int(environment["PORT"]), tmp_path, log))
        return started[-1]

    yield start
    for one in started:
        one.destroy()
        print(one.output)  # shown where the test failed


# what others see ------------------------------------------------------------------------------------------------------


@dataclass
class Observer:
    """A peer of the test, in the cluster of the host, and all that happened there since the test began."""

    peer: Peer
    _events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._watch = self.peer.watch()

    def events(self, *kinds: EventKind) -> list[Event]:
        """What happened so far, of these kinds."""
        while event := self._watch.take():
            self._events.append(event)
        return [event for event in self._events if event.kind in kinds]

    def names(self, *kinds: EventKind) -> list[str]:
        """The names of the members that something happened to."""
        return [(event.after or event.before).name for event in self.events(*kinds)]  # type: ignore[union-attr]

    def members(self) -> set[str]:
        """The names of the others that live."""
        return {member.name for member in self.peer.members()} - {self.peer.name}

    def sees(self, instances: int, members: int, service: str = "orders") -> tuple[Instance, ...]:
        """The instances of a service, once there are so many, of so many other peers."""

        def settled() -> bool:
            return len(self.peer.lookup(service)) == instances and len(self.peer.members()) == members + 1

        def now() -> str:
            return f"{self.peer.lookup(service)}, {self.members()}, {self.peer.status()}"

        try:
            eventually(settled, "")
        except AssertionError:
            pytest.fail(f"not within {DEADLINE_S} s: {instances} instances of {service}, {members} members; there are {now()}")
        return self.peer.lookup(service)


@pytest.fixture
def observer(cluster: str) -> Iterator[Observer]:
    """Sees what any other peer sees, and offers `payments`."""
    with Peer("observer", cluster=cluster) as peer:
        peer.register("payments", port=9)
        yield Observer(peer)


PAYMENTS = ["127.0.0.1:9"]


def pid_of(member: str) -> int:
    """The recipes put the pid into the name."""
    return int(member.rpartition("-")[2])
