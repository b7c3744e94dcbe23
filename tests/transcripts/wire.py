"""A wire whose deliveries a transcript controls: what is sent arrives in the next round, unless it is held, dropped or cut.

Time stands still while rounds go on. In one round everybody takes what arrived for it, in the order in which it was sent;
the effects make the next round. When nothing is under way any more, the clock goes on to the next deadline.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gossip.config import Config
from gossip.core.effects import (
    Answer,
    Answered,
    Asked,
    Call,
    Connect,
    Disconnect,
    Effect,
    Heard,
    Input,
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
from gossip.core.node import Node
from gossip.core.observer import ObserverNode
from gossip.core.selfhood import Identity

from .wording import Wording

TICK_MAX_S = 1.0
CONNECT_TIMEOUT_S = 0.5
ROUNDS_MAX = 100  # at one instant; more is a storm that never ends
Round = dict[str, list[Effect]]


@dataclass
class Party:
    """A peer or an observer, and what its shell would hold."""

    label: str
    host: str
    node: Any  # Node or ObserverNode
    running: bool = True
    tick_at: float = 0.0
    topics: dict[bytes, None] = field(default_factory=dict)
    links: dict[str, bool] = field(default_factory=dict)  # endpoint -> up


class Wire:
    """All parties by label. `heard` is told of every round: the time, and what each did."""

    def __init__(self, heard: Callable[[float, Round], None], wording: Wording) -> None:
        self.now = 0.0
        self.parties: dict[str, Party] = {}
        self.held: dict[tuple[str, str], list[Input]] = {}
        self.dropped: set[tuple[str, str]] = set()
        self.slow: set[str] = set()  # nobody's link to these comes up
        self._heard, self._wording = heard, wording
        self._groups: list[set[str]] = []
        self._under_way: list[tuple[str, Input]] = []
        self._later: list[tuple[float, str, Input]] = []
        self._round: Round = {}

    # life and death ---------------------------------------------------------------------------------------------------

    def start(self, label: str, *, id: str, seeds: list[str], start_ms: int) -> None:
        """A new process; under a known label at that one's address."""
        host = self._host(label)
        number = len(self._wording.labels) + 100 * (label in self.parties)
        identity = Identity(id, id, "default", "", host, 7400, 7401, start_ms, number)
        node = Node(identity, config=Config(), chance=random.Random(number), seeds=[self._contact(seed) for seed in seeds])
        self._run(label, host, node)

    def observe(self, label: str, *, seeds: list[str]) -> None:
        """A new observer."""
        host = self._host(label)
        node = ObserverNode(
            label,
            name=label,
            cluster="default",
            zone="",
            config=Config(),
            chance=random.Random(label),
            seeds=[self._contact(seed) for seed in seeds],
        )
        self._run(label, host, node)

    def _host(self, label: str) -> str:
        known = self.parties.get(label)
        host = known.host if known is not None else f"10.0.0.{len(self.parties) + 1}"
        self._wording.labels[host] = label
        return host

    def _contact(self, label: str) -> str:
        return f"{self.parties[label].host}:7400"

    def _run(self, label: str, host: str, node: Node | ObserverNode) -> None:
        self._wording.learn(node.id)
        party = self.parties[label] = Party(label, host, node)
        self.act(party, node.start(self.now))
        self._link_all()

    def kill(self, label: str) -> None:
        """The process is gone: its ports refuse, its subscriptions end. Whose link to it closed is told by `close`."""
        dead = self.parties[label]
        dead.running = False
        for endpoint, up in dead.links.items():
            self._unsubscribe(dead, endpoint, up=up)
        for party in self.parties.values():
            if f"{dead.host}:7401" in party.links:
                party.links[f"{dead.host}:7401"] = False

    def unplug(self, label: str) -> None:
        """Its machine is off: no connection closes."""
        self.parties[label].running = False

    def close(self, label: str, of: str) -> None:
        """The kernel of `label` sees its link to `of` close."""
        self._under_way.append((label, LinkClosed(f"{self.parties[of].host}:7401")))

    # who reaches whom -------------------------------------------------------------------------------------------------

    def cut(self, *groups: set[str]) -> None:
        """Between these groups nothing passes, and nobody is told."""
        self._groups = list(groups)

    def connected(self, label: str, other: str) -> bool:
        """Whether packets pass between these two."""
        return not self._groups or any(label in group and other in group for group in self._groups)

    def link_all_again(self) -> None:
        """Every shell dials again what is not up."""
        self._link_all()

    def release(self, source: str, target: str) -> None:
        """What was held arrives."""
        self._under_way += [(target, input) for input in self.held.pop((source, target), [])]

    def send(self, source: str, target: str, input: Input) -> None:
        """Put something on the way."""
        if (source, target) in self.held:
            self.held[source, target].append(input)
        elif self.connected(source, target) and (source, target) not in self.dropped:
            self._under_way.append((target, input))

    # time -------------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Rounds until nothing is under way."""
        for _ in range(ROUNDS_MAX):
            self._end_round()
            if not self._under_way:
                return
            arrived: dict[str, list[Input]] = defaultdict(list)
            for target, input in self._under_way:
                arrived[target].append(input)
            self._under_way = []
            for label in sorted(arrived):
                party = self.parties[label]
                for input in arrived[label]:
                    if party.running:
                        self.act(party, party.node.handle(input, self.now))
        raise AssertionError(f"still not quiet after {ROUNDS_MAX} rounds")

    def _end_round(self) -> None:
        done, self._round = self._round, {}
        if done:
            self._heard(self.now, done)

    def run(self, seconds: float) -> None:
        """Let time pass: ticks at their deadlines, deliveries at once."""
        end = self.now + seconds
        while (due := self._next_deadline()) <= end:
            self.now = max(self.now, due)
            self._under_way += [(label, input) for at, label, input in self._later if at <= self.now]
            self._later = [later for later in self._later if later[0] > self.now]
            for party in self._running():
                if party.tick_at <= self.now:
                    self.act(party, party.node.tick(self.now))
            self.settle()
        self.now = end

    def _next_deadline(self) -> float:
        return min([party.tick_at for party in self._running()] + [at for at, _, _ in self._later])

    def _running(self) -> list[Party]:
        return [self.parties[label] for label in sorted(self.parties) if self.parties[label].running]

    # effects ----------------------------------------------------------------------------------------------------------

    def act(self, party: Party, effects: list[Effect]) -> None:
        """Carry out one party's effects, in order."""
        self._wording.learn(party.node.id)
        self._round.setdefault(party.label, []).extend(effects)
        for effect in effects:
            action = self._ACTIONS.get(type(effect))
            if action is not None:
                action(self, party, effect)
        party.tick_at = max(self.now, min(party.node.next_deadline(), self.now + TICK_MAX_S))

    def _publish(self, party: Party, effect: Publish) -> None:
        frame = effect.frame
        topic = frame[:9] if frame[:1] == b"@" else frame[:1]
        for other in self.parties.values():
            if other.links.get(f"{party.host}:7401") and topic in other.topics:
                self.send(party.label, other.label, Heard(frame))

    def _listen(self, party: Party, effect: Listen) -> None:
        party.topics[effect.topic] = None
        self._tell_publishers(party, Subscribed(effect.topic))

    def _unlisten(self, party: Party, effect: Unlisten) -> None:
        party.topics.pop(effect.topic, None)
        self._tell_publishers(party, Unsubscribed(effect.topic))

    def _tell_publishers(self, party: Party, input: Input) -> None:
        for endpoint, up in party.links.items():
            other = self._at(endpoint)
            goes_on = type(input) is Unsubscribed and self._listens(endpoint, input.topic)
            if up and other is not None and not goes_on:
                self.send(party.label, other.label, input)

    def _connect(self, party: Party, effect: Connect) -> None:
        party.links[effect.endpoint] = False
        self._link(party, effect.endpoint)

    def _link_all(self) -> None:
        for party in self._running():
            for endpoint, up in party.links.items():
                if not up:
                    self._link(party, endpoint)

    def _link(self, party: Party, endpoint: str) -> None:
        other = self._at(endpoint)
        if other is not None and other.label not in self.slow and self.connected(party.label, other.label):
            party.links[endpoint] = True
            for topic in party.topics:
                self.send(party.label, other.label, Subscribed(topic))

    def _disconnect(self, party: Party, effect: Disconnect) -> None:
        self._unsubscribe(party, effect.endpoint, up=party.links.pop(effect.endpoint, False))

    def _unsubscribe(self, party: Party, endpoint: str, *, up: bool) -> None:
        other = self._at(endpoint)
        if up and other is not None:
            for topic in [topic for topic in party.topics if not self._listens(endpoint, topic)]:
                self.send(party.label, other.label, Unsubscribed(topic))

    def _listens(self, endpoint: str, topic: bytes) -> bool:
        """Whether anybody listens there to this topic: a publisher is told only of the last end."""
        return any(party.links.get(endpoint) and topic in party.topics for party in self._running())

    def _at(self, endpoint: str) -> Party | None:
        host = endpoint.partition(":")[0]
        return next((party for party in self.parties.values() if party.host == host and party.running), None)

    def _call(self, party: Party, effect: Call) -> None:
        self._wording.open_calls[party.label, effect.call] = effect.endpoint
        other = self._at(effect.endpoint)
        if other is not None:
            self.send(party.label, other.label, Asked(f"{party.label}/{effect.call}".encode(), effect.frame))

    def _answer(self, party: Party, effect: Answer) -> None:
        label, _, call = effect.token.decode().partition("/")
        self.send(party.label, label, Answered(int(call), effect.frame))

    def _probe(self, party: Party, effect: Probe) -> None:
        owner = next(other for other in self.parties.values() if effect.endpoint.startswith(f"{other.host}:"))
        if not self.connected(party.label, owner.label):
            unknown = Probed(effect.endpoint, ProbeOutcome.UNKNOWN)
            self._later.append((self.now + CONNECT_TIMEOUT_S, party.label, unknown))
        else:
            outcome = ProbeOutcome.OPEN if owner.running else ProbeOutcome.REFUSED
            self._under_way.append((party.label, Probed(effect.endpoint, outcome)))

    _ACTIONS: dict[type, Callable[..., None]] = {  # noqa: RUF012 - a dispatch table
        Publish: _publish,
        Listen: _listen,
        Unlisten: _unlisten,
        Connect: _connect,
        Disconnect: _disconnect,
        Call: _call,
        Answer: _answer,
        Probe: _probe,
    }
