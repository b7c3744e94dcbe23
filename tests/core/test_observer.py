"""The observer's machine alone: whom it asks, what it believes, and what bounds a stranger meets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from gossip.config import Config, Limits
from gossip.core.candidates import DIALS_MAX, PASS_OVER_S
from gossip.core.effects import (
    Answered,
    Call,
    Connect,
    Effect,
    HangUp,
    Happened,
    Heard,
    LinkClosed,
    Recollected,
    Refused,
    Unreached,
)
from gossip.core.messages import (
    BUCKETS,
    Belief,
    Delta,
    Done,
    Entries,
    Entry,
    Foreign,
    Heartbeat,
    History,
    Message,
    Recall,
    Sync,
    Want,
)
from gossip.core.observer import ObserverNode
from gossip.model import Event, EventKind, PeerState

ALL_DIFFER = b"\xff" * (BUCKETS // 8)
JOINED, DEAD = EventKind.MEMBER_JOINED, EventKind.MEMBER_DEAD
SUSPECTED, REFUTED = EventKind.MEMBER_SUSPECTED, EventKind.MEMBER_REFUTED


class Bench:
    """An observer, the calls it has open, and the clock; its peers are what the test says in their name."""

    def __init__(self, make: Any, seeds: Sequence[str], config: Config | None = None) -> None:
        self.make = make
        self.config = config or Config()
        self.node = ObserverNode(
            "eye", name="eye", cluster="default", zone="", config=self.config, chance=random.Random(1), seeds=seeds
        )
        self.now = 0.0
        self.calls: dict[int, str] = {}
        self.asked: list[tuple[str, Message]] = []
        self.effects: list[Effect] = []
        self._take(self.node.start(0.0))

    def _take(self, effects: list[Effect]) -> None:
        self.effects += effects
        for effect in effects:
            if isinstance(effect, Call):
                self.calls[effect.call] = effect.endpoint
                self.asked.append((effect.endpoint, self.make.codec.decode(effect.frame)))
            elif isinstance(effect, HangUp):
                self.calls.pop(effect.call, None)

    def until(self, time: float) -> None:
        """Let time pass, tick by tick."""
        while (due := max(self.now, self.node.next_deadline())) <= time:
            self.now = due
            self._take(self.node.tick(due))
        self.now = time

    def until_asked(self, endpoint: str, patience_s: float = 10.0) -> None:
        """Let time pass until somebody is asked there."""
        deadline = self.now + patience_s
        while endpoint not in self.calls.values():
            self.until(self.node.next_deadline())
            assert self.now < deadline, endpoint

    def call_to(self, endpoint: str) -> int:
        (call,) = [call for call, other in self.calls.items() if other == endpoint]
        return call

    def answer(self, endpoint: str, *messages: Message, call: int | None = None) -> None:
        """Whoever is asked there says this, in one breath."""
        call = self.call_to(endpoint) if call is None else call
        for message in messages:
            self._take(self.node.handle(Answered(call, self.frame(message)), self.now))

    def tell(self, *messages: Message) -> None:
        """The source publishes this for its observers."""
        for message in messages:
            self._take(self.node.handle(Heard(b"+" + self.frame(message)), self.now))

    def frame(self, message: Message) -> bytes:
        codec = self.make.codec
        frame: bytes = codec.encode_delta(message) if isinstance(message, Delta) else codec.encode(message)
        return frame

    def close_link(self, endpoint: str) -> None:
        self._take(self.node.handle(LinkClosed(endpoint), self.now))

    def entries(self, *ids: str, sender: str = "a", more: bool = False, synced: bool = True) -> Entries:
        entries = tuple(Entry(id, self.make.life, 1, 0) for id in ids)
        return Entries(sender, synced, ALL_DIFFER, entries, more)

    def heartbeat(self, sender: str = "a", digest: int | None = None) -> Heartbeat:
        digest = self.node.local.table.digest if digest is None else digest
        return Heartbeat(self.make.codec.hash(sender), self.make.life, 1, 0, digest, linked=False, synced=True)

    def follow(self, *ids: str, at: str = "10.0.0.1:7400") -> str:
        """A whole first conversation with the peer `a`, which holds these too; returns its publisher."""
        states = [self.make.state("a", header=self.make.header(1)), *(self.make.state(id) for id in ids)]
        self.answer(at, self.entries("a", *ids), *states, Done("a"))
        assert self.source == "a"
        return "10.0.0.1:7401"

    @property
    def source(self) -> str:
        return self.node.source.id if self.node.source is not None else ""

    def members(self) -> set[str]:
        return {origin.id for origin in self.node.local.table.alive()}

    def notices(self) -> list[str]:
        return [e.reason for e in self.effects if isinstance(e, Happened) and e.kind is EventKind.NOTICE]

    def recollected(self) -> list[Recollected]:
        return [effect for effect in self.effects if isinstance(effect, Recollected)]


@pytest.fixture
def bench(make: Any) -> Any:
    return lambda *seeds, **arguments: Bench(make, seeds or ("10.0.0.1:7400",), **arguments)


def contacts(count: int) -> list[str]:
    return [f"10.0.1.{number}:7400" for number in range(count)]


# whom it asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [DIALS_MAX + 1, 5 * DIALS_MAX])
def test_every_seed_is_asked_in_its_turn_however_many_are_dead(count: int, bench: Any) -> None:
    seeds = contacts(count)
    observer = bench(*seeds)
    patience = observer.config.links.connect_timeout_s
    rounds = -(-count // DIALS_MAX)
    observer.until(patience * rounds + 0.1)
    asked = [endpoint for endpoint, _ in observer.asked]
    assert set(asked) == set(seeds)
    assert sorted(asked[:count]) == sorted(seeds), "nobody is asked twice before all were asked once"


def test_no_more_are_asked_at_once_than_the_bound(bench: Any) -> None:
    observer = bench(*contacts(5 * DIALS_MAX))
    for tenth in range(100):
        observer.until(tenth / 10)
        assert len(observer.calls) <= DIALS_MAX


def test_the_seeds_are_asked_in_turns_beside_the_members_once_a_source_is_lost(bench: Any) -> None:
    seeds = [*contacts(40), "10.0.0.1:7400"]
    observer = bench(*seeds)
    observer.until(4.1)
    publisher = observer.follow(*"bcdef")
    observer.close_link(publisher)
    observer.asked.clear()
    observer.until(observer.now + 10.0)
    assert {endpoint for endpoint, _ in observer.asked} >= set(seeds)


def test_a_seed_that_is_a_member_has_its_turn_as_such(bench: Any, make: Any) -> None:
    seeds = ["10.0.0.1:7400", make.state("b").header.host + ":7400"]
    observer = bench(*seeds)
    observer.close_link(observer.follow("b"))
    observer.asked.clear()
    observer.until(20.0)
    assert {endpoint for endpoint, _ in observer.asked} == set(seeds)
    assert len(observer.asked) <= 2 * 20


# what bounds a stranger meets -----------------------------------------------------------------------------------------


def test_entries_without_end_are_given_up_and_somebody_else_is_asked(bench: Any) -> None:
    observer = bench("10.0.0.9:7400", "10.0.0.1:7400")
    observer.answer("10.0.0.9:7400", observer.entries("x", sender="liar", more=True))
    ends_at = observer.config.repair.conversation_max_s
    while observer.now < ends_at - 1.0:
        observer.until(observer.now + 1.0)
        observer.answer("10.0.0.9:7400", observer.entries("x", sender="liar", more=True))
    observer.until(ends_at + 0.1)
    assert "10.0.0.9:7400" not in observer.calls.values()
    assert observer.node.local.counters["conversations_lost"] == 1
    observer.until_asked("10.0.0.1:7400")
    observer.follow()
    assert (observer.node.state, observer.members()) == (PeerState.READY, {"a"})


def test_entries_beyond_the_bound_end_the_conversation(bench: Any) -> None:
    observer = bench(config=Config(limits=Limits(members_max=100)))
    call = observer.call_to("10.0.0.1:7400")
    for number in range(10):
        ids = [f"x{number}-{at}" for at in range(50)]
        observer.answer("10.0.0.1:7400", observer.entries(*ids, more=True), call=call)
    assert call not in observer.calls
    assert observer.node.local.counters["conversations_lost"] == 1


def test_beliefs_and_news_are_bounded_as_entries_are(bench: Any) -> None:
    observer = bench(config=Config(limits=Limits(members_max=10)))
    call = observer.call_to("10.0.0.1:7400")
    beliefs = [Belief(f"x{number}", SUSPECTED, "r" * 500) for number in range(30)]
    observer.answer("10.0.0.1:7400", observer.entries("a", more=True), *beliefs, call=call)
    assert call not in observer.calls
    observer.until(10.0)
    observer.follow()
    observer.tell(observer.heartbeat(digest=0))
    observer.until(observer.now + 0.1)
    call = observer.call_to("10.0.0.1:7400")
    observer.tell(*(Belief(f"y{number}", DEAD, "") for number in range(30)))
    assert call not in observer.calls


def test_a_recollection_is_of_bounded_size_and_time(bench: Any, make: Any) -> None:
    observer = bench()
    observer.follow()
    effects, number = observer.node.recall("orders", observer.now, 2.0)
    observer._take(effects)
    (call,) = observer.calls
    events = tuple(Event(seq, 0.0, EventKind.NOTICE, None, None, None, "") for seq in range(50))
    for _ in range(5):
        observer.answer("", History("a", events, True), call=call)
        observer.until(observer.now + 0.3)
    assert observer.recollected() == []
    observer.until(3.0)
    (told,) = observer.recollected()
    assert (told.call, told.sender) == (number, "")
    assert len(told.events) <= 64
    assert observer.calls == {}


def test_a_recollection_is_asked_for_again_until_its_time_is_over(bench: Any) -> None:
    observer = bench()
    observer.follow()
    effects, number = observer.node.recall("orders", 0.0, 8.0)
    observer._take(effects)
    for second in range(1, 8):
        observer.tell(observer.heartbeat())
        observer.until(float(second))
    asked = [message for _, message in observer.asked if isinstance(message, Recall)]
    assert asked == [Recall("orders")] * 3
    (call,) = observer.calls
    observer.answer("", History("a", (), False), call=call)
    assert observer.recollected() == [Recollected(number, "a", ())]
    observer.until(20.0)
    assert len(observer.recollected()) == 1


def test_a_recollection_waits_for_a_source_and_may_be_forgotten(bench: Any) -> None:
    observer = bench()
    effects, first = observer.node.recall("orders", 0.0, 60.0)
    _, second = observer.node.recall("payments", 0.0, 60.0)
    observer._take(effects)
    observer._take(observer.node.forget(second, 0.0))
    observer.follow()
    observer.until(0.5)
    assert [message for _, message in observer.asked if isinstance(message, Recall)] == [Recall("orders")]
    observer._take(observer.node.forget(first, 0.5))
    assert observer.calls == {}
    observer.until(61.0)
    assert observer.recollected() == []


def test_a_stranger_of_another_cluster_does_not_end_a_recollection_early(bench: Any, make: Any) -> None:
    observer = bench()
    observer.follow()
    effects, _ = observer.node.recall("orders", 0.0, 5.0)
    observer._take(effects)
    (call,) = observer.calls
    foreign = make.codec.encode(Foreign())
    observer._take(observer.node.handle(Answered(call, foreign[:2] + bytes(8) + foreign[10:]), 0.0))
    assert observer.source == "a"
    observer.until(4.0)
    assert [message for _, message in observer.asked if isinstance(message, Recall)] == [Recall("orders")] * 2


# what it believes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def comparing(bench: Any) -> Bench:
    """An observer that follows `a`, who holds b, c and d, and compares again; a's entries are a moment old."""
    observer: Bench = bench()
    observer.follow("b", "c", "d")
    observer.tell(Belief("d", SUSPECTED, "d is silent"), observer.heartbeat(digest=0))
    observer.until(observer.now + 0.1)
    observer.answer("10.0.0.1:7400", observer.entries("a", "b", "c", "d", "e", more=True), Belief("d", SUSPECTED, "d is silent"))
    return observer


