"""`Observer` on real sockets, beside real peers: it reads what they read, and nothing of it shows in the cluster."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gossip import (
    Config,
    ConfigError,
    Event,
    EventKind,
    GossipError,
    InsecureWarning,
    Instance,
    Lookups,
    NoInstances,
    Observer,
    Peer,
    PeerClosed,
    PeerState,
    Watch,
)
from nodes.launch import Launcher, Worker

from .ports import free_port

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30.0
KEYS = [f"user:{number}" for number in range(200)]
MEMBERS = (EventKind.MEMBER_JOINED, EventKind.MEMBER_LEFT, EventKind.MEMBER_DEAD)


class Stage:
    """Makes the peers and observers of one test, all of one cluster that nobody else is in, and closes them after it."""

    def __init__(self) -> None:
        self.cluster = f"observer-{uuid.uuid4().hex}"
        self.ends = ExitStack()
        self.peers: list[Peer] = []

    def peer(self, name: str = "a", **arguments: Any) -> Peer:
        chosen = {"cluster": self.cluster, "bind": "127.0.0.1:0", "seeds": [peer.address for peer in self.peers[:1]], **arguments}
        self.peers.append(Peer(name, **chosen).start())
        self.ends.callback(self.peers[-1].close)
        return self.peers[-1]

    def grown(self, count: int, **arguments: Any) -> list[Peer]:
        """So many peers that are linked to each other, each with one instance of orders."""
        for number in range(count):
            peer = self.peer(f"p{number}", **arguments)
            peer.register("orders", port=8000 + number, id=f"orders-{number}", weight=1 + number, routes=["/orders"])
        for peer in self.peers:
            peer.wait_for("orders", count, PATIENCE_S)
            until(lambda peer=peer: peer.status().links == count - 1, "links between all")
        return self.peers

    def observer(self, *followed: Peer, synced: bool = True, **arguments: Any) -> Observer:
        chosen = {"cluster": self.cluster, "seeds": [peer.address for peer in followed] or None, **arguments}
        observer = Observer("eye", **chosen).start()
        self.ends.callback(observer.close)
        if synced:
            observer.wait_synced(PATIENCE_S)
        return observer


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    with stage.ends:
        yield stage


@pytest.fixture
def launcher(stage: Stage) -> Iterator[Launcher]:
    """Peers of the same cluster as processes of their own."""
    with Launcher(stage.cluster) as launcher:
        yield launcher
    assert [worker for worker in launcher.workers if not worker.ended] == []


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No `GOSSIP_*` but those of the test."""
    for variable in [name for name in os.environ if name.startswith("GOSSIP_")]:
        monkeypatch.delenv(variable)
    return monkeypatch


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.002)
    return value


def events_until(watch: Watch, wanted: Callable[[Event], bool]) -> list[Event]:
    """What a watch tells, up to the first event that is wanted."""
    told = []
    while not told or not wanted(told[-1]):
        told.append(watch.get(PATIENCE_S))
    return told


def waiting_events(watch: Watch) -> list[Event]:
    """What a watch has to tell now."""
    told = []
    with suppress(TimeoutError):
        while True:
            told.append(watch.get(0))
    return told


def ids(instances: tuple[Instance, ...]) -> list[str]:
    return [one.id for one in instances]


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


# what it reads --------------------------------------------------------------------------------------------------------


def same_reads(observer: Observer, peer: Peer) -> bool:
    """Whether all reads give the same."""

    def answers(of: Observer | Peer) -> list[Any]:
        return [
            of.services(),
            of.members(),
            [of.lookup(name, include_draining=True) for name in of.services()],
            [of.lookup(name) for name in of.services()],
            [of.lookup("orders", labels={"version": "2"}), of.lookup("orders", zone="b"), of.lookup("nobody")],
            [of.routes(path) for path in ("/orders/42?a=b", "/", "/nobody")],
            [of.locate("orders", key) for key in KEYS],
            [of.preference_list("orders", key, 3) for key in KEYS],
            sorted({of.pick("orders").id for _ in range(50)}),
            sorted({of.route("/orders/7", strategy="round_robin").id for _ in range(50)}),
            of.pick("orders", exclude=["orders-0", "orders-1"]),
        ]

    return answers(observer) == answers(peer)


