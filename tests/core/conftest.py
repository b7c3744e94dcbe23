"""What the core tests share: builders of records, the tables of one peer without its node, and nodes on a wire."""

from __future__ import annotations

import dataclasses
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config
from gossip.core.author import Author
from gossip.core.codec import Codec
from gossip.core.detector import Detector
from gossip.core.effects import Answer, Answered, Asked, Call, Effect
from gossip.core.local import Local
from gossip.core.membership import Membership
from gossip.core.merge import Merger, Taken
from gossip.core.messages import Accusation, Charge, Delta, Evidence, Header, Incarnation, Message, Sync
from gossip.core.node import Node
from gossip.core.origin import Origin
from gossip.core.selfhood import Identity
from gossip.model import Instance

LIFE: Incarnation = (1_000, 1)


class Make:
    """Builders with defaults, so that a test says only what it is about."""

    life = LIFE
    codec = Codec("default")

    def instance(self, id: str = "i1", origin: str = "a", service: str = "orders", **changes: Any) -> Instance:
        return dataclasses.replace(Instance(service, id, "10.0.0.9", 80, origin=origin), **changes)

    def key(self, id: str = "i1") -> tuple[str, str]:
        return "orders", id

    def header(self, number: int = 1, **changes: Any) -> Header:
        return dataclasses.replace(Header(f"n{number}", f"10.0.0.{number}", 7400, 7401), **changes)

    def delta(self, origin: str, since: int, version: int, *, put: tuple[str, ...] = (), **fields: Any) -> Delta:
        """`(since, version]` of an origin; `put` are ids of instances of the service orders."""
        instances = tuple(self.instance(id, origin) for id in put)
        return Delta(origin, "", fields.pop("life", LIFE), since, version, fields.pop("header", None), instances, **fields)

    def state(self, origin: str, version: int = 1, *, put: tuple[str, ...] = (), **fields: Any) -> Delta:
        """The whole state `(0, version]`."""
        number = 2 + sum(origin.encode()) % 250
        return self.delta(origin, 0, version, put=put, header=fields.pop("header", self.header(number)), **fields)


class Bench:
    """The tables of the peer `me` and those who change them, without the node; its callbacks are recorded."""

    def __init__(self, config: Config, make: Make) -> None:
        self.make = make
        self.pinged: list[str] = []
        self.accused: list[Charge] = []
        self.about_me: list[Delta] = []
        self.local = Local(
            id="me", cluster="default", zone="", header=make.header(1), incarnation=LIFE, config=config, chance=random.Random(1)
        )
        self.table = self.local.table
        self.membership = Membership(self.local)
        self.author = Author(self.local, self.membership)
        self.detector = Detector(
            self.local,
            self.membership,
            ping=self._ping,
            accused=lambda accuser, charge, now: self.accused.append(charge),
        )
        self.merger = Merger(
            self.local,
            self.membership,
            about_me=lambda delta, now: self.about_me.append(delta),
            moved_on=self.detector.reconcile,
            voids=self.detector.cases.voids,
        )
        self.author.begin()
        self.effects()

    def _ping(self, origin: Origin, now: float) -> bool:
        self.pinged.append(origin.id)
        return True

    def effects(self, *kinds: type) -> list[Any]:
        """What was asked of the shell since the last time, of these kinds."""
        out, self.local.out = self.local.out, []
        return [effect for effect in out if not kinds or type(effect) in kinds]

    def give(self, delta: Delta, now: float = 0.0) -> Taken:
        """A delta arrives."""
        return self.merger.take(delta, self.make.codec.encode_delta(delta), now)

    def join(self, *ids: str, **fields: Any) -> list[Origin]:
        """These peers are known and alive; their effects are forgotten."""
        for id in ids:
            self.give(self.make.state(id, **fields))
        self.effects()
        return [self.table.origins[id] for id in ids]

    def sync(self, id: str) -> Sync:
        """How a peer opens a conversation, of which only the id matters."""
        return Sync(id, LIFE, 1, 0, True, bytes(2048))

    def shown(self, id: str = "i1") -> Instance | None:
        """What readers see of an instance of the service orders."""
        return self.local.directory.shown(("orders", id))

    def accusation(
        self, accuser: str, evidence: Evidence, *subjects: str, counter: int = 1, pulse: int | None = None
    ) -> Accusation:
        """An accusation of what is known of these subjects."""
        charges = []
        for subject in subjects:
            known = self.table.origins[subject]
            charges.append(Charge(subject, known.incarnation, known.header.pulse if pulse is None else pulse, evidence))
        return Accusation(accuser, LIFE, counter, tuple(charges))

    def hear(self, accusation: Accusation, now: float = 0.0) -> None:
        """An accusation arrives."""
        self.detector.accusations.hear(accusation, self.make.codec.encode(accusation), now)

    def refutes(self, id: str, now: float, *, pulse: int = 1) -> Taken:
        """The subject raises its pulse."""
        known = self.table.origins[id]
        header = dataclasses.replace(known.header, pulse=pulse)
        delta = self.make.delta(id, known.version, known.version + 1, header=header, life=known.incarnation)
        return self.give(delta, now)


