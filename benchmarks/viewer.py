"""What the live page costs who looks at it: a thousand instances in Chromium, while fifty others watch.

An update is one change of one instance, or a hundred at once. Its cost is what the page's main thread did for it, by the
browser's own account: all of it by the clock (`TaskDuration`: scripts, styles, layout, painting), and by the processor's
(`ThreadTime`), less what it does while nothing changes. Visible: from the call that changed it until its row was changed on the
page, by one clock.
"""

from __future__ import annotations

import selectors
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from gossip import Peer, Registration

from .anchors.server import library
from .discover import started
from .harness.run import AbsentError, Run

CLUSTER = "viewer"
INSTANCES = 1000
PEERS = 5
OTHERS = 50
BURST = 100
SETTLE_S = 0.6  # after a change: for its drawing, and the rings of light that it sends out
WAIT_S = 60.0
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
NOTE = """() => {
    window.seen = [];
    new MutationObserver(() => window.seen.push(Date.now())).observe(
        document.querySelector("#instances tbody"), {subtree: true, childList: true, characterData: true});
}"""


@contextmanager
def others(port: int, number: int) -> Iterator[None]:
    """So many who watch as well, and read all they are told."""
    with ExitStack() as stack:
        ready = stack.enter_context(selectors.DefaultSelector())
        for _ in range(number):
            viewer = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            viewer.sendall(b"GET /v1/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
            ready.register(viewer, selectors.EVENT_READ)
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                for key, _ in ready.select(0.1):
                    key.fileobj.recv(1 << 20)  # type: ignore[union-attr]

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, if it is here."""
    library("playwright", "playwright")
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None:
        raise AbsentError("chromium is not installed")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield found
        found.close()


class Look:
    """The page, and what it costs."""

    def __init__(self, page: Any, session: Any) -> None:
        self._page, self._session = page, session
        session.send("Performance.enable")

    def busy_s(self) -> tuple[float, float]:
        """For how long its main thread was busy so far, by the clock and by the processor."""
        found = {one["name"]: one["value"] for one in self._session.send("Performance.getMetrics")["metrics"]}
        return float(found["TaskDuration"]), float(found["ThreadTime"])

    def idle(self, seconds: float) -> tuple[float, float]:
        """What it is busy for in a second while nothing changes."""
        before = self.busy_s()
        self._page.wait_for_timeout(seconds * 1000)
        clock, processor = self.busy_s()
        return (clock - before[0]) / seconds, (processor - before[1]) / seconds

    def change(self, run: Run, held: list[Registration], weight: int) -> tuple[float, float, float]:
        """Change these: for how long the page was busy, whatever with, by both; and how long until the first was on it."""
        self._page.evaluate("window.seen = []")
        before, began = self.busy_s(), time.time()
        for one in held:
            one.update(weight=weight)
        self._page.wait_for_timeout(SETTLE_S * 1000)
        clock, processor = self.busy_s()
        seen = [at / 1000 for at in self._page.evaluate("window.seen") if at / 1000 >= began]
        run.check(bool(seen), "a change was not on the page in time")
        return clock - before[0], processor - before[1], seen[0] - began


def measure(run: Run) -> None:
    """One change at a time, then a hundred at once."""
    changes, bursts = run.pick((60, 20), (15, 5))
    with ExitStack() as stack:
        chromium = stack.enter_context(browser())
        port, seed = stack.enter_context(started(CLUSTER))
        peers = [
            stack.enter_context(Peer(f"node-{number}", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[seed]))
            for number in range(PEERS)
        ]
        held = [
            peers[number % PEERS].register(f"service-{number % 10}", port=1000 + number, id=f"instance-{number:04}")
            for number in range(INSTANCES)
        ]
        stack.enter_context(others(port, OTHERS))
        look = opened(run, chromium, port)
        look.idle(run.pick(10.0, 3.0))
        idle = look.idle(run.pick(10.0, 3.0))
        record(run, "an update", [look.change(run, [held[at * 37 % INSTANCES]], 2 + at % 90) for at in range(changes)], idle)
        record(run, "100 at once", [look.change(run, held[:BURST], 2 + at % 90) for at in range(bursts)], idle)
        run.record("busy in a second without changes", [idle[0]])


def record(run: Run, what: str, taken: list[tuple[float, float, float]], idle: tuple[float, float]) -> None:
    """Three figures."""
    run.record(f"{what}, busy", [max(clock - idle[0] * SETTLE_S, 0.0) for clock, _, _ in taken])
    run.record(f"{what}, processor", [max(processor - idle[1] * SETTLE_S, 0.0) for _, processor, _ in taken])
    run.record(f"{what}, visible", [visible for _, _, visible in taken])


def opened(run: Run, chromium: Any, port: int) -> Look:
    """The page, when all instances are on it."""
    context = chromium.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{port}/")
    rows = page.locator("#instances tbody tr")
    deadline = time.monotonic() + WAIT_S
    while rows.count() < INSTANCES:
        run.check(time.monotonic() < deadline, "the page does not show all instances")
        time.sleep(0.1)
    page.evaluate(NOTE)
    return Look(page, context.new_cdp_session(page))
