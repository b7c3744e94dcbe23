"""Row 24: hosts that fork, end, raise or hang in the wrong moment: nothing hangs for it, and lookups go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ..ports import free_ports
from .conftest import DEADLINE_S
from .measured import Record

ROOT = Path(__file__).parents[2]
STATES = "unstarted", "joining", "ready", "isolated", "leaving", "closed"
NO_SCENARIO = "no scenario: simulated hosts have no threads"

PRELUDE = """
import json, os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer interpreters warn of any fork with threads
from gossip import Check, Config, GossipError, Peer

cluster, nobody, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])

def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "deadline"
        time.sleep(0.005)

def timed(call):
    began = time.monotonic()
    try:
        call()
    except GossipError:
        pass
    return time.monotonic() - began

def in_state(state, **more):
    # a peer in this state; what has to live on with it is kept
    seeds = [nobody] if state in ("joining", "isolated") else []
    if state == "leaving":
        other = Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[]).start()
        kept.append(other)
        seeds = [other.address]
    peer = Peer("host", cluster=cluster, bind="127.0.0.1:0", seeds=seeds, **more)
    kept.append(peer)
    if state == "unstarted":
        return peer
    peer.start()
    peer.register("orders", port=1)
    if state == "isolated":
        until(lambda: peer.state == "isolated")
    elif state == "ready":
        until(lambda: peer.state == "ready")
    elif state == "leaving":
        until(lambda: peer.status().links == 1)
        threading.Thread(target=peer.close, daemon=True).start()
    elif state == "closed":
        peer.close()
    return peer

kept = []
"""

FORKS = (
    PRELUDE
    + """
longest = 0.0
for state in options["states"]:
    peer = in_state(state, fork=options["fork"])
    told, said = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        calls = (
            lambda: peer.lookup("orders"), lambda: peer.services(), lambda: peer.members(), lambda: peer.status(),
            lambda: peer.why("host"), lambda: peer.register("mine", port=2), lambda: peer.close(),
        )
        os.write(said, repr(max(map(timed, calls))).encode())
        sys.exit(0)  # through all that Python does at an end
    deadline = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            raise SystemExit(f"the child hangs: {state}")
        longest = max(longest, timed(lambda: peer.lookup("orders")))  # in the parent, meanwhile
        time.sleep(0.001)
    assert os.waitstatus_to_exitcode(ended[1]) == 0, state
    lived = time.monotonic() - began
    call = float(os.read(told, 100))
    longest = max(longest, timed(peer.close))
    print(json.dumps({"state": state, "call_s": call, "child_s": lived}), flush=True)
print(json.dumps({"parent_s": longest}))
"""
)

EXITS = (
    PRELUDE
    + """
peer = in_state(options["state"])
print(json.dumps({"t": time.monotonic()}), flush=True)
"""
)

HANGS = (
    PRELUDE
    + """
fault = options["fault"]

def fail(*_):
    if fault.endswith("raises"):
        raise SystemError("the host's own")
    time.sleep(60)

threading.excepthook = lambda told: None  # the host's own error, in a thread of its own
other = Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[]).start()
peer = Peer("host", cluster=cluster, bind="127.0.0.1:0", seeds=[other.address]).start()
if fault.startswith("reader"):
    watch = peer.watch()
    def read():
        for event in watch:
            fail()
    threading.Thread(target=read, daemon=True).start()
    peer.register("orders", port=1)
else:
    for number in range(5):
        peer.register("orders", id=f"o{number}", port=1 + number, check=Check(fail, interval=0.05, timeout=0.1))
known = lambda: other.lookup("orders", include_draining=True)
until(known)
changing = other.register("payments", port=9)
longest, seen, changes, end = 0.0, 0.0, 0, time.monotonic() + options["seconds"]
while time.monotonic() < end:
    changes += 1
    changing.update(weight=1 + changes % 100)
    at = time.monotonic()
    while not (found := peer.lookup("payments")) or found[0].weight != 1 + changes % 100:
        assert time.monotonic() < at + 20, "a change is not seen"
        time.sleep(0.0002)
    seen = max(seen, time.monotonic() - at)
    longest = max(longest, timed(lambda: peer.lookup("orders")), timed(lambda: peer.status()))