def end_of(observer: Bench) -> None:
    """The conversation goes on to its end: e is wanted and comes."""
    observer.answer("10.0.0.1:7400", observer.entries())
    assert isinstance(observer.asked[-1][1], Want)
    observer.answer("10.0.0.1:7400", observer.make.state("e"), Done("a"))
    assert observer.calls == {}


def test_who_joins_while_views_are_compared_stays(comparing: Bench, make: Any) -> None:
    comparing.tell(make.state("f"))
    end_of(comparing)
    assert comparing.members() == {"a", "b", "c", "d", "e", "f"}


def test_who_dies_while_views_are_compared_stays_dead(comparing: Bench) -> None:
    comparing.tell(Belief("b", DEAD, "b is dead"))
    end_of(comparing)
    assert comparing.members() == {"a", "c", "d", "e"}


def test_who_dies_before_its_state_came_is_dead_when_it_comes(comparing: Bench) -> None:
    comparing.tell(Belief("e", DEAD, "e is dead"))
    end_of(comparing)
    assert comparing.members() == {"a", "b", "c", "d"}


def test_a_refutation_while_views_are_compared_holds(comparing: Bench) -> None:
    comparing.tell(Belief("d", REFUTED, "d lives"))
    end_of(comparing)
    assert comparing.node.local.suspects == 0


