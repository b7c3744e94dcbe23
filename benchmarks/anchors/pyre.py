"""pyre, Python's ZRE: nodes as processes of their own, which find each other by UDP beacons and mesh fully."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from ..harness.crew import Hand, crew
from ..harness.run import AbsentError
from .server import library

MEET_S = 30.0
GROUP = "benchmark"


def be_node(pipe: Connection, name: str) -> None:
    """One node: says when it met another or lost it; shouts when told; at the end says when it heard each shout."""
    import zmq
    from pyre import Pyre

    node = Pyre(name)
    node.set_interface("lo")
    node.join(GROUP)
    node.start()
    poller = zmq.Poller()
    poller.register(node.inbox, zmq.POLLIN)
    poller.register(pipe.fileno(), zmq.POLLIN)
    heard: dict[int, float] = {}
    while True:
        ready = dict(poller.poll())
        if node.inbox in ready:
            kind, _, other, *rest = node.recv()
            at = time.time()
            if kind == b"SHOUT":
                heard[int.from_bytes(rest[1][:8], "big")] = at
            elif kind in (b"JOIN", b"EXIT"):
                pipe.send((kind.decode(), other.decode(), at))
        if pipe.fileno() in ready:
            told = pipe.recv()
            if told is None:
                pipe.send(heard)
            else:
                started = time.time()
                node.shout(GROUP, told.to_bytes(8, "big") + bytes(192))
                pipe.send(started)


@contextmanager
def pyre_cluster(nodes: int) -> Iterator[list[Hand]]:
    """So many nodes, all of which met. Raises `AbsentError`."""
    library("pyre", "zeromq-pyre")
    with crew(be_node, [(f"n{number}",) for number in range(nodes)]) as hands:
        try:
            for hand in hands:
                for _ in range(nodes - 1):
                    hand.hear(MEET_S)
        except (TimeoutError, EOFError):
            raise AbsentError(f"{nodes} pyre nodes did not meet within {MEET_S:g} s; it needs UDP broadcast") from None
        yield hands


def pyre_shouts(nodes: int, shouts: int, gap_s: float) -> tuple[list[float], int]:
    """Seconds from each shout of the first node until all others heard it; how many did not reach all."""
    with pyre_cluster(nodes) as (first, *others):
        started = {}
        for number in range(shouts):
            started[number] = first.ask(number)
            time.sleep(gap_s)
        time.sleep(1.0)
        heard = [hand.ask(None) for hand in others]
    times = [max(one[shout] for one in heard) - at for shout, at in started.items() if all(shout in one for one in heard)]
    return times, shouts - len(times)
