"""Under gevent's `patch_all()`: the bus is a native thread, and who waits for it holds up no other greenlet."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gossip import ConfigError
from gossip.bus import native

Python = Callable[..., Any]

needs_gevent = pytest.mark.skipif(find_spec("gevent") is None, reason="gevent is not installed")

PATCH = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
import gevent.monkey
gevent.monkey.patch_all()
"""

PRELUDE = """
import gevent, os, subprocess, sys, threading, time
from gossip import Peer, PeerClosed

cluster = f"gevent-{os.getpid()}"
ticks = 0

def tick():
    global ticks
    while True:
        gevent.sleep(0.001)
        ticks += 1

class others_go_on:
    def __enter__(self):
        self.before = ticks
    def __exit__(self, *_):
        assert ticks >= self.before + 10, ticks - self.before

def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "deadline"
        gevent.sleep(0.005)

def raised(kind, call):
    try:
        call()
    except kind:
        return True
    return False

gevent.spawn(tick)
one = Peer("one", cluster=cluster, bind="127.0.0.1:0", seeds=[]).start()
two = Peer("two", cluster=cluster, bind="127.0.0.1:0", seeds=[one.address]).start()
two.wait_synced(15)
"""

END = "\ntwo.close()\none.close()\nassert 'faults' not in one.status().counters | two.status().counters\nprint('end')\n"


def succeeds(python: Python, program: str) -> None:
    done = python(program, 60.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", ""), done.stderr


@needs_gevent
@pytest.mark.parametrize(
    "first", [PATCH, "import gossip\nfrom gossip import Peer\n" + PATCH], ids=["patched-first", "imported-first"]
)
def test_whoever_waits_lets_other_greenlets_go_on(python: Python, first: str) -> None:
    succeeds(
        python,
        first
        + PRELUDE
        + """
with others_go_on():
    assert raised(TimeoutError, lambda: two.wait_for("nothing", timeout=0.3))
with others_go_on():
    assert raised(TimeoutError, lambda: two.watch("nothing").get(0.3))

# the bus is held up: whoever asks it waits, and nobody else does
import gevent.monkey
sleep = gevent.monkey.get_original("time", "sleep")
two._post(lambda node, now: (sleep(0.3), ([], None))[1])
with others_go_on():
    two.register("orders", port=1)
watch = one.watch("orders", initial=True)
with others_go_on():
    gevent.spawn_later(0.2, two.register, "orders", port=2)
    assert {watch.get(15).after.port, watch.get(15).after.port} == {1, 2}
with others_go_on():
    gevent.spawn_later(0.2, two.register, "late", port=3)
    assert one.wait_for("late", timeout=15)
two._post(lambda node, now: (sleep(0.3), ([], None))[1])
with others_go_on():
    two.close()
"""
        + END,
    )


@needs_gevent
def test_many_greenlets_register_at_once(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + """
registering = [gevent.spawn(two.register, "orders", port=1000 + number) for number in range(200)]
gevent.joinall(registering, timeout=30, raise_error=True)
assert len(two.lookup("orders")) == 200
assert len(one.wait_for("orders", 200, timeout=15)) == 200
leaving = [gevent.spawn(job.value.deregister) for job in registering]
gevent.joinall(leaving, timeout=30, raise_error=True)
until(lambda: not one.lookup("orders"))
"""
        + END,
    )


@needs_gevent
def test_watches_and_waits_end_at_close_and_a_killed_greenlet_leaves_nothing(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + """
watch = two.watch()
killed = gevent.spawn(two.wait_for, "never")
reading = gevent.spawn(lambda: len(list(watch)))
also = gevent.spawn(lambda: len(list(watch)))
waiting = gevent.spawn(lambda: raised(PeerClosed, lambda: two.wait_for("never")))
gevent.sleep(0.05)
killed.kill()
assert len(two._waiters) == 1
with gevent.Timeout(0.05, False):
    two.wait_for("never")
assert len(two._waiters) == 1
two.close()
assert waiting.get(timeout=15)
reading.get(timeout=15)
also.get(timeout=15)
"""
        + END,
    )


VICTIM = """
import sys
from gossip import Peer
with Peer("victim", cluster=sys.argv[1], bind="127.0.0.1:0", seeds=[sys.argv[2]]) as peer:
    peer.register("victims", port=1)
    sys.stdin.readline()
"""


@needs_gevent
def test_a_kill_is_seen_by_a_greenlet_that_watches(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + f"""
victim = subprocess.Popen([sys.executable, "-c", {VICTIM!r}, cluster, one.address], stdin=subprocess.PIPE)
watch = two.watch("victims", initial=True)
assert watch.get(15).kind == "ADDED"
until(lambda: one.status().links == two.status().links == 2)
seen = gevent.spawn(watch.get, 15)
victim.kill()
victim.wait()
victim.stdin.close()
assert seen.get().kind == "REMOVED"
"""
        + END,
    )


@needs_gevent
def test_a_thread_of_the_pool_may_wait_as_well(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + """
pool = gevent.get_hub().threadpool
waiting = pool.spawn(one.wait_for, "orders", 1, 15)
watching = pool.spawn(one.watch("orders").get, 15)
gevent.sleep(0.05)
pool.apply(lambda: two.register("orders", port=1) and None)
assert waiting.get() and watching.get().kind == "ADDED"
"""
        + END,
    )


@needs_gevent
@pytest.mark.parametrize(
    "ending",
    ["", "sys.exit(0)", "gevent.spawn(one.wait_for, 'never')", "one.close()", "import atexit; atexit.register(one.close)"],
)
def test_the_interpreter_ends(python: Python, ending: str) -> None:
    succeeds(python, PATCH + PRELUDE + "print('end')\n" + ending)


@needs_gevent
def test_seeds_that_are_names_are_resolved(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + """
one.register("orders", port=1)
port = one.address.rpartition(":")[2]
with Peer("three", cluster=cluster, bind="127.0.0.1:0", seeds=[f"dns:localhost:{port}"]) as three:
    three.wait_for("orders", timeout=15)
"""
        + END,
    )


@needs_gevent
def test_a_seed_that_hangs_holds_up_no_greenlet(python: Python, tmp_path: Path) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + f"""
os.mkfifo({str(tmp_path / "never")!r})  # nobody ever writes: whoever opens it waits
one.register("orders", port=1)
port = one.address.rpartition(":")[2]
with Peer("three", cluster=cluster, bind="127.0.0.1:0", seeds=["file:{tmp_path}/never", f"dns:localhost:{{port}}"]) as three:
    three.wait_for("orders", timeout=15)
    before = ticks
    until(lambda: ticks >= before + 10)
"""
        + END,
    )