def test_a_suspicion_goes_on_without_being_refuted_in_between(comparing: Bench) -> None:
    end_of(comparing)
    assert comparing.node.local.suspects == 1
    told = [e.kind for e in comparing.effects if isinstance(e, Happened) and e.subject == "d"]
    assert told == [JOINED, SUSPECTED]


def test_who_is_suspected_here_alone_is_so_no_longer(bench: Any) -> None:
    observer = bench()
    observer.follow("b")
    observer.tell(Belief("b", SUSPECTED, "b is silent"), observer.heartbeat(digest=0))
    observer.until(observer.now + 0.1)
    observer.answer("10.0.0.1:7400", observer.entries("a", "b"))
    assert observer.node.local.suspects == 0


def test_who_is_missing_of_the_entries_is_dead(comparing: Bench) -> None:
    end_of(comparing)
    comparing.tell(comparing.heartbeat(digest=0))
    comparing.until(comparing.now + 1.5)
    comparing.answer("10.0.0.1:7400", comparing.entries("a", "b"))
    assert comparing.members() == {"a", "b"}


# whom it follows ------------------------------------------------------------------------------------------------------


def test_there_is_no_agreement_before_the_first_heartbeat_of_the_source(bench: Any) -> None:
    observer = bench()
    observer.follow()
    assert (observer.node.state, observer.node.agreement) == (PeerState.READY, 0.0)
    observer.tell(observer.heartbeat())
    assert observer.node.agreement == 1.0
    observer.tell(observer.heartbeat(digest=0))
    assert observer.node.agreement == 0.0


