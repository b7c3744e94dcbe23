"""How soon a newcomer is in sync and holds the whole catalogue, by its size, beside the bare work of decoding it.

A seed is made to hold the catalogue of many origins at once; a newcomer is timed from `Peer.start` to `wait_synced`, over
real sockets, and must then hold all of it. Anchor: unpacking the same frames with msgpack and building one slotted object
for each instance, in the same process and round. Then newcomers to a cluster of real processes.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection

import msgpack

from gossip import Config, Instance, Peer
from gossip.config import Joining
from gossip.core.codec import DELTA_HEAD, TOPIC_SELF, Codec
from gossip.core.effects import Heard
from gossip.core.messages import Header
from nodes.launch import Launcher

from .harness.crew import Hand, crew
from .harness.run import Case, Run

PER_ORIGIN = 100
SERVICES = 100
SYNCED_S = 120.0
CLUSTER = "join"
QUIET_MS = 3_600_000  # the heartbeat interval that the origins claim, so that nobody takes them for dead meanwhile


def frames(instances: int) -> list[bytes]:
    """The whole states of as many origins as hold so many instances."""
    codec = Codec(CLUSTER)
    found: list[bytes] = []
    port = silent().getsockname()[1]
    for number in range(max(1, instances // PER_ORIGIN)):
        name = f"origin-{number:05}"
        header = Header(name, "127.0.0.1", port, port, interval_ms=QUIET_MS)
        held = [instance_of(number, at, name) for at in range(min(PER_ORIGIN, instances))]
        found += codec.encode_state(name, "", (1, number), 1, header, held, {}, 256 * 1024)
    return found


@cache
def silent() -> socket.socket:
    """Where the origins claim to live, while this process does: who dials is neither answered nor refused, as by a dead one."""
    return socket.create_server(("127.0.0.1", 0))


def instance_of(number: int, at: int, origin: str) -> Instance:
    """An instance as many services have them."""
    service, host = f"service-{(number + at) % SERVICES}", f"10.{number >> 8 & 255}.{number & 255}.{at}"
    return Instance(service, f"{host}:8080", host, 8080, origin=origin)


def build(states: list[bytes]) -> int:
    """The anchor: unpack all of it and build an object for each instance; how many."""
    held = {}
    for frame in states:
        origin, zone, *_, puts, _ = msgpack.unpackb(memoryview(frame)[DELTA_HEAD.size :], use_list=False)
        for service, id, host, port, weight, labels, routes, _ in puts:
            held[service, id] = Instance(service, id, host, port, weight, labels, routes, zone, origin)
    return len(held)


def hold(pipe: Connection, instances: int) -> None:
    """The seed process: a peer that was told all of these states."""
    with Peer("seed", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[]) as peer:
        tell(peer, frames(instances))
        pipe.send((peer.address, peer.status().instances))
        pipe.recv()


def tell(peer: Peer, states: list[bytes]) -> None:
    """Hand frames to a running peer as if they had arrived, on its bus thread."""
    node, bus = peer._node, peer._bus
    assert node is not None
    assert bus is not None
    me = TOPIC_SELF + node.local.me.hash
    for frame in states:
        bus.mailbox.call(lambda now, frame=frame: (node.handle(Heard(me + frame), now), None), 10.0)  # type: ignore[misc]


@contextmanager
def newcomer(seed: str) -> Iterator[tuple[Peer, float]]:
    """A new peer that is in sync, and the seconds it took."""
    patient = Config(joining=Joining(synced_deadline_s=SYNCED_S))  # by default it serves what it has after 2 s, in sync or not
    peer = Peer("newcomer", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[seed], config=patient)
    began = time.perf_counter()
    with peer:
        peer.wait_synced(SYNCED_S)
        yield peer, time.perf_counter() - began


def by_size(run: Run, seed: Hand, instances: int) -> Iterator[Case]:
    """The newcomer and its anchor, at one size."""
    address, held = seed.hear(SYNCED_S)
    run.check(held == instances, f"the seed holds {held} of {instances} instances")
    states = frames(instances)
    anchor = f"unpack and build {instances:,} instances"

    def bare() -> list[float]:
        began = time.perf_counter()
        built = build(states)
        taken = time.perf_counter() - began
        run.check(built == instances, f"the anchor built {built} of {instances} instances")
        return [taken]

    def joined() -> list[float]:
        with newcomer(address) as (peer, taken):
            seen = peer.status().instances
        run.check(seen == instances, f"a newcomer in sync holds {seen} of {instances} instances")
        return [taken]

    yield Case(anchor, bare)
    yield Case(f"synced, {instances:,} instances", joined, anchor)


def in_cluster(run: Run, peers: int, rounds: int) -> None:
    """Newcomers to a cluster of real processes, which then leave again."""
    with Launcher(f"join-{os.getpid()}") as launcher:
        launcher.agree(launcher.peers([f"peer{number}" for number in range(peers)]), {}, SYNCED_S)
        for number in range(rounds):
            loaded = launcher.load(f"newcomer{number}")
            loaded.wait_loaded()
            loaded.started(launcher.ask_start(loaded))
            told = loaded.call("joined", timeout=SYNCED_S)
            members = len(told["view"]["members"])
            run.check(members == peers + 1, f"a newcomer in sync sees {members} of {peers + 1} members")
            run.record(f"synced, N = {peers}", [told["took_s"]])
            loaded.leave()


def measure(run: Run) -> None:
    """By size; then by members."""
    for instances in run.pick((100, 1_000, 10_000, 100_000), (100, 1_000)):
        with crew(hold, [(instances,)]) as (seed,):
            run.interleave([*by_size(run, seed, instances)], rounds=run.pick(6, 2))
    in_cluster(run, run.pick(30, 5), run.pick(10, 2))
