"""What the fuzzer feeds: bytes as one frame to the codec, and bytes as a story told to a node.

A story is a run of steps of eight bytes: which honest frame, what is done to it, over which channel it comes, and what
time it is. So the fuzzer begins with what peers really say, and spends its effort on order, channels and damage.
Invariants: a decoder returns a message or raises `WireError`; a node never raises, its tables keep their bounds, its digest
is that of what it holds, and what it says is well-formed.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from gossip.config import Config, Limits, Repair
from gossip.core.certificates import Certificate, Revocation
from gossip.core.codec import TOPIC_ALL, TOPIC_OBSERVERS, TOPIC_SELF, Codec
from gossip.core.effects import (
    Answer,
    Answered,
    Asked,
    Blamed,
    Bound,
    Call,
    Effect,
    Heard,
    Input,
    LinkClosed,
    Probe,
    Probed,
    ProbeOutcome,
    Publish,
    Refused,
    Remember,
    Remembered,
    Subscribed,
    Unreached,
    Unsubscribed,
)
from gossip.core.messages import (
    Accusation,
    Belief,
    Charge,
    Delta,
    DialBack,
    Done,
    Entries,
    Entry,
    Evidence,
    Foreign,
    Header,
    HeaderFlags,
    Heartbeat,
    History,
    Message,
    Ping,
    Pong,
    Reached,
    Recall,
    Revoked,
    Sync,
    Want,
)
from gossip.core.node import Node
from gossip.core.observer import ObserverNode
from gossip.core.selfhood import Identity
from gossip.core.signatures import Signing, id_of
from gossip.core.table import SETTLED_MAX, stamp
from gossip.errors import WireError
from gossip.model import Event, EventKind, Instance

CODEC = Codec("default")
LIFE = (1_000, 1)
LATER = (2_000, 2)
FAR = (1 << 62, 3)
STEP = struct.Struct("!BBBBHBB")  # frame, channel, subject of the channel, damage, place of it, its value, time
STEPS_MAX = 256
KEY = bytes(range(32))
REVOCATION = Revocation.made(KEY, 1 << 34, lambda message: bytes(64)).raw
CERTIFICATE = Certificate.made(KEY, 1, 1 << 34, ("orders", "orders.*"), lambda message: bytes(64)).raw
LIMITS = Limits(
    members_max=4,
    floors_max=4,
    subscribers_max=6,
    instances_max=4,
    origin_bytes_max=600,
    table_bytes_max=6_000,
    waiting_bytes_max=1_500,
    joins_per_s=2.0,
    accusations_seen_max=16,
)
CONFIG = Config(limits=LIMITS, repair=Repair(reorder_max=2))


# one frame ------------------------------------------------------------------------------------------------------------


def codec(data: bytes) -> None:
    """Any bytes: a message, which can be said again, or a `WireError`."""
    try:
        message = CODEC.decode(data)
    except WireError:
        return
    frame = CODEC.encode_delta(message) if isinstance(message, Delta) else CODEC.encode(message)
    assert repr(message)
    assert CODEC.decode(frame) == _unsigned(message)


def certificate(data: bytes) -> None:
    """Any bytes, as a certificate and a revocation, and as the text of one: a value that says them again, or a `WireError`."""
    for kind in (Certificate, Revocation):
        for read, given in ((kind.of_bytes, data), (kind.of_text, data.decode("utf-8", "replace"))):
            try:
                found = read(given)  # type: ignore[operator]
            except WireError:
                continue
            assert kind.of_text(found.text) == kind.of_bytes(found.raw) == found
            if isinstance(found, Certificate):
                assert isinstance(found.covers("orders.eu") or found.when_not(1e9), (bool, str))


def _unsigned(message: Message) -> Message:
    """What the codec says again: the number of a signed heartbeat and a signature are not its own, but the seal's."""
    if isinstance(message, Heartbeat):
        return replace(message, number=0)
    return replace(message, signed=False) if isinstance(message, Delta) else message


# honest words ---------------------------------------------------------------------------------------------------------


def _delta(origin: str, since: int, version: int, **fields: object) -> Delta:
    put = tuple(Instance("orders", f"i{number}", "10.0.0.9", 80 + number, origin=origin) for number in range(version % 3))
    header = Header(origin, f"10.0.0.{10 + len(origin)}", 7400, 7401) if since == 0 else None
    return replace(Delta(origin, "", LIFE, since, version, header, put), **fields)  # type: ignore[arg-type]


