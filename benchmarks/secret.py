"""What a secret costs: the same cluster open and with one, in blocks that take turns.

Visibility as in `visibility`: from `peer.register` to the last of the N - 1 others. Join: from the start of a newcomer, in a
process that has a peer already, until it is in sync: some handshakes and one conversation. Updates: one peer changes an
instance again and again; so many a second until the last is seen by another.
"""

from __future__ import annotations

import secrets
import time
from multiprocessing.connection import Connection
from typing import Any

from gossip import Peer

from .harness.crew import crew
from .harness.run import Run
from .visibility import Cluster, answer

UPDATES = 500
LOOK_S = 0.0002
SYNC_S = 30.0


def be_peer(pipe: Connection, number: int, seed: str | None, secret: str | None) -> None:
    """One peer process, told what to do over its pipe."""
    arguments: dict[str, Any] = {"cluster": "cost-of-a-secret", "bind": "127.0.0.1:0", "secret": secret}
    with Peer(f"peer{number}", seeds=[seed] if seed else [], **arguments) as peer:
        pipe.send(peer.address)
        watch = peer.watch("visible")
        while True:
            command, argument = pipe.recv()
            if command == "join":
                began = time.perf_counter()
                with Peer("newcomer", seeds=[peer.address], **arguments) as newcomer:
                    newcomer.wait_synced(SYNC_S)
                    pipe.send(time.perf_counter() - began)
            elif command == "update":
                registration = peer.register("updated", port=1)
                began = time.monotonic()
                for turn in range(UPDATES):
                    registration.update(weight=2 + turn % 90)
                registration.update(weight=1, labels={"last": "yes"})
                pipe.send(began)
            elif command == "last":
                while not peer.lookup("updated", labels={"last": "yes"}):
                    time.sleep(LOOK_S)
                pipe.send(time.monotonic())
            else:
                pipe.send(answer(peer, watch, command, argument))


def measure_one(run: Run, peers: int, changes: int, secret: str | None) -> None:
    """One block, with a secret or without."""

    def named(what: str) -> tuple[str, str | None]:
        return (f"{what}, secret", f"{what}, open") if secret else (f"{what}, open", None)

    with crew(be_peer, [(0, None, secret)]) as (first,):
        seed = first.hear()
        with crew(be_peer, [(number, seed, secret) for number in range(1, peers)]) as others:
            for hand in others:
                hand.hear()
            cluster = Cluster([first, *others])
            cluster.settle()
            times, missed, _ = cluster.change(changes)
            run.check(not missed, f"{missed} of {changes} registrations were not visible at all {peers} peers")
            name, anchor = named(f"visible at all, N = {peers}")
            run.record(name, times, anchor=anchor)
            name, anchor = named("join")
            run.record(name, [first.ask(("join", None)) for _ in range(run.pick(10, 3))], anchor=anchor)
            others[0].say(("last", None))
            began = first.ask(("update", None))
            name, anchor = named("updates of one peer")
            run.record(name, [UPDATES / (others[0].hear() - began)], "1/s", anchor=anchor, more=True)


def measure(run: Run) -> None:
    """Open and secret take turns."""
    blocks, changes, peers = run.pick((4, 100, 10), (2, 20, 5))
    for _ in range(blocks):
        measure_one(run, peers, changes, None)
        measure_one(run, peers, changes, secrets.token_urlsafe(32))
