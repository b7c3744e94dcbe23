"""Insiders: members whose process is in other hands. They have keys of their own, see all, and say what they like of others.

A tenth of the peers run the whole core, so they are linked, watched and asked like any member, and besides send what is made
here: through their own publishers along the ranges, on `*`, into conversations of their own, and as answers to whoever asks
them. What they send of others is signed with an insider's key, with a used signature, or not at all; or it is what the others
really said, long ago.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

from ...core.codec import TOPIC_ALL, TOPIC_BYTES, TOPIC_SELF
from ...core.effects import Answer, Answered, Asked, Call, Effect, HangUp, Happened, Heard, Input, Publish
from ...core.fields import NUMBER_MAX, PULSE_MAX
from ...core.messages import Accusation, Charge, Delta, Entries, Entry, Evidence, HeaderFlags, Heartbeat, Ping, Sync
from ...core.selfhood import REFUTATIONS_AT_ONCE, REFUTATIONS_PER_S, RISES_PER_MINUTE
from ...core.signatures import SIGNATURE_BYTES, SIGNATURE_HEAD
from ...model import EventKind, Instance, Labels
from ..peers import SimulatedPeer
from ..stage import Stage
from ..truth import MARK

SHARE = 0.1
STEP_S = 0.1
ATTACKS_PER_STEP = 3
FLOOD = 60  # frames of one burst
RECORDED_MAX = 4000  # frames that an insider remembers
CALL_FROM = 1 << 40  # numbers of calls that the core never reaches
HUNG_S = 20.0
GONE_S = 8.0  # within so long somebody who hangs is hidden (row 29: 7 s, and a heartbeat)
EVIL, FORGED = "10.66.6.6", Labels({MARK: "forged"})


class Insider:
    """One of them. `stage.random` decides what it does."""

    def __init__(self, stage: Stage, peer: SimulatedPeer) -> None:
        self.stage, self.peer, self.random = stage, peer, stage.random
        self.recorded: deque[bytes] = deque(maxlen=RECORDED_MAX)
        self._calls = CALL_FROM
        self.sent = 0

    # ways to send -----------------------------------------------------------------------------------------------------

    def _do(self, *effects: Effect) -> None:
        self.sent += len(effects)
        self.peer.perform(list(effects))

    def tell(self, frame: bytes) -> None:
        """As if it were its own, or one that it relays: along the ranges, to all, or in a conversation."""
        random, node = self.random, self.peer.node
        way = random.randrange(4)
        if way == 0:
            node.local.broadcast(frame)
            self._do(*node._effects(self.stage.now))
        elif way == 1:
            limit = random.getrandbits(63)
            envelope = node.local.codec.envelope(random.randrange(2), limit, node.local.me.hash)
            topics = [TOPIC_SELF + hash for hash in sorted(node.local.fan.subscribers)]
            self._do(*(Publish(topic + random.choice((b"", envelope)) + frame) for topic in topics))
        elif way == 2:
            self._do(Publish(TOPIC_ALL + frame))
        else:
            self.push(frame)

    def push(self, *frames: bytes) -> None:
        """Into a conversation with somebody, under somebody's name."""
        self._calls += 1
        there, who = self.victim(), self.victim()
        local = self.peer.node.local
        me = who.node.local.me if self.random.random() < 0.5 else local.me
        sync = Sync(me.id, me.incarnation, me.version, me.header.pulse, True, local.table.packed_sums())
        sent = [Call(self._calls, there.contact, frame) for frame in (local.codec.encode(sync), *frames)]
        self._do(*sent, HangUp(self._calls))

    def answer(self, token: bytes) -> None:
        """To whoever asked: what it did not ask for."""
        self._do(Answer(token, self.random.choice(MAKERS)(self)))

    def overhear(self, input: Input) -> None:
        """What passes by is remembered."""
        frame = b""
        if type(input) is Heard:
            frame = input.frame[TOPIC_BYTES:]
            envelope = self.peer.node.local.codec.envelope(0, 0, self.peer.node.local.me.hash)
            frame = frame[len(envelope) :] if frame[1:2] == b"D" else frame
        elif type(input) in (Asked, Answered):
            frame = input.frame  # type: ignore[union-attr]
        if frame[1:2] in (b"d", b"h"):
            self.recorded.append(frame)
        if type(input) is Asked and frame[1:2] in (b"s", b"w") and self.random.random() < 0.3:
            self.answer(input.token)

    # what is said -----------------------------------------------------------------------------------------------------

    def victim(self) -> SimulatedPeer:
        """An honest peer that runs."""
        return self.random.choice([peer for peer in self.stage.living if peer.node is not self.peer.node])

    def _signed(self, delta: Delta) -> bytes:
        """With its own signature, a used one, none, or one of zeros."""
        node = self.peer.node
        sealed = {
            0: node._seal.signed,
            1: lambda frame: frame + self._used_signature(),
            2: lambda frame: frame + bytes(SIGNATURE_BYTES),
        }.get(self.random.randrange(4))
        return node.local.codec.encode_delta(delta, sealed)

    def _used_signature(self) -> bytes:
        used = [frame for frame in list(self.recorded)[-50:] if frame[-SIGNATURE_BYTES - 2 :].startswith(SIGNATURE_HEAD)]
        return self.random.choice(used)[-SIGNATURE_BYTES:] if used else bytes(SIGNATURE_BYTES)

    def _delta(self, **fields: object) -> Delta:
        """About somebody, as it would say next."""
        me = self.victim().node.local.me
        header = me.header
        if self.random.random() < 0.5:
            header = dataclasses.replace(header, key=self.peer.node._seal.public)
        since = self.random.choice((0, me.version, me.version))
        plain = Delta(me.id, me.zone, me.incarnation, since, me.version + 1, header if not since else None)
        return dataclasses.replace(plain, **fields)  # type: ignore[arg-type]

    def _record(self, delta: Delta) -> Instance:
        """One of its own, or one of the victim's that leads elsewhere."""
        held = [act.made for act in self.stage.truth.acts.values() if act.made.origin == delta.origin]
        if held and self.random.random() < 0.5:
            return dataclasses.replace(self.random.choice(held), host=EVIL, labels=FORGED)
        return Instance(f"service-{self.random.randrange(20)}", "evil:1", EVIL, 1, labels=FORGED, origin=delta.origin)

    def forge(self) -> bytes:
        """A registration in somebody's name."""
        delta = self._delta()
        return self._signed(dataclasses.replace(delta, put=(self._record(delta),)))

    def alter(self) -> bytes:
        """What somebody said, with other bytes somewhere."""
        if not self.recorded:
            return self.forge()
        frame = bytearray(self.random.choice(self.recorded))
        for _ in range(self.random.randrange(1, 4)):
            frame[self.random.randrange(10, len(frame))] ^= 1 << self.random.randrange(8)
        return bytes(frame)

    def replay(self) -> bytes:
        """What somebody said."""
        return self.random.choice(self.recorded) if self.recorded else self.forge()

    def delete(self) -> bytes:
        """A withdrawal of all, or a goodbye, in somebody's name."""
        delta = self._delta()
        keys = tuple(act.key for act in self.stage.truth.acts.values() if act.made.origin == delta.origin)[-8:]
        leaving = dataclasses.replace(self.victim().node.local.me.header, flags=HeaderFlags.LEAVING)
        if delta.since and self.random.random() < 0.5:
            return self._signed(dataclasses.replace(delta, removed=keys))
        return self._signed(dataclasses.replace(delta, header=leaving))

    def inflate(self) -> bytes:
        """Numbers at the end of all numbers."""
        random = self.random
        delta = self._delta(header=self.victim().node.local.me.header)
        start, nonce = delta.incarnation
        life = random.choice(((start, nonce), (start + 1, nonce), (NUMBER_MAX, nonce)))
        version = random.choice((delta.version + 10, NUMBER_MAX))
        return self._signed(dataclasses.replace(delta, incarnation=life, since=random.choice((0, version - 1)), version=version))

    def accuse(self) -> bytes:
        """Somebody, under anybody's name, as closed: in this life, with a higher pulse, or in a later life."""
        random, codec = self.random, self.peer.node.local.codec
        accuser, subject = self.victim().node.local.me, self.victim().node.local.me
        (start, nonce), pulse = subject.life
        raised = min(PULSE_MAX, pulse + random.randrange(1, 2000))
        life, pulse = random.choice((((start, nonce), pulse), ((start, nonce), raised), ((start + 1, nonce), 0)))
        charge = Charge(subject.id, life, pulse, random.choice((Evidence.CLOSED, Evidence.SILENT)))
        return codec.encode(Accusation(accuser.id, accuser.incarnation, random.getrandbits(40), (charge,)))

    def beat(self) -> bytes:
        """A heartbeat of somebody."""
        me, node = self.victim().node.local.me, self.peer.node
        number = self.random.choice((me.version, NUMBER_MAX))
        beat = node.local.codec.encode(Heartbeat(me.hash, me.incarnation, number, me.header.pulse, self.random.getrandbits(64)))
        return node._seal.signed_beat(beat, self.random.getrandbits(50) + 1, self.victim().node.local.me.hash)

    def list_wrongly(self) -> bytes:
        """A view in which somebody is far ahead."""
        me, node = self.victim().node.local.me, self.peer.node
        entry = Entry(me.id, me.incarnation, self.random.choice((me.version + 1, NUMBER_MAX)), me.header.pulse)
        return node.local.codec.encode(Entries(node.id, True, bytes([255] * 32), (entry,), False))

    def ping(self) -> bytes:
        """Under somebody's name."""
        return self.ping_of(self.victim())

    def ping_of(self, who: SimulatedPeer) -> bytes:
        """Under this name."""
        me = who.node.local.me
        return self.peer.node.local.codec.encode(Ping(me.id, me.incarnation, me.header.pulse))

    def close_in(self) -> None:
        """Several say at once that somebody's links closed."""
        subject = self.victim().node.local.me
        for _ in range(5):
            accuser = self.victim().node.local.me
            charge = Charge(subject.id, *subject.life, Evidence.CLOSED)
            said = Accusation(accuser.id, accuser.incarnation, self.random.getrandbits(40), (charge,))
            self._do(Publish(TOPIC_ALL + self.peer.node.local.codec.encode(said)))

    def outlive(self) -> None:
        """Somebody is accused in ever later lives, more often than it may begin one."""
        subject = self.victim().node.local.me
        (start, nonce), _ = subject.life
        for number in range(1, 3 * round(RISES_PER_MINUTE) + 1):
            accuser = self.victim().node.local.me
            charge = Charge(subject.id, (start + 1000 * number, nonce), 0, Evidence.CLOSED)
            said = Accusation(accuser.id, accuser.incarnation, self.random.getrandbits(40), (charge,))
            self._do(Publish(TOPIC_ALL + self.peer.node.local.codec.encode(said)))

    def keep_alive(self, hung: SimulatedPeer) -> None:
        """Its heartbeats, to each who listens: recorded ones, and some that it never sent."""
        node, me = self.peer.node, hung.node.local.me
        node._detector.heard(hung.id, self.stage.now)  # this one accuses nobody of it
        beats = [frame for frame in self.recorded if frame[1:2] == b"h" and frame[10:18] == me.hash][-5:]
        plain = node.local.codec.encode(Heartbeat(me.hash, me.incarnation, me.version, me.header.pulse, node.local.table.digest))
        for hash in sorted(node.local.fan.subscribers):
            made = [plain, node._seal.signed_beat(plain, self.random.getrandbits(50) + 1, hash)]
            self._do(*(Publish(TOPIC_SELF + hash + frame) for frame in (*beats, *made)))

    def flood(self) -> None:
        """Many at once."""
        make = self.random.choice(MAKERS)
        for _ in range(FLOOD):
            self.tell(make(self))

    def act(self) -> None:
        """Something of all that."""
        lot = self.random.random()
        if lot < 0.02:
            self.flood()
        elif lot < 0.1:
            self.close_in()
        elif lot < 0.12:
            self.outlive()
        else:
            self.tell(self.random.choice(MAKERS)(self))