class Wire:
    """Nodes whose calls and answers arrive at once and in order; every other effect is kept, by contact."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.kept: dict[str, list[Effect]] = {}
        self.spoken: list[tuple[str, Message]] = []  # (who, what) of every frame of a conversation
        self.away: set[str] = set()  # contacts that answer nothing

    def add(self, node: Node) -> str:
        contact = node.local.me.contact
        self.nodes[contact] = node
        self.kept[contact] = []
        return contact

    def carry(self, node: Node, effects: list[Effect], now: float) -> None:
        """Carry out these effects of a node, and all that follows from them."""
        waiting = deque((node, effect) for effect in effects)
        while waiting:
            speaker, effect = waiting.popleft()
            contact = speaker.local.me.contact
            if isinstance(effect, Call) and effect.endpoint in self.nodes:
                if effect.endpoint in self.away:
                    continue
                listener, heard = self.nodes[effect.endpoint], Asked(f"{contact}/{effect.call}".encode(), effect.frame)
            elif isinstance(effect, Answer) and b"/" in effect.token:
                asker, _, call = effect.token.decode().rpartition("/")
                listener, heard = self.nodes[asker], Answered(int(call), effect.frame)
            else:
                self.kept[contact].append(effect)
                continue
            self.spoken.append((speaker.id, speaker.local.codec.decode(effect.frame)))
            waiting.extend((listener, follows) for follows in listener.handle(heard, now))

    def talk(self, asker: Node, answerer: Node, now: float) -> None:
        """One whole conversation."""
        asker._repair.converse(answerer.local.me.contact, now, dialled=True)
        self.carry(asker, asker._effects(now), now)

    def said(self, who: str, kind: type) -> list[Any]:
        return [message for speaker, message in self.spoken if speaker == who and type(message) is kind]


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def config() -> Config:
    return Config()


@pytest.fixture
def bench(config: Config, make: Make) -> Bench:
    return Bench(config, make)


@pytest.fixture
def bench_of(make: Make) -> Callable[[Config], Bench]:
    """A bench with other settings."""
    return lambda config: Bench(config, make)


@pytest.fixture
def node_of() -> Callable[..., Node]:
    """A started node at 10.0.0.<number>; its first effects are forgotten."""

    def build(number: int, id: str | None = None, *, config: Config | None = None, now: float = 0.0, **options: Any) -> Node:
        cluster = options.pop("cluster", "default")
        wall_ms = options.pop("wall_ms", 1_000)
        identity = Identity(id or f"n{number}", f"n{number}", cluster, "", f"10.0.0.{number}", 7400, 7401, wall_ms, number)
        node = Node(identity, config=config or Config(), chance=random.Random(number), **options)
        node.start(now)
        return node

    return build


@pytest.fixture
def wire(node_of: Callable[..., Node]) -> Wire:
    return Wire()


@pytest.fixture
def pair(wire: Wire, node_of: Callable[..., Node]) -> tuple[Node, Node]:
    """Two nodes on the wire that do not know each other."""
    nodes = node_of(1), node_of(2)
    for node in nodes:
        wire.add(node)
    return nodes
