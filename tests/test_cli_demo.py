"""`gossip demo`: what it shows is so, or it fails; nothing is left of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEADLINE_S = 60.0
DEMO = [sys.executable, "-W", "error", "-m", "gossip.cli.main", "demo"]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_all_steps_are_shown_and_hold_and_no_process_is_left() -> None:
    run = subprocess.run(DEMO, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr
    steps = re.findall(r"^(\d+)\. ", run.stdout, re.MULTILINE)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert run.stdout.count("✓") == len(steps) >= 8
    assert "✗" not in run.stdout
    pids = [int(pid) for pid in re.findall(r"pid (\d+)", run.stdout)]
    assert len(pids) >= 4
    assert not any(map(alive, pids))


def test_ctrl_c_ends_it_and_all_its_processes() -> None:
    demo = subprocess.Popen(DEMO, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        pids: list[int] = []
        for line in demo.stdout:
            pids += map(int, re.findall(r"pid (\d+)", line))
            if "✓" in line:
                break
        assert pids
        demo.send_signal(signal.SIGINT)
        demo.communicate(timeout=DEADLINE_S)
        assert not any(map(alive, pids))
    finally:
        demo.kill()
        demo.wait()
