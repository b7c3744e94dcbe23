"""What only a whole process shows: how an interpreter ends, what a fork inherits, running out of descriptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Python = Callable[..., Any]

PRELUDE = """
import os, random, sys, time, types, resource
from gossip.bus.sockets import Sockets
from gossip.bus.thread import BusThread
from gossip.config import Config
from gossip.core.effects import Connect, Call, Listen, Publish

seen = []
happenings = []
config = Config.local()

def make(name="exit"):
    node = types.SimpleNamespace(left=True, leave=lambda now: [])
    node.start = lambda now: [Listen(b"*")]
    node.handle = lambda event, now: seen.append(event) or []
    node.tick = lambda now: setattr(node, "due", now + 0.05) or []
    node.due = 0.0
    node.next_deadline = lambda: node.due
    sockets = Sockets.open(config.links)
    sockets.bind_contact("127.0.0.1", 0)
    publisher = sockets.bind_publisher("127.0.0.1", 0)
    bus = BusThread(name, node, sockets, config, lambda c, h: happenings.extend(h), rng=random.Random(1))
    return bus, f"127.0.0.1:{publisher}"

def carry(bus, *effects):
    return bus.mailbox.call(lambda now: (list(effects), None), 10)

def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "deadline"
        time.sleep(0.005)

first, one = make("one")
second, two = make("two")
first.start()
second.start()
carry(first, Connect(two), Call(1, "127.0.0.1:1", b"x"))
carry(second, Connect(one))
until(lambda: first.links_up == 1 and second.links_up == 1)
until(lambda: len(seen) >= 2)
"""


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(0)",
        "first.stop()\nsecond.stop()",
        "first.stop(leave=False)",
        "import atexit\natexit.register(first.stop)\natexit.register(second.stop)",
        "for number in range(2000): carry(first, Publish(b'*' + bytes(1000)))",
        "del first, second\nimport gc\ngc.collect()",
        "import threading\nthreading.Thread(target=lambda: time.sleep(0.2)).start()",
    ],
    ids=["nothing", "sys.exit", "stop", "stop-one", "atexit", "busy", "collected", "other-thread"],
)
def test_an_interpreter_ends_quietly(python: Python, ending: str) -> None:
    done = python(PRELUDE + "print('end')\n" + ending)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_bus_that_was_never_started_does_not_hold_the_interpreter(python: Python) -> None:
    done = python(PRELUDE + "third, _ = make('three')\nthird.stop()\nfourth, _ = make('four')\nprint('end')")
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr


def test_an_unhandled_exception_is_told_and_ends_the_process(python: Python) -> None:
    done = python(PRELUDE + "raise SystemError('mine')")
    assert done.returncode == 1
    assert "mine" in done.stderr


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer interpreters warn of any fork with threads

def in_child(run):
    child = os.fork()
    if child == 0:
        first.abandon()
        second.abandon()
        run()
        sys.exit(7)
    deadline = time.monotonic() + 10
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.005)

def unharmed():
    from gossip.core.effects import Heard, LinkClosed
    before = len(seen)
    carry(first, Publish(b"*still here"))
    until(lambda: Heard(b"*still here") in seen[before:])
    assert not [event for event in seen if type(event) is LinkClosed]
    assert first.links_up == second.links_up == 1
"""


@pytest.mark.parametrize(
    "run",
    [
        "pass",
        "gc.collect()",
        "first.stop(); second.stop(leave=False)",
        "globals().pop('first'); globals().pop('second'); gc.collect()",
        "refused(lambda: carry(first, Publish(b'*child'))); refused(first.start)",
    ],
    ids=["nothing", "collect", "stop", "drop", "use"],
)
def test_a_forked_child_ends_and_the_parent_is_unharmed(python: Python, run: str) -> None:
    program = f"""
import gc
from gossip.errors import PeerClosed

def refused(use):
    try:
        use()
    except PeerClosed:
        return
    os._exit(9)

def run():
    {run}

began = time.monotonic()
assert in_child(run) == 7
unharmed()
for _ in range(3):
    assert in_child(run) == 7
unharmed()
assert first.stop() and second.stop()
print('end')
"""
    done = python(PRELUDE + FORK + program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_a_fork_while_another_thread_uses_the_mailbox_does_not_hang_the_child(python: Python) -> None:
    program = """
import threading
ended = threading.Event()

def ask():
    while not ended.is_set():
        carry(first, Publish(b"*x"))

askers = [threading.Thread(target=ask) for _ in range(3)]
for asker in askers:
    asker.start()
for _ in range(20):
    assert in_child(lambda: first.stop()) == 7
ended.set()
for asker in askers:
    asker.join()
unharmed()
assert first.stop() and second.stop()
print('end')
"""
    done = python(PRELUDE + FORK + program, 60.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def test_links_beyond_the_descriptor_limit_are_refused_told_and_made_later(python: Python) -> None:
    program = """
import logging
logging.getLogger("gossip").addHandler(logging.NullHandler())
used = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (int(used / 0.8) + 3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from gossip.bus import sockets
import socket
servers = []
for offset in range(12):
    carry(first, Connect(f"127.0.0.1:{20000 + offset}"))
until(lambda: first.counters.get("links_refused"))
until(lambda: happenings)
assert "file descriptors are open" in happenings[0].reason, happenings
assert "ulimit -n" in happenings[0].reason
assert len([h for h in happenings if "refused" in h.reason]) == 1
assert len(os.listdir("/proc/self/fd")) <= resource.getrlimit(resource.RLIMIT_NOFILE)[0]
dialled = first.counters["links_dialled"]
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
until(lambda: first.counters["links_dialled"] >= dialled + 12)
assert first.stop() and second.stop()
print('end')
"""
    done = python(PRELUDE + program, 60.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
