"""Seeds whose addresses are known only later, or move: when they are asked for, what is told, and whom peers find by it."""

from __future__ import annotations

import logging
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import gossip.engine
from gossip import Peer
from gossip.bus import resolver
from gossip.bus.addresses import Endpoint
from gossip.bus.resolver import AGAIN_S, RETRY_S, Resolver
from gossip.bus.seeds import SEEDS_MAX, FileSeed, HostSeed

Until = Callable[..., Any]
PATIENCE_S = 30.0
UNKNOWN = "unknown"  # after the addresses that are known


@dataclass(eq=False)
class Scripted:
    """A seed with an answer for each time it is asked; the last one stays."""

    answers: list[list[str]]
    host: str = "scripted"
    loopback: bool = True
    is_name: bool = True
    asked: int = 0

    def addresses(self) -> Iterator[Endpoint]:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        for text in answer:
            if text == UNKNOWN:
                raise OSError("no such name")
            host, _, port = text.rpartition(":")
            yield Endpoint(host.strip("[]"), int(port))


@dataclass
class Steps:
    """In place of the event that ends a resolver: counts its waits instead of waiting, and ends it after so many."""

    rounds: int
    waits: list[float] = field(default_factory=list)

    def is_set(self) -> bool:
        return len(self.waits) >= self.rounds

    def wait(self, timeout: float) -> None:
        self.waits.append(timeout)


def played(*seeds: Any, rounds: int, beyond: bool = False, alone: Callable[[], bool] = lambda: True) -> tuple[list[Any], Steps]:
    """What a resolver tells in so many rounds of one thread, and how long it waits after each."""
    told: list[Any] = []

    def found(addresses: tuple[str, ...], *, pending: bool) -> None:
        if told[-1:] != [addresses]:  # else it tells that the last one has answered
            told.append(addresses)

    steps = Steps(rounds)
    asking = Resolver("x", seeds, beyond=beyond, alone=alone, found=found)
    asking._stopped = steps  # type: ignore[assignment]
    asking._follow(seeds)
    return told, steps


# when, and what ---------------------------------------------------------------------------------------------------------


def test_it_asks_every_second_until_all_have_answered_once_and_then_every_half_minute() -> None:
    slow = Scripted([[UNKNOWN], [UNKNOWN], ["127.0.0.1:2"]])
    told, steps = played(Scripted([["127.0.0.1:1"]]), slow, rounds=5)
    assert told == [("127.0.0.1:1",), ("127.0.0.1:1", "127.0.0.1:2")]
    assert steps.waits == [RETRY_S, RETRY_S, AGAIN_S, AGAIN_S, AGAIN_S]
    assert slow.asked == 5


def test_it_asks_no_more_while_the_peer_is_not_alone() -> None:
    seed = Scripted([["127.0.0.1:1"], ["127.0.0.1:2"]])
    told, _ = played(seed, rounds=4, alone=lambda: False)
    assert (told, seed.asked) == ([("127.0.0.1:1",)], 1)


def test_it_asks_again_when_the_peer_is_alone_again() -> None:
    later = iter([False, False, True])  # asked for from the second round on: the first has to ask in any case
    told, steps = played(Scripted([["127.0.0.1:1"], ["127.0.0.1:2"]]), rounds=4, alone=lambda: next(later))
    assert told == [("127.0.0.1:1",), ("127.0.0.1:2",)]
    assert steps.waits == [AGAIN_S] * 4


def test_what_is_not_known_yet_is_asked_for_even_by_a_peer_that_is_not_alone() -> None:
    told, _ = played(Scripted([[UNKNOWN], ["127.0.0.1:1"]]), rounds=3, alone=lambda: False)
    assert told == [("127.0.0.1:1",)]


def test_only_a_change_is_told() -> None:
    told, _ = played(Scripted([["127.0.0.1:1"], ["127.0.0.1:1"], ["127.0.0.1:2", "127.0.0.1:1"]]), rounds=9)
    assert told == [("127.0.0.1:1",), ("127.0.0.1:2", "127.0.0.1:1")]


def test_nothing_is_told_while_nothing_is_known() -> None:
    assert played(Scripted([[UNKNOWN]]), rounds=5)[0] == []


