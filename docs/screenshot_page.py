"""The pictures of the live page in the README: docs/pictures/page-*.png, of a real cluster in which a process was just killed.

    .venv/bin/python docs/screenshot_page.py

Needs Debian's `chromium`, `fonts-inter` and `fonts-jetbrains-mono`, to look as on most screens; and `pip install pillow`, which
makes the pictures a third of the size.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nodes.launch import Launcher

PICTURES = Path(__file__).parent / "pictures"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
STARTED = re.compile(r"at (http://\S+), peer at (\S+),")
WIDTH, HEIGHT = 1440, 1420
COLOURS = 256
WAIT_MS = 30_000
SETTLE_S = 11.0  # so that ages say something
PEERS = [f"peer-{number}" for number in range(1, 8)]
VICTIM = "peer-3"
SERVICES = {
    "orders": [("peer-1", 8001, 3), ("peer-2", 8002, 1), ("peer-3", 8003, 1)],
    "payments": [("peer-2", 8011, 1), ("peer-3", 8012, 1), ("peer-4", 8013, 1)],
    "sessions": [("peer-4", 8021, 2), ("peer-5", 8022, 1), ("peer-6", 8023, 1), ("peer-7", 8024, 1)],
    "search": [("peer-6", 8031, 1), ("peer-7", 8032, 1)],
}


@contextmanager
def gateway(cluster: str) -> Iterator[tuple[str, str]]:
    """A gateway as a process: the addresses of its page and of its peer."""
    command = [sys.executable, "-m", "gossip.cli.main", "gateway", "--listen", "127.0.0.1:0", "--bind", "127.0.0.1:0"]
    with subprocess.Popen([*command, "--name", "gateway", "--cluster", cluster], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = STARTED.search(process.stdout.readline())
            assert told, "the gateway did not start"
            yield told[1], told[2]
        finally:
            process.kill()


def look(browser: Browser, url: str, scheme: str) -> Page:
    """The page, in one of its colours."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme, device_scale_factor=1.25)
    page = context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(f"{url}/#key=user%3A42")
    page.locator("#overlay .node", has_text=PEERS[-1]).wait_for()
    page.locator("#key-answer b").wait_for()
    return page


def main() -> None:
    """Take both."""
    cluster = f"screenshot-{uuid.uuid4().hex}"
    zones = {name: "ab"[number % 2] for number, name in enumerate(PEERS)}
    with gateway(cluster) as (url, seed), Launcher(cluster) as launcher:
        workers = {name: launcher.peer(name, seeds=[seed], zone=zones[name]) for name in PEERS}
        for service, held in SERVICES.items():
            for number, (name, port, weight) in enumerate(held, 1):
                workers[name].call("register", service=service, id=f"{service}-{number}", port=port, weight=weight)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            pages = {scheme: look(browser, url, scheme) for scheme in ("light", "dark")}
            time.sleep(SETTLE_S)
            workers[VICTIM].kill9()
            for scheme, page in pages.items():
                page.locator("#overlay .node.dead", has_text=VICTIM).wait_for()
                time.sleep(1.5)
                page.locator("#cluster").evaluate("element => { element.textContent = 'default' }")
                picture = PICTURES / f"page-{scheme}.png"
                page.screenshot(path=picture)
                Image.open(picture).quantize(COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)
                print(f"{picture}: {picture.stat().st_size} bytes")
            browser.close()


if __name__ == "__main__":
    main()