def test_all_reads_of_an_observer_equal_those_of_a_peer(stage: Stage) -> None:
    a, b, _ = stage.grown(3)
    a.register("orders", port=1, id="labelled", labels={"version": "2"}, routes=["/"])
    stage.peer("zoned", zone="b").register("orders", port=2, id="zoned")
    b.register("orders", port=3, id="draining").drain()
    a.register("payments", port=4)
    observer = stage.observer(b)
    assert isinstance(observer, Lookups)
    until(lambda: len(observer.members()) == 4 and len(a.lookup("orders")) == 5, "everybody")
    until(lambda: same_reads(observer, a), "equal reads")
    assert ids(observer.lookup("orders", include_draining=True)).count("draining") == 1
    assert observer.pick("orders", near=True)
    with pytest.raises(NoInstances, match="Nearest known: 'orders'"):
        observer.locate("order", "key")


def test_near_is_the_zone_of_the_observer(stage: Stage) -> None:
    a = stage.peer("a", zone="a")
    a.register("orders", port=1)
    stage.peer("b", zone="b").register("orders", port=2)
    observer = stage.observer(a, zone="b")
    observer.wait_for("orders", 2, PATIENCE_S)
    assert {observer.pick("orders", near=True).zone for _ in range(10)} == {"b"}


def test_its_status_names_the_source_and_says_that_nobody_dials_it(stage: Stage) -> None:
    _, b = stage.grown(2)
    observer = stage.observer(b)
    until(lambda: observer.source == b.id and observer.status().agreement == 1.0, "the first word of the source")
    status = observer.status()
    assert status.links == 1
    assert (status.state, status.synced, status.isolated, status.agreement) == (PeerState.READY, True, False, 1.0)
    assert (status.members, status.instances, status.suspects) == (2, 2, 0)
    assert (status.cluster, status.address, observer.address) == (stage.cluster, "", "")
    assert observer.id not in [member.id for member in observer.members()]
    assert json.loads(json.dumps(status.as_dict()))["state"] == "ready"
    assert repr(observer).startswith("<Observer eye-")


def test_without_seeds_it_finds_the_peers_of_its_machine(stage: Stage) -> None:
    for name in ("a", "b"):
        stage.peer(name, bind=None, seeds=None).register("orders", port=1, id=name)
    observer = stage.observer()
    assert ids(observer.wait_for("orders", 2, PATIENCE_S)) == ["a", "b"]


@pytest.mark.parametrize("kind", ["file", "dns", "dead first"])
def test_seeds_may_be_files_names_and_dead(stage: Stage, kind: str, tmp_path: Path) -> None:
    (a,) = stage.grown(1)
    port = a.address.rpartition(":")[2]
    file = tmp_path / "seeds"
    seeds = {"file": [f"file:{file}"], "dns": [f"dns:localhost:{port}"], "dead first": ["127.0.0.1:1", a.address]}[kind]
    observer = stage.observer(synced=False, seeds=seeds)
    file.write_text(f"{a.address}\n")
    assert ids(observer.wait_for("orders", 1, PATIENCE_S)) == ["orders-0"]


def test_an_observer_may_come_before_the_peers(stage: Stage) -> None:
    port = free_port()
    observer = stage.observer(synced=False, seeds=[f"127.0.0.1:{port}"])
    assert (observer.state, observer.services(), observer.members()) == (PeerState.JOINING, (), ())
    stage.peer("late", bind=f"127.0.0.1:{port}").register("orders", port=1, id="late")
    observer.wait_synced(PATIENCE_S)
    assert ids(observer.wait_for("orders", 1, PATIENCE_S)) == ["late"]


def test_many_instances_arrive_in_parts(stage: Stage) -> None:
    peers = [stage.peer(f"p{number}") for number in range(3)]
    padding = {"padding": "x" * 100}
    for peer in peers:
        for number in range(150):
            peer.register("many", port=1 + number, id=f"{peer.name}-{number}", labels=padding)
    for peer in peers:
        peer.wait_for("many", 450, PATIENCE_S)
    observer = stage.observer(peers[0])
    assert len(observer.wait_for("many", 450, PATIENCE_S)) == 450
    assert observer.lookup("many") == peers[0].lookup("many")


