"""nodes/provider.py and nodes/consumer.py: real requests between real processes, while providers die, leave and come."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from http.client import HTTPConnection
from typing import Any

import pytest

from gossip import Instance, StaticPeer
from nodes.consumer import Answered, NotNow, Unanswered, by_cache, by_hash, by_route, call

from .conftest import DEADLINE_S

Run = Callable[..., "subprocess.Popen[str]"]
Told = dict[str, Any]


class Lines:
    """The lines of JSON that a program tells."""

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self.program = program
        self.all: list[Told] = []

    def next(self) -> Told:
        assert self.program.stdout is not None
        line = self.program.stdout.readline()
        assert line, f"it ended: {self.all[-1:]}"
        self.all.append(json.loads(line))
        return self.all[-1]

    def until(self, enough: Callable[[list[Told]], bool]) -> list[Told]:
        """Read on until what is read from now on is enough; returns that."""
        deadline = time.monotonic() + DEADLINE_S
        since = len(self.all)
        while not enough(self.all[since:]):
            assert time.monotonic() < deadline, self.all[-5:]
            self.next()
        return self.all[since:]

    def end(self, ending: signal.Signals = signal.SIGTERM) -> int:
        """Tell it to stop, read what is left; returns the exit code."""
        self.program.send_signal(ending)
        return self.rest()

    def rest(self) -> int:
        """Read until it ends; returns the exit code."""
        assert self.program.stdout is not None
        self.all.extend(map(json.loads, self.program.stdout))  # `communicate` would miss what `readline` has buffered
        return self.program.wait(DEADLINE_S)

    @property
    def total(self) -> Told:
        """What a consumer told in the end."""
        assert self.all[-1]["kind"] == "total"
        return self.all[-1]


class Cluster:
    """Programs that find each other and nobody else."""

    def __init__(self, run_python: Run) -> None:
        self._run = run_python
        self._options = ["--cluster", f"test-{uuid.uuid4().hex}", "-o", "json"]
        self._contacts: list[str] = []

    def _start(self, *command: str) -> Lines:
        seeds = [word for contact in self._contacts for word in ("--seed", contact)]
        return Lines(self._run(*command, *self._options, *(seeds or ["--alone"])))

    def provider(self, id: str, *options: str, service: str = "orders") -> Lines:
        lines = self._start("nodes/provider.py", service, "--id", id, *options)
        assert lines.next()["kind"] == "started"
        self._contacts.append(lines.all[0]["contact"])
        return lines

    def providers(self, count: int, *options: str) -> list[Lines]:
        return [self.provider(f"p{number}", *options) for number in range(1, count + 1)]

    def consumer(self, *options: str) -> Lines:
        return self._start("nodes/consumer.py", *options, "--each")


@pytest.fixture
def cluster(run_python: Run) -> Cluster:
    return Cluster(run_python)


def without(id: str, requests: int) -> Callable[[list[Told]], bool]:
    """Whether an instance had no part in the last so many requests."""

    def enough(told: list[Told]) -> bool:
        return len(told) >= requests and not any(one["instance"] == id or id in one["failed"] for one in told[-requests:])

    return enough


def owners(told: Sequence[Told]) -> dict[str, str]:
    """Who answered for each key, last."""
    return {one["key"]: one["instance"] for one in told}


# real processes -------------------------------------------------------------------------------------------------------


def test_no_request_is_lost_when_a_provider_is_killed_at_work(cluster: Cluster) -> None:
    cluster.provider("p1")
    cluster.provider("p2")
    doomed = cluster.provider("p3", "--delay", "0.5")  # all callers are soon waiting for this one
    consumer = cluster.consumer("orders", "--at-least", "3", "--rate", "100")
    consumer.until(lambda told: {"p1", "p2", "p3"} <= {one["instance"] for one in told})
    doomed.program.kill()
    consumer.until(lambda told: any("p3" in one["failed"] for one in told))
    consumer.until(without("p3", 100))
    assert consumer.end() == 0
    retried = [one for one in consumer.all[:-1] if one["failed"]]
    assert {one["instance"] for one in retried} <= {"p1", "p2"}
    assert all(one["failed"] == ["p3"] for one in retried)
    assert consumer.total["unanswered"] == 0
    assert consumer.total["instances"]["p3"]["failed"] == len(retried) == consumer.total["failed"]


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_provider_that_is_told_to_stop_loses_no_request(cluster: Cluster, ending: signal.Signals) -> None:
    cluster.provider("p1")
    cluster.provider("p2")
    leaver = cluster.provider("p3", "--delay", "1.5", "--grace", "0.1")  # what is under way takes longer than it waits
    consumer = cluster.consumer("orders", "--at-least", "3", "--rate", "100", "--timeout", "5")
    consumer.until(lambda told: {"p1", "p2", "p3"} <= {one["instance"] for one in told})
    consumer.until(lambda told: sum(one["instance"] != "p3" for one in told) == 4)  # so at least one is under way there again
    assert leaver.end(ending) == 0
    consumer.until(without("p3", 50))
    assert consumer.end() == 0
    assert (consumer.total["failed"], consumer.total["unanswered"]) == (0, 0)
    assert leaver.all[-1] == {"kind": "ended", "served": consumer.total["instances"]["p3"]["answered"]}


def test_a_new_provider_gets_its_share(cluster: Cluster) -> None:
    cluster.providers(2)
    consumer = cluster.consumer("orders", "--at-least", "2", "--rate", "200")
    consumer.until(lambda told: len(told) >= 10)
    cluster.provider("heavy", "--weight", "2")
    consumer.until(lambda told: told[-1:] != [] and told[-1]["instance"] == "heavy")
    shares = Counter(one["instance"] for one in consumer.until(lambda told: len(told) == 200))
    assert consumer.end() == 0
    assert 90 <= shares["heavy"] <= 110
    assert 40 <= shares["p1"] <= 60
    assert consumer.total["failed"] == 0


def test_by_hash_the_keys_of_living_providers_stay_where_they_are(cluster: Cluster) -> None:
    doomed, *_ = cluster.providers(3)
    keys = 40
    consumer = cluster.consumer("orders", "--by", "hash", "--keys", str(keys), "--at-least", "3", "--rate", "200")
    before = owners(consumer.until(lambda told: len(owners(told)) == keys))
    doomed.program.kill()
    after = owners(consumer.until(without("p1", 2 * keys))[-2 * keys :])
    cluster.provider("p4")
    consumer.until(lambda told: told[-1:] != [] and told[-1]["instance"] == "p4")
    grown = owners(consumer.until(lambda told: len(told) == 2 * keys))
    assert consumer.end() == 0
    assert set(before.values()) == {"p1", "p2", "p3"}
    assert {key for key in before if before[key] != after[key]} == {key for key in before if before[key] == "p1"}
    assert {grown[key] for key in after if after[key] != grown[key]} == {"p4"}


def test_by_route_the_longest_prefix_answers(cluster: Cluster) -> None:
    cluster.provider("p1", "--route", "/orders")
    cluster.provider("p2", "--route", "/orders/refunds", service="refunds")
    consumer = cluster.consumer("--by", "route", "--path", "/orders/refunds/7?why", "--requests", "20")
    assert consumer.rest() == 0
    assert consumer.total["instances"] == {"p2": {"answered": 20, "failed": 0}}


def test_a_request_that_is_answered_503_is_sent_to_another_provider(cluster: Cluster) -> None:
    cluster.provider("busy", "--fail-share", "1")
    cluster.provider("p2")
    consumer = cluster.consumer("orders", "--at-least", "2", "--requests", "20", "--callers", "1")
    assert consumer.rest() == 0
    busy, other = (consumer.total["instances"][id] for id in ("busy", "p2"))
    assert (busy["answered"], other) == (0, {"answered": 20, "failed": 0})
    assert busy["failed"] >= 10  # it lives, so it is asked in its turn


def test_a_consumer_fails_if_a_request_stays_unanswered(cluster: Cluster) -> None:
    cluster.provider("busy", "--fail-share", "1")
    consumer = cluster.consumer("orders", "--requests", "2", "--callers", "1")
    assert consumer.rest() == 1
    assert (consumer.total["answered"], consumer.total["unanswered"], consumer.total["failed"]) == (0, 2, 10)
    assert "NotNow: busy answered 503" in consumer.all[0]["error"]


def test_a_consumer_that_finds_nobody_says_so(run_python: Run) -> None:
    program = run_python("nodes/consumer.py", "orders", "--alone", "--wait", "0.1")
    told, _ = program.communicate(timeout=DEADLINE_S)
    assert program.returncode == 1
    assert told.startswith("nodes/consumer.py: error: 0 of 1 instances of 'orders' are known here")


def test_a_provider_answers_with_who_it_is(cluster: Cluster) -> None:
    started = cluster.provider("p1", "--label", "version=2").all[0]
    host, _, port = started["address"].rpartition(":")
    connection = HTTPConnection(host, int(port), timeout=DEADLINE_S)
    connection.request("GET", "/orders/42?full=1")
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer == {"service": "orders", "instance": "p1", "pid": started["pid"], "path": "/orders/42?full=1"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--port", "70000"], "cannot listen at 127.0.0.1:70000"),
        (["--weight", "0"], "cannot register 'orders': weight 0"),
        (["--bind", "nowhere"], "bind"),
    ],
)
def test_a_provider_that_cannot_start_says_why(run_python: Run, options: list[str], reason: str) -> None:
    program = run_python("nodes/provider.py", "orders", "--alone", *options)
    told, _ = program.communicate(timeout=DEADLINE_S)
    assert program.returncode == 1
    assert told.startswith(f"nodes/provider.py: error: {reason}")


# the loop that is to be copied ----------------------------------------------------------------------------------------

PEER = {"orders": [{"port": port, "id": f"p{port}", "routes": ["/orders"]} for port in (1, 2, 3)]}


def failing(*ids: str, error: Exception, asked: list[str]) -> Callable[[Instance, float], bytes]:
    """A request that these instances do not answer."""

    def send(instance: Instance, timeout: float) -> bytes:
        assert timeout > 0
        asked.append(instance.id)
        if instance.id in ids:
            raise error
        return instance.id.encode()

    return send


@pytest.mark.parametrize("error", [ConnectionRefusedError(), TimeoutError(), NotNow()])
@pytest.mark.parametrize("by", ["cache", "route", "hash"])
def test_a_request_is_sent_to_each_instance_until_one_answers(by: str, error: Exception) -> None:
    peer = StaticPeer(PEER)
    choose = {"cache": by_cache(peer, "orders"), "route": by_route(peer, "/orders/7"), "hash": by_hash(peer, "orders", "k")}[by]
    first, second = choose(()), choose([choose(())])
    asked: list[str] = []
    answered = call(peer, choose, failing(first.id, second.id, error=error, asked=asked))
    assert isinstance(answered, Answered)
    assert answered.body.decode() == answered.instance.id == asked[-1]
    assert {one.id for one in answered.failed} == set(asked[:-1])
    assert len(asked) == len(set(asked))
    assert answered.instance.id not in (first.id, second.id)


def test_by_hash_the_stand_in_is_the_next_on_the_ring() -> None:
    peer = StaticPeer(PEER)
    first, second, third = peer.preference_list("orders", "k", 3)
    choose = by_hash(peer, "orders", "k")
    assert [choose(()), choose([first]), choose([first, second])] == [first, second, third]


def test_when_each_has_failed_they_are_asked_again_up_to_a_number_of_tries() -> None:
    peer = StaticPeer(PEER)
    asked: list[str] = []
    send = failing("p1", "p2", "p3", error=ConnectionResetError("reset"), asked=asked)
    with pytest.raises(Unanswered, match="ConnectionResetError: reset") as unanswered:
        call(peer, by_cache(peer, "orders"), send, tries=5)
    assert (len(asked), set(asked[:3])) == (5, {"p1", "p2", "p3"})
    assert [one.id for one in unanswered.value.failed] == asked


def test_a_request_gives_up_at_its_deadline_if_nobody_is_there() -> None:
    peer = StaticPeer()
    with pytest.raises(Unanswered, match="asked nobody; NoInstances"):
        call(peer, by_cache(peer, "orders"), failing(error=OSError(), asked=[]), deadline_s=0.1)


def test_who_cannot_be_reached_is_avoided_by_the_next_request_and_who_is_busy_is_not() -> None:
    for error, first_asked in ((ConnectionRefusedError(), {"p2", "p3"}), (NotNow(), {"p1", "p2", "p3"})):
        peer = StaticPeer(PEER)
        choose = by_cache(peer, "orders")
        asked: list[str] = []
        send = failing("p1", error=error, asked=asked)
        while "p1" not in asked:
            call(peer, choose, send)
        assert {choose(()).id for _ in range(9)} == first_asked


def test_a_mistake_of_the_caller_is_not_retried() -> None:
    peer = StaticPeer(PEER)
    asked: list[str] = []
    with pytest.raises(ValueError, match="mine"):
        call(peer, by_cache(peer, "orders"), failing("p1", "p2", "p3", error=ValueError("mine"), asked=asked))
    assert len(asked) == 1
