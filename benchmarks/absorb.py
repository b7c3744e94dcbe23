"""How many instance changes a second one peer takes in, beside PUB→SUB and `unpackb` of the same bytes in one process.

A process with a plain XPUB plays the origins: it sends their deltas, as fast as they are taken, over a link that the peer
under test made itself. Singly: one changed instance in a delta; batched: a hundred. Timed from the word to begin until the
peer's lookups show the last change; then every instance must have the weight it was given last.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection

import msgpack
import zmq

from gossip import Config, Peer
from gossip.config import Limits
from gossip.core.codec import DELTA_HEAD, TOPIC_BYTES, TOPIC_SELF, Codec
from gossip.core.effects import Connect
from gossip.core.messages import Delta

from .harness.crew import Hand, crew
from .harness.run import Case, Run
from .join import CLUSTER, PER_ORIGIN, SERVICES, frames, instance_of, tell

ORIGINS = 100
BATCH = 100
ARRIVED_S = 60.0
LOOK_S = 0.005
DONE = b"done"


def deltas(codec: Codec, changes: int, batch: int, round: int) -> Iterator[bytes]:
    """Frames that change instances in turn, `batch` in each; every round goes on where the last one ended."""
    per_round = changes // batch
    for number in range(per_round):
        origin = number % ORIGINS
        since = 1 + round * (per_round // ORIGINS) + number // ORIGINS
        name = f"origin-{origin:05}"
        first = number // ORIGINS * batch
        put = tuple(
            replace(instance_of(origin, (first + at) % PER_ORIGIN, name), weight=weight(round, number)) for at in range(batch)
        )
        yield codec.encode_delta(Delta(name, "", (1, origin), since, since + 1, None, put, ()))


def weight(round: int, number: int) -> int:
    """What the changes of one delta say; never what was said before."""
    return 2 + (round * 7 + number // ORIGINS) % 98


def play_origins(pipe: Connection, changes: int, batch: int) -> None:
    """Sends one round whenever it is told to whom: `topic`; the envelope says that the range ends with that peer."""
    codec = Codec(CLUSTER)
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.sndhwm = 0  # what is not taken yet waits here and is not dropped
    pipe.send(socket.bind_to_random_port("tcp://127.0.0.1"))
    for round in itertools.count():
        ready = list(deltas(codec, changes, batch, round))
        topic, number = pipe.recv()
        while socket.poll(0):
            socket.recv()
        head = topic + (codec.envelope(0, number, codec.hash("origin-00000")) if number is not None else b"")
        began = time.perf_counter()  # CLOCK_MONOTONIC: one for both processes
        for frame in ready:
            socket.send(head + frame)
        if number is None:
            socket.send(topic + DONE)
        pipe.send(began)


class Registry:
    """The peer under test, linked to the process that plays the origins."""

    def __init__(self, run: Run, peer: Peer, hand: Hand, changes: int, batch: int) -> None:
        self._run, self._peer, self._hand = run, peer, hand
        self._changes, self._batch = changes, batch
        self._round = 0
        node, bus = peer._node, peer._bus
        assert node is not None
        assert bus is not None
        port = hand.hear()
        bus.mailbox.call(lambda now: ([Connect(f"127.0.0.1:{port}")], None), 10.0)
        self._topic = TOPIC_SELF + node.local.me.hash
        self._limit = int.from_bytes(node.local.me.hash, "big")
        time.sleep(0.5)  # the link; a change that is missed fails the round

    def take(self) -> list[float]:
        """One round: seconds per change."""
        self._hand.say((self._topic, self._limit))
        began = self._hand.hear()
        deadline = time.monotonic() + ARRIVED_S
        last = self._changes // self._batch - 1
        origin, at = last % ORIGINS, (last // ORIGINS * self._batch) % PER_ORIGIN
        wanted = instance_of(origin, at, "")
        shown = (wanted.id, weight(self._round, last))
        while shown not in ((one.id, one.weight) for one in self._peer.lookup(wanted.service)):
            self._run.check(time.monotonic() < deadline, f"the last of {self._changes} changes was not taken in {ARRIVED_S:g} s")
            time.sleep(LOOK_S)
        taken = time.perf_counter() - began
        time.sleep(0.1)
        self._check()
        self._round += 1
        return [self._changes / taken]

    def _check(self) -> None:
        rows = {at * self._batch % PER_ORIGIN for at in range(self._changes // self._batch // ORIGINS)}
        touched = len(rows) * self._batch * ORIGINS
        found = sum(one.weight != 1 for number in range(SERVICES) for one in self._peer.lookup(f"service-{number}"))
        self._run.check(found >= min(touched, ORIGINS * PER_ORIGIN), f"{found} of {touched} instances were changed")


def bare(run: Run, socket: zmq.Socket[bytes], hand: Hand, changes: int) -> list[float]:
    """The anchor: the same frames received and unpacked, and nothing done with them."""
    topic = b"@" + bytes(TOPIC_BYTES - 1)
    hand.say((topic, None))
    got = 0
    while not (frame := socket.recv()).endswith(DONE):
        got += len(msgpack.unpackb(memoryview(frame)[TOPIC_BYTES + DELTA_HEAD.size :], use_list=False)[6])
    taken = time.perf_counter() - hand.hear()
    run.check(got == changes, f"raw PUB→SUB brought {got} of {changes} changes")
    return [changes / taken]


def measure(run: Run) -> None:
    """Singly and batched, each beside its anchor."""
    for how, batch, changes in (("singly", 1, run.pick(20_000, 2_000)), ("batched", BATCH, run.pick(200_000, 20_000))):
        with crew(play_origins, [(changes, batch)] * 2) as (for_peer, for_raw):
            roomy = Config(limits=Limits(origin_bytes_max=1 << 20))
            with Peer("absorber", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[], config=roomy) as peer, zmq.Context() as context:
                tell(peer, frames(ORIGINS * PER_ORIGIN))
                socket = context.socket(zmq.SUB)
                socket.linger, socket.rcvtimeo = 0, int(1000 * ARRIVED_S)
                socket.subscribe(b"")
                socket.connect(f"tcp://127.0.0.1:{for_raw.hear()}")
                registry = Registry(run, peer, for_peer, changes, batch)
                anchor = f"PUB→SUB and unpackb, {how}"
                cases = [
                    Case(anchor, partial(bare, run, socket, for_raw, changes), unit="1/s", more=True),
                    Case(f"changes taken in, {how}", registry.take, anchor, "1/s", more=True),
                ]
                run.interleave(cases, rounds=run.pick(6, 2))
                socket.close()