def _words() -> Iterator[Message]:
    for origin in ("a", "bb", "me"):
        yield from (_delta(origin, 0, 1), _delta(origin, 1, 2), _delta(origin, 2, 3), _delta(origin, 5, 6), _delta(origin, 0, 7))
        yield _delta(origin, 3, 4, removed=(("orders", "i0"), ("orders", "i1")))
        yield from (_delta(origin, 0, 8, parts=2, part=part) for part in (0, 1))
        yield from (_delta(origin, 0, 1, incarnation=life) for life in (LATER, FAR))
        yield _delta(origin, 0, 1 << 62)
        header = Header(origin, "10.0.0.77", 7400, 7401, pulse=3)
        yield _delta(origin, 1, 2, header=header)
        yield _delta(origin, 1, 2, header=replace(header, flags=HeaderFlags.LEAVING))
        yield from (_delta(origin, since, since + 1) for since in range(8, 14))
    for _ in range(3):  # a story needs many members before a table is full
        yield from (_delta(f"m{number}", 0, 1) for number in range(8))
    for id in ("a", "me", "nobody"):
        life = {"nobody": FAR}.get(id, LIFE)
        charges = tuple(Charge(id, life, pulse, evidence) for pulse in (0, 3) for evidence in Evidence)
        yield from (Accusation(accuser, LIFE, 1, charges) for accuser in ("a", "bb", "z"))
        yield from (Ping(id, life, 0), Pong(id, life, 0, 1, True), Pong(id, life, 9, 1, False), DialBack(id), Recall(id))
        yield from (Sync(id, life, version, 0, bool(version), bytes(2048)) for version in (0, 3))
        entries = (Entry(id, life, 3, 0), Entry("bb", LATER, 1, 2))
        yield from (Entries(id, True, b"\xff" * 32, entries, more) for more in (False, True))
        yield from (Want(entries), Want(()), Done(id), Reached(id, True, None), Belief(id, EventKind.MEMBER_DEAD, "so"))
        yield Heartbeat(CODEC.hash(id), life, 3, 0, 42, linked=True)
        yield Heartbeat(CODEC.hash(id), LIFE, 1, 0, 42)
        yield History(id, (Event(1, 1.0, EventKind.NOTICE, None, None, None, "so"),), False)
    yield Foreign()
    yield from (Revoked(revocations) for revocations in ((), (REVOCATION,), (REVOCATION, b"x" * len(REVOCATION))))
    yield from (Sync("a", LIFE, 3, 0, True, bytes(2048), 7), Entries("a", True, b"\xff" * 32, (), False, 7))
    signing = Header("a", "10.0.0.11", 7400, 7401, key=KEY, certificate=CERTIFICATE)
    yield from (_delta("a", 0, 9, header=signing), _delta("a", 9, 10, header=replace(signing, pulse=1)))


@lru_cache(maxsize=1)
def honest_frames() -> tuple[bytes, ...]:
    """What peers say, one of every kind and some of most."""
    return tuple(CODEC.encode_delta(word) if isinstance(word, Delta) else CODEC.encode(word) for word in _words())


# a story --------------------------------------------------------------------------------------------------------------

PAUSES_S = (*[0.0] * 12, *[0.001] * 6, *[0.05] * 5, 0.2, 0.3, 0.6, 0.6, 1.1, 3.0, 20.0, 700.0, 50_000.0)
DAMAGES = ("none", "none", "none", "byte", "cut", "insert", "splice", "cluster", "repeat")
CHANNELS = (
    "told", "told", "told", "flood", "observers", "delegated", "delegated", "delegated", "delegated", "asked", "asked", "asked",
    "asked", "asked", "asked", "asked", "answered", "answered", "answered", "closed",
    "subscribed", "unsubscribed", "probed", "bound", "blamed", "refused", "remembered", "raw", "leave", "register", "seeds",
)  # fmt: skip