if fault.startswith("check"):
    until(lambda: [one.state for one in known()] == ["CRITICAL"] * 5)
told = {"longest_s": longest, "seen_s": seen, "changes": changes}
told["close_s"] = max(timed(peer.close), timed(other.close))
print(json.dumps({**told, "t": time.monotonic()}), flush=True)
"""
)

Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run() -> Iterator[Run]:
    """Runs a program to its end; returns what it told, and how long its end took after it last spoke."""
    started: list[subprocess.Popen[str]] = []

    def finished(program: str, **options: object) -> list[dict[str, Any]]:
        where = f"test-{uuid.uuid4().hex}", f"127.0.0.1:{free_ports(1)[0]}"
        command = [sys.executable, "-W", "error", "-c", program, *where, json.dumps(options)]
        started.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        output, errors = started[-1].communicate(timeout=3 * DEADLINE_S)
        assert (started[-1].returncode, errors) == (0, ""), (output, errors)
        told = [json.loads(line) for line in output.splitlines()]
        if "t" in told[-1]:
            told[-1]["end_s"] = time.monotonic() - told[-1]["t"]
        return told

    yield finished
    for program in started:
        program.kill()
        program.communicate(timeout=DEADLINE_S)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("fork", ["raise", "restart"])
def test_a_fork_in_any_state_hangs_neither_child_nor_parent(run: Run, record: Record, fork: str) -> None:
    *children, parent = run(FORKS, fork=fork, states=STATES)
    calls = {told["state"]: told["call_s"] for told in children}
    lives = [told["child_s"] for told in children]
    worst = max(calls.values())
    record(
        24,
        "Z",
        what=f"a fork while the peer is {', '.join(STATES)}; fork={fork!r}",
        asked="no hang > 1 s; lookups go on",
        measured=f"longest call in a child {worst:.3f} s, longest life of a child {max(lives):.2f} s; "
        f"longest lookup or close in the parent {parent['parent_s']:.3f} s",
        simulated=NO_SCENARIO,
        held=max(worst, *lives, parent["parent_s"]) <= 1.0,
    )
    assert list(calls) == list(STATES)


def test_an_exit_without_close_in_any_state_does_not_hang(run: Run, record: Record) -> None:
    ends = {state: run(EXITS, state=state)[-1]["end_s"] for state in STATES}
    record(
        24,
        "Z",
        what=f"an exit without close while the peer is {', '.join(STATES)}",
        asked="no hang > 1 s",
        measured=f"the process was over {max(ends.values()):.2f} s after its last statement, at most",
        simulated=NO_SCENARIO,
        held=max(ends.values()) <= 1.0,
    )


@pytest.mark.parametrize("fault", ["reader-raises", "reader-blocks", "check-raises", "check-blocks"])
def test_a_reader_or_a_check_that_raises_or_blocks_harms_no_lookup(run: Run, record: Record, fault: str) -> None:
    (told,) = run(HANGS, fault=fault, seconds=1.0)
    what, _, how = fault.partition("-")
    record(
        24,
        "Z",
        what=f"a {'watch reader' if what == 'reader' else 'health check'} {how}{' for 60 s' if how == 'blocks' else ''}",
        asked="no hang > 1 s; lookups go on",
        measured=f"longest lookup or status {told['longest_s'] * 1000:.1f} ms, each of {told['changes']:,} changes of another "
        f"seen within {told['seen_s'] * 1000:.0f} ms; close {told['close_s']:.2f} s, exit {told['end_s']:.2f} s",
        simulated=NO_SCENARIO,
        held=max(told["longest_s"], told["seen_s"], told["close_s"], told["end_s"]) <= 1.0,
    )
    assert told["changes"] > 0
