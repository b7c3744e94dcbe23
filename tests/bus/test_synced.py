"""Whoever waits for the first sync is woken by it, not by whatever happens next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from gossip import EventKind, Peer
from gossip.catalogue.events import EventLog

QUIET_S = 5.0


def test_wait_synced_returns_when_the_conversation_ends() -> None:
    with Peer("seed", cluster="synced", bind="127.0.0.1:0", seeds=[]) as seed:
        seed.register("a", port=1)
        for number in range(5):  # nothing else happens in the cluster after each join
            with Peer(f"new{number}", cluster="synced", bind="127.0.0.1:0", seeds=[seed.address]) as peer:
                began = time.monotonic()
                peer.wait_synced(60.0)
                assert time.monotonic() - began < QUIET_S
                assert peer.lookup("a")


def test_becoming_synced_is_an_event() -> None:
    with Peer("seed", cluster="synced", bind="127.0.0.1:0", seeds=[]) as seed:
        seed.wait_synced(10.0)
        told = [event for event in seed.why(seed.id) if event.kind is EventKind.NOTICE]
        assert [event.reason for event in told] == [f"{seed.id} is synced"]


def test_wait_synced_waits_until_what_came_with_it_is_visible(
    until: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = threading.Event()
    record = EventLog.record

    def late(log: EventLog, *batch: Any) -> Any:
        assert shown.wait(60.0)
        return record(log, *batch)

    monkeypatch.setattr(EventLog, "record", late)
    with Peer("seed", cluster="synced", bind="127.0.0.1:0", seeds=[]) as seed:
        try:
            until(lambda: seed.status().synced)
            with pytest.raises(TimeoutError):
                seed.wait_synced(0.0)
        finally:
            shown.set()
        seed.wait_synced(10.0)
        assert seed.why(seed.id)
