"""What signing costs: the same cluster open, with a secret, and signed (with a secret too), in blocks that take turns.

Sign and verify: one signature of what a delta with one instance weighs. Visibility and updates as in `secret`. CPU: of one peer
that takes in 100 changes a second of another. Join: from the start of a newcomer until it holds all records of the others.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from gossip import Config, Peer
from gossip.signing import SigningKey, verify

from .harness.crew import crew
from .harness.run import Run
from .visibility import Cluster, answer

UPDATES = 300
CHANGES_PER_S = 100
LOOK_S = 0.0002
SYNC_S = 60.0
QUIET_S = 4.0
DELTA_BYTES = 220
PER_PEER_MAX = 2_000
LIMITS = replace(Config().limits, instances_max=PER_PEER_MAX, origin_bytes_max=1 << 20)
MODES = ("open", "secret", "signed")


def arguments_of(mode: str, secret: str) -> dict[str, Any]:
    """How a peer of this mode is made."""
    return {
        "cluster": "cost-of-signing",
        "bind": "127.0.0.1:0",
        "config": Config(limits=LIMITS),
        "secret": None if mode == "open" else secret,
        "signing_key": "new" if mode == "signed" else None,
    }


def be_peer(pipe: Connection, number: int, seed: str | None, mode: str, secret: str) -> None:
    """One peer process, told what to do over its pipe."""
    arguments = arguments_of(mode, secret)
    with Peer(f"peer{number}", seeds=[seed] if seed else [], **arguments) as peer:
        pipe.send(peer.address)
        watch = peer.watch("visible")
        while True:
            command, argument = pipe.recv()
            if command == "fill":
                for record in range(argument):
                    peer.register(f"service-{record % 50}", port=1, id=f"{number}-{record}", labels={"version": "1"})
                pipe.send(None)
            elif command == "join":
                pipe.send(join(peer.address, arguments, argument))
            elif command == "change":
                pipe.send(change(peer, argument))
            elif command == "cpu":
                began = time.process_time(), time.monotonic()
                time.sleep(argument)
                pipe.send((time.process_time() - began[0]) / (time.monotonic() - began[1]))
            else:
                pipe.send(answer(peer, watch, command, argument))


def join(seed: str, arguments: dict[str, Any], records: int) -> float:
    """How long a newcomer takes until it holds so many records."""
    began = time.perf_counter()
    with Peer("newcomer", seeds=[seed], **arguments) as newcomer:
        newcomer.wait_synced(SYNC_S)
        while newcomer.status().instances < records:
            time.sleep(LOOK_S)
        return time.perf_counter() - began


def change(peer: Peer, seconds: float) -> int:
    """Changes an instance so often a second; how many changes that were."""
    registration = peer.register("changed", port=1)
    began, turn = time.monotonic(), 0
    while (now := time.monotonic()) - began < seconds:
        if turn < (now - began) * CHANGES_PER_S:
            turn += 1
            registration.update(weight=2 + turn % 90)
        else:
            time.sleep(0.001)
    registration.deregister()
    return turn


def measure_one(run: Run, peers: int, changes: int, records: int, mode: str, secret: str) -> None:
    """One block of one mode."""

    def named(what: str) -> tuple[str, str | None]:
        return f"{what}, {mode}", f"{what}, open" if mode != "open" else None

    with crew(be_peer, [(0, None, mode, secret)]) as (first,):
        seed = first.hear()
        with crew(be_peer, [(number, seed, mode, secret) for number in range(1, peers)]) as others:
            for hand in others:
                hand.hear()
            cluster = Cluster([first, *others])
            cluster.settle()
            times, missed, _ = cluster.change(changes)
            run.check(not missed, f"{missed} of {changes} registrations were not visible at all {peers} peers")
            name, anchor = named(f"visible at all, N = {peers}")
            run.record(name, times, anchor=anchor)
            seconds = run.pick(10.0, 2.0)
            first.say(("change", seconds))
            name, anchor = named(f"CPU at {CHANGES_PER_S} changes/s")
            run.record(name, [100 * others[0].ask(("cpu", seconds))], "%", anchor=anchor)
            first.hear()
            name, anchor = named(f"join with {records:,} records")
            for hand in (first, *others):
                hand.say(("fill", records // peers))
            for hand in (first, *others):
                hand.hear()
            time.sleep(QUIET_S)  # who signs says all anew then
            held = records // peers * peers + changes
            run.record(name, [first.ask(("join", held)) for _ in range(run.pick(5, 2))], anchor=anchor)


def measure_keys(run: Run) -> None:
    """One signature, and one check of it."""
    key, message = SigningKey.of("new"), secrets.token_bytes(DELTA_BYTES)
    sign = key.signing("required").sign
    assert sign is not None
    signature, turns = sign(message), run.pick(2_000, 200)
    run.check(verify(key.public, message, signature), "a signature was not found to be one")
    for _ in range(run.pick(5, 2)):
        began = time.perf_counter()
        for _ in range(turns):
            sign(message)
        signed = time.perf_counter()
        for _ in range(turns):
            verify(key.public, message, signature)
        run.record("sign", [(signed - began) / turns])
        run.record("verify", [(time.perf_counter() - signed) / turns])


def measure(run: Run) -> None:
    """All modes take turns."""
    blocks, changes, peers, records = run.pick((3, 60, 10, 10_000), (1, 10, 4, 400))
    measure_keys(run)
    for _ in range(blocks):
        for mode in MODES:
            measure_one(run, peers, changes, records, mode, secrets.token_urlsafe(32))
