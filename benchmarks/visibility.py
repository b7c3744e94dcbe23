"""How long one registration takes to be visible at all other peers, beside the ways others tell N processes of a change.

Real processes on loopback, in blocks that take turns: raw ZeroMQ, the registry, Redis, pyre, serf, and again. A time runs
from just before `peer.register` to the moment the last of the N - 1 others could look the instance up, stamped where it is
seen; raw: from just before `PUB.send` of as many bytes to the last `SUB.recv`. A change that does not arrive everywhere
fails the run. Hops are counted in a block of their own, which is not timed: each peer notes from whom it first heard.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import zmq

from gossip import EventKind, Instance, Peer, Watch
from gossip.core.codec import TOPIC_BYTES
from gossip.core.effects import Heard

from .anchors.pyre import pyre_shouts
from .anchors.redis import redis_client, redis_server
from .anchors.serf import serf_cluster
from .harness.crew import Hand, ask_all, crew
from .harness.run import Run

FRAME_BYTES = 200  # a registration as it travels, envelope included
SETTLE_S = 60.0
GAP_S = 0.02
ARRIVE_S = 1.0
SERF_GAP_S = 0.3
SERF_SWEEP_S = 0.002
SERF_MAX_S = 20.0
PYRE_MAX = SERF_MAX = 30  # processes: beyond it a full mesh of pyre does not form here, and serf says nothing new

Stamps = Mapping[Any, float]


def to_all(started: Stamps, seen_by: Sequence[Stamps], receivers: int) -> tuple[list[float], int]:
    """Seconds from the start of each change to its last receiver; and how many changes missed one."""
    times, missed = [], 0
    for change, at in started.items():
        stamps = [seen[change] for seen in seen_by if change in seen]
        if len(stamps) == receivers:
            times.append(max(stamps) - at)
        else:
            missed += 1
    return times, missed


# the registry ---------------------------------------------------------------------------------------------------------


def be_peer(pipe: Connection, number: int, seed: str | None) -> None:
    """One peer process, told what to do over its pipe."""
    with Peer(f"peer{number}", cluster="visibility", bind="127.0.0.1:0", seeds=[seed] if seed else []) as peer:
        pipe.send(peer.address)
        watch = peer.watch("visible")
        heard: dict[tuple[bytes, int], bytes] = {}
        while True:
            command, argument = pipe.recv()
            if command == "trace":
                _trace(peer, heard)
                pipe.send(peer._node.local.me.hash)  # type: ignore[union-attr]
            elif command == "heard":
                pipe.send(heard)
            else:
                pipe.send(answer(peer, watch, command, argument))


def answer(peer: Peer, watch: Watch, command: str, argument: Any) -> Any:
    """What a `Cluster` asks of each of its peers: to register, what was seen, or how it is."""
    if command == "register":
        started = time.time()
        peer.register("visible", port=1, id=argument)
        return started
    if command == "seen":
        return _seen(watch)
    status = peer.status()
    return status.members, status.agreement, status.links, status.counters.get("broadcasts_received", 0)


def _seen(watch: Watch) -> dict[str, float]:
    """When each instance became visible here, stamped by the peer as it swapped its view."""
    found: dict[str, float] = {}
    while (event := watch.take()) is not None:
        if event.kind is EventKind.ADDED and isinstance(event.after, Instance):
            found[event.after.id] = event.at
    return found


def _trace(peer: Peer, heard: dict[tuple[bytes, int], bytes]) -> None:
    """From now on, note from whom each delta came first: (origin, version) -> sender."""
    node = peer._node
    assert node is not None
    handle, codec = node.handle, node.local.codec

    def traced(event: Any, now: float) -> Any:
        envelope = codec.open_envelope(event.frame, TOPIC_BYTES) if type(event) is Heard else None
        head = codec.delta_head(envelope.frame) if envelope else None
        if envelope and head:
            heard.setdefault((head.origin, head.version), envelope.sender)
        return handle(event, now)

    node.handle = traced  # type: ignore[method-assign, assignment]


class Cluster:
    """N peers that know each other and have come to rest."""

    def __init__(self, hands: list[Hand]) -> None:
        self._hands = hands
        self.peers = len(hands)

    def settle(self) -> None:
        """Wait until everybody knows everybody, agrees, and has had the time to take its far links."""
        deadline = time.monotonic() + SETTLE_S
        calm_since, links = time.monotonic(), [-1]
        while time.monotonic() - calm_since < 1.0:
            statuses = ask_all(self._hands, ("status", None))
            calm = all(status[:2] == (self.peers, 1.0) for status in statuses)
            former, links = links, [status[2] for status in statuses]
            if not calm or links != former:
                calm_since = time.monotonic()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster of {self.peers} did not settle within {SETTLE_S:g} s: {statuses}")
            time.sleep(0.1)

    def change(self, changes: int) -> tuple[list[float], int, float]:
        """So many registrations, each by another peer: times, how many were missed, broadcasts a peer got per change."""
        before = self._received()
        started = self._register("change", changes)
        time.sleep(ARRIVE_S)  # what does not arrive by then counts as missed
        times, missed = to_all(started, ask_all(self._hands, ("seen", None)), self.peers)
        return times, missed, (self._received() - before) / (self.peers - 1) / changes

    def _register(self, name: str, changes: int) -> dict[str, float]:
        started = {}
        for number in range(changes):
            id = f"{name}-{number}"
            started[id] = self._hands[number % self.peers].ask(("register", id))
            time.sleep(GAP_S)
        return started

    def _received(self) -> int:
        return sum(status[3] for status in ask_all(self._hands, ("status", None)))

    def hops(self, changes: int) -> Counter[int]:
        """How many peers heard of a change after 1, 2, 3 … hops; changes of as many origins."""
        ask_all(self._hands, ("trace", None))
        me = ask_all(self._hands, ("trace", None))
        self._register("traced", changes)
        time.sleep(ARRIVE_S)
        heard = dict(zip(me, ask_all(self._hands, ("heard", None)), strict=True))
        return hop_counts(heard)


def hop_counts(heard: Mapping[bytes, Mapping[tuple[bytes, int], bytes]]) -> Counter[int]:
    """From who heard each change first from whom: how many heard of one after 1, 2, 3 … hops."""
    counts: Counter[int] = Counter()
    for peer, senders in heard.items():
        for (origin, version), sender in senders.items():
            hops, at = 1, sender
            while at != origin and hops <= len(heard):
                hops, at = hops + 1, heard.get(at, {}).get((origin, version), origin)
            counts[hops] += peer != origin
    return counts


def measure_registry(run: Run, peers: int, changes: int, last: bool) -> None:
    """One block."""
    with crew(be_peer, [(0, None)]) as (first,):
        seed = first.hear()
        with crew(be_peer, [(number, seed) for number in range(1, peers)]) as others:
            for hand in others:
                hand.hear()
            cluster = Cluster([first, *others])
            cluster.settle()
            times, missed, received = cluster.change(changes)
            run.check(not missed, f"{missed} of {changes} registrations were not visible at all {peers} peers")
            run.record(f"registry, N = {peers}", times, anchor=f"raw ZeroMQ, N = {peers}")
            run.record(f"messages per peer and change, N = {peers}", [received], "1")
            if last:
                hops = cluster.hops(changes)
                run.record(f"hops, N = {peers}", [float(hop) for hop, count in hops.items() for _ in range(count)], "1")


# anchors --------------------------------------------------------------------------------------------------------------


def send_raw(pipe: Connection, changes: int) -> None:
    """The raw publisher process."""
    context = zmq.Context()
    socket = context.socket(zmq.PUB)
    pipe.send(socket.bind_to_random_port("tcp://127.0.0.1"))
    while not pipe.poll(0.05):
        socket.send(b"hello")
    pipe.recv()
    sent = {}
    for number in range(changes):
        sent[number] = time.time()
        socket.send(number.to_bytes(8, "big") + bytes(FRAME_BYTES - 8))
        time.sleep(GAP_S)
    socket.send(b"end")
    pipe.send(sent)
    pipe.recv()


def take_raw(pipe: Connection, port: int) -> None:
    """One raw subscriber process: receives, stamps, reports at the end."""
    context = zmq.Context()
    socket = context.socket(zmq.SUB)
    socket.subscribe(b"")
    socket.connect(f"tcp://127.0.0.1:{port}")
    _take(pipe, socket.recv)


def take_redis(pipe: Connection, port: int) -> None:
    """The same with Redis."""
    feed = redis_client(port).pubsub(ignore_subscribe_messages=True)
    feed.subscribe("changes")
    messages = feed.listen()
    _take(pipe, lambda: next(messages)["data"])


def _take(pipe: Connection, receive: Callable[[], bytes]) -> None:
    got: dict[int, float] = {}
    ready = False
    while (frame := receive()) != b"end":
        at = time.time()
        if frame != b"hello":
            got[int.from_bytes(frame[:8], "big")] = at
        elif not ready:
            ready = True
            pipe.send("ready")
    pipe.send(got)
    pipe.recv()


def measure_raw(run: Run, peers: int, changes: int) -> None:
    """One block of plain PUB → SUB to as many processes."""
    with crew(send_raw, [(changes,)]) as (publisher,):
        port = publisher.hear()
        with crew(take_raw, [(port,)] * (peers - 1)) as takers:
            _ready(takers)
            sent = publisher.ask("go")
            times, missed = to_all(sent, [hand.hear() for hand in takers], peers - 1)
    if missed:
        run.note(f"raw ZeroMQ, N = {peers}: {missed} of {changes} messages missed somebody")
    run.record(f"raw ZeroMQ, N = {peers}", times)


def measure_redis(run: Run, peers: int, changes: int) -> None:
    """One block of Redis PUBLISH to as many processes."""
    with redis_server() as port, crew(take_redis, [(port,)] * (peers - 1)) as takers:
        client = redis_client(port)
        while client.pubsub_numsub("changes")[0][1] < peers - 1:
            time.sleep(0.05)
        client.publish("changes", b"hello")
        _ready(takers)
        sent = {}
        for number in range(changes):
            sent[number] = time.time()
            client.publish("changes", number.to_bytes(8, "big") + bytes(FRAME_BYTES - 8))
            time.sleep(GAP_S)
        client.publish("changes", b"end")
        times, _ = to_all(sent, [hand.hear() for hand in takers], peers - 1)
        client.close()
    run.record(f"Redis pub/sub, N = {peers}", times)


def _ready(takers: Sequence[Hand]) -> None:
    for hand in takers:
        hand.hear()


def measure_pyre(run: Run, peers: int, changes: int) -> None:
    """One block of SHOUT by one of as many pyre nodes."""
    times, missed = pyre_shouts(peers, changes, GAP_S)
    if missed:
        run.note(f"pyre, N = {peers}: {missed} of {changes} SHOUTs did not reach all")
    run.record(f"pyre SHOUT, N = {peers}", times)


def measure_serf(run: Run, peers: int, changes: int) -> None:
    """One block of changed tags, until every agent's list of members shows them."""
    times = []
    with serf_cluster(peers) as cluster:
        first, *others = cluster.rpcs
        for number in range(changes):
            value, began = str(number + 1), time.monotonic()
            first.send("tags", {"Tags": {"v": value}})
            waiting = list(others)
            while waiting and time.monotonic() - began < SERF_MAX_S:
                waiting = [rpc for rpc in waiting if rpc.member("n0")["Tags"].get("v") != value]
                if waiting:
                    time.sleep(SERF_SWEEP_S)
            if not waiting:
                times.append(time.monotonic() - began)
            first.receive()
            time.sleep(SERF_GAP_S + 0.05 * (number % 7))  # out of step with its own timer
    run.record(f"serf tags, N = {peers}", times)


def measure(run: Run) -> None:
    """All sizes; the blocks of one size take turns."""
    blocks, changes = run.pick((4, 100), (2, 20))
    for peers in run.pick((3, 10, 30, 100), (3, 10)):
        for block in range(blocks):
            measure_raw(run, peers, changes)
            measure_registry(run, peers, changes, last=block == blocks - 1)
            run.attempt(f"Redis pub/sub, N = {peers}", measure_redis, run, peers, changes)
            if peers <= PYRE_MAX and block < 2:
                run.attempt(f"pyre SHOUT, N = {peers}", measure_pyre, run, peers, changes // 2)
            if peers <= SERF_MAX and block < 2:
                run.attempt(f"serf tags, N = {peers}", measure_serf, run, peers, run.pick(10, 2))
