"""swim-p2p: SWIM in Python, its nodes as processes whose logs tell what they believe."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ..harness.run import AbsentError
from .server import end, folder, free_ports, wait

FORM_S = 15.0
GONE_S = 60.0
DEAD = re.compile(r"STATE CHANGE.*DEAD|marking as DEAD|from \w+ to DEAD|SUSPECT -> DEAD")


def swim_kill(nodes: int) -> float:
    """Seconds from the SIGKILL of one node until the logs of all others call it dead. Raises `AbsentError`."""
    command = Path(sys.executable).with_name("swim-node")
    if not command.exists():
        raise AbsentError("the Python package swim-p2p is not installed (make bench-setup)")
    ports = free_ports(nodes)
    with folder() as path, ExitStack() as stack:
        logs = [Path(path) / f"n{number}.log" for number in range(nodes)]
        processes: list[subprocess.Popen[bytes]] = []
        stack.callback(lambda: end(processes))
        for log, port in zip(logs, ports, strict=True):
            options = ["--addr", f"127.0.0.1:{port}", "--no-zmq", "--no-metrics-api", "--log-level", "INFO"]
            seeds = ["--seeds", f"127.0.0.1:{ports[0]}"] if processes else []
            out = stack.enter_context(log.open("wb"))
            processes.append(subprocess.Popen([command, *options, *seeds], stdout=out, stderr=subprocess.STDOUT))
            time.sleep(0.3)
        time.sleep(FORM_S)
        lengths = [log.stat().st_size for log in logs]
        began = time.monotonic()
        processes[-1].kill()
        victim = f"127.0.0.1:{ports[-1]}"
        wait(lambda: _all_say(logs[:-1], lengths, victim), GONE_S, f"not all swim-p2p nodes call {victim} dead")
        return time.monotonic() - began


def _all_say(logs: Sequence[Path], lengths: Sequence[int], victim: str) -> bool:
    return all(
        any(victim in line and DEAD.search(line) for line in log.read_bytes()[since:].decode(errors="replace").splitlines())
        for log, since in zip(logs, lengths, strict=False)
    )
