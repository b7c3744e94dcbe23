"""A peer that advertises what nobody reaches hears so at its join."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from gossip import EventKind, Peer

PATIENCE_S = 15.0


@contextmanager
def closed_ports() -> Iterator[tuple[int, int]]:
    """Two ports that are bound and refuse: nobody else can take them meanwhile."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        yield one.getsockname()[1], other.getsockname()[1]


def notices(peer: Peer, wanted: int) -> list[str]:
    """That many notices about the peer's reach, or all up to the moment it joined."""
    found: list[str] = []
    with peer.watch(since=0) as watch:
        while len(found) < wanted:
            event = watch.get(PATIENCE_S)
            if event.kind is EventKind.NOTICE and "which I advertise" in event.reason:
                found.append(event.reason)
    return found


def test_what_does_not_answer_is_named_with_what_to_do() -> None:
    with closed_ports() as (contact, publisher), Peer("seed", cluster="reach", seeds=[]) as seed:
        newcomer = Peer(
            "newcomer", cluster="reach", bind="127.0.0.1:0", advertise=f"127.0.0.1:{contact},{publisher}", seeds=[seed.address]
        )
        with newcomer.start():
            first, second = notices(newcomer, 2)
    assert f"{seed.id} cannot connect to my contact at 127.0.0.1:{contact}, which I advertise: the connection is refused" in first
    assert f"my publisher at 127.0.0.1:{publisher}" in second
    assert "or open the ports" in second


@pytest.mark.parametrize("advertise", ["127.0.0.1", "localhost"])
def test_what_answers_is_not_worth_a_word(advertise: str) -> None:
    with Peer("seed", cluster="reach", seeds=[]) as seed:
        newcomer = Peer("newcomer", cluster="reach", bind="127.0.0.1:0", advertise=advertise, seeds=[seed.address])
        with newcomer.start():
            deadline = time.monotonic() + PATIENCE_S
            while not (counters := newcomer.status().counters).get("dial_backs_answered"):
                assert time.monotonic() < deadline, counters
                time.sleep(0.005)
            assert "unreachable" not in newcomer.status().counters


def test_who_advertises_nothing_of_its_own_on_loopback_need_not_ask() -> None:
    with (
        Peer("seed", cluster="reach", seeds=[]) as seed,
        Peer("newcomer", cluster="reach", bind="127.0.0.1:0", seeds=[seed.address]) as newcomer,
    ):
        newcomer.wait_synced(PATIENCE_S)
        newcomer.register("orders", port=1)
        seed.wait_for("orders", timeout=PATIENCE_S)
        assert "dial_backs" not in newcomer.status().counters