# what happens ---------------------------------------------------------------------------------------------------------


def test_a_watch_tells_every_change_in_its_order(stage: Stage) -> None:
    a, b = stage.grown(2)
    observer = stage.observer(a)
    until(lambda: observer.status().agreement == 1.0, "a link")
    with observer.watch("payments") as watch, observer.watch() as everything:
        registration = b.register("payments", port=1, id="payments-1")
        registration.update(weight=5)
        registration.drain()
        registration.deregister()
        told = events_until(watch, lambda event: event.kind is EventKind.REMOVED)
        assert [event.kind for event in told] == ["ADDED", "CHANGED", "CHANGED", "REMOVED"]
        assert [event.after.weight for event in told[:3] if isinstance(event.after, Instance)] == [1, 5, 5]
        assert b.id in told[0].reason
        c = stage.peer("c")
        until(lambda: all(peer.status().links == 2 for peer in stage.peers), "links between all")
        c.close()
        members = [one for one in events_until(everything, lambda one: one.kind is EventKind.MEMBER_LEFT) if one.kind in MEMBERS]
        assert [one.kind for one in members] == ["MEMBER_JOINED", "MEMBER_LEFT"]
        assert {known.id for one in members if (known := one.after or one.before)} == {c.id}


def test_an_initial_watch_begins_with_what_is_known(stage: Stage) -> None:
    a, b, _ = stage.grown(3)
    observer = stage.observer(a)
    watch = observer.watch("orders", initial=True)
    first = [watch.get(PATIENCE_S) for _ in range(3)]
    assert [(event.kind, event.after) for event in first] == [(EventKind.ADDED, one) for one in observer.lookup("orders")]
    b.register("orders", port=1, id="later")
    assert events_until(watch, lambda event: event.after is not None and event.after.id == "later")


def test_wait_for_ends_when_the_instance_comes_and_says_what_is_missing(stage: Stage) -> None:
    (a,) = stage.grown(1)
    observer = stage.observer(a)
    with pytest.raises(TimeoutError, match="1 of 2 instances of 'orders'"):
        observer.wait_for("orders", 2, 0.01)
    found: list[tuple[Instance, ...]] = []
    waiting = threading.Thread(target=lambda: found.append(observer.wait_for("payments", 1, PATIENCE_S)))
    waiting.start()
    a.register("payments", port=1, id="payments-1")
    waiting.join(PATIENCE_S)
    assert [ids(some) for some in found] == [["payments-1"]]


def test_picks_skip_what_was_reported(stage: Stage) -> None:
    (a,) = stage.grown(1)
    a.register("orders", port=1, id="other")
    observer = stage.observer(a)
    reported = observer.lookup("orders")[0]
    observer.report_failure(reported)
    assert reported not in {observer.pick("orders") for _ in range(10)}
    with observer.calling(reported):
        assert observer.pick("orders", strategy="least_loaded") != reported


# why ------------------------------------------------------------------------------------------------------------------


def test_why_is_what_the_source_remembers(stage: Stage) -> None:
    a, b = stage.grown(2)
    b.register("payments", port=1, id="payments-1").deregister()
    until(lambda: len(a.why("payments-1")) == 2, "the events at the source")
    observer = stage.observer(a)
    for name in (b.id, b.name, "payments-1", "payments", "payments/payments-1", "127.0.0.1:1", "orders-0"):
        assert a.why(name)
        assert observer.why(name) == a.why(name)
    assert observer.why("nobody") == ()
    assert observer.why("x" * 10_000) == ()


def test_why_tells_the_reasons_of_a_death_that_the_observer_did_not_see(stage: Stage, launcher: Launcher) -> None:
    workers = launcher.peers(["a", "b", "c", "d"])
    victim = workers[2]
    victim.call("register", service="orders", port=1, id="orders-1")
    launcher.agree(workers, {"orders": 1}, PATIENCE_S)
    victim.kill9()
    rest = [worker for worker in workers if worker is not victim]
    launcher.agree(rest, {}, PATIENCE_S)
    observer = stage.observer(seeds=[rest[0].address])
    (dead,) = [event for event in observer.why("c") if event.kind is EventKind.MEMBER_DEAD]
    assert dead.before is not None
    assert dead.before.id == victim.id
    assert victim.id in dead.reason
    assert [event["reason"] for event in rest[0].call("why", name="c") if event["kind"] == "MEMBER_DEAD"] == [dead.reason]
    assert [event.kind for event in observer.why("orders-1")] == ["ADDED", "REMOVED"]


