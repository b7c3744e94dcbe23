"""`Mind`: the machine of a peer or of an observer, as far as both are alike, and what is told of it to whoever asks.

The bus thread drives it; others only read, and never wait: each look takes a copy of what may change under it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from .bus.thread import BusThread, Machine
from .core.effects import Effect
from .core.local import Local
from .core.messages import InstanceKey
from .model import Member, MemberState, PeerState, Status


class Mind(Machine, Protocol):
    """What an engine needs of its machine beyond what the bus thread needs."""

    protocol: int
    local: Local

    @property
    def id(self) -> str: ...

    @property
    def state(self) -> PeerState: ...

    @property
    def synced(self) -> bool: ...

    @property
    def isolated(self) -> bool: ...

    @property
    def agreement(self) -> float: ...

    def set_seeds(self, seeds: Sequence[str], now: float, *, pending: bool = False) -> list[Effect]: ...

    def report_failure(self, key: InstanceKey, now: float) -> list[Effect]: ...


def members_of(mind: Mind, *, include_dead: bool) -> tuple[Member, ...]:
    """The members it knows, itself included, by id: alive and suspected ones, or all. O(members × log members)."""
    found = [origin.member() for origin in tuple(mind.local.table.origins.values())]
    kept = found if include_dead else [m for m in found if m.state in (MemberState.ALIVE, MemberState.SUSPECTED)]
    return tuple(sorted(kept, key=lambda member: member.id))


def ids_called(mind: Mind, name: str) -> set[str]:
    """The ids of all that bear this name for people. O(members)."""
    return {origin.id for origin in tuple(mind.local.table.origins.values()) if origin.header.name == name}


def status_of(
    mind: Mind,
    bus: BusThread,
    *,
    address: str,
    cluster: str,
    state: PeerState,
    started_at: float,
    counters: Mapping[str, int],
) -> Status:
    """How it is doing, with its counters, the bus's and these. O(members + links)."""
    local = mind.local
    return Status(
        id=mind.id,
        address=address,
        cluster=cluster,
        state=state,
        synced=mind.synced,
        agreement=mind.agreement,
        isolated=mind.isolated,
        members=local.table.living,
        suspects=local.suspects,
        instances=local.directory.count,
        links=bus.links_up,
        loop_lag_s=bus.loop_lag_s,
        uptime_s=time.monotonic() - started_at,
        protocol=mind.protocol,
        counters=dict(sorted({**local.counters, **bus.counters, **counters}.items())),
    )