MAKERS: tuple[Callable[[Insider], bytes], ...] = (
    Insider.forge,
    Insider.alter,
    Insider.replay,
    Insider.delete,
    Insider.inflate,
    Insider.accuse,
    Insider.beat,
    Insider.list_wrongly,
    Insider.ping,
)


def insiders(stage: Stage) -> None:
    """Row 22."""
    stage.checkers.authentic = True
    stage.grow()
    cast = {peer: Insider(stage, peer) for peer in stage.some(stage.living, SHARE)}
    stage.truth.trouble(cast)  # others may cut their links, and lose sight of them
    stage.cluster.tap = lambda peer, input: cast[peer].overhear(input) if peer in cast else None
    honest = [peer for peer in stage.living if peer not in cast]
    _hang_one(stage, cast, honest)
    end, next_life = stage.now + stage.seconds, stage.now + 5.0
    while stage.now < end:
        for insider in cast.values():
            for _ in range(ATTACKS_PER_STEP):
                insider.act()
        if stage.random.random() < 0.3:
            stage.write(stage.random.choice(honest))
        if stage.now >= next_life:
            next_life = stage.now + 5.0
            old = stage.random.choice(honest)
            honest[honest.index(old)] = stage.restart(old, lose_clock_s=stage.random.choice((0.0, 5.0, -5.0)))
        stage.run(STEP_S)
    stage.cluster.tap = None
    _tell(stage, cast, honest)
    stage.truth.ease(cast, stage.now)
    stage.calm(90.0)  # whose link was cut for a minute is found again after it