def test_a_source_that_is_never_heard_is_told_and_passed_over(bench: Any, make: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    observer.follow()
    observer.until(10.0)
    assert observer.source == ""
    (notice,) = [text for text in observer.notices() if "10.0.0.1:7401" in text]
    assert "a" in notice.split()
    assert observer.node.local.counters["sources_lost"] == 1
    assert "10.0.0.1:7400" not in observer.calls.values() or "10.0.0.2:7400" in observer.calls.values()
    observer.answer(
        "10.0.0.2:7400", observer.entries("a", "b", sender="b"), make.state("b", header=make.header(2)), Done("b")
    )
    assert observer.source == "b"
    assert Connect("10.0.0.2:7401") in observer.effects


def test_a_source_that_is_passed_over_is_the_last_resort(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    publisher = observer.follow()
    observer.until(4.9)
    observer.asked.clear()
    observer.until(5.1)
    assert observer.source == ""
    assert [endpoint for endpoint, _ in observer.asked] == ["10.0.0.2:7400"]
    observer.until_asked("10.0.0.1:7400")
    observer.follow()
    assert [text for text in observer.notices() if publisher in text] != []
    observer.until(16.0)
    assert len([text for text in observer.notices() if publisher in text]) == 1


def test_a_member_that_died_unseen_does_not_keep_those_that_are_passed_over_from_being_asked(bench: Any, make: Any) -> None:
    observer = bench("10.0.0.9:7400")
    observer.follow("b", at="10.0.0.9:7400")  # b dies, and nobody tells
    observer.until(5.1)
    assert observer.source == ""
    observer.until_asked("10.0.0.1:7400")
    observer.follow("b")


def test_an_alias_of_a_source_that_is_passed_over_is_passed_over_too(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "127.0.0.1:7400")
    observer.follow()
    observer.until(5.1)
    observer.answer("127.0.0.1:7400", observer.entries("a"))
    assert observer.source == ""
    assert "127.0.0.1:7400" not in observer.calls.values()


def test_who_was_passed_over_is_asked_as_others_are_after_a_while(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    observer.follow()
    observer.until(5.1)
    observer.until(5.1 + PASS_OVER_S)
    observer.until_asked("10.0.0.1:7400")
    observer.answer("10.0.0.1:7400", observer.entries("a"))
    assert observer.source == "a"


def test_a_call_to_somebody_else_that_is_given_up_does_not_cost_the_source(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    observer.follow()
    observer.tell(observer.heartbeat(digest=0))
    observer.until(observer.now + 0.1)
    observer.answer("10.0.0.1:7400", observer.entries("a", synced=False))  # it began anew, and will be synced soon
    observer.until(observer.now + 0.5)
    observer.answer("10.0.0.1:7400", observer.entries("a"))
    for second in range(1, 8):
        observer.tell(observer.heartbeat())
        observer.until(float(second))
    assert observer.source == "a"
    assert [endpoint for endpoint, message in observer.asked if isinstance(message, Sync)][2:] == ["10.0.0.1:7400"] * 2


def test_who_turns_it_away_is_given_up_at_once(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    call = observer.call_to("10.0.0.1:7400")
    observer._take(observer.node.handle(Refused(call), 0.0))
    assert set(observer.calls.values()) == {"10.0.0.2:7400"}
    assert observer.node.met == {"somebody with another secret": 1}


def test_whose_dial_comes_to_nobody_is_given_up_at_once(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    observer._take(observer.node.handle(Unreached(observer.call_to("10.0.0.1:7400")), 0.0))
    assert set(observer.calls.values()) == {"10.0.0.2:7400"}
    assert observer.node.met == {"no answer": 1}


def test_if_all_dials_come_to_nobody_it_waits_before_it_tries_again(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    for _ in range(4):
        for call in list(observer.calls):
            observer._take(observer.node.handle(Unreached(call), 0.0))
    assert not observer.calls
    assert observer.node.next_deadline() > 0.0


def test_a_source_that_answers_no_questions_is_lost(bench: Any) -> None:
    observer = bench("10.0.0.1:7400", "10.0.0.2:7400")
    observer.follow()
    for second in range(5):
        observer.tell(observer.heartbeat(digest=0))
        observer.until(float(second))
    assert observer.source == ""
    assert observer.node.local.counters["sources_lost"] == 1
