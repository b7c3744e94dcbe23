"""Meeting whoever answers at an address: a peer of this cluster, of another, of another secret, or no peer at all.

The greeting tells whether there is ZeroMQ, encrypted or not; a ping, whose peer it is. Several are met at once, each on a
thread of its own, which is left behind when the time is over: a resolver may hang for longer than anybody waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from ..bus.inquiry import Look, Presence, asker, converse, hears, look, shown
from ..bus.keys import Keyring
from ..core.codec import WIRE_NEWEST, WIRE_OLDEST, WIRE_VERSION, Codec, ForeignCluster
from ..core.messages import Ping, Pong
from ..errors import WireError
from .finding import Plan

A = TypeVar("A")
R = TypeVar("R")
AT_ONCE_MAX = 32


class Kind(Enum):
    """Who it is."""

    PEER = "a peer of this cluster"
    OTHER_CLUSTER = "a peer of another cluster"
    NEEDS_SECRET = "a peer that demands a secret, and none was given"
    NO_SECRET = "a peer without a secret, and one was given"
    OTHER_SECRET = "a peer with another secret"
    PUBLISHER = "the publisher of a peer, not its contact"
    OTHER_VERSION = "a peer of another wire version"
    MUTE = "a program that speaks ZeroMQ and does not answer a peer's question"
    STRANGER = "another program"
    REFUSED = "nobody: the connection is refused"
    SILENT = "nobody: no answer"


@dataclass(frozen=True, slots=True)
class Met:
    """Who answered at `address`, `host:port`; the id of a peer, or the words of a stranger."""

    address: str
    kind: Kind
    id: str = ""
    said: str = ""

    def __str__(self) -> str:
        told = f" ({self.said})" if self.said else f" ({self.id})" if self.id else ""
        return f"{self.kind.value}{told}"


def codec_of(plan: Plan, keyring: Keyring | None) -> Codec:
    """The codec of this cluster; an open and a secret one of one name differ."""
    return Codec(plan.cluster if keyring is None else f"{plan.cluster}\0secret")


def meet(host: str, port: int, plan: Plan, keyring: Keyring | None) -> Met:
    """Who is at this IP address and port. Two tries of `plan.timeout_s` at most."""
    address, seen = shown(host, port), look(host, port, plan.timeout_s)
    unmet = _unmet(seen, keyring)
    if unmet is not None:
        return Met(address, unmet, said=seen.said)
    codec = codec_of(plan, keyring)
    talk = converse(address, keyring, [codec.encode(Ping(asker(), (0, 0), 0))], plan.timeout_s)
    if talk.answers:
        return _judged(address, talk.answers[0], codec)
    if keyring is not None and not talk.through:
        return Met(address, Kind.PUBLISHER if hears(address, keyring, plan.timeout_s) else Kind.OTHER_SECRET)
    return Met(address, Kind.MUTE, said=seen.kind and f"a {seen.kind} socket")


def _unmet(seen: Look, keyring: Keyring | None) -> Kind | None:
    """Who it is, if there is no use in asking."""
    if seen.presence is not Presence.ZEROMQ:
        return {Presence.REFUSED: Kind.REFUSED, Presence.SILENT: Kind.SILENT}.get(seen.presence, Kind.STRANGER)
    if seen.mechanism == "CURVE" and keyring is None:
        return Kind.NEEDS_SECRET
    if seen.kind in ("XPUB", "PUB"):
        return Kind.PUBLISHER
    if seen.mechanism == "NULL" and keyring is not None:
        return Kind.NO_SECRET
    return None


def _judged(address: str, answer: bytes, codec: Codec) -> Met:
    if answer and not WIRE_OLDEST <= answer[0] <= WIRE_NEWEST:
        return Met(address, Kind.OTHER_VERSION, said=f"it speaks version {answer[0]}, this one version {WIRE_VERSION}")
    try:
        message = codec.decode(answer)
    except ForeignCluster:
        return Met(address, Kind.OTHER_CLUSTER)
    except WireError as fault:
        return Met(address, Kind.MUTE, said=str(fault))
    return Met(address, Kind.PEER, message.id) if isinstance(message, Pong) else Met(address, Kind.MUTE)


def all_at_once(items: Sequence[A], act: Callable[[A], R], within_s: float) -> list[R | None]:
    """`act` of each, at the same time; None where it did not end by then, or raised `OSError`."""
    results: list[R | None] = [None] * len(items)

    def work(places: range) -> None:
        for place in places:
            try:
                results[place] = act(items[place])
            except OSError:
                continue

    crew = [range(first, len(items), AT_ONCE_MAX) for first in range(min(AT_ONCE_MAX, len(items)))]
    threads = [threading.Thread(target=work, args=(places,), name="doctor", daemon=True) for places in crew]
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(results)
