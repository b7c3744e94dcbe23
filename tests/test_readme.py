"""What the README shows is run: its Python blocks, and the demo whose output it prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def told(url: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(url) as answer:
        return dict(json.load(answer))


def until(fact: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60.0
    while not fact():
        assert time.monotonic() < deadline, "not within a minute"
        time.sleep(0.05)


def headings(text: str) -> list[str]:
    """The numbered steps of the demo, without what differs from run to run."""
    return [re.sub(r"\d{3,}", "…", line) for line in text.splitlines() if re.match(r"\d+\. ", line)]


def test_the_demo_output_shown_is_what_the_demo_prints() -> None:
    shown = next(body for language, body in BLOCKS if language == "text")
    run = subprocess.run([sys.executable, ROOT / "nodes" / "demo.py"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert headings(shown) == headings(run.stdout)
    assert headings(shown)


def test_the_python_shown_runs(tmp_path: Path) -> None:
    embed, failover, static, wide, goodbye = [body for language, body in BLOCKS if language == "python"]
    embedded = re.sub(r'Peer\("orders-1"\)', 'Peer("orders-1", cluster="readme", bind="127.0.0.1:0", seeds=[])', embed)
    assert embedded != embed
    source = embedded + "    orders = peer\n"
    failing = re.sub(r"\.\.\. +# your HTTP call", "raise ConnectionRefusedError  #", failover)
    assert failing != failover
    failing = failing.replace("peer.", "orders.").replace('"payments"', '"orders"')
    source += "".join(f"    {line}\n" for line in failing.splitlines())
    source += "    assert (attempt, target.port) == (2, 8080)\n" + goodbye
    source += static
    assert "secret=" in wide
    source += "import os\nfrom gossip import new_secret\nos.environ['GOSSIP_SECRET'] = new_secret()\n" + wide
    file = tmp_path / "shown.py"
    file.write_text(source, encoding="utf-8")
    run = subprocess.run([sys.executable, "-W", "error", file], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stderr + source


def test_the_benchmarks_named_explain_themselves() -> None:
    assert "python -m benchmarks" in README
    asked = [sys.executable, "-m", "benchmarks", "--help"]
    run = subprocess.run(asked, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    assert {"lookup", "visibility", "detection"} <= set(re.findall(r"\w+", run.stdout))
    assert "usage" in run.stdout


def test_the_page_shows_who_saw_a_killed_process_go() -> None:
    """The commands of the section, with nothing changed but a cluster and a port of their own."""
    launch, gateway = next(body for language, body in BLOCKS if language == "sh" and "gossip gateway" in body).splitlines()
    cluster = ["--cluster", f"readme-{uuid.uuid4().hex[:8]}"]
    launching = [sys.executable, *shlex.split(launch)[1:], *cluster]
    serving = [sys.executable, "-m", "gossip.cli.main", *shlex.split(gateway)[1:], *cluster, "--listen", "127.0.0.1:0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": ROOT}
    with subprocess.Popen(launching, **pipes) as launched, subprocess.Popen(serving, **pipes) as served:  # type: ignore[call-overload]
        try:
            victim = next(found for line in launched.stdout if (found := re.search(r"all see all.*\bpeer-3\D+(\d+)", line)))
            url = next(found[0] for line in served.stdout if (found := re.search(r"http://\S+(?=,)", line)))
            until(lambda: "peer-3" in {one["name"] for one in told(f"{url}/v1/members")["members"]})
            until(lambda: len(told(f"{url}/v1/services")["services"]) >= 4)
            until(lambda: told(f"{url}/v1/status")["links"] >= 5)
            os.kill(int(victim[1]), signal.SIGKILL)
            # the links of the others are as young as their cluster: who dies before they are up is missed for its silence
            named = r"peer-3-\w+ is (gone: its links closed at|silent: accused by) \w+-\w+"
            until(lambda: re.search(named, str(told(f"{url}/v1/events"))))
            with urllib.request.urlopen(f"{url}/") as page:
                assert b"<title>gossip</title>" in page.read()
        finally:
            for process in (launched, served):
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=60)
