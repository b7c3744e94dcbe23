"""Real gateway processes, started by the command a user would type, and ended by their own pids."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from gossip import Peer

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
STARTED = re.compile(r"gateway (\S+) at (http://\S+), peer at (\S+), pid (\d+)\n")


def until(fact: Callable[[], Any], what: str) -> Any:
    """Wait until something is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := fact()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)
    return found


@dataclass
class Door:
    """One running gateway."""

    process: subprocess.Popen[str]
    id: str
    url: str
    seed: str
    http: httpx.Client

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.http.get(path, **more)

    def post(self, path: str, body: object) -> httpx.Response:
        return self.http.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})

    def register(self, name: str, port: int | str = 8080, **more: object) -> None:
        answer = self.post("/register", {"name": name, "address": "127.0.0.1", "port": port, **more})
        assert (answer.status_code, answer.text) == (200, '{"status": "success"}'), answer.text


class Street:
    """The gateways of one cluster, whose name nobody else has."""

    def __init__(self, stack: ExitStack) -> None:
        self.cluster = f"test-gw-{uuid.uuid4().hex}"
        self.doors: list[Door] = []
        self._stack = stack

    def open(self, *arguments: str, environment: dict[str, str] | None = None, token: str | None = None) -> Door:
        """Start another gateway; the first is the seed of all others."""
        seeds = ["--seeds", self.doors[0].seed] if self.doors else []
        command = [sys.executable, "-W", "error", "-m", "gossip.cli.main", "gateway", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen(
            [*command, "--bind", "127.0.0.1:0", "--cluster", self.cluster, *seeds, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment() | (environment or {}),
        )
        self._stack.callback(end, process)
        assert process.stdout is not None
        line = process.stdout.readline()
        told = STARTED.fullmatch(line)
        assert told, line + process.stdout.read()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        http = self._stack.enter_context(httpx.Client(base_url=told[2], headers=headers, timeout=DEADLINE_S, trust_env=False))
        self.doors.append(Door(process, told[1], told[2], told[3], http))
        return self.doors[-1]

    def peer(self, name: str) -> Peer:
        """An embedded peer of the same cluster, in this process, in sync."""
        peer = self._stack.enter_context(Peer(name, cluster=self.cluster, bind="127.0.0.1:0", seeds=[self.doors[0].seed]))
        peer.wait_synced(DEADLINE_S)
        return peer


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("GOSSIP_")}


def end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def street() -> Iterator[Street]:
    """A cluster of this test's own."""
    with ExitStack() as stack:
        yield Street(stack)


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    """One gateway for all tests of a file; they use services of their own."""
    with ExitStack() as stack:
        yield Street(stack).open()


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """A problem document of this status, which says something."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = json.loads(answer.text)
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert len(document["detail"]) > 20
    assert "Traceback" not in answer.text
    return dict(document)
