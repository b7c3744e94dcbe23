"""The bus thread with a scripted node: order, faults, strangers, and every way to stop."""

from __future__ import annotations

import itertools
import logging
import os
import random
import socket
import sys
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from gossip.bus import thread as module
from gossip.bus.sockets import Sockets
from gossip.config import Config
from gossip.core.effects import (
    Answer,
    Answered,
    Asked,
    Bind,
    Blame,
    Blamed,
    Bound,
    Call,
    Connect,
    Disconnect,
    HangUp,
    Happened,
    Heard,
    LinkClosed,
    Listen,
    Probe,
    Probed,
    ProbeOutcome,
    Publish,
    Subscribed,
    Unlisten,
    Unsubscribed,
)
from gossip.errors import ConfigError, GossipError, PeerClosed
from gossip.model import EventKind

Until = Callable[..., Any]


@pytest.fixture
def subscriber(running: Any, context: zmq.Context[Any], until: Until) -> zmq.Socket[bytes]:
    """A stranger's SUB, linked to the running bus."""
    made = context.socket(zmq.SUB)
    made.setsockopt(zmq.RCVTIMEO, 10_000)
    made.subscribe(b"*")
    made.connect(f"tcp://{running.publisher}")
    until(lambda: running.node.got(Subscribed))
    return made


@pytest.fixture
def asker_of(context: zmq.Context[Any]) -> Callable[[Any], zmq.Socket[bytes]]:
    def make(bus: Any) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        made.setsockopt(zmq.RCVTIMEO, 10_000)
        made.connect(f"tcp://{bus.contact}")
        return made

    return make


@pytest.fixture
def asker(running: Any, asker_of: Any) -> zmq.Socket[bytes]:
    return asker_of(running)  # type: ignore[no-any-return]


# What arrives, and what is carried out ----------------------------------------------------------------------------------


def test_start_effects_are_carried_out_on_the_named_daemon_thread(bus: Any, context: Any, until: Until) -> None:
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    bus.node.on_start = [Listen(b"*"), Connect(f"127.0.0.1:{port}")]
    bus.thread.start()
    bus.thread.start()
    assert publisher.poll(10_000)
    assert publisher.recv() == b"\x01*"
    [thread] = [thread for thread in threading.enumerate() if thread.name == "gossip-test"]
    assert thread.daemon
    assert bus.thread.alive


def test_frames_reach_the_node_and_links_are_told(running: Any, context: Any, until: Until) -> None:
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    running.call(Listen(b"*"), Listen(b"@me"), Connect(f"127.0.0.1:{port}"))
    assert {publisher.recv(), publisher.recv()} == {b"\x01*", b"\x01@me"}
    publisher.send(b"*hello")
    until(lambda: running.node.got(Heard) == [Heard(b"*hello")])
    until(lambda: running.thread.links_up == 1)
    running.call(Unlisten(b"@me"))
    assert publisher.recv() == b"\x00@me"
    publisher.close(linger=0)
    until(lambda: running.node.got(LinkClosed) == [LinkClosed(f"127.0.0.1:{port}")])
    running.call(Disconnect(f"127.0.0.1:{port}"))


def test_subscriptions_come_and_go(running: Any, subscriber: Any, until: Until) -> None:
    assert running.node.got(Subscribed) == [Subscribed(b"*")]
    subscriber.close(linger=0)
    until(lambda: running.node.got(Unsubscribed) == [Unsubscribed(b"*")])


def test_nothing_published_after_link_up_is_lost(running: Any, subscriber: Any) -> None:
    for number in range(0, 1000, 10):
        running.call(*(Publish(b"*%d" % (number + offset)) for offset in range(10)))
    assert [subscriber.recv() for _ in range(1000)] == [b"*%d" % number for number in range(1000)]


def test_questions_are_answered(running: Any, asker: Any) -> None:
    running.node.answers = lambda event: [Answer(event.token, b"answer to " + event.frame)] if type(event) is Asked else []
    asker.send(b"question")
    assert asker.recv() == b"answer to question"


def test_an_answer_to_someone_gone_is_dropped(running: Any) -> None:
    running.call(Answer(b"\x00gone", b"frame"), Publish(b"*"))
    assert running.thread.counters["answers_dropped"] == 1
    assert "faults" not in running.thread.counters