def test_why_needs_somebody_who_answers(stage: Stage) -> None:
    (a,) = stage.grown(1)
    observer = stage.observer(a)
    a.close(leave=False)
    until(lambda: observer.status().isolated, "isolation")
    for timeout in (0.2, 0.0):
        with pytest.raises(TimeoutError, match=f"'orders-0' within {timeout} s: no peer is followed now. Ask again"):
            observer.why("orders-0", timeout=timeout)


def test_why_waits_as_long_as_it_is_told_and_asks_whoever_is_followed_then(stage: Stage) -> None:
    (a,) = stage.grown(1)
    address = a.address
    observer = stage.observer(a)
    a.close(leave=False)
    until(lambda: observer.status().isolated, "isolation")
    told: list[tuple[Event, ...]] = []
    asking = threading.Thread(target=lambda: told.append(observer.why("orders-1", timeout=2 * PATIENCE_S)))
    asking.start()
    again = stage.peer("again", bind=address, seeds=[])
    again.register("orders", port=9, id="orders-1")
    asking.join(2 * PATIENCE_S)
    assert [[event.kind for event in events] for events in told] in ([[]], [[EventKind.ADDED]])
    assert observer.source == again.id


def test_why_is_asked_about_a_text(stage: Stage) -> None:
    (a,) = stage.grown(1)
    observer = stage.observer(a)
    for asked in (a, observer):
        for name in (5, None, b"orders"):
            with pytest.raises(ConfigError, match=r"why\(.*the id or name of a member"):
                asked.why(name)  # type: ignore[arg-type]
    assert observer.why("\ud800" * 300) == ()


INTERRUPTED = """
import signal, sys, threading, time
from gossip import Observer
def tell():
    while not observer._answers:
        time.sleep(0.001)
    print("asking", flush=True)
with Observer(cluster=sys.argv[1], seeds=[sys.argv[2]]) as observer:
    observer.wait_synced(30)
    print("in sync", flush=True)
    sys.stdin.readline()
    threading.Thread(target=tell, daemon=True).start()
    try:
        observer.why("orders", timeout=None)
    except KeyboardInterrupt:
        while observer._answers:
            time.sleep(0.001)
        print("forgotten", flush=True)
"""


def test_why_can_be_interrupted(stage: Stage, launcher: Launcher) -> None:
    worker = launcher.peer("a")
    command = [sys.executable, "-c", INTERRUPTED, stage.cluster, worker.address]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "in sync\n"
        worker.stop()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "asking\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "forgotten\n"
        assert process.wait(PATIENCE_S) == 0
    worker.cont()


# the source ends ------------------------------------------------------------------------------------------------------


def followed(observer: Observer, workers: list[Worker]) -> Worker:
    """The worker whose peer the observer follows."""
    found = until(lambda: [worker for worker in workers if worker.id == observer.source], "a source")
    return found[0]


