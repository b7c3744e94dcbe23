"""Forked children: they let go of the parent's connections, and a peer with `fork="restart"` begins anew in them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gossip import AsyncPeer, ConfigError, Peer

ROOT = Path(__file__).parents[2]
SECRET = "for no cluster but that of this test"
Python = Callable[..., Any]
Until = Callable[..., Any]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc/self/fd to see what a child inherits"),
]

PARENT = """
import os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer interpreters warn of any fork with threads
from gossip import Peer
peer = Peer("parent", cluster=sys.argv[1], bind="127.0.0.1:0", seeds=[]).start()
peer.register("orders", port=8080)
print(peer.address, flush=True)
for _ in sys.stdin:
    child = os.fork()
    if not child:
        os.read(os.pipe()[0], 1)  # lives on, until it is killed
    print(child, flush=True)
"""


class Parent:
    """A process with a peer, which forks a child for every line it reads."""

    def __init__(self, cluster: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PARENT, cluster], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = self._line()
        self._children: list[int] = []

    def fork(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._children.append(int(self._line()))
        return self._children[-1]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Parent:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        with self._process:
            self.kill()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def parent(request: pytest.FixtureRequest) -> Iterator[Parent]:
    with Parent(f"{request.node.name[:60]}-{os.getpid()}") as made:
        yield made


@pytest.fixture
def others(request: pytest.FixtureRequest, parent: Parent, until: Until) -> Iterator[list[Peer]]:
    """Four peers that are linked to the parent and to each other."""
    with ExitStack() as stack:
        cluster = f"{request.node.name[:60]}-{os.getpid()}"
        peers = [
            stack.enter_context(Peer(f"p{number}", cluster=cluster, bind="127.0.0.1:0", seeds=[parent.address]))
            for number in range(4)
        ]
        until(lambda: all(len(peer.members()) == 5 and peer.status().links == 4 for peer in peers), "everybody to be linked")
        until(lambda: all(peer.lookup("orders") for peer in peers), "the parent's instance to be known")
        yield peers


def test_a_killed_parent_is_seen_by_closed_links_though_its_child_lives_on(
    parent: Parent, others: list[Peer], until: Until
) -> None:
    child = parent.fork()
    until(lambda: held(child, parent.address) == 0, "the child to let go")
    parent.kill()
    until(lambda: not any(peer.lookup("orders") for peer in others), "the parent to be gone")
    os.kill(child, 0)  # it lives
    for peer in others:
        assert any("links closed" in event.reason for event in peer.why("parent")), peer.why("parent")
    host, _, port = parent.address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_a_parent_that_forks_often_loses_no_link(parent: Parent, others: list[Peer], until: Until) -> None:
    children = [parent.fork() for _ in range(20)]
    until(lambda: all(held(child, parent.address) == 0 for child in children), "the children to let go")
    with Peer("late", cluster=others[0].status().cluster, bind="127.0.0.1:0", seeds=[parent.address]) as late:
        late.wait_for("orders", timeout=15)  # the parent answers, and is heard
    for peer in others:
        assert "links_broken" not in peer.status().counters
        assert peer.lookup("orders")
        assert not [event for event in peer.why("parent") if event.kind in ("MEMBER_SUSPECTED", "MEMBER_DEAD")]


def held(process: int, address: str) -> int:
    """How many sockets of a process are bound to the port of this address."""
    port = f":{int(address.rpartition(':')[2]):04X}"
    inodes = {
        line.split()[9] for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines() if port in line.split()[1]
    }
    found = 0
    for descriptor in os.listdir(f"/proc/{process}/fd"):
        with suppress(OSError):
            found += os.readlink(f"/proc/{process}/fd/{descriptor}")[8:-1] in inodes
    return found


PRELUDE = """
import os, socket, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # newer interpreters warn of any fork with threads
from gossip import Peer, PeerForked

def until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, "deadline"
        time.sleep(0.005)

def forked(run):
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return child

def ended(child):
    deadline = time.monotonic() + 30
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.005)

def refused(call):
    try:
        call()
    except PeerForked as error:
        return str(error)
    raise AssertionError("not refused")

cluster = f"forks-{os.getpid()}"
"""

RESTART = (
    PRELUDE
    + """
other = Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[]).start()
other.register("far", port=9, routes=["/far"])
peer = Peer("app", cluster=cluster, bind="127.0.0.1:0", seeds=[other.address], fork="restart").start()
mine = peer.register("near", port=1)
peer.wait_for("far", 1, 15)
until(lambda: other.lookup("near"))  # a child is told what `other` holds, and may be told by it first
first = peer.id
"""
)

QUIET = """
assert peer.id == first
assert not [event for event in peer.why("other") if event.kind in ("MEMBER_SUSPECTED", "MEMBER_DEAD")]
peer.close()
other.close()
print("end")
"""


def succeeds(python: Python, program: str) -> None:
    done = python(program, 60.0)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", ""), done.stderr


def test_a_child_keeps_the_connections_of_its_host(python: Python) -> None:
    succeeds(
        python,
        PRELUDE
        + """
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
served, _ = server.accept()
one, two = socket.socketpair()
with Peer("host", cluster=cluster, bind="127.0.0.1:0", seeds=[]) as peer:
    def run():
        client.sendall(b"x")
        assert served.recv(1) == b"x"
        one.sendall(b"y")
        assert two.recv(1) == b"y"
        socket.create_connection(server.getsockname()).close()
        server.accept()[0].close()
    assert ended(forked(run)) == 0
for end in (server, client, served, one, two):
    end.close()
print("end")
""",
    )


def test_a_child_keeps_what_its_host_has_at_endpoints_of_members(python: Python) -> None:
    succeeds(
        python,
        PRELUDE
        + """
with Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[]) as other, Peer(
    "host", cluster=cluster, bind="127.0.0.1:0", seeds=[other.address]
) as peer:
    until(lambda: peer.status().links == other.status().links == 1)
    host, _, port = peer.address.rpartition(":")
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((host, int(port)))  # the numbers of UDP are others
    own = [socket.create_connection((end.rpartition(":")[0], int(end.rpartition(":")[2])))
           for end in (other.address, other._node.local.me.publisher)]
    kept = [os.fstat(one.fileno()).st_ino for one in (datagrams, *own)]

    def run():
        assert [os.fstat(one.fileno()).st_ino for one in (datagrams, *own)] == kept
        datagrams.sendto(b"x", datagrams.getsockname())
        assert datagrams.recv(1) == b"x"
        assert all(one.getpeername() for one in own)

    assert ended(forked(run)) == 0
    for one in (datagrams, *own):
        one.close()
print("end")
""",
    )


@pytest.mark.parametrize("secrets", [[], [SECRET], [SECRET, SECRET[::-1]]], ids=["open", "secret", "two secrets"])
def test_a_child_lets_go_of_the_links_of_its_parent(python: Python, secrets: list[str]) -> None:
    succeeds(
        python,
        PRELUDE
        + f"secret = {secrets or None!r}\n"
        + """
def sockets_of(endpoint, column):  # 1: bound there, 2: connected to there
    host, _, port = endpoint.rpartition(":")
    spelled = f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{int(port):04X}"
    with open("/proc/self/net/tcp") as table:
        lines = [line.split() for line in table]
    inodes = {f"socket:[{words[9]}]" for words in lines if words[column] == spelled}
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}") in inodes
        except OSError:
            pass
    return found

with Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[], secret=secret) as other:
    contact, publisher = other.address, other._node.local.me.publisher
    server = os.fork()
    if server == 0:  # the link is to be seen from one side only
        with Peer("host", cluster=cluster, bind="127.0.0.1:0", seeds=[contact], secret=secret) as peer:
            until(lambda: peer.status().links == 1)
            assert sockets_of(publisher, 2) == 1 and sockets_of(peer.address, 1) >= 1
            mine = peer.address
            code = ended(forked(lambda: os._exit(sockets_of(publisher, 2) + sockets_of(mine, 1))))
            assert sockets_of(publisher, 2) == 1 and sockets_of(mine, 1) >= 1
        os._exit(code)
    assert ended(server) == 0
