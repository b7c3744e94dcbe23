"""`gossip doctor`: each of its findings, brought about with real sockets and real peers."""

from __future__ import annotations

import dataclasses
import errno
import http.server
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
import zmq

from gossip import Peer, new_secret, write_secret
from gossip.bus import inquiry
from gossip.bus.doors import _filter
from gossip.cli import doctor as command
from gossip.cli.main import main
from gossip.cli.progress import Progress
from gossip.core.effects import Answer
from gossip.core.messages import Entries
from gossip.doctor import Finding, Plan, Severity, examine, machine, ports
from gossip.doctor.cluster import _alive
from gossip.doctor.finding import View
from gossip.doctor.machine import links_of, look_at_the_clock

from .terminal import Terminal, needs_tmux

T = TypeVar("T")
DEADLINE_S = 30.0
TIMEOUT_S = 1.5
CLUSTER = f"test-doctor-{uuid.uuid4().hex}"
SECRET, OTHER_SECRET = new_secret(), new_secret()
Findings = list[Finding]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No `GOSSIP_*`, and nobody at the common ports but whom the test puts there."""
    for variable in [name for name in os.environ if name.startswith("GOSSIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(ports, "RENDEZVOUS_PORTS", (1,))


@pytest.fixture(scope="module")
def peers() -> Iterator[list[Peer]]:
    """A cluster of two."""
    with ExitStack() as stack:
        first = stack.enter_context(Peer("first", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[]))
        second = stack.enter_context(Peer("second", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[first.address]))
        first.register("orders", port=8080)
        second.wait_for("orders", timeout=DEADLINE_S)
        until(lambda: len(first.members()) == 2)
        yield [first, second]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def until(condition: Callable[[], T]) -> T:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def at(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


def about(check: str, **plan: Any) -> Findings:
    """What the doctor says of this check."""
    found = examine(Plan(**{"cluster": CLUSTER, "timeout_s": TIMEOUT_S, **plan}))
    return [one for one in found if one.check == check]


def seed(address: str, **plan: Any) -> Finding:
    """What it says of this seed, the only one."""
    (one,) = about("seeds", seeds=(address,), **plan)
    return one


def assert_says(found: Finding | Findings, severity: Severity, *words: str) -> None:
    (one,) = [found] if isinstance(found, Finding) else found
    assert one.severity is severity, one
    assert [word for word in words if word not in f"{one.what} → {one.fix}"] == [], one
    assert bool(one.fix) or not severity.wrong
    assert "\n" not in one.what + one.fix


def test_a_plan_shows_no_secret_and_no_key() -> None:
    assert "hidden" not in repr(Plan(secret=("hidden one", "hidden two"), signing_key=b"hidden three"))


def test_the_observer_s_thread_goes_on_while_its_members_are_looked_at() -> None:
    class Watched:
        """One at whose sight another comes."""

        @property
        def alive(self) -> bool:
            table.origins[str(len(table.origins))] = self
            return True

    table = SimpleNamespace(origins={"first": Watched()})
    assert len(_alive(SimpleNamespace(local=SimpleNamespace(table=table)))) == 1  # type: ignore[arg-type]
    assert len(table.origins) == 2


# this machine ---------------------------------------------------------------------------------------------------------


def test_all_is_well(peers: list[Peer]) -> None:
    found = examine(Plan(cluster=CLUSTER, seeds=(peers[0].address,), timeout_s=TIMEOUT_S))
    assert [one for one in found if one.severity.wrong] == []
    told = {one.check: one.what for one in found if one.severity is Severity.OK}
    assert set(told) == set("versions bind seeds cluster reach agreement descriptors clock".split())
    assert told["seeds"] == f"{peers[0].address} is a peer of this cluster ({peers[0].id})"
    assert told["cluster"].startswith("2 members, 1 instances, as ")
    assert told["agreement"] == "2 members hold the same view"


def test_an_old_libzmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "versions", lambda: ("25.0.0", (4, 3, 2), True))
    assert_says(about("versions", seeds=()), Severity.WARNING, "libzmq 4.3.2", "pip install --upgrade pyzmq")


def test_a_secret_where_nothing_can_be_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "versions", lambda: ("25.0.0", (4, 3, 5), False))
    assert_says(about("versions", seeds=(), secret=SECRET), Severity.ERROR, "without CURVE", "install a wheel")


def test_a_variable_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIP_SEED", "10.0.0.7:7400")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert_says(about("environment", seeds=()), Severity.WARNING, "GOSSIP_SEED", "rename it: GOSSIP_SEEDS")


@pytest.mark.parametrize(("module", "words"), [("eventlet", "cannot run a peer"), ("gevent", "patch_all() comes before")])
def test_what_patches_the_interpreter(module: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == module or None)
    assert_says(about("environment", seeds=()), Severity.NOTE, module, words)


def test_a_secret_file_that_all_may_read(tmp_path: Path) -> None:
    file = tmp_path / "key"
    write_secret(file, SECRET)
    assert_says(about("secret", seeds=(), secret_file=str(file)), Severity.OK, "one, well made")
    file.chmod(0o644)
    assert_says(about("secret", seeds=(), secret_file=str(file)), Severity.ERROR, "mode 0644", f"chmod 600 {file}")


def test_a_secret_that_could_be_guessed() -> None:
    assert_says(about("secret", seeds=(), secret="a" * 40), Severity.ERROR, "could be guessed", "gossip keygen")


def test_a_secret_file_that_is_not_there(tmp_path: Path) -> None:
    assert_says(about("secret", seeds=(), secret_file=f"{tmp_path}/none"), Severity.ERROR, "cannot read it", "gossip keygen")


def test_too_few_descriptors_for_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "descriptors_limits", lambda: (128, 4096))
    assert_says(about("descriptors", seeds=(), members=1000), Severity.ERROR, "in a cluster of 1000", "ulimit -n 160")
    monkeypatch.setattr(machine, "descriptors_limits", lambda: (128, 128))
    assert_says(about("descriptors", seeds=(), members=1000), Severity.ERROR, "LimitNOFILE=160")
    assert_says(about("descriptors", seeds=(), members=10), Severity.OK)


def test_links_grow_as_the_design_says() -> None:
    assert [links_of(members) for members in (0, 1, 17, 30, 1000)] == [0, 0, 16, 12, 32]


# the clock ------------------------------------------------------------------------------------------------------------


def test_a_member_that_began_in_the_future(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", lambda: plain() + 100 * 10**9)
        early = Peer("early", cluster=f"{CLUSTER}-early", bind="127.0.0.1:0", seeds=[]).start()
    with early:
        found = about("clock", cluster=f"{CLUSTER}-early", seeds=(early.address,))
    assert_says(found, Severity.WARNING, "early-", "its clock is ahead", "NTP")


def test_a_member_whose_clock_shows_another_time() -> None:
    with Peer("late", cluster=f"{CLUSTER}-late", bind="127.0.0.1:0", seeds=[]) as late:
        late._events._wall = lambda: time.time() - 60
        found = about("clock", cluster=f"{CLUSTER}-late", seeds=(late.address,), bind="127.0.0.1:0", advertise="127.0.0.1")
    assert_says(found, Severity.WARNING, "s ahead of that of a member", "NTP")


def test_a_clock_that_was_never_set_or_is_being_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_says(look_at_the_clock(View(), None, -3.0), Severity.WARNING, "set by -3.0 s")
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    assert_says(look_at_the_clock(View(), None, 0.0), Severity.ERROR, "1970-01-01", "NTP")


# where it binds, and the common ports ---------------------------------------------------------------------------------


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_port_that_is_taken_by_another_program(web: str) -> None:
    found = about("bind", seeds=(), bind=f"{web},0")  # the port above it may be taken as well
    assert_says(found, Severity.ERROR, f"{web} is taken, by another program (HTTP/1.0 404", "end it")


def test_a_port_that_is_taken_by_a_peer(peers: list[Peer]) -> None:
    found = about("bind", seeds=(), bind=f"{peers[0].address},0", cluster="another")
    assert_says(found, Severity.ERROR, "is taken, by a peer of another cluster", "another port")
    found = about("bind", seeds=(), bind=peers[0].address)
    assert_says(found, Severity.NOTE, f"a peer of this cluster ({peers[0].id}), which runs there already", "another port")


@pytest.fixture
def after_a_free_port() -> Iterator[socket.socket]:
    """A listener; the port below its own is nobody's."""
    with ExitStack() as stack:
        while True:
            made = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            with suppress(OSError), socket.create_server(("0.0.0.0", made.getsockname()[1] - 1)):
                break
        yield made


