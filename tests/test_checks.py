"""Health checks: what fails leaves picks and rings and comes back; what hangs or raises harms nothing; in both twins."""

from __future__ import annotations

import asyncio
import http.server
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from gossip import AsyncPeer, Check, ConfigError, InstanceState, NoInstances, Peer
from gossip.bus import native

from .ports import free_port

DEADLINE_S = 30.0


def quick(target: str | Callable[[], object], **more: Any) -> Check:
    return Check(target, **({"interval": 0.02, "timeout": 0.5, "fail_after": 2, "pass_after": 2} | more))


def until(fact: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := fact()):
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.005)
    return found


@pytest.fixture
def peer() -> Iterator[Peer]:
    with Peer("checked", cluster=f"test-checks-{uuid.uuid4().hex}", bind="127.0.0.1:0", seeds=[]) as peer:
        yield peer


@pytest.fixture
def site() -> Iterator[Any]:
    """An HTTP server that answers `site.status`."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(server.status)  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.status = 200  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def state(peer: Peer | AsyncPeer, service: str) -> InstanceState:
    (one,) = peer.lookup(service, include_draining=True)
    return one.state


def test_an_instance_whose_url_fails_leaves_picks_and_rings_stays_visible_and_comes_back(peer: Peer, site: Any) -> None:
    url = f"http://127.0.0.1:{site.server_port}/health?deep=1"
    mine = peer.register("orders", port=8080, routes=["/orders"], check=quick(url))
    assert peer.pick("orders") == mine.instance
    site.status = 503
    until(lambda: peer.lookup("orders") == (), "that it left the lookups")
    for ask in (lambda: peer.pick("orders"), lambda: peer.route("/orders"), lambda: peer.locate("orders", "k")):
        with pytest.raises(NoInstances):
            ask()
    assert (state(peer, "orders"), mine.instance.state) == (InstanceState.CRITICAL, InstanceState.CRITICAL)
    assert "its health check failed 2 times: it answered 503" in peer.why("orders")[-1].reason
    site.status = 204
    until(lambda: peer.lookup("orders"), "that it came back")
    assert peer.pick("orders").state is InstanceState.UP


def test_tcp_asks_the_instance_s_own_port(peer: Peer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer.register("listening", port=listener.getsockname()[1], check=quick("tcp"))
        peer.register("deaf", port=free_port(), check=quick("tcp"))
        until(lambda: state(peer, "deaf") is InstanceState.CRITICAL, "that nobody listens there")
        assert state(peer, "listening") is InstanceState.UP
    until(lambda: state(peer, "listening") is InstanceState.CRITICAL, "that nobody listens any more")


def test_others_see_the_state_too(peer: Peer) -> None:
    with Peer("other", cluster=peer.status().cluster, bind="127.0.0.1:0", seeds=[peer.address]) as other:
        well = threading.Event()
        well.set()
        peer.register("seen", port=1, check=quick(well.is_set))
        other.wait_for("seen", timeout=DEADLINE_S)
        well.clear()
        until(lambda: state(other, "seen") is InstanceState.CRITICAL, "the state at the other")
        assert other.lookup("seen") == ()
        well.set()
        other.wait_for("seen", timeout=DEADLINE_S)


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", [ValueError("why"), SystemExit(1), KeyboardInterrupt(), Odd()], ids=repr)
def test_a_check_that_raises_fails_with_the_reason(peer: Peer, error: BaseException) -> None:
    def check() -> None:
        raise error

    peer.register("raising", port=1, check=quick(check))
    until(lambda: state(peer, "raising") is InstanceState.CRITICAL, "that it is critical")
    assert type(error).__name__ in peer.why("raising")[-1].reason


def test_checks_for_which_there_is_no_thread_are_told_once_a_minute(
    peer: Peer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made, tries = native.thread, []

    def none_to_be_had(name: str, run: Any) -> Any:
        if name.endswith("-check"):
            tries.append(name)
            raise RuntimeError("can't start new thread")
        return made(name, run)

    monkeypatch.setattr(native, "thread", none_to_be_had)
    peer.register("orders", port=1, check=quick("tcp"))
    until(lambda: len(tries) > 5, "some tries")
    assert state(peer, "orders") is InstanceState.UP, "nothing was found out"
    told = [record for record in caplog.records if "could not run" in record.getMessage()]
    assert len(told) == 1


def test_a_check_that_hangs_fails_and_holds_up_no_other(peer: Peer) -> None:
    stuck, begun, calls = threading.Event(), [], []

    def hang() -> None:
        begun.append(1)
        stuck.wait(DEADLINE_S)

    try:
        for number in range(8):
            peer.register("hanging", port=1 + number, check=quick(hang, timeout=0.05))
        peer.register("well", port=1, check=quick(lambda: calls.append(1)))
        until(lambda: peer.lookup("hanging") == (), "that all that hang are critical")
        done = len(calls)
        until(lambda: len(calls) > done + 5, "that the other is checked on")
        assert len(begun) == 8  # one thread each, however often they are due
        assert state(peer, "well") is InstanceState.UP
        assert peer.status().loop_lag_s < DEADLINE_S
    finally:
        stuck.set()
    until(lambda: len(peer.lookup("hanging")) == 8, "that they come back when they no longer hang")


def test_thresholds_are_counted_in_a_row(peer: Peer) -> None:
    answers = iter([False, True, False, True, False, False] + [True] * 3)
    asked: list[bool] = []

    def check() -> bool:
        asked.append(next(answers, True))
        return asked[-1]

    with peer.watch("flaky") as watch:
        peer.register("flaky", port=1, check=quick(check, fail_after=2, pass_after=3))
        told = [watch.get(DEADLINE_S) for _ in range(3)]
    reasons = ["its health check failed 2 times: it returned False", "its health check passed 3 times"]
    assert [event.reason for event in told[1:]] == reasons
    assert asked[:9] == [False, True, False, True, False, False, True, True, True]


def test_draining_wins_over_a_check(peer: Peer) -> None:
    calls: list[int] = []

    def check() -> bool:
        calls.append(1)
        return False

    mine = peer.register("leaving", port=1, check=quick(check, fail_after=3))
    mine.drain()
    until(lambda: len(calls) > 6, "some failures")
    assert state(peer, "leaving") is InstanceState.DRAINING


def test_an_update_keeps_the_state(peer: Peer) -> None:
    mine = peer.register("updated", port=1, check=quick(lambda: False))
    until(lambda: state(peer, "updated") is InstanceState.CRITICAL, "that it is critical")
    mine.update(weight=7)
    (one,) = peer.lookup("updated", include_draining=True)
    assert (one.weight, one.state) == (7, InstanceState.CRITICAL)


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("gossip-checked-check")]


def test_threads_are_there_only_while_there_are_checks(peer: Peer) -> None:
    peer.register("unchecked", port=1)
    assert threads() == []
    mine = peer.register("checked", port=2, check=quick(lambda: True))
    until(threads, "the thread of checks")
    mine.deregister()
    until(lambda: threads() == [], "its end with the last check")
    peer.register("checked", port=2, check=quick(lambda: True))
    until(threads, "the thread of checks again")
    peer.close()
    until(lambda: threads() == [], "its end with the peer")


def test_a_check_ends_with_its_registration_and_not_with_one_of_the_same_name(peer: Peer) -> None:
    first = peer.register("again", port=1, check=quick(lambda: False, fail_after=1000))
    first.deregister()
    peer.register("again", port=1)
    until(lambda: threads() == [], "the end of the first one's check")
    assert state(peer, "again") is InstanceState.UP


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_checks_nothing(peer: Peer) -> None:
    peer.register("checked", port=2, check=quick(lambda: True))
    until(threads, "the thread of checks")
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os._exit(len(threads()))
        os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    "check",
    ["udp", "", "ftp://x/", "http://", "http://x:99999/", "http://x y/", 7, b"tcp", {}, {"target": "tcp", "every": 1},
     {"target": "tcp", "interval": 0}, {"target": "tcp", "timeout": "1"}, {"target": "tcp", "fail_after": 0},
     {"target": "tcp", "pass_after": 1.5}, {"target": "tcp", "interval": True}],
    ids=repr,
)  # fmt: skip
def test_a_wrong_check_is_refused_and_nothing_registered(peer: Peer, check: object) -> None:
    with pytest.raises(ConfigError, match="check"):
        peer.register("refused", port=1, check=check)
    assert peer.services() == ()


def test_a_mapping_is_as_good_as_a_check(peer: Peer) -> None:
    peer.register("mapped", port=free_port(), check={"target": "tcp", "interval": 0.02, "fail_after": 1})
    until(lambda: state(peer, "mapped") is InstanceState.CRITICAL, "that nobody listens there")


def test_the_twin_checks_too() -> None:
    async def main() -> None:
        async with AsyncPeer("twin", cluster=f"test-checks-{uuid.uuid4().hex}", bind="127.0.0.1:0", seeds=[]) as peer:
            with pytest.raises(ConfigError, match="check"):
                await peer.register("refused", port=1, check="udp")
            await peer.register("twin", port=free_port(), check=quick("tcp"))
            async with peer.watch("twin") as watch:
                while state(peer, "twin") is not InstanceState.CRITICAL:
                    await watch.get(DEADLINE_S)
            assert peer.lookup("twin") == ()

    asyncio.run(main())