print("end")
""",
    )


def test_a_forked_child_looks_up_without_a_gap_and_becomes_a_member_of_its_own(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
told, seen = os.pipe()

def run():
    assert [found.port for found in peer.lookup("far")] == [9]  # at once
    assert peer.route("/far/x").port == 9
    assert peer.id != first and peer.id.startswith("app-")
    peer.register("child", port=2)
    assert peer.lookup("child") and peer.lookup("far") and peer.lookup("near")
    until(lambda: len(peer.members()) == 3 and type(peer._catalogue).__name__ == "Catalogue")
    assert peer.services() == ("child", "far", "near")
    assert peer.status().synced
    os.read(told, 1)  # a shorter life could pass between two looks of the parent
    peer.close()

child = forked(run)
until(lambda: other.lookup("child"))
os.write(seen, b".")
assert ended(child) == 0
until(lambda: len(peer.members()) == 2 and not other.lookup("child"))
"""
        + QUIET,
    )


def test_what_was_made_before_the_fork_belongs_to_the_parent(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
watch = peer.watch()

def run():
    assert "Watch again" in refused(lambda: watch.get(10))
    assert "Watch again" in refused(lambda: next(watch))
    peer.register("near", port=1)
    for use in (mine.deregister, mine.drain, mine.renew, lambda: mine.update(weight=2)):
        assert "Register what runs here" in refused(use)
    assert peer.lookup("near")
    events = peer.watch(initial=True)
    assert events.get(10).kind == "ADDED"
    peer.close()

assert ended(forked(run)) == 0
assert peer.lookup("near") and peer.lookup("near")[0].origin == first
"""
        + QUIET,
    )


def test_what_was_inherited_and_is_gone_disappears_with_a_resync(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
gone_in, gone_out = os.pipe()

def run():
    os.read(gone_in, 1)  # asleep while the instance goes
    assert peer.lookup("near")
    watch = peer.watch()
    until(lambda: not peer.lookup("near"))
    while watch.get(10).kind != "RESYNC":
        pass
    assert peer.lookup("far")
    peer.close()

child = forked(run)
mine.deregister()
until(lambda: not other.lookup("near"))
os.write(gone_out, b"x")
assert ended(child) == 0
"""
        + QUIET,
    )


def test_the_inherited_view_is_served_while_given_seeds_do_not_answer(python: Python) -> None:
    succeeds(
        python,
        PRELUDE
        + """
silent = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]  # they take connections, and say nothing
seeds = [f"127.0.0.1:{server.getsockname()[1]}" for server in silent]
peer = Peer("app", cluster=cluster, bind="127.0.0.1:0", seeds=seeds, fork="restart").start()
other = Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[peer.address]).start()
other.register("far", port=9)
peer.wait_for("far", 1, 15)
first = peer.id

def run():
    views = set()
    def settled():
        kind = type(peer._catalogue).__name__
        views.add((kind, len(peer.lookup("far"))))
        return kind == "Catalogue"
    until(settled)
    until(lambda: len(peer.members()) == 3)
    assert {found for _, found in views} == {1}, views
    peer.close()

assert ended(forked(run)) == 0
for server in silent:
    server.close()
"""
        + QUIET,
    )


def test_the_inherited_view_is_served_when_nobody_answers_and_not_for_ever(python: Python) -> None:
    succeeds(
        python,
        PRELUDE
        + """
from gossip.config import Config, Detection, Joining
config = Config(detection=Detection(isolated_hold_s=3.0), joining=Joining(synced_deadline_s=0.1))
peer = Peer("app", cluster=cluster, bind="127.0.0.1:0", seeds=[], fork="restart", config=config).start()
peer.register("near", port=1)
gone_in, gone_out = os.pipe()

def run():
    os.read(gone_in, 1)  # the parent's peer has ended, and nobody else is there
    began = time.monotonic()
    found = []
    def ended():
        found.append((peer.status().synced, len(peer.lookup("near"))))
        return not found[-1][1]
    until(ended)
    assert (True, 1) in found  # it served the view on though it was synced
    assert time.monotonic() - began >= 3.0
    peer.close()

child = forked(run)
peer.close()
os.write(gone_out, b"x")
assert ended(child) == 0
print("end")
""",
    )