def test_a_seed_that_names_nobody_is_an_answer_and_looked_at_again_every_second() -> None:
    told, steps = played(Scripted([[], [], ["127.0.0.1:1"]]), rounds=4)
    assert told == [(), ("127.0.0.1:1",)]
    assert steps.waits == [RETRY_S, RETRY_S, AGAIN_S, AGAIN_S]


def test_a_part_of_an_answer_is_used_and_the_rest_asked_for_every_second() -> None:
    told, steps = played(Scripted([["127.0.0.1:1", UNKNOWN], ["127.0.0.1:1", "127.0.0.1:2"]]), rounds=3)
    assert told == [("127.0.0.1:1",), ("127.0.0.1:1", "127.0.0.1:2")]
    assert steps.waits == [RETRY_S, AGAIN_S, AGAIN_S]


def test_a_seed_that_was_known_keeps_its_addresses_while_nobody_can_tell_them() -> None:
    told, _ = played(Scripted([["127.0.0.1:1"], [UNKNOWN]]), Scripted([["127.0.0.1:2"], ["127.0.0.1:3"]]), rounds=3)
    assert told == [("127.0.0.1:1",), ("127.0.0.1:1", "127.0.0.1:2"), ("127.0.0.1:1", "127.0.0.1:3")]


def test_two_seeds_of_one_address_are_told_as_one() -> None:
    assert played(Scripted([["[::1]:1"]]), Scripted([["[::1]:1"]]), rounds=1)[0] == [("[::1]:1",)]


def test_an_address_that_nobody_can_dial_is_left_out() -> None:
    assert played(Scripted([["0.0.0.0:1", "[::]:1", "127.0.0.1:1"]]), rounds=1, beyond=True)[0] == [("127.0.0.1:1",)]


# what it warns of -------------------------------------------------------------------------------------------------------


def test_addresses_of_other_machines_are_ignored_and_told_once_unless_they_are_allowed(caplog: pytest.LogCaptureFixture) -> None:
    seed = Scripted([["10.0.0.5:1", "127.0.0.1:1"], ["[2001:db8::1]:1", "127.0.0.1:1"]])
    assert played(seed, rounds=3)[0] == [("127.0.0.1:1",)]
    (warning,) = caplog.records
    assert (warning.name, warning.levelno) == ("gossip", logging.WARNING)
    assert "the seed 10.0.0.5:1, and any other beyond this machine, is ignored" in warning.getMessage()
    caplog.clear()
    assert played(seed, rounds=1, beyond=True)[0][-1] == ("[2001:db8::1]:1", "127.0.0.1:1")
    assert caplog.records == []


def test_a_seed_that_is_not_known_yet_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    played(Scripted([[UNKNOWN]], host="gossip.internal"), rounds=5)
    assert caplog.messages == [
        "! x: the seed gossip.internal is not known yet, it is asked for every second: no such name",
    ]


def test_more_addresses_than_the_bound_are_cut_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    told, _ = played(Scripted([[f"127.0.0.1:{port}" for port in range(1, SEEDS_MAX + 5)]]), rounds=3)
    assert [len(known) for known in told] == [*range(1, SEEDS_MAX + 1)]
    assert caplog.messages == [f"! x: the seeds have more than {SEEDS_MAX} addresses; the first of them are used"]