def test_for_want_of_descriptors_nobody_is_met_and_no_check_raises(
    peers: list[Peer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise zmq.ZMQError(errno.EMFILE)

    monkeypatch.setattr(inquiry, "_knock", none_left)
    assert_says(about("bind", seeds=(), bind=peers[0].address), Severity.ERROR, "is taken, by nobody: no answer")
    assert_says(seed(peers[0].address), Severity.ERROR, "nobody: no answer")


def test_a_publisher_port_that_is_taken(after_a_free_port: socket.socket) -> None:
    listener = after_a_free_port
    port = listener.getsockname()[1]
    found = about("bind", seeds=(), bind=f"127.0.0.1:{port - 1}", timeout_s=0.3)
    assert_says(found[:1], Severity.NOTE, f"{at(listener)} is taken", "any free port")
    found = about("bind", seeds=(), bind=f"0.0.0.0:{port - 1}", advertise="127.0.0.1", insecure=True, timeout_s=0.3)
    assert_says(found, Severity.ERROR, f"0.0.0.0:{port} is taken", f"--bind 0.0.0.0:{port - 1},{port + 1}")


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"bind": "192.0.2.1:7400", "insecure": True}, ["192.0.2.1:7400", "no interface of this machine has that address"]),
        ({"bind": "127.0.0.1"}, ["it names no port", "127.0.0.1:7400"]),
        ({"bind": "nowhere.invalid:7400", "insecure": True}, ["name an IP address"]),
        ({"bind": "127.0.0.1:0", "advertise": "0.0.0.0"}, ["nobody can dial that address"]),
    ],
)
def test_an_address_that_cannot_be_bound(plan: dict[str, Any], words: list[str]) -> None:
    assert_says(about("bind", seeds=(), **plan), Severity.ERROR, *words)