class Stage:
    """One node and whoever pretends to be its world."""

    def __init__(self) -> None:
        self.frames = honest_frames()
        identity = Identity("me", "me", "default", "", "10.0.0.1", 7400, 7401, 1_000, 7)
        self.node: Any = Node(
            identity, config=CONFIG, chance=random.Random(1), seeds=("10.0.0.2:7400",), zero_configuration=False, check_reach=True
        )
        self._begin()

    def _begin(self) -> None:
        self.now = 0.0
        self.calls: list[int] = []
        self.probes: list[str] = []
        self._see(self.node.start(0.0))

    def _see(self, effects: list[Effect]) -> None:
        """Whatever the node says, its peers can read."""
        for effect in effects:
            if isinstance(effect, (Call, Answer)):
                CODEC.decode(effect.frame)
            elif isinstance(effect, Publish) and effect.frame[:1] in (TOPIC_ALL, TOPIC_OBSERVERS):
                CODEC.decode(effect.frame[1:])
            if isinstance(effect, Call):
                self.calls = [*self.calls[-7:], effect.call]
            elif isinstance(effect, Probe):
                self.probes = [*self.probes[-7:], effect.endpoint]
            elif isinstance(effect, Remember):
                self._see(self.node.handle(Remembered(effect.token, ()), self.now))

    def step(self, frame: bytes, channel: str, subject: int, time: int) -> None:
        """One input, or command, and perhaps a tick."""
        self.now += PAUSES_S[time & 31]
        if channel == "leave":
            self._see(self.node.leave(self.now) if subject == 7 else [])
        elif channel == "register":
            key = "orders", f"mine-{subject % 3}"
            known = self.node.mine(key) is not None
            mine = Instance(*key, "10.0.0.1", 80, origin=self.node.id)
            self._see(self.node.deregister([key], self.now) if known else self.node.register(mine, 1.0, self.now))
        elif channel == "seeds":
            self._see(self.node.set_seeds([f"10.0.0.{subject}:7400"], self.now))
        else:
            self._see(self.node.handle(self._input(frame, channel, subject), self.now))
        if time & 32:
            self._see(self.node.tick(max(self.now, min(self.node.next_deadline(), self.now + 1.0))))

    def _input(self, frame: bytes, channel: str, subject: int) -> Input:
        me = self.node.local.me.hash
        endpoint = f"10.0.0.{subject % 16}:7401"
        ids = [CODEC.hash(id) for id in ("a", "bb", "me", "x", "m1")] + [bytes([subject]) * 8]
        topic = (TOPIC_SELF + ids[subject % len(ids)], TOPIC_OBSERVERS, TOPIC_ALL, frame[:12])[subject & 3]
        if channel == "told":
            return Heard(TOPIC_SELF + me + frame, endpoint)
        if channel in ("flood", "observers"):
            return Heard((TOPIC_ALL if channel == "flood" else TOPIC_OBSERVERS) + frame, endpoint)
        if channel == "delegated":
            return Heard(TOPIC_SELF + me + CODEC.envelope(subject % 3, subject << 56, ids[subject % len(ids)]) + frame, endpoint)
        if channel == "answered":
            return Answered(self.calls[subject % len(self.calls)] if self.calls else subject, frame)
        if channel == "probed":
            known = self.probes[subject % len(self.probes)] if self.probes else endpoint
            return Probed(known, tuple(ProbeOutcome)[subject % len(ProbeOutcome)])
        return {
            "asked": Asked(b"token%d" % (subject % 4), frame),
            "closed": LinkClosed(endpoint),
            "subscribed": Subscribed(topic),
            "unsubscribed": Unsubscribed(topic),
            "bound": Bound(endpoint, bool(subject & 1)),
            "blamed": Blamed(endpoint),
            "refused": (Refused if subject & 1 else Unreached)(self.calls[-1] if self.calls else subject),
            "remembered": Remembered(b"token", ()),
            "raw": Heard(frame, endpoint),
        }[channel]

    def check(self) -> None:
        """All that must be so whatever was said."""
        node, local, table = self.node, self.node.local, self.node.local.table
        alive = list(table.alive())
        stamps = [stamp(origin.hash, origin.incarnation, origin.version) for origin in alive if origin.version]
        assert table.digest == sum(stamps) % (1 << 64) == sum(table.sums) % (1 << 64)
        assert table.living == len(alive) <= LIMITS.members_max
        assert set(table.by_hash.values()) == set(table.origins.values())
        assert local.overlay.members == {origin.hash for origin in alive}
        others = [origin for origin in table.origins.values() if origin is not local.me]
        arriving = list(node._merger._arriving.values())
        assert len(others) - table.living + 1 <= SETTLED_MAX
        kept = [o.weight + o.base_bytes + o.log_bytes + o.waiting_bytes for o in [*others, *arriving]]
        assert table.held_bytes == sum(kept)
        assert table.waiting_bytes == sum(origin.waiting_bytes for origin in [*others, *arriving]) <= LIMITS.waiting_bytes_max
        for origin in others:
            assert len(origin.instances) <= LIMITS.instances_max
            assert len(origin.early) <= CONFIG.repair.reorder_max
            assert origin.incarnation[0] < FAR[0] or origin.id in node._jumps._vouched
        assert len(local.fan.subscribers) <= LIMITS.subscribers_max
        assert len(node._detector.accusations) <= LIMITS.accusations_seen_max
        shown = {instance.key for origin in alive for instance in origin.instances.values()}
        assert local.directory.count == len(shown)
        assert local.me.incarnation[0] < 1 << 60
        assert isinstance(node.next_deadline(), float)


