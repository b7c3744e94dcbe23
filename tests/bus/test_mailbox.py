from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from gossip.bus.mailbox import Mailbox
from gossip.core.effects import Effect, Publish
from gossip.errors import GossipError, PeerClosed

Until = Callable[..., Any]


class Desk:
    """A mailbox with a thread that does what the bus thread does with letters."""

    def __init__(self) -> None:
        self.mailbox = Mailbox("test", 100)
        self.effects: list[Effect] = []
        self.ended = False
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        self.mailbox.adopt()
        poller = zmq.Poller()
        poller.register(self.mailbox.fileno(), zmq.POLLIN)
        while not self.ended:
            poller.poll(20)
            letters = self.mailbox.collect()
            for letter in letters:
                self.effects += letter.open(1.5)
            for letter in letters:
                letter.settle()

    def stop(self) -> None:
        self.ended = True
        if self.thread.ident:
            self.thread.join()
        self.mailbox.close()


@pytest.fixture
def idle() -> Iterator[Desk]:
    """Nobody takes the letters."""
    desk = Desk()
    yield desk
    desk.stop()


@pytest.fixture
def desk(idle: Desk) -> Desk:
    idle.thread.start()
    return idle


def test_a_call_runs_on_the_bus_thread_with_its_time_and_returns_the_result(desk: Desk) -> None:
    def run(now: float) -> tuple[list[Effect], Any]:
        return [Publish(b"x")], (now, threading.current_thread())

    assert desk.mailbox.call(run, 5.0) == (1.5, desk.thread)
    assert desk.effects == [Publish(b"x")]


def test_an_exception_is_raised_in_the_caller(desk: Desk) -> None:
    def run(now: float) -> tuple[list[Effect], None]:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        desk.mailbox.call(run, 5.0)
    assert desk.mailbox.call(lambda now: ([], "alive"), 5.0) == "alive"


def test_letters_of_one_thread_run_in_order(desk: Desk) -> None:
    ran: list[int] = []
    for number in range(90):
        desk.mailbox.post(lambda now, number=number: (ran.append(number) or [], None))
    desk.mailbox.call(lambda now: ([], None), 5.0)
    assert ran == list(range(90))


def test_many_threads_get_their_own_results(desk: Desk) -> None:
    results: dict[int, list[int]] = {}

    def ask(number: int) -> None:
        results[number] = [desk.mailbox.call(lambda now, n=n: ([], n), 10.0) for n in range(number, number + 50)]

    threads = [threading.Thread(target=ask, args=(100 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {100 * number: list(range(100 * number, 100 * number + 50)) for number in range(8)}


def test_a_full_mailbox_refuses_and_says_what_to_do(idle: Desk) -> None:
    for _ in range(100):
        idle.mailbox.post(lambda now: ([], None))
    for put in (idle.mailbox.post, lambda run: idle.mailbox.call(run, 1.0)):
        with pytest.raises(GossipError, match=r"bus overloaded: 100 commands wait.*mailbox_max"):
            put(lambda now: ([], None))
    assert len(idle.mailbox) == 100


def test_a_thousand_rings_never_block(idle: Desk) -> None:
    for _ in range(1000):
        idle.mailbox.wake()
    assert zmq.select([idle.mailbox.fileno()], [], [], 0)[0]


def test_a_call_that_timed_out_is_withdrawn(idle: Desk) -> None:
    ran: list[float] = []
    with pytest.raises(GossipError, match="withdrawn; nothing was changed"):
        idle.mailbox.call(lambda now: (ran.append(now) or [], None), 0.01)
    idle.thread.start()
    idle.mailbox.call(lambda now: ([], None), 5.0)
    assert ran == []


def test_a_call_that_timed_out_while_it_ran_says_that_it_may_take_effect(desk: Desk) -> None:
    begun, end = threading.Event(), threading.Event()

    def run(now: float) -> tuple[list[Effect], None]:
        begun.set()
        end.wait(10.0)
        return [], None

    def ask() -> None:
        with pytest.raises(GossipError, match="may still take effect"):
            desk.mailbox.call(run, 0.05)
        end.set()

    asker = threading.Thread(target=ask)
    asker.start()
    asker.join()
    assert begun.is_set()
    assert end.is_set()


def test_closing_releases_everyone_who_waits_and_refuses_all_later(idle: Desk, until: Until) -> None:
    errors: list[type] = []

    def ask() -> None:
        try:
            idle.mailbox.call(lambda now: ([], None), 30.0)
        except GossipError as error:
            errors.append(type(error))

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: len(idle.mailbox) == 20)
    idle.mailbox.close()
    idle.mailbox.close()
    for thread in threads:
        thread.join(10.0)
    assert errors == [PeerClosed] * 20
    with pytest.raises(PeerClosed, match="'test' does not run"):
        idle.mailbox.call(lambda now: ([], None), 1.0)
    with pytest.raises(PeerClosed):
        idle.mailbox.post(lambda now: ([], None))
    idle.mailbox.wake()


def test_closing_while_others_post_leaves_nobody_waiting(until: Until) -> None:
    for _ in range(50):
        mailbox = Mailbox("test", 10_000)
        outcomes: list[type] = []

        def ask(mailbox: Mailbox = mailbox, outcomes: list[type] = outcomes) -> None:
            with contextlib.suppress(PeerClosed):
                while True:
                    mailbox.call(lambda now: ([], None), 20.0)
            outcomes.append(PeerClosed)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        mailbox.close()
        for thread in threads:
            thread.join(10.0)
        assert outcomes == [PeerClosed] * 4


def test_a_call_from_the_bus_thread_raises_instead_of_waiting_for_itself(desk: Desk) -> None:
    def run(now: float) -> tuple[list[Effect], None]:
        return desk.mailbox.call(lambda now: ([], None), 5.0)

    with pytest.raises(GossipError, match="own bus thread"):
        desk.mailbox.call(run, 5.0)


def test_a_post_from_the_bus_thread_runs_later(desk: Desk, until: Until) -> None:
    ran: list[str] = []

    def run(now: float) -> tuple[list[Effect], None]:
        desk.mailbox.post(lambda now: (ran.append("posted") or [], None))
        ran.append("outer")
        return [], None

    desk.mailbox.call(run, 5.0)
    until(lambda: ran == ["outer", "posted"])


def test_an_interrupted_caller_withdraws_its_command_and_the_mailbox_goes_on(idle: Desk) -> None:
    ran: list[float] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            idle.mailbox.call(lambda now: (ran.append(now) or [], None), 30.0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    idle.thread.start()
    assert idle.mailbox.call(lambda now: ([], "alive"), 5.0) == "alive"
    assert ran == []


def test_a_storm_of_signals_that_post_does_not_block_the_mailbox(desk: Desk) -> None:
    ran: list[float] = []

    def post(*_: object) -> None:
        with contextlib.suppress(GossipError):
            desk.mailbox.post(lambda now: (ran.append(now) or [], None))

    former = signal.signal(signal.SIGALRM, post)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        deadline = time.monotonic() + 0.5
        calls = 0
        while time.monotonic() < deadline:
            desk.mailbox.call(lambda now: ([], None), 10.0)
            calls += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
    assert calls
    assert ran


def test_an_abandoned_mailbox_is_closed_without_taking_its_lock(idle: Desk) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with idle.mailbox._gate:
            held.set()
            release.wait(10.0)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10.0)
    idle.mailbox.abandon()
    with pytest.raises(PeerClosed):
        idle.mailbox.call(lambda now: ([], None), 1.0)
    release.set()
    holder.join()