def test_a_reader_that_was_held_up_does_not_bring_the_inherited_view_back(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
def run():
    held = peer._catalogue  # as a reader has it that was preempted right here
    assert peer.lookup("far")
    until(lambda: type(peer._catalogue).__name__ == "Catalogue")
    assert held.views["near"]
    assert type(peer._catalogue).__name__ == "Catalogue"
    peer.close()

assert ended(forked(run)) == 0
"""
        + QUIET,
    )


def test_what_never_blocks_does_not_wait_for_the_new_beginning(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
import threading

def run():
    holding, release = threading.Event(), threading.Event()
    def hold():
        with peer._life:  # nobody begins anew meanwhile
            holding.set()
            release.wait(15)
    threading.Thread(target=hold).start()
    holding.wait(15)
    assert {member.name for member in peer.members()} == {"app", "other"}
    assert peer.why("other")
    status = peer.status()
    assert (status.state, status.synced, status.members) == ("joining", False, 0)
    peer.report_failure(peer.lookup("far")[0])
    release.set()
    until(lambda: peer.status().members == 3)
    assert peer.status().id == status.id == peer.id != first
    peer.close()

assert ended(forked(run)) == 0
"""
        + QUIET,
    )


@pytest.mark.parametrize("place", ["_make_node", "_launch"])
def test_a_beginning_that_was_interrupted_is_begun_anew_by_the_next_call(python: Python, place: str) -> None:
    succeeds(
        python,
        RESTART
        + f"""
def run():
    whole, calls = Peer.{place}, []
    def interrupted(*arguments):
        calls.append(whole(*arguments))  # as by a signal handler that raises once this is done
        raise KeyboardInterrupt
    Peer.{place} = interrupted
    try:
        peer.register("mine", port=2)
    except KeyboardInterrupt:
        Peer.{place} = whole
    assert len(calls) == 1
    assert peer.lookup("far")
    peer.register("mine", port=2)
    until(lambda: peer.status().members == 3)
    assert [t.name for t in __import__("threading").enumerate()].count("gossip-app") == 1
    peer.close()

assert ended(forked(run)) == 0
"""
        + QUIET,
    )


def test_a_look_that_found_no_thread_leaves_the_beginning_to_the_next(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
from gossip.bus import native

def run():
    start, refused = native.start_raw, []
    def refuse(run):
        refused.append(run)
        raise RuntimeError("can't start new thread")
    native.start_raw = refuse
    assert peer.lookup("far") and peer.lookup("far")
    assert len(refused) >= 2
    native.start_raw = start
    assert peer.lookup("far")
    until(lambda: peer.status().members == 3)
    peer.close()

assert ended(forked(run)) == 0
"""
        + QUIET,
    )


def test_a_child_of_a_child_begins_anew_as_well(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
def deepest():
    assert peer.lookup("far")
    peer.register("deepest", port=3)
    until(lambda: {"app", "other"} <= {member.name for member in peer.members() if member.id != peer.id})

def asleep():  # forks again before anybody looked
    assert ended(forked(deepest)) == 0

def awake():
    peer.wait_synced(15)
    assert ended(forked(deepest)) == 0
    assert peer.status().synced

def waking():  # forks again while the first look is still followed up
    assert peer.lookup("far")
    assert ended(forked(deepest)) == 0

for run in (asleep, awake, waking):
    assert ended(forked(run)) == 0, run
"""
        + QUIET,
    )


