"""A server of somebody else: started for one measurement, ended by its own pid, its files in a folder that goes with it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from types import ModuleType
from typing import TypeVar

from ..harness.run import AbsentError

T = TypeVar("T")
UP_S = 20.0
DOWN_S = 5.0
POLL_S = 0.02


@contextmanager
def program(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run it until the end of the block. Raises `AbsentError` if it is not installed."""
    if shutil.which(command[0]) is None:
        raise AbsentError(f"{command[0]} is not installed (make bench-setup)")
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=env)
    try:
        yield process
    finally:
        end([process])


@contextmanager
def programs(commands: Sequence[Sequence[str]]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Several at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(program(command)) for command in commands]


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End them, by their own ids, gently and then not."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + DOWN_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def folder() -> Iterator[str]:
    """A place for its files."""
    with tempfile.TemporaryDirectory(prefix="anchor-", ignore_cleanup_errors=True) as path:
        yield path


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def library(name: str, package: str) -> ModuleType:
    """Import a client library. Raises `AbsentError`."""
    try:
        return import_module(name)
    except ImportError:
        raise AbsentError(f"the Python package {package} is not installed (make bench-setup)") from None


def wait_port(port: int) -> None:
    """Until something listens there. Raises `AbsentError`."""

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 0.5).close()
        except OSError:
            return False
        return True

    wait(listens, UP_S, f"nothing listens on port {port}")


def wait(condition: Callable[[], T | None], timeout_s: float, what: str) -> T:
    """What the condition returned once it is true. Raises `AbsentError`."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AbsentError(f"{what} after {timeout_s:g} s")
        time.sleep(POLL_S)
    return found