class Court(Stage):
    """Around a node that knows an authority; of a signature only the first byte is looked at, so that luck may find one."""

    SIGNER = id_of("a", KEY)

    def __init__(self) -> None:
        signing = Signing(lambda public, message, signature: signature[0] < 128, bytes, bytes(32), True, CERTIFICATE, bytes(32))
        identity = Identity(id_of("me", bytes(32)), "me", "default", "", "10.0.0.1", 7400, 7401, 1_000, 7)
        signing = replace(signing, sign=lambda message: bytes(64))
        self.node = Node(identity, config=CONFIG, chance=random.Random(1), seeds=("10.0.0.2:7400",), signing=signing)
        self.frames = (*honest_frames(), *self._signed())
        self._begin()

    def _signed(self) -> Iterator[bytes]:
        header = Header("a", "10.0.0.11", 7400, 7401, key=KEY, certificate=CERTIFICATE)
        short = replace(header, certificate=Certificate.made(KEY, 0, 60, ("orders",), lambda message: bytes(64)).raw)
        narrow = replace(header, certificate=Certificate.made(KEY, 0, 1 << 34, ("o?",), lambda message: bytes(64)).raw)
        said = [_delta(self.SIGNER, 0, version, header=one) for version in (1, 7) for one in (header, short, narrow)]
        said += [_delta(self.SIGNER, since, since + 1) for since in (1, 2, 7)]
        said += [_delta(self.SIGNER, since, since + 1, header=one) for since in (1, 3) for one in (short, narrow)]
        said += [_delta(self.SIGNER, 0, 1, header=header, incarnation=LATER)]
        yield from (CODEC.encode_delta(delta, lambda frame: frame + bytes(64)) for delta in said for _ in range(4))

    def check(self) -> None:
        """And nobody is a member whose key is revoked."""
        super().check()
        authority = self.node.local.authority
        assert len(authority.revocations) <= 2
        others = [origin for origin in self.node.local.table.alive() if origin is not self.node.local.me]
        assert all(origin.id == self.SIGNER and not authority.revoked(origin.header.key) for origin in others)
        assert all(key[0] == "orders" for origin in others for key in origin.instances)


class Gallery(Stage):
    """The same around an observer, which has no commands but one and judges nobody."""

    def __init__(self) -> None:
        self.frames = honest_frames()
        self.node = ObserverNode(
            "me", name="me", cluster="default", zone="", config=CONFIG, chance=random.Random(1), seeds=("10.0.0.2:7400",)
        )
        self._begin()

    def step(self, frame: bytes, channel: str, subject: int, time: int) -> None:
        """It is asked nothing: it asks."""
        if channel in ("leave", "register"):
            effects, _ = self.node.recall("a", self.now, 1.0)
            self._see(effects)
        else:
            super().step(frame, "answered" if channel == "asked" else channel, subject, time)

    def check(self) -> None:
        """What it holds is what its digest says, within its bounds."""
        table = self.node.local.table
        alive = list(table.alive())
        stamps = [stamp(origin.hash, origin.incarnation, origin.version) for origin in alive if origin.version]
        assert table.digest == sum(stamps) % (1 << 64)
        assert table.living == len(alive) <= LIMITS.members_max
        assert table.waiting_bytes <= LIMITS.waiting_bytes_max
        assert isinstance(self.node.next_deadline(), float)


def damaged(frame: bytes, damage: str, place: int, value: int, other: bytes) -> bytes:
    """The frame as a hostile or broken peer would send it."""
    at = place % (len(frame) + 1)
    if damage == "byte":
        return frame[:at] + bytes([value]) + frame[at + 1 :]
    if damage == "cut":
        return frame[:at]
    if damage == "insert":
        return frame[:at] + bytes([value]) * (1 + value % 9) + frame[at:]
    if damage == "splice":
        return frame[:at] + other[at:]
    if damage == "cluster":
        return frame[:2] + bytes([value]) * 8 + frame[10:]
    return frame * 2 if damage == "repeat" else frame


def node(data: bytes) -> None:
    """Any bytes as a story told to a member; nothing raises, and the tables hold their bounds after each step."""
    play(Stage(), data)


def observer(data: bytes) -> None:
    """The same told to an observer."""
    play(Gallery(), data)


def court(data: bytes) -> None:
    """The same told to a member that knows an authority."""
    play(Court(), data)


def play(stage: Stage, data: bytes) -> None:
    """Tell a story."""
    frames = stage.frames
    for offset in range(0, min(len(data), STEPS_MAX * STEP.size) - STEP.size + 1, STEP.size):
        which, channel, subject, damage, place, value, time = STEP.unpack_from(data, offset)
        which = len(frames) - 1 - which if isinstance(stage, Court) else which  # so that what is signed is within reach
        frame = frames[which % len(frames)]
        other = frames[(which + value) % len(frames)]
        frame = damaged(frame, DAMAGES[damage % len(DAMAGES)], place, value, other)
        stage.step(frame, CHANNELS[channel % len(CHANNELS)], subject, time)
        stage.check()


TARGETS = {"codec": codec, "certificate": certificate, "node": node, "observer": observer, "court": court}