def test_calls_are_answered_and_hung_up(running: Any, context: Any, until: Until) -> None:
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    running.call(Call(9, f"127.0.0.1:{port}", b"question"))
    token, frame = router.recv_multipart()
    router.send_multipart([token, b"answer to " + frame])
    until(lambda: running.node.got(Answered) == [Answered(9, b"answer to question")])
    running.call(HangUp(9))


def test_probes_and_binds_are_told(running: Any, unused_port: int, until: Until, asker: Any) -> None:
    endpoint = f"127.0.0.1:{unused_port}"
    running.call(Probe(endpoint))
    until(lambda: running.node.got(Probed) == [Probed(endpoint, ProbeOutcome.REFUSED)])
    running.call(Bind(endpoint), Bind(endpoint))
    until(lambda: running.node.got(Bound) == [Bound(endpoint, True), Bound(endpoint, False)])
    running.call(Probe(endpoint))
    until(lambda: running.node.got(Probed)[1:] == [Probed(endpoint, ProbeOutcome.OPEN)])
    asker.connect(f"tcp://{endpoint}")
    asker.send(b"one")
    asker.send(b"two")
    until(lambda: sorted(asked.frame for asked in running.node.got(Asked)) == [b"one", b"two"])


def test_an_unanswered_probe_is_unknown_after_its_timeout(running: Any, until: Until) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        running.call(Probe(f"127.0.0.1:{listener.getsockname()[1]}"))
        until(lambda: [probed.outcome for probed in running.node.got(Probed)] == [ProbeOutcome.UNKNOWN])
        for filler in fillers:
            filler.close()


# Order ------------------------------------------------------------------------------------------------------------------


def test_a_batch_is_sent_then_applied_then_the_caller_goes_on(running: Any, subscriber: Any, a_change: Any) -> None:
    order: list[str] = []
    send, settle = running.thread._acts[Publish], running.thread._settle
    running.on_batch = lambda changes, happenings: order.append(f"applied {len(changes)}, {len(happenings)}")
    running.thread._acts[Publish] = lambda effect, now: (order.append("sent"), send(effect, now))
    running.thread._settle = lambda: (order.append("settled") if running.thread._letters else None, settle())
    notice = Happened(EventKind.NOTICE, "x", None, None, "y")
    running.call(Publish(b"*1"), a_change(1), notice, Publish(b"*2"), a_change(2))
    assert order == ["sent", "sent", "applied 2, 1", "settled"]
    assert [subscriber.recv(), subscriber.recv()] == [b"*1", b"*2"]


def test_a_change_is_visible_when_the_call_returns(running: Any, a_change: Any) -> None:
    for port in range(1, 200):
        running.call(a_change(port))
        assert running.changes[-1] == a_change(port)


def test_inputs_of_one_turn_are_one_batch(running: Any, asker: Any, a_change: Any, until: Until) -> None:
    batches: list[int] = []
    running.on_batch = lambda changes, happenings: batches.append(len(changes))
    running.node.answers = lambda event: [a_change(1)] if type(event) is Asked else []

    def wait_for_questions(now: float) -> tuple[list[Any], None]:
        for number in range(20):
            asker.send(b"%d" % number)
        time.sleep(0.2)  # they arrive while the bus thread is busy
        return [], None

    running.thread.mailbox.call(wait_for_questions, 10)
    until(lambda: sum(batches) == 20)
    assert batches == [20]


def test_a_flood_does_not_starve_ticks_and_commands(running: Any, context: Any, unused_port: int, until: Until) -> None:
    ended = threading.Event()

    def flood() -> None:
        publisher = context.socket(zmq.XPUB)
        publisher.bind(f"tcp://127.0.0.1:{unused_port}")
        while not ended.is_set():
            publisher.send(b"*x")
        publisher.close(linger=0)

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        running.call(Listen(b"*"), Connect(f"127.0.0.1:{unused_port}"))
        until(lambda: running.node.got(Heard))
        ticks = len(running.node.ticks)
        for _ in range(20):
            running.call()
        until(lambda: len(running.node.ticks) > ticks + 3)
    finally:
        ended.set()
        flooder.join()


# Time -------------------------------------------------------------------------------------------------------------------