# real peers -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Starts peers of one cluster, each at a free port of 127.0.0.1."""
    cluster, made = f"resolver-{uuid.uuid4().hex}", []

    def start(name: str, **arguments: Any) -> Peer:
        made.append(Peer(name, **{"cluster": cluster, "bind": "127.0.0.1:0", **arguments}).start())
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolver that is not waited for."""
    monkeypatch.setattr(resolver, "RETRY_S", 0.02)
    monkeypatch.setattr(resolver, "AGAIN_S", 0.02)


def meet(until: Until, *peers: Peer) -> None:
    for one in peers:
        until(lambda one=one: len(one.members()) == len(peers), f"{one.name} to see {len(peers)} peers", PATIENCE_S)


@pytest.mark.usefixtures("quick")
def test_a_peer_finds_others_by_a_file_that_is_written_after_its_start(
    peer: Callable[..., Peer], until: Until, tmp_path: Path
) -> None:
    first = peer("first", seeds=[])
    second = peer("second", seeds=[f"file:{tmp_path}/seeds"])
    until(lambda: len(second.members()) == 1, "itself", PATIENCE_S)
    (tmp_path / "seeds").write_text(f"# mounted later\n{first.address}\n")
    meet(until, first, second)


@pytest.mark.usefixtures("quick")
def test_a_peer_that_is_alone_finds_others_by_a_file_that_changed(
    peer: Callable[..., Peer], until: Until, tmp_path: Path, unused_port: int
) -> None:
    seeds = tmp_path / "seeds"
    seeds.write_text(f"127.0.0.1:{unused_port}\n")
    first = peer("first", seeds=[])
    second = peer("second", seeds=[f"file:{seeds}"])
    second.wait_synced(PATIENCE_S)
    seeds.write_text(f"{first.address}\n")
    meet(until, first, second)


def test_an_empty_file_means_nobody_to_ask_for_now(peer: Callable[..., Peer], tmp_path: Path) -> None:
    (tmp_path / "seeds").write_text("# nobody yet\n")
    alone = peer("alone", seeds=[f"file:{tmp_path}/seeds"])
    alone.wait_synced(PATIENCE_S)
    assert not [event for event in alone.why(alone.id) if "no synced peer answered" in event.reason]


def test_a_file_that_never_comes_does_not_keep_a_peer_from_being_synced(peer: Callable[..., Peer], tmp_path: Path) -> None:
    alone = peer("alone", seeds=[f"file:{tmp_path}/never"])
    alone.wait_synced(PATIENCE_S)
    assert [event for event in alone.why(alone.id) if "check that the seeds are right" in event.reason]


def test_a_peer_finds_others_by_dns(peer: Callable[..., Peer], until: Until) -> None:
    first = peer("first", seeds=[])
    port = first.address.rpartition(":")[2]
    meet(until, first, peer("second", seeds=[f"dns:localhost:{port}"]))


def test_all_addresses_of_a_name_are_dialled(
    peer: Callable[..., Peer], until: Until, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    first = peer("first", bind=f"127.0.0.3:{unused_port}", seeds=[])
    answers = [(0, 0, 0, "", (address, 0)) for address in ("127.0.0.2", "127.0.0.3")]  # nobody is at the former
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answers)
    meet(until, first, peer("second", seeds=[f"dns:localhost:{unused_port}"]))


@dataclass
class Told:
    """What a resolver that runs has told."""

    all: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)

    def __call__(self, addresses: tuple[str, ...], *, pending: bool) -> None:
        self.all.append((addresses, pending))


@dataclass(eq=False)
class Slow(Scripted):
    """One that answers when it is let go."""

    go: threading.Event = field(default_factory=threading.Event)

    def addresses(self) -> Iterator[Endpoint]:
        assert self.go.wait(PATIENCE_S)
        return super().addresses()


@pytest.fixture
def resolving() -> Iterator[Callable[..., Told]]:
    """Starts resolvers; what each tells."""
    made: list[Resolver] = []

    def start(*seeds: Any) -> Told:
        told = Told()
        made.append(Resolver("x", seeds, beyond=False, alone=lambda: True, found=told))
        made[-1].start()
        return told

    yield start
    for one in made:
        one.stop()


def test_numeric_seeds_are_told_before_anybody_is_asked(resolving: Callable[..., Told]) -> None:
    slow = Slow([["127.0.0.1:2"]])
    told = resolving(slow, HostSeed("127.0.0.1", 1))
    assert told.all == [(("127.0.0.1:1",), True)]
    slow.go.set()


def test_a_name_that_is_slow_keeps_no_other_waiting(resolving: Callable[..., Told], until: Until) -> None:
    slow = [Slow([[f"127.0.0.1:{port}"]]) for port in (1, 2, 3)]
    told = resolving(*slow, Scripted([["127.0.0.1:4"]]))
    until(lambda: told.all[-1:] == [(("127.0.0.1:4",), True)], "the quick one to be told")
    for one in slow:
        one.go.set()
    every = tuple(f"127.0.0.1:{port}" for port in (1, 2, 3, 4))
    until(lambda: told.all[-1:] == [(every, False)], "all to be told")


def test_a_name_that_is_slow_in_a_file_keeps_its_addresses_not_waiting(
    resolving: Callable[..., Told], until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    answers = [(0, 0, 0, "", ("127.0.0.2", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: answers if go.wait(PATIENCE_S) else [])
    (tmp_path / "seeds").write_text("dns:slow.internal:1\n127.0.0.1:2\n")
    told = resolving(FileSeed(str(tmp_path / "seeds")))
    until(lambda: told.all == [(("127.0.0.1:2",), True)], "the address to be told")
    go.set()
    until(lambda: told.all[-1] == (("127.0.0.1:2", "127.0.0.2:1"), False), "the name to be told")


def test_a_name_that_is_none_does_not_keep_the_good_seeds_from_being_found(
    resolving: Callable[..., Told], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    told = resolving(HostSeed("a..b", 1), HostSeed("127.0.0.1", 2))
    until(lambda: any("a..b is not known yet" in line for line in caplog.messages), "the bad name to be told")
    assert told.all == [(("127.0.0.1:2",), True)]


def test_without_a_thread_it_says_so_once_and_asks_when_there_is_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    told = Told()
    asking = Resolver("x", [Scripted([["127.0.0.1:1"]])], beyond=False, alone=lambda: True, found=told)
    with monkeypatch.context() as patched:
        patched.setattr(resolver.native, "thread", refused)
        asking.start()
        asking.pursue()
    assert caplog.messages == ["! x: no thread to ask for the seeds scripted: can't start new thread. It is tried again"]
    asking.pursue()
    until(lambda: told.all[-1:] == [(("127.0.0.1:1",), False)], "the seed to be told")
    asking.stop()


@pytest.mark.parametrize("seeds", [["127.0.0.1:{port}", "file:{slow}"], ["file:{slow}", "dns:localhost:{port}"]])
def test_a_peer_does_not_wait_for_a_slow_name(
    peer: Callable[..., Peer], until: Until, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, seeds: list[str]
) -> None:
    go, ask = threading.Event(), socket.getaddrinfo

    def asked(name: str, *more: Any) -> Any:
        return ask(name, *more) if name == "localhost" or not go.wait(PATIENCE_S) else []

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    (tmp_path / "slow").write_text("dns:slow.internal:1\n")
    first = peer("first", seeds=[])
    port = first.address.rpartition(":")[2]
    second = peer("second", seeds=[seed.format(port=port, slow=tmp_path / "slow") for seed in seeds])
    meet(until, first, second)
    second.wait_synced(PATIENCE_S)
    assert second._node.joined  # type: ignore[union-attr]
    assert not go.is_set()
    go.set()


@pytest.mark.parametrize(
    ("arguments", "beyond"),
    [({}, False), ({"insecure": True}, True), ({"insecure": True, "bind": None}, False)],
    ids=["secure", "insecure", "insecure, but nobody can dial it"],
)
def test_a_file_may_name_other_machines_only_where_a_seed_may(
    peer: Callable[..., Peer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: dict[str, Any], beyond: bool
) -> None:
    made: list[bool] = []

    class Recorded(Resolver):
        def __init__(self, *given: Any, beyond: bool, **options: Any) -> None:
            made.append(beyond)
            super().__init__(*given, beyond=beyond, **options)

    monkeypatch.setattr(gossip.engine, "Resolver", Recorded)
    peer("one", seeds=[f"file:{tmp_path}/seeds"], **arguments)
    assert made == [beyond]


@pytest.mark.usefixtures("quick")
def test_a_closed_peer_asks_no_more(peer: Callable[..., Peer], until: Until, tmp_path: Path) -> None:
    alone = peer("short", seeds=[f"file:{tmp_path}/never"])
    until(lambda: "gossip-short-seeds" in {thread.name for thread in threading.enumerate()}, "the resolver")
    alone.close()
    until(lambda: "gossip-short-seeds" not in {thread.name for thread in threading.enumerate()}, "its end")