def test_an_address_that_is_open_to_all() -> None:
    found = about("bind", seeds=(), bind="0.0.0.0:0")
    assert_says(found[:1], Severity.ERROR, "open to other machines, and there is no secret", "--secret-file")
    assert_says(found[1:], Severity.ERROR, "no peer can dial that", "--advertise")


def test_another_cluster_at_the_common_port(peers: list[Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "RENDEZVOUS_PORTS", (int(peers[0].address.rpartition(":")[2]),))
    found = about("ports", cluster="another")
    assert_says(found[:1], Severity.NOTE, f"{peers[0].address} is a peer of another cluster", "next common port")
    assert_says(found[1:], Severity.NOTE, "the first would be alone")
    assert_says(about("ports"), Severity.OK, "a peer of this cluster")
    assert_says(about("ports", secret=SECRET)[:1], Severity.WARNING, "without a secret")
    assert_says(about("cluster"), Severity.OK, "2 members")


# seeds ----------------------------------------------------------------------------------------------------------------


def test_a_seed_that_cannot_be_resolved(tmp_path: Path) -> None:
    assert_says(seed("dns:nowhere.invalid:7400", insecure=True), Severity.ERROR, "nowhere.invalid cannot be resolved")
    assert_says(seed(f"file:{tmp_path}/none"), Severity.ERROR, "cannot be resolved: No such file")
    (tmp_path / "empty").write_text("# nobody\n")
    assert_says(seed(f"file:{tmp_path}/empty"), Severity.ERROR, "it names nobody")


def test_a_seed_that_is_no_address() -> None:
    assert_says(seed("127.0.0.1"), Severity.ERROR, "a seed ends with one port", "127.0.0.1:7400")


def test_a_seed_where_nobody_listens(listener: socket.socket, peers: list[Peer]) -> None:
    address = at(listener)
    listener.close()
    assert_says(seed(address), Severity.ERROR, f"{address} is nobody: the connection is refused", "start the peer there")
    assert_says(seed(address, bind=address), Severity.NOTE, "where this peer would be")
    found = about("seeds", seeds=(address, peers[0].address))
    assert [one.severity for one in found] == [Severity.WARNING, Severity.OK]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a packet filter of Linux stands for a firewall")
def test_a_seed_behind_a_firewall(listener: socket.socket) -> None:
    _filter(listener, True)
    assert_says(seed(at(listener), timeout_s=0.3), Severity.ERROR, "nobody: no answer", "firewalls")


def test_a_seed_that_is_a_web_server(web: str) -> None:
    assert_says(seed(web), Severity.ERROR, f"{web} is another program (HTTP/1.0 404", "the contact of a peer")


def test_a_seed_that_greets_in_another_language(listener: socket.socket) -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\x1b[2J")
            connection.recv(64)

    thread = threading.Thread(target=greet)
    thread.start()
    assert_says(seed(at(listener)), Severity.ERROR, "another program (SSH-2.0-OpenSSH_9.2)")
    thread.join()


def test_a_seed_of_another_cluster(peers: list[Peer]) -> None:
    assert_says(seed(peers[0].address, cluster="another"), Severity.ERROR, "a peer of another cluster", "--cluster")


def test_a_seed_that_is_a_publisher(peers: list[Peer]) -> None:
    node = peers[0]._node
    assert node is not None
    publisher = node.local.me.publisher
    port = int(publisher.rpartition(":")[2])
    assert_says(seed(publisher), Severity.WARNING, "the publisher of a peer", f"one port below: 127.0.0.1:{port - 1}")


@pytest.fixture(scope="module")
def closed() -> Iterator[Peer]:
    """A peer with a secret."""
    with Peer("closed", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[], secret=SECRET) as one:
        yield one


def test_a_seed_that_demands_a_secret(closed: Peer) -> None:
    assert_says(seed(closed.address), Severity.ERROR, "demands a secret, and none was given", "--secret-file")


def test_a_seed_with_another_secret(closed: Peer) -> None:
    assert_says(seed(closed.address, secret=OTHER_SECRET), Severity.ERROR, "a peer with another secret", "compare the secrets")


def test_a_seed_that_turns_us_away_before_we_have_asked(closed: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = zmq.Socket.connect

    def slowly(caller: Any, address: str) -> Any:
        connect(caller, address)
        if threading.current_thread().name == "doctor":
            time.sleep(0.05)  # a thread that waits for a core

    monkeypatch.setattr(zmq.Socket, "connect", slowly)
    assert_says(seed(closed.address, secret=OTHER_SECRET, timeout_s=4.0), Severity.ERROR, "a peer with another secret")


def test_a_seed_with_the_same_secret_among_several(closed: Peer) -> None:
    assert_says(seed(closed.address, secret=SECRET), Severity.OK, "a peer of this cluster")
    assert_says(seed(closed.address, secret=(OTHER_SECRET, SECRET)), Severity.OK, "a peer of this cluster")
    assert_says(seed(closed.address, secret=SECRET, cluster="another"), Severity.ERROR, "another cluster")


def test_a_seed_that_is_an_encrypted_publisher(closed: Peer) -> None:
    node = closed._node
    assert node is not None
    assert_says(seed(node.local.me.publisher, secret=SECRET), Severity.WARNING, "the publisher of a peer")


def test_a_seed_without_a_secret(peers: list[Peer]) -> None:
    assert_says(seed(peers[0].address, secret=SECRET), Severity.ERROR, "without a secret, and one was given", "strangers")


@pytest.fixture
def router() -> Iterator[Callable[[Callable[[bytes], bytes | None]], str]]:
    """A ROUTER that answers each frame as it is told to."""
    context = zmq.Context()
    over = threading.Event()
    threads = []

    def serve(answer: Callable[[bytes], bytes | None]) -> str:
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        port = socket.bind_to_random_port("tcp://127.0.0.1")

        def run() -> None:
            while not over.is_set():
                if socket.poll(20):
                    token, frame = socket.recv_multipart()
                    if (told := answer(frame)) is not None:
                        socket.send_multipart([token, told])
            socket.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return f"127.0.0.1:{port}"

    yield serve
    over.set()
    for thread in threads:
        thread.join()
    context.term()


def test_a_seed_of_another_wire_version(router: Callable[..., str]) -> None:
    address = router(lambda frame: b"\x09" + frame[1:])
    assert_says(seed(address), Severity.ERROR, "another wire version (it speaks version 9, this one version 1)", "upgrade")


def test_a_seed_that_speaks_zeromq_and_answers_nothing(router: Callable[..., str]) -> None:
    assert_says(seed(router(lambda frame: None)), Severity.ERROR, "does not answer a peer's question (a ROUTER socket)")


def test_seeds_beyond_this_machine_without_a_secret(peers: list[Peer]) -> None:
    found = about("seeds", seeds=("192.0.2.1:7400", peers[0].address))
    assert_says(found[:1], Severity.ERROR, "192.0.2.1: beyond this machine, and there is no secret")


# the cluster ----------------------------------------------------------------------------------------------------------


def test_a_member_that_holds_another_view(peers: list[Peer], monkeypatch: pytest.MonkeyPatch) -> None:
    node: Any = peers[1]._node
    codec = node.local.codec

    def lie(token: bytes, message: object, frame: bytes, now: float) -> None:
        node.local.out.append(Answer(token, codec.encode(Entries(peers[1].id, True, b"\xff" * 32, (), False))))

    monkeypatch.setattr(node._answers, "asked", lie)
    monkeypatch.setattr("gossip.doctor.cluster.GRACE_S", 0.01)
    found = about("agreement", seeds=(peers[0].address,))
    assert_says(found, Severity.WARNING, f"{peers[1].id} holds another view than {peers[0].id}", "differs in first-", "repair")
    monkeypatch.setattr(node._answers, "asked", lambda *given: None)
    found = about("agreement", seeds=(peers[0].address,), timeout_s=1.0)
    assert_says(found, Severity.WARNING, f"{peers[1].id} does not answer when it is asked for its view", "hangs")


def test_a_member_that_cannot_be_dialled_from_here() -> None:
    name = f"{CLUSTER}-hidden"
    with ExitStack() as stack:
        one = stack.enter_context(Peer("open", cluster=name, bind="127.0.0.1:0", seeds=[]))
        stack.enter_context(Peer("hidden", cluster=name, bind="127.0.0.1:0", advertise="127.0.0.1:1,2", seeds=[one.address]))
        # refused by both ports, it is now and then held dead for a moment, until it refutes that
        found = until(lambda: [said for said in about("reach", cluster=name, seeds=(one.address,)) if said.severity.wrong])
    assert_says(found[:1], Severity.ERROR, "the contact of hidden-", "at 127.0.0.1:1 is not reached from here")
    assert_says(found[1:], Severity.ERROR, "the publisher of hidden-", "at 127.0.0.1:2 is not reached", "open both ports")


def test_an_advertised_address_that_nobody_reaches(peers: list[Peer]) -> None:
    plan = {"seeds": (peers[0].address,), "bind": "127.0.0.1:0"}
    found = about("advertise", **plan, advertise="127.0.0.1:1")
    assert_says(found[:1], Severity.ERROR, "cannot connect to my contact at 127.0.0.1:1", "advertise an address")
    until(lambda: len(peers[0].members()) == 2)
    assert_says(about("advertise", **plan, advertise="127.0.0.1"), Severity.OK, "others reach 127.0.0.1:")
    until(lambda: len(peers[0].members()) == 2)


def test_a_cluster_whose_members_sign() -> None:
    pytest.importorskip("nacl", reason="PyNaCl is not installed (the extra `sign`)")
    name = f"{CLUSTER}-signed"
    with Peer("signer", cluster=name, bind="127.0.0.1:0", seeds=[], signing_key="new") as one:
        plan = {"cluster": name, "seeds": (one.address,), "bind": "127.0.0.1:0", "advertise": "127.0.0.1"}
        assert_says(
            about("advertise", **plan, timeout_s=1.0), Severity.ERROR, "they sign, and this one has no key", "--signing-key"
        )
        assert_says(about("advertise", **plan, signing_key="new"), Severity.OK, "others reach 127.0.0.1:")
        until(lambda: len(one.members()) == 1)
        here = {"cluster": name, "seeds": (one.address,)}
        assert_says(about("signing", **here), Severity.NOTE, "1 of 1 members sign", "do not see a peer without a key: --signing-")
        assert about("signing", **here, signing_key="new") == []


# the command ----------------------------------------------------------------------------------------------------------


def test_json_and_the_exit_code(peers: list[Peer], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIP_CLUSTER", CLUSTER)
    monkeypatch.setenv("GOSSIP_SEEDS", peers[0].address)
    assert main(["doctor", "-o", "json", "--timeout", "1"]) == 0
    shown, errors = capsys.readouterr()
    found = json.loads(shown)
    assert errors == ""
    assert all(set(one) == {"check", "severity", "what", "fix"} for one in found)
    assert main(["doctor", "--cluster", "another", "--timeout", "1"]) == 1
    shown, errors = capsys.readouterr()
    assert f"✗ seeds        {peers[0].address} is a peer of another cluster\n               → compare --cluster" in shown
    assert errors == ""


@pytest.mark.parametrize("arguments", [["--timeout", "soon"], ["--members", "0"], ["--fly"]])
def test_a_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    assert main(["doctor", *arguments]) == 2


def test_a_variable_that_makes_no_sense_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("GOSSIP_INSECURE", "maybe")
    assert main(["doctor"]) == 1
    assert "gossip doctor: error: GOSSIP_INSECURE='maybe'" in capsys.readouterr().err


def test_what_the_options_and_the_environment_say_is_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Plan] = []
    monkeypatch.setattr("gossip.doctor.examine", lambda plan, progress: seen.append(plan) or [])
    monkeypatch.setenv("GOSSIP_SECRET_FILE", f"{tmp_path}/key")
    monkeypatch.setenv("GOSSIP_BIND", "0.0.0.0:7400")
    monkeypatch.setenv("GOSSIP_ADVERTISE", "10.0.0.5")
    assert main(["doctor", "--seeds", "a:1,b:2", "--advertise", "10.0.0.6", "--members", "9"]) == 0
    wanted = Plan(bind="0.0.0.0:7400", advertise="10.0.0.6", seeds=("a:1", "b:2"), secret_file=f"{tmp_path}/key", members=9)
    assert seen == [wanted]
    assert dataclasses.asdict(wanted)["timeout_s"] == 2.0
    assert command.MARKS.keys() == {severity.value for severity in Severity}


@needs_tmux
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a packet filter of Linux stands for a firewall")
def test_on_a_terminal_it_says_what_it_waits_for(listener: socket.socket) -> None:
    _filter(listener, True)
    with Terminal(["bash", "--norc", "--noprofile", "-i"]) as terminal:
        terminal.type(f"gossip doctor --seeds {at(listener)} --timeout 1.7; echo ended $?")
        terminal.press("Enter")
        terminal.until("s  the seeds ...")
        screen = terminal.until("ended 1")
        assert "the seeds ..." not in screen
        assert "nobody: no answer" in screen
        terminal.type(f"clear; gossip members --seeds {at(listener)} --timeout 1.5; echo told $?")
        terminal.press("Enter")
        terminal.until("gossip members: 1 s  waiting for a peer that answers")
        assert "waiting for a peer" not in terminal.until("told 1")


def test_progress_is_one_line_that_is_gone_in_the_end_and_nothing_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("TERM", "xterm")
    with Progress("simulate", quiet_s=0.0) as progress:
        progress("step 1")
        time.sleep(0.01)
    assert written.getvalue() == ""
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    with Progress("simulate", quiet_s=0.0) as progress:
        progress("step 1 of very many" * 20)
        until(lambda: "step 1" in written.getvalue())
    *lines, last = written.getvalue().split("\r\x1b[K")
    assert last == ""
    assert [line for line in lines if len(line) > 79] == []


def test_in_a_pipe_stderr_stays_empty(listener: socket.socket) -> None:
    asked = [sys.executable, "-W", "error", "-m", "gossip.cli.main", "doctor", "--seeds", at(listener), "--timeout", "0.1"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "")