def test_when_the_source_is_killed_it_goes_on_with_another_and_misses_nothing(stage: Stage, launcher: Launcher) -> None:
    workers = launcher.peers(["a", "b", "c", "d", "e"])
    for worker in workers:
        worker.call("register", service="orders", port=1, id=worker.name)
    launcher.agree(workers, {"orders": 5}, PATIENCE_S)
    observer = stage.observer(seeds=[workers[0].address])
    watch = observer.watch("many")
    members = observer.watch()
    for round in range(2):
        source = followed(observer, workers)
        writer = next(worker for worker in workers if worker is not source)
        for number in range(30):
            writer.call("register", service="many", port=1, id=f"{round}-{number}")
            if number == 10:
                source.kill9()
        workers.remove(source)
        observer.wait_for("many", 30 * (round + 1), PATIENCE_S)
        until(lambda source=source: source.id not in [member.id for member in observer.members()], "the death")
        assert followed(observer, workers) is not source
        until(lambda source=source: source.name not in ids(observer.lookup("orders")), "that its instance is gone")
        died = events_until(members, lambda event: event.kind is EventKind.MEMBER_DEAD)[-1]
        assert (died.before is not None and died.before.id, bool(died.reason)) == (source.id, True)
    wanted = [f"{round}-{number}" for round in range(2) for number in range(30)]
    told = waiting_events(watch)
    # the first writer may have been the second source, whose instances went with it, and nothing else did
    assert sorted(event.after.id for event in told if event.kind is EventKind.ADDED and event.after) == sorted(wanted)
    until(lambda: observer.status().agreement == 1.0, "agreement")
    view = workers[0].call("view")
    assert [member.id for member in observer.members()] == view["members"]
    assert {name: ids(observer.lookup(name)) for name in observer.services()} == view["instances"]


def test_a_source_that_leaves_is_followed_no_longer(stage: Stage) -> None:
    a, b, _ = stage.grown(3)
    observer = stage.observer(a)
    until(lambda: observer.source == a.id, "the source")
    a.close()
    until(lambda: observer.source not in ("", a.id), "another source")
    until(lambda: observer.members() == b.members() and len(b.members()) == 2, "equal members")
    assert [event.kind for event in observer.why(a.id)][-1] == "MEMBER_LEFT"


def test_a_source_that_hangs_is_followed_no_longer(stage: Stage, launcher: Launcher) -> None:
    workers = launcher.peers(["a", "b", "c", "d"], preset="local")
    launcher.agree(workers, {}, PATIENCE_S)
    observer = stage.observer(seeds=[worker.address for worker in workers])
    hung = followed(observer, workers)
    hung.stop()
    other = next(worker for worker in workers if worker is not hung)
    other.call("register", service="orders", port=1, id="later")
    assert ids(observer.wait_for("orders", 1, PATIENCE_S)) == ["later"]
    until(lambda: observer.source not in ("", hung.id), "another source")
    hung.cont()


def test_when_all_are_gone_it_serves_its_last_view_until_one_returns(stage: Stage) -> None:
    a, b = stage.grown(2)
    observer = stage.observer(a, b)
    last = observer.lookup("orders")
    address = a.address
    for peer in (a, b):
        peer.close(leave=False)
    until(lambda: observer.status().isolated, "isolation")
    assert (observer.state, observer.source) == (PeerState.ISOLATED, "")
    assert observer.lookup("orders")[-1:] == last[-1:]  # the first may have been seen to die
    assert observer.status().agreement == 0.0
    again = stage.peer("again", bind=address, seeds=[])
    again.register("orders", port=9, id="again")
    until(lambda: ids(observer.lookup("orders")) == ["again"], "the new view")
    until(lambda: observer.source == again.id, "the new source")
    assert (observer.state, observer.members()) == (PeerState.READY, again.members())


# the cluster does not notice ------------------------------------------------------------------------------------------

KILLED = """
import sys
from gossip import Observer
observer = Observer(cluster=sys.argv[1], seeds=[sys.argv[2]]).start()
observer.wait_synced(30)
print(observer.source, flush=True)
sys.stdin.read()
"""


def seen_by(peer: Peer) -> tuple[Any, ...]:
    """What an observer must not change: members, links, digest."""
    status, node = peer.status(), peer._node
    assert node is not None
    return peer.members(), status.members, status.links, status.suspects, node.local.table.digest


def test_members_never_notice_an_observer(stage: Stage) -> None:
    peers = stage.grown(3)
    before = [seen_by(peer) for peer in peers]
    watches = [peer.watch() for peer in peers]
    for peer in peers:
        with Observer(cluster=stage.cluster, seeds=[peer.address]) as observer:
            observer.wait_synced(PATIENCE_S)
            until(lambda observer=observer: observer.status().agreement == 1.0, "a link")
            assert [seen_by(other) for other in peers] == before
        assert [seen_by(other) for other in peers] == before
    command = [sys.executable, "-c", KILLED, stage.cluster, peers[1].address]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == peers[1].id
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE_S) == -signal.SIGKILL
    vanished = stage.observer(peers[0])
    vanished.close(leave=False)
    assert [seen_by(other) for other in peers] == before
    peers[2].register("last", port=1, id="last")  # the events before it came before it
    for peer, watch in zip(peers, watches, strict=True):
        told = events_until(watch, lambda event: event.after is not None and event.after.id == "last")
        assert [str(event) for event in told[:-1]] == [], peer.name


