"""The picture of `gossip top` in the README: docs/pictures/top.svg, of a real cluster in which a process was just killed.

    .venv/bin/python docs/screenshot.py
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from gossip import Observer
from gossip.cli.top.gather import Gatherer
from gossip.cli.top.layout import lines
from gossip.cli.top.scene import Scene
from gossip.cli.top.screen import text_of
from gossip.cli.top.view import Pane, View

PICTURE = Path(__file__).parent / "pictures" / "top.svg"
WIDTH, HEIGHT = 110, 22
WAIT_S = 30.0
PEERS = {
    "orders-1": "orders --port 8001 --weight 3 --route /orders",
    "orders-2": "orders --port 8002 --route /orders",
    "orders-3": "orders --port 8003 --route /orders",
    "payments-1": "payments --port 8011 --route /payments",
    "payments-2": "payments --port 8012 --route /payments",
    "sessions-1": "sessions --port 8021",
}
VICTIM = "orders-3"


@contextmanager
def running(name: str, arguments: str, seed: str, cluster: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`gossip run` as a process of its own, and its address."""
    whom = ["--seeds", seed] if seed else ["--alone"]
    where = ["--cluster", cluster, "--bind", "127.0.0.1:0", *whom]
    command = [sys.executable, "-m", "gossip.cli.main", "run", *arguments.split(), "--instance-id", name, "--name", name, *where]
    with subprocess.Popen([*command, "-o", "json"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"], process
        finally:
            process.kill()


def kill_one() -> Scene:
    """What `gossip top` sees a moment after a process was killed."""
    cluster = f"screenshot-{uuid.uuid4().hex}"
    with ExitStack() as stack:
        processes, seed = {}, ""
        for name, arguments in PEERS.items():
            address, processes[name] = stack.enter_context(running(name, arguments, seed, cluster))
            seed = seed or address
        with Observer("top", cluster=cluster, seeds=[seed]) as observer:
            observer.wait_synced(WAIT_S)
            observer.wait_for("sessions", timeout=WAIT_S)
            gatherer = Gatherer(observer, cluster, observer.watch())
            time.sleep(2.0)  # for rates, and the first heartbeat of the source
            processes[VICTIM].kill()
            deadline = time.monotonic() + WAIT_S
            while len(observer.members()) == len(PEERS) or observer.status().agreement < 1.0:
                assert time.monotonic() < deadline, "nobody saw it die"
                time.sleep(0.05)
            gatherer.take()
            return gatherer.scene()


def main() -> None:
    """Take the picture."""
    scene = replace(kill_one(), cluster="default")
    console = Console(record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in text_of(lines(scene, View(pane=Pane.MEMBERS, cursor=2), WIDTH, HEIGHT)):
        console.print(line)
    svg = console.export_svg(title="gossip top", theme=MONOKAI, unique_id="gossip-top")
    # The fonts that rich names would be fetched from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")
    PICTURE.write_text(svg, encoding="utf-8")
    print(f"{PICTURE}: {len(svg)} bytes")


if __name__ == "__main__":
    main()