def test_ticks_come_at_their_deadline_and_the_lag_is_told(running: Any, until: Until) -> None:
    until(lambda: len(running.node.ticks) >= 5)
    waits = [after - before for before, after in itertools.pairwise(running.node.ticks)]
    assert min(waits) >= running.node.interval_s
    running.thread.mailbox.call(lambda now: (time.sleep(0.4), ([], None))[1], 10)
    until(lambda: running.thread.loop_lag_s >= 0.3)
    assert running.thread.loop_lag_s < 30.0, "a deadline long past is no lag of its own"


def test_the_injected_clock_is_the_only_one_the_node_sees(config: Config, until: Until) -> None:
    node, seen = types.SimpleNamespace(left=True), []
    node.start = node.tick = node.leave = lambda now: seen.append(now) or []
    node.next_deadline = lambda: 0.0
    bus = module.BusThread(
        "t", node, Sockets.open(config.links), config, lambda *_: None, rng=random.Random(1), clock=lambda: 42.0
    )
    bus.start()
    until(lambda: len(seen) > 3)
    assert bus.stop()
    assert set(seen) == {42.0}


def test_the_worst_lag_is_forgotten_after_two_windows() -> None:
    worst = module._Worst()
    worst.note(3.0, 0.0)
    worst.note(1.0, 5.0)
    assert worst.value == 3.0
    worst.note(0.5, 10.0)
    assert worst.value == 1.0
    worst.note(0.1, 100.0)
    assert worst.value == 0.1


# Faults -----------------------------------------------------------------------------------------------------------------


def test_a_fault_in_the_node_is_counted_logged_once_told_and_survived(
    running: Any, asker: Any, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    def answers(event: Any) -> list[Any]:
        if type(event) is Asked and event.frame == b"bad":
            raise ZeroDivisionError("a bug")
        return [Answer(event.token, event.frame)] if type(event) is Asked else []

    running.node.answers = answers
    with caplog.at_level(logging.WARNING, "gossip"):
        for _ in range(5):
            asker.send(b"bad")
        asker.send(b"good")
        assert asker.recv() == b"good"
        assert running.thread.counters["faults"] == 5
        until(lambda: running.happenings)
    assert len(running.happenings) == 1
    assert running.happenings[0].kind is EventKind.NOTICE
    assert "ZeroDivisionError: a bug" in running.happenings[0].reason
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("method", ["start", "tick", "next_deadline"])
def test_a_node_that_keeps_failing_neither_ends_the_loop_nor_spins(bus: Any, method: str, until: Until) -> None:
    failures: list[float] = []

    def fail(*_: object) -> Any:
        failures.append(time.monotonic())
        raise RuntimeError("a bug")

    setattr(bus.node, method, fail)
    bus.thread.start()
    bus.call()
    before, began = len(failures), time.monotonic()
    until(lambda: time.monotonic() - began > 0.5)
    assert len(failures) - before < 60, "it spins"
    assert bus.call(result="alive") == "alive"


def test_a_fault_in_applying_or_in_one_effect_does_not_stop_the_others(running: Any, subscriber: Any, a_change: Any) -> None:
    def broken(changes: Any, happenings: Any) -> None:
        raise OSError("a bug of the peer")

    running.on_batch = broken
    assert running.call(a_change(1), Publish("not bytes"), "no effect at all", Publish(b"*sent"), result=7) == 7
    assert subscriber.recv() == b"*sent"
    assert running.thread.counters["faults"] >= 3


@pytest.mark.parametrize(
    ("failing", "about"),
    [("contact", "reading the questions"), ("publisher", "reading the subscriptions"), ("subscriber", "reading the links")],
)
def test_a_drain_that_always_fails_keeps_neither_the_others_nor_the_tick_from_their_turn(
    bus: Any, context: Any, until: Until, failing: str, about: str
) -> None:
    failures: list[float] = []

    def fail(now: float) -> None:
        failures.append(now)
        raise ZeroDivisionError("a bug")

    drains, socket_of = bus.thread._drains, getattr(bus.sockets, failing)
    drains._of[socket_of] = drains._of[socket_of][0], fail
    asker, subscriber, publisher = context.socket(zmq.DEALER), context.socket(zmq.SUB), context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    asker.connect(f"tcp://{bus.contact}")
    subscriber.subscribe(b"*")
    subscriber.connect(f"tcp://{bus.publisher}")
    bus.node.on_start = [Listen(b"*"), Connect(f"127.0.0.1:{port}")]
    bus.thread.start()
    assert publisher.poll(10_000)
    asker.send(b"one")
    publisher.send(b"*one")
    until(lambda: len(failures) > 3)
    ticks, spent, began = len(bus.node.ticks), len(failures), time.monotonic()
    asker.send(b"two")
    publisher.send(b"*two")
    come = {"contact": Asked, "publisher": Subscribed, "subscriber": Heard}
    for kind in {*come.values()} - {come[failing]}:
        until(lambda kind=kind: bus.node.got(kind))
    until(lambda: len(bus.node.ticks) > ticks + 5)
    assert len(failures) - spent < 20 * (time.monotonic() - began) + 5, "it spins"
    assert bus.call(result="alive") == "alive"
    assert not bus.node.got(come[failing])
    assert bus.thread.counters["faults"] == len(failures)
    until(lambda: bus.happenings)
    (told,) = bus.happenings
    assert told.kind is EventKind.NOTICE
    assert about in told.reason


def test_what_waits_is_read_once_its_drain_has_recovered(bus: Any, asker_of: Any, until: Until) -> None:
    drains, contact = bus.thread._drains, bus.sockets.contact
    name, drain = drains._of[contact]
    failed = threading.Event()

    def fail_once(now: float) -> None:
        drains._of[contact] = name, drain
        failed.set()
        raise ZeroDivisionError("a bug")

    drains._of[contact] = name, fail_once
    bus.thread.start()
    asker_of(bus).send(b"question")
    until(lambda: bus.node.got(Asked))
    assert failed.is_set()
    assert bus.thread.counters["faults"] == 1


def test_a_fault_in_reading_a_call_leaves_the_tick_its_turn(running: Any, context: Any, until: Until) -> None:
    def fail(*_: object) -> Any:
        raise ZeroDivisionError("a bug")

    running.thread._calls.receive = fail
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    running.call(Call(9, f"127.0.0.1:{port}", b"question"))
    token, _ = router.recv_multipart()
    router.send_multipart([token, b"answer"])
    until(lambda: running.thread.counters.get("faults", 0) > 3)
    ticks = len(running.node.ticks)
    until(lambda: len(running.node.ticks) > ticks + 3)
    until(lambda: running.happenings)
    assert "reading a call" in running.happenings[0].reason


def test_an_exception_of_a_command_belongs_to_its_caller(running: Any) -> None:
    def refuse(now: float) -> Any:
        raise GossipError("no")

    with pytest.raises(GossipError, match="no"):
        running.thread.mailbox.call(refuse, 10)
    assert "faults" not in running.thread.counters
    running.thread.mailbox.post(refuse)
    running.call()
    assert running.thread.counters["faults"] == 1


def test_a_fatal_zeromq_error_ends_the_loop_and_releases_everyone(running: Any, until: Until) -> None:
    def die(now: float) -> Any:
        running.sockets.publisher.close()
        return [Publish(b"*")], None

    with pytest.raises(PeerClosed):
        running.thread.mailbox.call(die, 10)
    until(lambda: not running.thread.alive)
    with pytest.raises(PeerClosed):
        running.call()
    assert running.thread.counters["bus_ended"] == 1
    assert running.thread.stop()


# Strangers --------------------------------------------------------------------------------------------------------------


def test_garbage_on_every_port_is_survived(
    running: Any, subscriber: Any, asker: Any, context: Any, stranger_at: Any, until: Until, unused_port: int
) -> None:
    stranger_at(unused_port, bytes(range(256)) * 8, hang_up=True)
    running.call(Connect(f"127.0.0.1:{unused_port}"))
    for endpoint in (running.contact, running.publisher):
        host, port = endpoint.split(":")
        for garbage in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\xff" * 4096, b"\x00" * 4096, bytes(range(256)), b""):
            with socket.create_connection((host, int(port)), timeout=10) as stranger:
                stranger.sendall(garbage)
        for kind in (zmq.PUSH, zmq.REQ, zmq.PUB, zmq.PAIR):
            context.socket(kind).connect(f"tcp://{endpoint}")
    until(lambda: running.thread.counters.get("handshakes_failed", 0) >= 2)
    running.node.answers = lambda event: [Answer(event.token, event.frame)] if type(event) is Asked else []
    asker.send(b"still there?")
    assert asker.recv() == b"still there?"
    running.call(Publish(b"*yes"))
    assert subscriber.recv() == b"*yes"
    assert "faults" not in running.thread.counters


def test_user_messages_to_the_publisher_are_dropped_and_counted(running: Any, context: Any, until: Until) -> None:
    stranger = context.socket(zmq.XSUB)
    stranger.connect(f"tcp://{running.publisher}")
    stranger.send(b"\x01@topic")
    stranger.send(b"\x07 not a subscription")
    stranger.send(b"")
    stranger.send_multipart([b"a", b"b"])
    stranger.send(b"\x01@last")
    until(lambda: running.node.got(Subscribed) == [Subscribed(b"@topic"), Subscribed(b"@last")])
    assert running.thread.counters["subscriptions_malformed"] == 3


def test_messages_of_several_parts_are_dropped_on_every_socket(running: Any, context: Any, asker: Any, until: Until) -> None:
    publisher = context.socket(zmq.XPUB)
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    running.call(Listen(b"*"), Connect(f"127.0.0.1:{port}"))
    assert publisher.recv() == b"\x01*"
    publisher.send_multipart([b"*a", b"b"])
    publisher.send(b"*honest")
    asker.send_multipart([b"", b"a request"])
    asker.send(b"honest")
    until(lambda: running.node.got(Heard) == [Heard(b"*honest")])
    until(lambda: [asked.frame for asked in running.node.got(Asked)] == [b"honest"])
    assert running.thread.counters["frames_multipart"] == 1
    assert running.thread.counters["asks_malformed"] == 1


def test_an_oversized_topic_costs_only_the_stranger_his_link(running: Any, subscriber: Any, context: Any) -> None:
    stranger = context.socket(zmq.SUB)
    stranger.subscribe(b"t" * 2000)
    stranger.connect(f"tcp://{running.publisher}")
    running.call(Publish(b"*on"))
    assert subscriber.recv() == b"*on"
    assert all(len(event.topic) < 600 for event in running.node.got(Subscribed))


# The end ----------------------------------------------------------------------------------------------------------------


def closed(bus: Any) -> bool:
    return bool(bus.sockets.context.closed) and not bus.thread.alive


def test_stop_before_start_closes_and_start_after_stop_is_refused(bus: Any) -> None:
    assert bus.thread.stop()
    assert closed(bus)
    assert bus.node.leaves == 0
    with pytest.raises(PeerClosed):
        bus.thread.start()
    with pytest.raises(PeerClosed):
        bus.call()


def test_stop_twice_and_from_many_threads(running: Any) -> None:
    outcomes: list[bool] = []
    threads = [threading.Thread(target=lambda: outcomes.append(running.thread.stop())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 8
    assert running.thread.stop()
    assert running.thread.stop(leave=False)
    assert closed(running)
    assert running.node.leaves == 1


def test_a_graceful_stop_says_goodbye_and_waits_until_the_node_has_left(running: Any, subscriber: Any, until: Until) -> None:
    running.node.left = False
    running.node.on_leave = [Publish(b"*goodbye")]

    def answers(event: Any) -> list[Any]:
        running.node.left = type(event) is Unsubscribed
        return []

    running.node.answers = answers
    stopper = threading.Thread(target=running.thread.stop)
    stopper.start()
    assert subscriber.recv() == b"*goodbye"
    assert running.thread.alive
    subscriber.close(linger=0)
    stopper.join()
    assert closed(running)


def test_a_node_that_never_leaves_is_left_behind(running: Any) -> None:
    running.node.left = False
    began = time.monotonic()
    assert running.thread.stop()
    assert 0.4 < time.monotonic() - began < 5.0
    assert closed(running)


def test_vanishing_asks_the_node_nothing(running: Any) -> None:
    running.node.left = False
    assert running.thread.stop(leave=False)
    assert running.node.leaves == 0
    assert closed(running)


def test_a_leave_can_be_cut_short(running: Any, until: Until) -> None:
    running.node.left = False
    leaver = threading.Thread(target=running.thread.stop, kwargs={"timeout": 30.0})
    leaver.start()
    until(lambda: running.node.leaves)
    assert running.thread.stop(leave=False)
    leaver.join()
    assert closed(running)


def test_stop_on_the_bus_thread_asks_and_does_not_wait_for_itself(running: Any, until: Until) -> None:
    assert running.thread.mailbox.call(lambda now: ([], running.thread.stop()), 10) is False
    until(lambda: closed(running))


def test_a_wedged_bus_does_not_hold_stop(bus: Any, until: Until) -> None:
    wedged, release = threading.Event(), threading.Event()
    bus.thread.start()

    def wedge(now: float) -> Any:
        wedged.set()
        release.wait(30)
        return [], None

    bus.thread.mailbox.post(wedge)
    wedged.wait(10)
    began = time.monotonic()
    assert bus.thread.stop() is False
    assert time.monotonic() - began < 5.0
    release.set()
    until(lambda: closed(bus))


def test_callers_that_wait_when_the_peer_stops_are_released(bus: Any, until: Until) -> None:
    bus.thread.start()
    entered, release, outcomes = threading.Event(), threading.Event(), {}

    def hold(now: float) -> Any:
        entered.set()
        release.wait(30)
        return [], "done"

    def ask(name: str, run: Any) -> None:
        try:
            outcomes[name] = bus.thread.mailbox.call(run, 30)
        except GossipError as error:
            outcomes[name] = type(error)

    holder = threading.Thread(target=ask, args=("holder", hold))
    holder.start()
    entered.wait(10)
    waiter = threading.Thread(target=ask, args=("waiter", lambda now: ([], "late")))
    waiter.start()
    until(lambda: len(bus.thread.mailbox) == 1)
    bus.thread.stop(leave=False, timeout=0.0)
    release.set()
    holder.join(10)
    waiter.join(10)
    assert outcomes == {"holder": "done", "waiter": PeerClosed}


def test_many_lives_leave_no_thread_and_no_descriptor_behind(config: Config) -> None:
    def live() -> None:
        node = types.SimpleNamespace(left=True, start=lambda now: [], tick=lambda now: [], leave=lambda now: [])
        node.next_deadline = lambda: float("inf")
        sockets = Sockets.open(config.links)
        sockets.bind_publisher("127.0.0.1", 0)
        bus = module.BusThread("short", node, sockets, config, lambda *_: None, rng=random.Random(1))
        bus.start()
        assert bus.stop()

    live()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        live()
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not [thread for thread in threading.enumerate() if thread.name == "gossip-short"]


def test_eventlet_s_threads_are_refused(bus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    patcher = types.ModuleType("eventlet.patcher")
    patcher.is_monkey_patched = lambda name: name == "thread"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(ConfigError, match=r"monkey_patch\(thread=False\)"):
        bus.thread.start()
    patcher.is_monkey_patched = lambda name: False  # type: ignore[attr-defined]
    bus.thread.start()


def test_the_clock_never_goes_back() -> None:
    readings = [module.boot_clock() for _ in range(1000)]
    assert readings == sorted(readings)


def test_a_bad_frame_is_traced_to_the_endpoint_of_its_link(
    running: Any, context: zmq.Context[Any], unused_port: int, until: Until
) -> None:
    publishers = [context.socket(zmq.XPUB) for _ in range(2)]  # an honest one and another
    endpoints = [f"127.0.0.1:{publisher.bind_to_random_port('tcp://127.0.0.1')}" for publisher in publishers]
    running.call(Listen(b"*"), *(Connect(endpoint) for endpoint in endpoints))
    for publisher in publishers:
        assert publisher.poll(10_000)
    publishers[1].send(b"*bad")
    until(lambda: running.node.got(Heard))
    (heard,) = running.node.got(Heard)
    running.call(Blame(heard.source))
    until(lambda: running.node.got(Blamed) == [Blamed(endpoints[1])])
    for publisher in publishers:
        publisher.close(linger=0)


def test_what_cannot_be_traced_blames_nobody(running: Any, until: Until) -> None:
    running.call(Blame(None), Blame("no frame"))
    running.call(Probe("127.0.0.1:1"))
    until(lambda: running.node.got(Probed))
    assert running.node.got(Blamed) == []
