"""`gossip demo`: five real peer processes and a reader beside them, to see the registry at work with nothing but this package.

Everything is observed while it runs; the exit code is 0 only if all was as it should be. Invariant: each process is known
from the moment it exists and ended by its own pid; should this one be killed, the others end within `TTL_S`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import GossipError, Instance, Observer
from .printing import closed_pipe_is_no_error, put

DESCRIPTION = """\
Start five peers as processes of their own and a reader here, look things up,
kill one, let one leave, and end them all; a few seconds. They form a cluster of
their own and touch no other. What they register is made up: nothing listens.
"""
EXAMPLES = """\
examples:
  gossip demo
  gossip demo && echo all of it was observed
"""
HOME = Path(__file__).resolve().parents[2]  # where this very package is imported from
WAIT_S = 20.0  # for anything that is to be observed; it takes milliseconds, unless the machine is very busy
POLL_S = 0.005
LEAVE_S = 5.0  # then SIGKILL
TTL_S = "120"  # then each has an event to tell, finds nobody who reads it, and ends
KEYS = [f"user:{number}" for number in range(1000)]
PICKS = 100
STEPS = 9
BAR_WIDTH = 40
TEXT_WIDTH = 74
PEERS = {
    "peer-1": "orders --instance-id orders-1 --port 8001 --weight 3 --route /orders",
    "peer-2": "orders --instance-id orders-2 --port 8002 --route /orders",
    "peer-3": "orders --instance-id orders-3 --port 8003 --route /orders",
    "peer-4": "payments --instance-id payments-1 --port 8011 --route /payments --route /orders/refunds",
    "peer-5": "payments --instance-id payments-2 --port 8012 --route /payments --route /orders/refunds",
}
PATHS = {"/orders/42/items": "orders", "/orders/refunds/7": "payments", "/payments?card=1": "payments"}
Told = dict[str, Any]


class NotSeen(Exception):
    """What should have been observed was not."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo` to the commands of `gossip`."""
    parser = commands.add_parser(
        "demo",
        help="five peers on this machine, shown at work",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=demo)
    parser.add_argument("--verbose", action="store_true", help="log to stderr")


def demo(options: argparse.Namespace) -> int:
    """Show everything; returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without check marks shows question marks
    began, failure = time.monotonic(), ""
    with closed_pipe_is_no_error(), _interruptible() as interrupts:
        show = Demo(interrupts)
        try:
            show.run()
        except (NotSeen, GossipError, TimeoutError) as error:
            failure = str(error)
        except KeyboardInterrupt:
            failure = "interrupted"
        finally:
            wrong = show.end()
        failure = "; ".join(filter(None, [failure, *wrong]))
        if failure:
            put(f"   ✗ {failure}")
            return 1
        put(f"\nAll of it was observed, in {time.monotonic() - began:.1f} s. No process is left.")
    return 0


class Interrupts:
    """Ctrl-C and SIGTERM interrupt the demo, but not while a process begins or the last ones end."""

    held = False
    asked = False

    def on_signal(self, *_: object) -> None:
        """The handler of both signals."""
        self.asked = True
        if not self.held:
            self.held = True  # a second one does not interrupt the end
            raise KeyboardInterrupt

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Within the block a signal waits for its end."""
        self.held = True
        try:
            yield
        finally:
            self.held = self.asked
        if self.asked:
            raise KeyboardInterrupt


