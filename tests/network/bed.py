"""A bed of hosts: `Hosts`, the switch process as the tests see it, and whether this machine can have one.

Invariant: what a bed made ends with it, and with the process of the tests, whatever ended that: the switch reads from a
pipe that only we hold, and all else (namespaces, devices) hangs on the switch and on the workers, which end likewise.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from nodes.process import signals_held

from .switch import address

PROGRAM = Path(__file__).with_name("switch.py")
END_S = 5.0
TOOLS = "ip", "nsenter"


@functools.cache
def missing() -> str:
    """Why there can be no bed here; empty if there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux'"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if absent := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"network namespaces need {' and '.join(absent)} (on Debian: iproute2, util-linux)"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "the switch needs /dev/net/tun"
    try:
        Hosts(1).close()
    except Refused as error:
        return f"this machine refuses: {error}"
    return ""


class Refused(RuntimeError):
    """No namespace or tap device was to be had."""


class Hosts:
    """Some hosts on one switch, counted from 0; a context manager. One thread at a time may speak to the switch."""

    def __init__(self, count: int, seed: int | None = None) -> None:
        self.count = count
        self._lock = threading.Lock()
        with signals_held():
            self._process = subprocess.Popen(
                [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
            )
        told = self._ask(hosts=count, seed=seed)
        if "refused" in told:
            self.close()
            raise Refused(told["refused"])
        self._namespaces: list[str] = told["up"]

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def address(self, host: int) -> str:
        """Its IPv4 address."""
        return address(host)

    def prefix(self, host: int) -> Sequence[str]:
        """What a command line begins with to run there."""
        return "nsenter", f"--net={self._namespaces[host]}"

    def set_paths(self, sources: Iterable[int], targets: Iterable[int], **way: float) -> dict[str, int]:
        """What frames from these hosts to those meet from now on: `loss`, `delay_s`, `jitter_s`, else nothing. One way."""
        pairs = [(source, target) for source in sources for target in targets if source != target]
        return self._do(paths=[[source, target, way] for source, target in pairs])

    def reset(self, here: Iterable[int], there: Iterable[int]) -> dict[str, int]:
        """All TCP connections between these and those end now, by a RST to both ends."""
        return self._do(reset=[[one, other] for one in here for other in there if one != other])

    def close(self) -> None:
        """End the switch; the namespaces go with it, as soon as nobody runs in them."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it ended first
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _do(self, **command: Any) -> dict[str, int]:
        counts: dict[str, int] = self._ask(**command)["done"]
        return counts

    def _ask(self, **command: Any) -> dict[str, Any]:
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            try:
                self._process.stdin.write(json.dumps(command) + "\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
            except (OSError, ValueError):
                line = ""
        if not line:
            raise Refused("the switch has ended; stderr tells why")
        told: dict[str, Any] = json.loads(line)
        return told
