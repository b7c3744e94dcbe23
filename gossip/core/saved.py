"""What a peer keeps for its next start, as bytes: who it is, and what it knew of the others.

    magic (8)  version (2)  signed (1)  saved at, wall ms (8)   { length (4)  frame } …   [ signature (64) ]  checksum (32)

Each frame is the wire's own: a whole state `(0, v]` of one origin, in parts if it is large. The first is mine, without
instances, for they ended with me; then come the others, and last what the authority revoked, if there is one. So whatever the
wire refuses a file cannot bring either: one decoder reads both. A peer that signs signs all of it, with its own key: what it
verified then needs no second look. Where that signature lacks, a signing peer takes the addresses alone.

Invariants: `decode` returns a value or raises `WireError`, whatever the bytes; what it returns is to be shown and dialled,
never merged: its usable instances are `STALE`.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b

from ..config import Limits
from ..errors import WireError
from ..model import Instance, InstanceState, MemberState, join_address
from ..values import dataclass, field, replace
from .authority import REVOCATIONS_MAX
from .certificates import Revocation
from .codec import Codec, ForeignCluster
from .local import Local
from .messages import Delta, Header, Incarnation, Revoked
from .selfhood import RISE_START_MAX
from .signatures import SIGNATURE_BYTES, Signing

MAGIC = b"\x89gossip\n"
VERSION = 1
CHECKSUM_BYTES = 32
PIECE_BYTES_MAX = 64 * 1024  # of one frame
ENDED_MAX = 256  # dead members whose addresses are kept: the last to die
WEIGHT_SLACK = 2  # as for what is merged: others may weigh an origin otherwise

_HEAD = struct.Struct("!8sHBQ")
_CONTEXT = b"gossip-registry/snapshot/1\0"
_LENGTH = struct.Struct("!I")

Pace = Callable[[Sequence[Instance]], Iterable[Instance]]
"""Hands out the same, and may take its time over it."""


@dataclass(frozen=True, slots=True)
class Known:
    """One origin, as it was known."""

    id: str
    zone: str
    incarnation: Incarnation
    version: int
    header: Header
    instances: tuple[Instance, ...] = field(default=(), repr=False)

    @property
    def contact(self) -> str:
        """`ip:port` of its ROUTER."""
        return join_address(self.header.host, self.header.contact_port)


@dataclass(frozen=True, slots=True)
class Saved:
    """What was read: myself, the others, and when that was (wall ms, for people). `proven`: by my own signature, if I sign.

    Of several that hold one instance the last is to be shown, as in `Directory`.
    """

    me: Known
    others: tuple[Known, ...]
    saved_ms: int
    proven: bool = True
    revoked: tuple[bytes, ...] = ()  # each signed by its authority, which is for others to verify

    @property
    def contacts(self) -> list[str]:
        """Where the others are dialled, each once."""
        return list(dict.fromkeys(known.contact for known in self.others))


# what is worth keeping ------------------------------------------------------------------------------------------------


def me_of(local: Local) -> Known:
    """Myself as I am to be remembered by my next life."""
    me = local.me
    return Known(me.id, me.zone, me.incarnation, max(me.version, 1), me.header)


def others_of(local: Local, carried: Iterable[Known] = ()) -> Iterator[Known]:
    """Who lives, with all it has; where those who died last were reached; and of `carried` whoever is neither.

    Any thread may read this while the node goes on: every table is copied in one step before it is walked through.
    """
    table, me = local.table, local.me
    origins = tuple(table.origins.values())
    for origin in origins:
        if origin.alive and origin is not me and origin.version:
            held = tuple(origin.instances.values())
            yield Known(origin.id, origin.zone, origin.incarnation, origin.version, origin.header, held)
    dead = [origin for origin in origins if origin.state is MemberState.DEAD]
    for origin in heapq.nlargest(ENDED_MAX, dead, key=lambda origin: origin.settled_at):
        yield Known(origin.id, origin.zone, origin.incarnation, max(origin.version, 1), origin.header)
    floors = table.floors.copy()
    lost = [(floor.settled_at, id) for id, floor in floors.items() if floor.contact]
    for _, id in heapq.nlargest(max(ENDED_MAX - len(dead), 0), lost):
        yield Known(id, "", floors[id].incarnation, max(floors[id].version, 1), _header_at(id, floors[id].contact))
    known = {origin.id for origin in origins} | floors.keys()
    yield from (other for other in carried if other.id not in known)


def carried_on(carried: tuple[Known, ...], *, looked_for: bool, shown: bool) -> tuple[Known, ...]:
    """What is to be kept on of the others of an earlier life: a restart must find them again, and show what was shown."""
    if not looked_for:
        return ()
    return carried if shown else tuple(replace(known, instances=()) for known in carried)


def _header_at(id: str, contact: str) -> Header:
    """Of one of whom nothing but the address is remembered."""
    host, _, port = contact.rpartition(":")
    return Header(id, host.strip("[]"), int(port), int(port))


# to bytes -------------------------------------------------------------------------------------------------------------


class Encoding:
    """One snapshot as bytes, piece by piece; iterate once. At most `bytes_max`, but for myself.

    `cut`: of how many others only the address found room, or not even that.
    """

    def __init__(
        self,
        codec: Codec,
        me: Known,
        others: Iterable[Known],
        *,
        saved_ms: int,
        bytes_max: int,
        pace: Pace = lambda instances: instances,
        sign: Callable[[bytes], bytes] | None = None,
        revoked: Sequence[Revoked] = (),
    ) -> None:
        self._codec, self._me, self._others, self._sign = codec, me, others, sign
        self._revoked = [_prefixed(codec.encode(told)) for told in revoked]
        self._saved_ms = saved_ms
        self._room = bytes_max - _HEAD.size - SIGNATURE_BYTES - CHECKSUM_BYTES - sum(map(len, self._revoked))
        self._pace = pace
        self.cut = 0

    def __iter__(self) -> Iterator[bytes]:
        checksum = blake2b(digest_size=CHECKSUM_BYTES)
        for piece in self._pieces():
            checksum.update(piece)
            yield piece
        if self._sign is not None:
            signature = self._sign(_said(self._codec, checksum.digest()))
            checksum.update(signature)
            yield signature
        yield checksum.digest()

    def _pieces(self) -> Iterator[bytes]:
        yield _HEAD.pack(MAGIC, VERSION, self._sign is not None, self._saved_ms)
        yield self._framed(self._me, ())
        for known in self._others:
            # what is surely too large is not even encoded
            whole = self._framed(known, self._pace(known.instances)) if len(known.instances) * 16 <= self._room else b""
            if not whole or len(whole) > self._room:
                self.cut += 1
                whole = self._framed(known, ())
            if len(whole) <= self._room:
                self._room -= len(whole)
                yield whole
        yield from self._revoked

    def _framed(self, known: Known, instances: Iterable[Instance]) -> bytes:
        frames = self._codec.encode_state(
            known.id, known.zone, known.incarnation, known.version, known.header, instances, {}, PIECE_BYTES_MAX
        )
        return b"".join(map(_prefixed, frames))


def _prefixed(frame: bytes) -> bytes:
    return _LENGTH.pack(len(frame)) + frame


# from bytes -----------------------------------------------------------------------------------------------------------


def decode(content: bytes, codec: Codec, limits: Limits, signing: Signing | None = None) -> Saved:
    """What was saved. Raises `WireError`, saying what is wrong, and nothing else. O(size)."""
    if content[: len(MAGIC)] != MAGIC:
        raise WireError("it is no snapshot of a peer")
    if len(content) < _HEAD.size:
        raise WireError("it ends in its first line")
    _, version, signed, saved_ms = _HEAD.unpack_from(content)
    if version > VERSION:
        raise WireError(f"its format is version {version}, and this release reads up to {VERSION}")
    sealed, end = memoryview(content)[: max(len(content) - CHECKSUM_BYTES, 0)], len(content) - CHECKSUM_BYTES
    if end < _HEAD.size or _digest(sealed) != content[end:]:
        raise WireError("its checksum is wrong: it was cut off or changed")
    body = sealed[: max(end - SIGNATURE_BYTES, 0)] if signed else sealed
    try:
        saved = _read(body, codec, limits, saved_ms)
        if signing is None or signing.sign is None or (signed and _is_mine(body, bytes(sealed[len(body) :]), codec, signing)):
            return saved
        return _addresses(saved)
    except ForeignCluster:
        raise WireError("it is of another cluster, or of the same with a secret or without") from None
    except WireError:
        raise
    except Exception as error:  # noqa: BLE001 - as for what strangers send
        raise WireError(f"malformed: {type(error).__name__}") from None


def _digest(body: memoryview) -> bytes:
    return blake2b(body, digest_size=CHECKSUM_BYTES).digest()


def _said(codec: Codec, digest: bytes) -> bytes:
    """What is signed."""
    return _CONTEXT + codec.cluster_hash + digest


def _is_mine(body: memoryview, signature: bytes, codec: Codec, signing: Signing) -> bool:
    return signing.verify(signing.public, _said(codec, _digest(body)), signature)


def _addresses(saved: Saved) -> Saved:
    """Whoever wrote that may have written anything: somebody to dial is all it tells."""
    others = tuple(replace(known, instances=()) for known in saved.others)
    return Saved(replace(saved.me, incarnation=(0, 0)), others, saved.saved_ms, proven=False, revoked=saved.revoked)


def _read(body: memoryview, codec: Codec, limits: Limits, saved_ms: int) -> Saved:
    me: Known | None = None
    others: dict[str, Known] = {}
    revoked: list[bytes] = []
    for deltas, weight in _origins(body, codec, revoked):
        known = _known(deltas, weight, limits)
        if me is None:
            me = known
        elif known.id != me.id and len(others) < limits.members_max + ENDED_MAX:
            others[known.id] = known
    if me is None or me.incarnation[0] >= RISE_START_MAX:
        raise WireError("it does not say whose it is")
    ranked = sorted(others.values(), key=lambda known: (known.incarnation, known.id))
    return Saved(me, tuple(ranked), saved_ms, revoked=tuple(revoked[:REVOCATIONS_MAX]))


def _origins(body: memoryview, codec: Codec, revoked: list[bytes]) -> Iterator[tuple[list[Delta], int]]:
    """The states, each with all its parts, and what it weighs; what was revoked is gathered."""
    parts: list[Delta] = []
    weight = 0
    for frame in _frames(body):
        delta = codec.decode(frame)
        if isinstance(delta, Revoked) and not parts:
            revoked += [Revocation.of_bytes(raw).raw for raw in delta.revocations]
            continue
        if not isinstance(delta, Delta) or delta.since or delta.header is None:
            raise WireError("it holds what is no state of a peer")
        if delta.part != len(parts) or (parts and (delta.origin, delta.parts) != (parts[0].origin, parts[0].parts)):
            raise WireError("a state lacks a part")
        parts.append(delta)
        weight += len(frame)
        if len(parts) == delta.parts:
            yield parts, weight
            parts, weight = [], 0
    if parts:
        raise WireError("a state lacks a part")


def _frames(body: memoryview) -> Iterator[bytes]:
    at = _HEAD.size
    while at < len(body):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        if not 0 < length <= min(PIECE_BYTES_MAX, len(body) - at):
            raise WireError("a piece of it is longer than it can be")
        yield bytes(body[at : at + length])
        at += length


def _known(deltas: list[Delta], weight: int, limits: Limits) -> Known:
    """One origin; of one that is larger than what is taken in from others, the address alone."""
    first = deltas[0]
    assert first.header is not None
    held = [instance for delta in deltas for instance in delta.put]
    if len(held) > limits.instances_max or weight > WEIGHT_SLACK * limits.origin_bytes_max:
        held = []
    return Known(first.origin, first.zone, first.incarnation, first.version, first.header, tuple(map(_stale, held)))


def _stale(instance: Instance) -> Instance:
    """Remembered, not confirmed; what could not be used then cannot be used now."""
    i, state = instance, instance.state
    return Instance(
        i.service,
        i.id,
        i.host,
        i.port,
        i.weight,
        i.labels,
        i.routes,
        i.zone,
        i.origin,
        InstanceState.STALE if state is InstanceState.UP else state,
    )
