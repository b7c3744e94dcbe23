"""Importing must not fail where the system lacks what only Unix has."""

from __future__ import annotations

import subprocess
import sys

WINDOWS = """
import os, sys, time
for module, names in ((os, ["register_at_fork", "fork"]), (time, ["clock_gettime", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC"])):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
sys.modules["resource"] = None
sys.modules["fcntl"] = None
import gossip
from gossip.bus.thread import boot_clock
assert boot_clock() > 0
"""


def test_importing_needs_nothing_that_windows_lacks() -> None:
    run = subprocess.run([sys.executable, "-c", WINDOWS], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr
