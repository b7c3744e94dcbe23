"""The link supervisor against libzmq itself: real sockets, all kinds of other ends."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import pytest
import zmq

from gossip.bus.links import SETTLE_S, LinkState
from gossip.bus.sockets import FRAME_BYTES_MAX
from gossip.core.effects import Connect, Heard, LinkClosed, LinkUnreached, Listen

Publish = Callable[[int], zmq.Socket[bytes]]
RELINKED_S = 5.0


def linked(publisher: zmq.Socket[bytes], rig: Any) -> None:
    """Turn until the subscription has arrived at the publisher, which is what link up means."""
    rig.turn_until(lambda: publisher.poll(0) and publisher.recv()[:1] == b"\x01", "link up")


def delivers_once(publisher: zmq.Socket[bytes], rig: Any, word: bytes) -> None:
    """One frame arrives exactly once: there is one pipe."""
    rig.heard.clear()
    publisher.send(b"*" + word)
    publisher.send(b"*end of " + word)
    rig.turn_until(lambda: b"*end of " + word in rig.heard, "the frame")
    assert rig.heard == [b"*" + word, b"*end of " + word]


@pytest.fixture
def endpoint(unused_port: int) -> str:
    return f"127.0.0.1:{unused_port}"


def test_frames_published_after_link_up_all_arrive(rig: Any, publish_at: Publish, unused_port: int, endpoint: str) -> None:
    publisher = publish_at(unused_port)
    rig.sockets.listen(b"*")
    rig.connect(endpoint)
    linked(publisher, rig)
    for number in range(500):
        publisher.send(b"*%d" % number)
    rig.turn_until(lambda: len(rig.heard) == 500, "all frames")
    assert rig.heard == [b"*%d" % number for number in range(500)]


def test_a_link_that_was_up_tells_when_it_breaks_and_comes_back(
    rig: Any, publish_at: Publish, unused_port: int, endpoint: str
) -> None:
    rig.sockets.listen(b"*")
    rig.sockets.listen(b"@me")
    rig.connect(endpoint)
    for word in (b"first", b"second", b"third"):
        publisher = publish_at(unused_port)
        linked(publisher, rig)
        rig.turn_until(lambda: rig.links.state(endpoint) is LinkState.UP)
        delivers_once(publisher, rig, word)
        rig.closed.clear()
        publisher.close()
        rig.turn_until(lambda: rig.closed, "the broken link to be told")
        assert rig.closed == [LinkClosed(endpoint)]


def test_all_subscriptions_are_sent_again(rig: Any, publish_at: Publish, unused_port: int, endpoint: str) -> None:
    for topic in (b"*", b"@me", b"+"):
        rig.sockets.listen(topic)
    rig.connect(endpoint)
    for _ in range(2):
        publisher = publish_at(unused_port)
        for _ in range(3):
            linked(publisher, rig)
        assert not publisher.poll(20)
        publisher.close()
        rig.turn_until(lambda: rig.closed)


def test_a_refused_endpoint_is_dialled_ever_more_rarely_until_disconnect(rig: Any, endpoint: str) -> None:
    rig.connect(endpoint)
    dials: list[float] = []

    def note() -> int:
        while len(dials) < rig.hush.counters.get("links_dialled", 0):
            dials.append(time.monotonic())
        return len(dials)

    rig.turn_until(lambda: note() >= 6, "six dials")
    waits = [after - before for before, after in itertools.pairwise(dials)]
    assert all(wait >= SETTLE_S for wait in waits)
    assert waits[4] > 2 * waits[0]
    assert rig.closed == [LinkUnreached(endpoint)], "it was never up, which is told once"
    rig.disconnect(endpoint)
    assert rig.links.state(endpoint) is None
    rig.turn_until(lambda: rig.links.next_deadline() == float("inf"), "nothing more to do")
    assert rig.hush.counters["links_dialled"] == len(dials)


def test_the_first_redial_comes_soon_after_a_link_that_held(
    rig: Any, publish_at: Publish, unused_port: int, endpoint: str
) -> None:
    rig.connect(endpoint)
    rig.turn_until(lambda: rig.hush.counters.get("dials_unanswered", 0) == 3)
    publisher = publish_at(unused_port)
    rig.turn_until(lambda: rig.links.state(endpoint) is LinkState.UP)
    rig.links.tick(time.monotonic() + 10.0)
    publisher.close()
    rig.turn_until(lambda: LinkClosed(endpoint) in rig.closed)
    assert rig.links.next_deadline() - time.monotonic() <= 0.1


@pytest.mark.parametrize(
    ("greeting", "hang_up"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", False),
        (bytes(range(256)) * 40, False),
        (b"\xff" * 64, True),
        (b"", True),
    ],
    ids=["http-closing", "http-keeping", "garbage", "ones", "mute-closing"],
)
def test_a_port_stolen_by_a_stranger_and_given_back_is_linked_again(
    rig: Any, publish_at: Publish, stranger_at: Any, unused_port: int, endpoint: str, greeting: bytes, hang_up: bool
) -> None:
    rig.sockets.listen(b"*")
    rig.connect(endpoint)
    publisher = publish_at(unused_port)
    linked(publisher, rig)
    publisher.close()
    stranger = stranger_at(unused_port, greeting, hang_up=hang_up)
    rig.turn_until(lambda: stranger.met >= 2, "two dials of the stranger")
    stranger.close()
    publisher = publish_at(unused_port)
    linked(publisher, rig)
    delivers_once(publisher, rig, b"back")


def test_a_port_taken_by_a_socket_of_another_kind_and_given_back_is_linked_again(
    rig: Any, publish_at: Publish, context: zmq.Context[Any], unused_port: int, endpoint: str
) -> None:
    thief = context.socket(zmq.PULL)
    thief.bind(f"tcp://{endpoint}")
    rig.sockets.listen(b"*")
    rig.connect(endpoint)
    rig.turn_until(lambda: rig.hush.counters.get("handshakes_failed", 0) >= 2, "two failed handshakes")
    assert rig.links.state(endpoint) is not LinkState.UP
    thief.close(linger=0)
    given_back = time.monotonic()
    publisher = publish_at(unused_port)
    linked(publisher, rig)
    assert time.monotonic() - given_back < RELINKED_S
    delivers_once(publisher, rig, b"back")


def test_an_oversized_frame_costs_the_link_for_a_moment_only(
    rig: Any, publish_at: Publish, unused_port: int, endpoint: str
) -> None:
    publisher = publish_at(unused_port)
    rig.sockets.listen(b"*")
    rig.connect(endpoint)
    linked(publisher, rig)
    rig.turn_until(lambda: rig.links.state(endpoint) is LinkState.UP)
    publisher.send(b"*" + bytes(FRAME_BYTES_MAX))
    rig.turn_until(lambda: rig.closed)
    linked(publisher, rig)
    delivers_once(publisher, rig, b"again")


def test_a_mute_listener_does_not_hold_the_link_for_ever(
    rig: Any, publish_at: Publish, stranger_at: Any, unused_port: int, endpoint: str
) -> None:
    stranger = stranger_at(unused_port, b"", hang_up=False)
    rig.connect(endpoint)
    rig.turn_until(lambda: stranger.met >= 2, "a second dial after the handshake timeout")


def test_a_dial_that_libzmq_says_nothing_about_is_repeated(rig: Any, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig.links, "on_monitor", lambda now: [])
    rig.connect(endpoint)
    rig.turn()
    assert rig.links.state(endpoint) is LinkState.DIALLING
    overdue = rig.links.next_deadline()
    rig.links.tick(overdue)
    assert rig.links.state(endpoint) is LinkState.WAITING
    assert rig.hush.counters["links_overdue"] == 1
    rig.links.tick(rig.links.next_deadline())
    assert rig.links.state(endpoint) is LinkState.DIALLING


def test_an_endpoint_dropped_and_wanted_again_at_once_gets_one_link(
    rig: Any, publish_at: Publish, unused_port: int, endpoint: str
) -> None:
    publisher = publish_at(unused_port)
    rig.sockets.listen(b"*")
    rig.connect(endpoint)
    linked(publisher, rig)
    rig.disconnect(endpoint)
    rig.connect(endpoint)
    rig.connect(endpoint)
    rig.turn_until(lambda: publisher.poll(0) and publisher.recv() == b"\x00*", "the end of the first link")
    linked(publisher, rig)
    delivers_once(publisher, rig, b"once")
    assert not rig.closed, "a link dropped on purpose did not break"


def test_frames_that_wait_are_heard_before_the_broken_link_is_cut(
    running: Any, publish_at: Publish, unused_port: int, endpoint: str, until: Any
) -> None:
    publisher = publish_at(unused_port)
    running.call(Listen(b"*"), Connect(endpoint))
    until(lambda: publisher.poll(0) and publisher.recv() == b"\x01*")
    until(lambda: running.thread.links_up == 1)

    def busy(now: float) -> tuple[list[Any], None]:
        for number in range(100):
            publisher.send(b"*%d" % number)
        publisher.close(linger=2000)
        time.sleep(0.3)  # the frames and the end of the link both arrive while the bus thread is busy
        return [], None

    running.thread.mailbox.call(busy, 10)
    until(lambda: running.node.got(LinkClosed))
    assert len(running.node.got(Heard)) == 100
    assert type(running.node.inputs[-1]) is LinkClosed


def test_an_endpoint_that_cannot_be_dialled_does_not_raise(rig: Any) -> None:
    rig.connect("no such thing")
    rig.turn()
    assert rig.hush.counters["links_undiallable"] == 1
    rig.disconnect("no such thing")
    rig.disconnect("never wanted")


def test_many_links_break_and_return_at_once(rig: Any, publish_at: Publish, unused_port: int) -> None:
    ports = [unused_port + offset for offset in range(1, 31)]
    rig.sockets.listen(b"*")
    publishers = [publish_at(port) for port in ports]
    for port in ports:
        rig.connect(f"127.0.0.1:{port}")
    rig.turn_until(lambda: rig.links.up == 30, "all links")
    for publisher in publishers:
        publisher.close()
    rig.turn_until(lambda: len(rig.closed) == 30, "all broken links")
    publishers = [publish_at(port) for port in ports]
    rig.turn_until(lambda: rig.links.up == 30, "all links again")
    for publisher in publishers:
        linked(publisher, rig)
        publisher.send(b"*hello")
    rig.turn_until(lambda: len(rig.heard) >= 30)
    rig.turn()
    assert len(rig.heard) == 30


def test_a_shunned_link_is_cut_told_to_nobody_and_dialled_again_in_its_time(
    rig: Any, publish_at: Publish, unused_port: int, endpoint: str
) -> None:
    publisher = publish_at(unused_port)
    rig.sockets.listen(b"*")
    rig.connect(endpoint)
    linked(publisher, rig)
    until = time.monotonic() + 0.5
    rig.links.shun(endpoint, until)
    rig.turn_until(lambda: publisher.poll(0) and publisher.recv()[:1] == b"\x00", "the subscription to end")
    linked(publisher, rig)
    assert time.monotonic() >= until
    assert rig.closed == []