def _hang_one(stage: Stage, cast: dict[SimulatedPeer, Insider], honest: list[SimulatedPeer]) -> None:
    """One stands still, and the insiders say on and on that it lives."""
    hung = stage.random.choice(honest)
    others = [peer for peer in honest if peer is not hung]
    stage.pause([hung])
    began, gone = stage.now, float("inf")
    while stage.now - began < HUNG_S and gone == float("inf"):
        for insider in cast.values():
            insider.keep_alive(hung)
            insider.push(insider.ping_of(hung))
        stage.run(STEP_S)
        if not any(hung.id in peer.members() for peer in others):
            gone = stage.now - began
    stage.figure("hidden though insiders say that it lives", gone, GONE_S, "s")
    stage.resume([hung])


def _tell(stage: Stage, cast: dict[SimulatedPeer, Insider], honest: list[SimulatedPeer]) -> None:
    """What it all came to."""
    named = {
        effect.subject
        for peer in honest
        for effect in peer.history
        if type(effect) is Happened and effect.kind is EventKind.NOTICE and effect.reason.startswith("it came from")
    }
    fewest = min(insider.sent for insider in cast.values())
    stage.figure("attacks of an insider short of a hundred", max(0, 100 - fewest), 0)
    stage.figure("forged, altered or replayed, and accepted", stage.checkers.counts["I8"], 0)
    stage.figure("insiders that nobody named", sum(peer.id not in named for peer in cast), 0)
    refuted = max(peer.node.local.counters["refutations"] for peer in honest)
    stage.figure("refuted by one peer, at most", refuted, REFUTATIONS_AT_ONCE + REFUTATIONS_PER_S * (stage.seconds + HUNG_S))