def test_an_observer_writes_nothing(stage: Stage) -> None:
    (a,) = stage.grown(1)
    observer = stage.observer(a)
    for write in ("register", "deregister", "update", "drain", "renew"):
        assert not hasattr(observer, write)


# its life -------------------------------------------------------------------------------------------------------------


def test_before_start_and_after_close_reads_answer_and_waits_raise(stage: Stage) -> None:
    (a,) = stage.grown(1)
    observer = Observer(cluster=stage.cluster, seeds=[a.address])
    assert (observer.lookup("orders"), observer.members(), observer.source, observer.state) == ((), (), "", "joining")

    def refused(match: str) -> None:
        for wait in (observer.watch, observer.wait_synced, lambda: observer.wait_for("orders"), lambda: observer.why("orders")):
            with pytest.raises(PeerClosed, match=match):
                wait()

    refused("does not run yet")
    with observer:
        observer.wait_synced(PATIENCE_S)
        watch = observer.watch()
    assert (ids(observer.lookup("orders")), observer.members(), observer.state) == (["orders-0"], a.members(), "closed")
    assert (observer.status().members, observer.status().state) == (1, "closed")
    assert [event for event in watch if event.kind is not EventKind.NOTICE] == []
    refused("was closed")
    observer.close()
    observer.close(leave=False)
    with pytest.raises(PeerClosed):
        observer.start()


def test_start_is_idempotent_and_waits_for_nobody(stage: Stage) -> None:
    observer = stage.observer(synced=False, seeds=["127.0.0.1:1"])
    assert observer.start() is observer
    with pytest.raises(TimeoutError):
        observer.wait_synced(0.0)


def test_close_ends_those_who_wait(stage: Stage) -> None:
    observer = stage.observer(synced=False, seeds=["127.0.0.1:1"])
    ended: list[str] = []

    def wait(what: Callable[[], Any]) -> None:
        try:
            what()
        except PeerClosed:
            ended.append("ended")

    waits = [observer.wait_synced, lambda: observer.wait_for("orders"), observer.watch().get]
    threads = [threading.Thread(target=wait, args=(what,)) for what in waits]
    for thread in threads:
        thread.start()
    observer.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert ended == ["ended"] * 3


def test_close_needs_no_answer(stage: Stage, launcher: Launcher) -> None:
    worker = launcher.peer("a")
    observer = stage.observer(seeds=[worker.address])
    worker.stop()
    observer.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "gossip-eye"]
    worker.cont()


EXIT = """
import sys
from gossip import Observer
observer = Observer(cluster=sys.argv[1], seeds=[sys.argv[2]]).start()
observer.wait_synced(30)
watch = observer.watch()
print(observer.lookup("orders")[0].id)
"""


def test_exit_without_close_does_not_hang(stage: Stage) -> None:
    (a,) = stage.grown(1)
    run = python(EXIT, stage.cluster, a.address)
    assert (run.returncode, run.stdout, run.stderr) == (0, "orders-0\n", "")