def test_children_of_multiprocessing_use_the_peer_and_end(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
import multiprocessing

def work(number):
    assert peer.lookup("far")
    if number % 2:
        peer.register("work", port=100 + number)
        assert peer.lookup("work")

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 6
"""
        + QUIET,
    )


@pytest.mark.parametrize("run", ["pass", "peer.lookup('far')", "peer.close()", "peer.id", "peer.lookup('far'); peer.close()"])
def test_a_child_that_ends_at_once_ends(python: Python, run: str) -> None:
    succeeds(
        python,
        RESTART
        + f"""
def run():
    {run}
    sys.stdout.flush()
    sys.exit(0)

for _ in range(10):
    child = os.fork()
    if child == 0:
        run()
    assert ended(child) == 0
"""
        + QUIET,
    )


def test_a_child_nobody_asks_starts_nothing_and_once_closed_stays_down(python: Python) -> None:
    succeeds(
        python,
        RESTART
        + """
import threading

def run():
    assert threading.active_count() == 1
    peer.close()
    assert "closed" in refused(lambda: peer.lookup("far"))
    assert "closed" in refused(lambda: peer.id)
    assert threading.active_count() == 1

assert ended(forked(run)) == 0
assert len(other.members()) == 2
"""
        + QUIET,
    )


def test_a_fixed_id_gets_a_suffix_and_a_fixed_port_another(python: Python) -> None:
    succeeds(
        python,
        PRELUDE
        + """
free = socket.create_server(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
peer = Peer("app", id="fixed", cluster=cluster, bind=f"127.0.0.1:{port}", seeds=[], fork="restart").start()

def run():
    assert peer.id.startswith("fixed-") and peer.address != f"127.0.0.1:{port}"
    until(lambda: len(peer.members()) == 2)  # found, though it has no seeds
    assert ended(forked(lambda: None)) == 0
    peer.close()

assert ended(forked(run)) == 0
assert peer.id == "fixed"
peer.close()
print("end")
""",
    )


def test_a_child_that_cannot_begin_anew_says_why_and_lives(python: Python) -> None:
    succeeds(
        python,
        PRELUDE
        + """
import logging
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("gossip").addHandler(handler)
free = socket.create_server(("127.0.0.1", 0))
port = free.getsockname()[1]
free.close()
peer = Peer("app", cluster=cluster, bind=f"127.0.0.1:{port}", advertise=f"127.0.0.1:{port}", seeds=[], fork="restart").start()
peer.register("near", port=1)

def run():
    assert peer.lookup("near")
    until(lambda: any("cannot begin anew" in line for line in lines))
    for call in (lambda: peer.register("x", port=1), lambda: peer.id):
        assert "advertise names a port" in refused(call)
    assert "advertise names a port" in refused(lambda: peer.lookup("near"))

assert ended(forked(run)) == 0
peer.close()
print("end")
""",
    )


def test_an_async_peer_is_not_restarted() -> None:
    with pytest.raises(ConfigError, match="event loop does not survive"):
        AsyncPeer(fork="restart")
    with pytest.raises(ConfigError, match="known are 'raise', 'restart'"):
        Peer(fork="spoon")


APPLICATION = """
import json, os
from gossip import Peer
peer = Peer("web", cluster={cluster!r}, bind="127.0.0.1:0", seeds=[{seed!r}], fork="restart").start()
peer.wait_for("far", 1, 15)
master = os.getpid()

def application(environment, start_response):
    found = len(peer.lookup("far"))
    body = json.dumps({{"pid": os.getpid(), "master": master, "found": found, "id": peer.id}}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.skipif(find_spec("gunicorn") is None, reason="gunicorn is not installed")
def test_workers_of_a_preloaded_gunicorn_are_members(tmp_path: Path, unused_port: int, until: Until) -> None:
    cluster = f"gunicorn-{os.getpid()}"
    with Peer("other", cluster=cluster, bind="127.0.0.1:0", seeds=[]) as other:
        other.register("far", port=9)
        (tmp_path / "preloaded.py").write_text(APPLICATION.format(cluster=cluster, seed=other.address))
        place = f"127.0.0.1:{unused_port}"
        command = [sys.executable, "-m", "gunicorn", "--preload", "-w", "2", "-b", place, "preloaded:application"]
        environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) as server:
            try:
                told: dict[int, dict[str, Any]] = {}

                def both() -> bool:
                    with suppress(OSError):
                        answer = json.load(urllib.request.urlopen(f"http://{place}/", timeout=15))
                        told[answer["pid"]] = answer
                    return len(told) == 2

                until(both, "both workers to answer")
                assert all(answer["found"] == 1 and answer["pid"] != answer["master"] for answer in told.values())
                until(lambda: {answer["id"] for answer in told.values()} <= {member.id for member in other.members()})
                assert len(other.members()) == 4
            finally:
                server.terminate()
                server.communicate(timeout=30)


MADE_BEFORE = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from gossip import Peer
peer = Peer("made", cluster=sys.argv[1], bind="127.0.0.1:0", seeds=[], id=sys.argv[2] or None)
before = peer.id
reader, writer = os.pipe()
if not os.fork():
    os.write(writer, peer.start().id.encode())
    os._exit(0)
child = os.read(reader, 200).decode()
os.wait()
with peer:
    print(before, peer.id, child)
"""


def test_a_peer_made_before_a_fork_and_started_after_it_has_an_id_of_its_own_in_each_process() -> None:
    run = [sys.executable, "-c", MADE_BEFORE, "made-before"]
    before, parent, child = subprocess.run([*run, ""], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert before == parent != child
    assert child.startswith("made-")
    assert subprocess.run([*run, "fixed"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split() == ["fixed"] * 3