@contextmanager
def _interruptible() -> Iterator[Interrupts]:
    interrupts = Interrupts()
    former = {number: signal.signal(number, interrupts.on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


class Running:
    """One `gossip run` in a process of its own, and what it told, each line with the time it arrived here."""

    def __init__(self, name: str, arguments: list[str]) -> None:
        self.name = name
        self.told: list[tuple[float, Told]] = []
        clean = {variable: text for variable, text in os.environ.items() if not variable.startswith("GOSSIP_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gossip.cli.main", "run", "--name", name, "-o", "json", *arguments],
            cwd=HOME,
            env=clean,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # a Ctrl-C here is not for it
        )
        threading.Thread(target=self._listen, name=f"from-{name}", daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if line.endswith("\n"):  # else it was cut off by its end
                    self.told.append((time.monotonic(), json.loads(line)))

    def when(self, wanted: Callable[[Told], bool]) -> float | None:
        """When it told something like this for the first time."""
        return next((at for at, told in tuple(self.told) if wanted(told)), None)

    def known(self, kind: str) -> set[str]:
        """The ids of all that it told to be there."""
        return {told["after"]["id"] for _, told in tuple(self.told) if told["kind"] == kind}


class Demo:
    """The steps, in their order. Each observes something, shows it, and ends in a check mark or in `NotSeen`."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._cluster = f"demo-{os.getpid()}-{secrets.token_hex(4)}"  # that nobody else is in
        self._reader = Observer("reader", cluster=self._cluster)
        self._all: list[Running] = []
        self._peers: dict[str, Running] = {}  # those that live
        self._step = 0

    def run(self) -> None:
        """All steps. Raises `NotSeen`, `GossipError`, `TimeoutError`."""
        self.start()
        self.read()
        self.by_path()
        owners = self.by_key()
        self.by_weight()
        self.kill()
        self.keys_moved(owners)
        self.why()
        self.leave()

    def end(self) -> list[str]:
        """End every process and the reader; some seconds at most. Returns what went wrong with the last of them, in words."""
        self._interrupts.held = True
        self._reader.close()
        for one in self._all:
            if one.process.poll() is None:
                one.process.terminate()
        deadline = time.monotonic() + LEAVE_S
        for one in self._all:
            _end(one.process, deadline)
        codes = {one.name: one.process.poll() for one in self._all if one.name in self._peers}
        asked_early = self._step < STEPS  # one that has only begun knows no goodbye yet
        return [f"{name} ended with {code}" for name, code in codes.items() if code is None or (code and not asked_early)]

    def start(self) -> None:
        began = time.monotonic()
        self._say_step("Five processes start. Nobody tells them of each other; there is no server.")
        first, *others = PEERS
        self._launch(first)
        self._until(lambda: self._peers[first].when(_is_synced), "the first to be in sync")  # it holds the common port from here
        for name in others:
            self._launch(name)
        self._until(lambda: all(self._peers[name].told for name in PEERS), "five peers that run")
        for one in self._peers.values():
            started = one.told[0][1]
            self._say(f"{one.name}  pid {started['pid']:<7} {started['address']:<15}  {started['instance']['id']}")
        self._until(
            lambda: all(len(one.known("MEMBER_JOINED")) == len(one.known("ADDED")) == len(PEERS) for one in self._peers.values()),
            "that each sees all",
        )
        self._done(f"each of the 5 sees 5 peers and 5 instances, {time.monotonic() - began:.1f} s after the first start")

    def read(self) -> None:
        self._say_step('A reader, in this process: an Observer. By name it looks up "payments".')
        began = time.monotonic()
        self._reader.start().wait_synced(WAIT_S)
        took_ms = (time.monotonic() - began) * 1000
        for one in self._reader.lookup("payments"):
            self._say(f"{one.id}  {one.address}  registered at {one.origin}")
        self._expect("payments", ["payments-1", "payments-2"], _ids(self._reader.lookup("payments")))
        self._expect("members that the reader sees", 5, len(self._reader.members()))
        self._done(f"it holds the whole catalogue after {took_ms:.0f} ms, and is no member itself")

    def by_path(self) -> None:
        self._say_step("By path: the longest prefix of whole segments wins.")
        for path, service in PATHS.items():
            chosen = self._reader.route(path)
            self._say(f"{path:<18} matches {self._reader.routes(path)[0].prefix:<16} and goes to {chosen.id}")
            self._expect(f"the service behind {path}", service, chosen.service)
        self._done("each went to a service that registered that prefix")

    def by_key(self) -> list[str]:
        self._say_step("By key: a consistent hash ring says which instance of orders owns a key.")
        owners = self._owners()
        self._bars(Counter(owners), len(KEYS))
        self._say(f"$ gossip locate orders {KEYS[0]}")
        asked = [sys.executable, "-m", "gossip.cli.main", "locate", "orders", KEYS[0], "--cluster", self._cluster, "-o", "json"]
        told = subprocess.run(asked, cwd=HOME, stdout=subprocess.PIPE, text=True, encoding="utf-8", timeout=WAIT_S, check=False)
        found = [one["id"] for one in json.loads(told.stdout or "[]")]
        self._say(", ".join(found))
        self._expect("the owner, asked by another process", owners[:1], found)
        self._done("another process that asks names the same owner")
        return owners

    def by_weight(self) -> None:
        self._say_step(f"Balanced: {PICKS} picks of orders; weights 3, 1, 1.")
        picks = Counter(self._reader.pick("orders").id for _ in range(PICKS))
        self._bars(picks, PICKS)
        self._expect("picks", {"orders-1": 60, "orders-2": 20, "orders-3": 20}, dict(picks))
        self._done("3 : 1 : 1, exactly")

    def kill(self) -> None:
        victim = self._peers.pop("peer-3")
        self._say_step(f"kill -9 {victim.process.pid}: peer-3 dies without a word.")
        watch = self._reader.watch("orders")
        killed_t = time.monotonic()
        victim.process.kill()
        gone = watch.get(WAIT_S)
        self._expect("what the reader sees", ("REMOVED", "orders-3"), (str(gone.kind), gone.before.id if gone.before else ""))
        self._say(f"the reader: orders-3 gone after {(time.monotonic() - killed_t) * 1000:6.1f} ms")
        self._seen_by_all(killed_t, lambda one: one["kind"] == "REMOVED" and one["before"]["id"] == "orders-3", "orders-3 gone")
        self._expect("its exit code", -signal.SIGKILL, victim.process.wait(WAIT_S))
        self._done("gone at the 4 others, and nobody else is")

    def keys_moved(self, before: list[str]) -> None:
        self._say_step("What that meant for the ring: only the dead one's keys moved.")
        moved = Counter(was for was, now in zip(before, self._owners(), strict=True) if was != now)
        self._expect("moved keys, by their former owner", {"orders-3": before.count("orders-3")}, dict(moved))
        self._done(f"{moved['orders-3']} of 1,000 keys moved, all of them from orders-3")

    def why(self) -> None:
        self._say_step('Why is it gone? The reader asks a peer: why("peer-3").')
        events = self._reader.why("peer-3")
        for event in events[-3:]:
            self._say(f"{time.strftime('%H:%M:%S', time.localtime(event.at))} {event.kind}")
            for line in textwrap.wrap(event.reason, TEXT_WIDTH - 4):
                self._say(f"    {line}")
        self._expect("a MEMBER_DEAD with a reason", True, any(one.kind == "MEMBER_DEAD" and one.reason for one in events))
        self._done("it knows when, and on whose evidence")

    def leave(self) -> None:
        leaver = self._peers.pop("peer-2")
        self._say_step("A graceful leave: peer-2 is asked to stop, and says goodbye.")
        asked_t = time.monotonic()
        leaver.process.terminate()
        id = leaver.told[0][1]["id"]
        self._seen_by_all(asked_t, lambda one: one["kind"] == "MEMBER_LEFT" and one["before"]["id"] == id, "peer-2 left")
        self._until(lambda: len(self._reader.members()) == len(self._peers), "that the reader sees it")
        self._expect("its exit code", 0, leaver.process.wait(WAIT_S))
        self._expect("what the reader looks up", ["orders-1"], _ids(self._reader.lookup("orders")))
        self._done("gone at the 3 others; exit code 0")
        self._expect("steps", STEPS, self._step)

    # observing --------------------------------------------------------------------------------------------------------

    def _launch(self, name: str) -> None:
        with self._interrupts.hold():
            one = Running(name, [*PEERS[name].split(), "--cluster", self._cluster, "--ttl", TTL_S])
            self._all.append(one)
            self._peers[name] = one

    def _until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not condition():
            if ended := [one.name for one in self._peers.values() if one.process.poll() is not None]:
                raise NotSeen(f"{', '.join(ended)} ended by itself, while waiting for {what}")
            if time.monotonic() > deadline:
                raise NotSeen(f"not within {WAIT_S:g} s: {what}")
            time.sleep(POLL_S)

    def _seen_by_all(self, since: float, wanted: Callable[[Told], bool], what: str) -> None:
        for one in self._peers.values():
            self._until(lambda one=one: one.when(wanted), f"{what}, at {one.name}")  # type: ignore[misc]
            self._say(f"{one.name}:     {what} after {((one.when(wanted) or since) - since) * 1000:6.1f} ms")
        dead = {told["before"]["name"] for one in self._peers.values() for _, told in one.told if told["kind"] == "MEMBER_DEAD"}
        self._expect("those held dead by anybody", {"peer-3"}, dead)

    def _owners(self) -> list[str]:
        return [self._reader.locate("orders", key).id for key in KEYS]

    def _expect(self, what: str, expected: object, seen: object) -> None:
        if seen != expected:
            raise NotSeen(f"{what}: expected {expected!r}, saw {seen!r}")

    # showing ----------------------------------------------------------------------------------------------------------

    def _say_step(self, title: str) -> None:
        self._step += 1
        put(f"{'' if self._step == 1 else chr(10)}{self._step}. {title}")

    def _say(self, text: str) -> None:
        put(f"   {text}")

    def _done(self, text: str) -> None:
        self._say(f"✓ {text}")

    def _bars(self, counts: Mapping[str, int], whole: int) -> None:
        for name, count in sorted(counts.items()):
            self._say(f"{name}  {'█' * round(count * BAR_WIDTH / whole)} {count}")


def _ids(instances: tuple[Instance, ...]) -> list[str]:
    return [one.id for one in instances]


def _is_synced(told: Told) -> bool:
    return bool(told["kind"] == "NOTICE" and told["reason"].endswith("is synced"))


def _end(process: subprocess.Popen[str], deadline: float) -> None:
    """Wait until then for its end, then kill it."""
    for patience in (max(0.0, deadline - time.monotonic()), LEAVE_S):
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
        else:
            return
