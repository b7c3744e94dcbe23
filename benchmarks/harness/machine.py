"""Where and with what a run was made: figures without it mean nothing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = "pyzmq msgpack uhashring redis flask zeromq-pyre swim-p2p matplotlib".split()
SERVERS = {"redis-server": "--version", "etcd": "--version", "serf": "version"}


def machine() -> dict[str, Any]:
    """The hardware and the system, as far as they tell."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Python, ZeroMQ, ours, and what the anchors are."""
    import zmq

    import gossip

    found = {"python": platform.python_version(), "libzmq": zmq.zmq_version(), "gossip-registry": gossip.__version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    for server, asked in SERVERS.items():
        if shutil.which(server):
            found[server] = _said([server, asked]).splitlines()[0]
    return found


def commit() -> str:
    """The commit that was measured, `+` behind it if files were changed since; empty outside a repository."""
    said = _said(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]).strip()
    return said + ("+" if said and _said(["git", "-C", str(ROOT), "status", "--porcelain", "--", "gossip", "benchmarks"]) else "")


def _cpu() -> str:
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