@needs_gevent
def test_a_forked_child_begins_anew(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + """
one.register("orders", port=1)
peer = Peer("app", cluster=cluster, bind="127.0.0.1:0", seeds=[one.address], fork="restart").start()
peer.wait_for("orders", timeout=15)
seen_in, seen_out = os.pipe()
child = os.fork()
if child == 0:
    try:
        assert peer.lookup("orders")
        peer.register("child", port=2)
        peer.wait_synced(15)
        os.read(seen_in, 1)
        peer.close()
        os._exit(0)
    finally:
        os._exit(1)
one.wait_for("child", timeout=15)
os.write(seen_out, b"x")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
peer.close()
"""
        + END,
    )


@needs_gevent
def test_the_twin_for_asyncio_holds_up_no_greenlet_either(python: Python) -> None:
    succeeds(
        python,
        PATCH
        + PRELUDE
        + """
import asyncio
from gossip import AsyncPeer

async def main():
    three = AsyncPeer("three", cluster=cluster, bind="localhost:0", seeds=[one.address])
    async with three:
        await three.wait_synced(15)
        watch = await three.watch("orders")
        registration = await three.register("orders", port=1)
        assert (await watch.get(15)).kind == "ADDED"
        before = ticks
        try:
            await three.wait_for("nothing", timeout=0.3)
        except TimeoutError:
            pass
        assert ticks >= before + 10, ticks - before
        gevent.spawn_later(0.05, two.register, "late", port=2)
        assert await three.wait_for("late", timeout=15)
        await registration.deregister()
        assert (await watch.get(15)).kind == "REMOVED"
    assert three.state == "closed"

asyncio.run(main())
until(lambda: len(one.members()) == 2)
"""
        + END,
    )


@needs_gevent
def test_without_patching_gevent_is_not_imported_and_nothing_changes(python: Python) -> None:
    succeeds(
        python,
        """
import sys, threading
from gossip import Peer
with Peer("plain", cluster="plain", bind="127.0.0.1:0", seeds=[]) as peer:
    peer.register("orders", port=1)
    peer.watch()
    assert [thread.name for thread in threading.enumerate()] == ["MainThread", "gossip-plain"]
assert "gevent" not in sys.modules
print("end")
""",
    )


def test_eventlet_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    patcher = types.ModuleType("eventlet.patcher")
    patcher.is_monkey_patched = lambda name: name == "thread"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(ConfigError, match=r"monkey_patch\(thread=False\)"):
        native.refuse_eventlet()
    patcher.is_monkey_patched = lambda name: False  # type: ignore[attr-defined]
    native.refuse_eventlet()