FORK = """
import os, sys, warnings
from gossip import Observer, PeerForked
warnings.simplefilter("ignore", DeprecationWarning)  # newer interpreters warn of any fork with threads
observer = Observer("eye", cluster=sys.argv[1], seeds=[sys.argv[2]]).start()
observer.wait_synced(30)
child = os.fork()
if not child:
    refused = 0
    for call in (lambda: observer.lookup("orders"), observer.members, observer.status, observer.watch, observer.start,
                 lambda: observer.why("orders"), lambda: observer.source, lambda: observer.address, observer.wait_synced):
        try:
            call()
        except PeerForked as error:
            refused += "'eye'" in str(error)
    observer.close()
    with Observer(cluster=sys.argv[1], seeds=[sys.argv[2]]) as own:
        own.wait_synced(30)
        os._exit(refused if len(own.lookup("orders")) == 1 else 100)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(observer.lookup("orders")), len(observer.why("orders")))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_forked_child_everything_raises_and_the_parent_goes_on(stage: Stage) -> None:
    (a,) = stage.grown(1)
    run = python(FORK, stage.cluster, a.address)
    assert (run.stdout, run.stderr) == ("9 1 1\n", "")


def test_it_is_neither_pickled_nor_copied() -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(Observer(seeds=["127.0.0.1:1"]))


# arguments ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": []}, "needs somebody to observe"),
        ({"seeds": "127.0.0.1:7400"}, "seeds"),
        ({"seeds": ["10.0.0.5:7400"]}, "beyond this machine"),
        ({"seeds": ["127.0.0.1:1", "[2001:db8::1]:7400"]}, "2001:db8::1: beyond this machine"),
        ({"seeds": ["dns:gossip.internal:7400"]}, "beyond this machine"),
        ({"seeds": ["somewhere"]}, "somewhere"),
        ({"name": "two words"}, "name='two words'"),
        ({"cluster": ""}, "cluster=''"),
        ({"zone": "no spaces"}, "zone="),
        ({"secret": "s" * 32}, "secret: it consists of 1 different bytes"),
        ({"config": {}}, "is no Config"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_runs(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        Observer(**arguments)


def test_what_belongs_to_a_member_is_no_argument() -> None:
    for argument in ("id", "bind", "advertise", "snapshot", "fork"):
        with pytest.raises(TypeError, match=argument):
            Observer(**{argument: "x"})


def test_seeds_beyond_this_machine_are_a_warning_with_insecure() -> None:
    with pytest.warns(InsecureWarning, match="believes whoever answers") as told:
        Observer(seeds=["10.0.0.5:7400"], insecure=True)
    assert [Path(one.filename).name for one in told] == [Path(__file__).name]


def test_a_wrong_cluster_is_a_time_out_that_says_so(stage: Stage) -> None:
    (a,) = stage.grown(1)
    observer = Observer(cluster="another-one", seeds=[a.address])
    with observer:
        until(lambda: observer._node is not None and observer._node.met, "an answer")  # type: ignore[union-attr]
        with pytest.raises(TimeoutError, match=f"'another-one'.*{a.address}; only peers of other clusters did"):
            observer.wait_synced(0.0)
    assert a.status().counters["frames_foreign"] >= 1


def test_nobody_there_is_a_time_out_that_says_so(stage: Stage) -> None:
    observer = stage.observer(synced=False, seeds=["127.0.0.1:1"])
    with pytest.raises(TimeoutError, match="Check that one runs") as told:
        observer.wait_synced(0.01)
    assert "other clusters" not in str(told.value)
    assert "127.0.0.1:1" in str(told.value)
    assert "`gossip doctor`" in str(told.value)


def test_the_environment_may_say_whom_to_observe(stage: Stage, environment: pytest.MonkeyPatch) -> None:
    a, _ = stage.grown(2)
    environment.setenv("GOSSIP_SEEDS", a.address)
    environment.setenv("GOSSIP_CLUSTER", stage.cluster)
    environment.setenv("GOSSIP_NAME", "eye")
    for of_members in ("GOSSIP_ID", "GOSSIP_BIND", "GOSSIP_ADVERTISE", "GOSSIP_SNAPSHOT", "GOSSIP_FORK"):
        environment.setenv(of_members, "of no concern")
    with Observer.from_env(config=Config.local()) as observer:
        observer.wait_synced(PATIENCE_S)
        assert (observer.name, ids(observer.lookup("orders"))) == ("eye", ["orders-0", "orders-1"])
    environment.setenv("GOSSIP_SEEDS", "none")
    with pytest.raises(ConfigError, match="GOSSIP_SEEDS"):
        Observer.from_env()
    environment.setenv("GOSSIP_SEEDS", "10.0.0.5:7400")
    with pytest.raises(GossipError, match=r"beyond this machine.*GOSSIP_SEEDS"):
        Observer.from_env()
    assert Observer.from_env(seeds=["127.0.0.1:1"]).name == "eye"
