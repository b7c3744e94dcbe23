"""Bytes to messages and back, and every limit on what a stranger may send.

Invariant: `decode` returns a message or raises `WireError`; whatever the bytes, nothing else happens. A frame is

    wire version (1)  kind (1)  cluster hash (8)  [fixed fields by kind]  msgpack of positional tuples

Deltas and delegated envelopes keep what the relay path needs in the fixed fields, so that a duplicate is dropped before
msgpack sees it and a frame is passed on as the same bytes. Unknown kinds are refused as `UnknownKind` (counted apart:
a newer peer), unknown trailing fields are ignored, and kept where a record is passed on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, NoReturn

import msgpack

from ..errors import WireError
from ..model import ID_PATTERN, LABELS_MAX, ZONE_PATTERN, Event, Instance
from ..values import dataclass
from .certificates import REVOCATION_BYTES
from .fields import (
    DIGEST_MAX,
    NUMBER_MAX,
    PULSE_MAX,
    REASON_BYTES_MAX,
    as_bytes,
    as_charge,
    as_entries,
    as_event,
    as_fields,
    as_flag,
    as_header,
    as_incarnation,
    as_instance,
    as_key,
    as_list,
    as_member_kind,
    as_number,
    as_prose,
    as_text,
    entry_fields,
    event_fields,
    extras_of,
    header_fields,
    instance_fields,
    prose,
)
from .messages import (
    BUCKETS,
    Accusation,
    Belief,
    Delta,
    DialBack,
    Done,
    Entries,
    Foreign,
    Header,
    Heartbeat,
    History,
    IdHash,
    Incarnation,
    InstanceKey,
    Message,
    Ping,
    Pong,
    Reached,
    Recall,
    Revoked,
    Sync,
    Want,
)
from .signatures import BEAT, NO_SIGNATURE, SIGNATURE_BYTES, SIGNATURE_HEAD

Sealed = Callable[[bytes], bytes]

WIRE_VERSION = 1
WIRE_OLDEST = 1
WIRE_NEWEST = WIRE_VERSION + 1  # a peer one version ahead is understood, by the rules above
PARTS_MAX = 4096
ARRAY_MAX = 1024
CHARGES_MAX = 256
EVENTS_MAX = 64  # of one `History`
REVOCATIONS_MAX = 256  # of one `Revoked`
NAME_BYTES_MAX = 257  # of what a `Recall` asks about: service/id at most

PREFIX = struct.Struct("!BB8s")
DELTA_HEAD = struct.Struct("!BB8s8sQQQ")  # ..., origin hash, start, nonce, version
HEARTBEAT = struct.Struct("!BB8s8sQQQIQB")  # ..., sender hash, start, nonce, version, pulse, digest, flags
ENVELOPE = struct.Struct("!BB8sBQ8s")  # ..., ring, limit of the range, sender hash
TOPIC_SELF = b"@"
TOPIC_ALL = b"*"
TOPIC_OBSERVERS = b"+"
TOPIC_BYTES = 9


class UnknownKind(WireError):
    """A kind of message this version does not know; a newer peer may send it."""


class ForeignCluster(WireError):
    """A message of another cluster."""


@dataclass(slots=True)
class Delegated:
    """The envelope of a broadcast: pass `frame` on inside the part of ring `ring` between me and `limit`."""

    ring: int
    limit: int
    sender: IdHash
    frame: bytes


@dataclass(slots=True)
class DeltaHead:
    """The fixed fields of a delta: all that is needed to see a duplicate."""

    origin: IdHash
    incarnation: Incarnation
    version: int


@lru_cache(maxsize=4096)  # each is 270 bytes
def id_hash(cluster: str, id: str) -> IdHash:
    """8 bytes that name a peer within its cluster, on the wire and on the rings."""
    return IdHash(blake2b(id.encode(), digest_size=8, key=blake2b(cluster.encode(), digest_size=16).digest()).digest())


def cluster_hash(cluster: str) -> bytes:
    """8 bytes that name a cluster."""
    return blake2b(cluster.encode(), digest_size=8, person=b"cluster").digest()


class Codec:
    """Encoder and decoder of one cluster's messages. Stateless but for the cluster's name and the limits."""

    __slots__ = ("cluster", "cluster_hash", "frame_bytes_max", "part_bytes_max")

    def __init__(self, cluster: str, *, frame_bytes_max: int = 64 * 1024, part_bytes_max: int = 256 * 1024) -> None:
        self.cluster = cluster
        self.cluster_hash = cluster_hash(cluster)
        self.frame_bytes_max = frame_bytes_max
        self.part_bytes_max = part_bytes_max

    def hash(self, id: str) -> IdHash:
        """`id_hash` within this cluster."""
        return id_hash(self.cluster, id)

    # bytes of messages ---------------------------------------------------------------------------------------------

    def encode(self, message: Message) -> bytes:
        """Any message but a delta as one frame."""
        kind, body = _ENCODERS[type(message)](message)
        if isinstance(message, Heartbeat):
            return HEARTBEAT.pack(WIRE_VERSION, kind, self.cluster_hash, *body)
        return PREFIX.pack(WIRE_VERSION, kind, self.cluster_hash) + _pack(body)

    def encode_delta(self, delta: Delta, signed: Sealed | None = None) -> bytes:
        """A delta as one frame; the caller keeps it within the limits. `signed` appends the signature."""
        head = DELTA_HEAD.pack(
            WIRE_VERSION, _DELTA, self.cluster_hash, self.hash(delta.origin), *delta.incarnation, delta.version
        )
        extras = delta.extras
        body = (
            delta.origin,
            delta.zone,
            delta.since,
            delta.part,
            delta.parts,
            None if delta.header is None else header_fields(delta.header),
            [instance_fields(instance, extras.get(instance.key, ())) for instance in delta.put],
            delta.removed,
        )
        return head + _pack(body) if signed is None else signed((head + _pack((*body, NO_SIGNATURE)))[:-SIGNATURE_BYTES])

    def encode_state(
        self,
        origin: str,
        zone: str,
        incarnation: Incarnation,
        version: int,
        header: Header,
        instances: Iterable[Instance],
        extras: dict[InstanceKey, tuple[object, ...]],
        bytes_max: int,
        signed: Sealed | None = None,
    ) -> list[bytes]:
        """A whole state `(0, version]` as frames of at most `bytes_max`, cut by size, each signed if wanted. O(size)."""
        groups: list[list[bytes]] = [[]]
        if signed is not None:
            bytes_max -= SIGNATURE_BYTES + len(SIGNATURE_HEAD)
        room = whole = bytes_max - DELTA_HEAD.size - 2 * ID_BYTES_MAX - len(_pack(header_fields(header)))
        for instance in instances:
            packed = _pack(instance_fields(instance, extras.get(instance.key, ())))
            if len(packed) > room or len(groups[-1]) >= ARRAY_MAX:
                groups.append([])
                room = whole
            groups[-1].append(packed)
            room -= len(packed)
        head = DELTA_HEAD.pack(WIRE_VERSION, _DELTA, self.cluster_hash, self.hash(origin), *incarnation, version)
        frames = [
            head
            + (b"\x98" if signed is None else b"\x99")  # an array of the eight fields of `encode_delta`, or nine
            + _pack(origin)
            + _pack(zone)
            + _pack(0)
            + _pack(part)
            + _pack(len(groups))
            + _pack(header_fields(header))
            + _array(packed)
            + b"\x90"
            for part, packed in enumerate(groups)
        ]
        return frames if signed is None else [signed(frame + SIGNATURE_HEAD) for frame in frames]

    def encode_history(self, sender: str, events: Sequence[Event], bytes_max: int) -> list[bytes]:
        """What a peer remembers, as frames of at most `bytes_max`; an event that fits into none is left out. O(size)."""
        groups: list[list[bytes]] = [[]]
        room = whole = bytes_max - PREFIX.size - 2 * ID_BYTES_MAX
        for event in events:
            packed = _pack(event_fields(event))
            if len(packed) > whole:
                continue
            if len(packed) > room or len(groups[-1]) >= EVENTS_MAX:
                groups.append([])
                room = whole
            groups[-1].append(packed)
            room -= len(packed)
        head = PREFIX.pack(WIRE_VERSION, _HISTORY, self.cluster_hash) + b"\x93" + _pack(sender)  # an array of three fields
        return [head + _array(group) + _pack(group is not groups[-1]) for group in groups]

    def envelope(self, ring: int, limit: int, sender: IdHash) -> bytes:
        """The fixed fields that stand before a delegated frame."""
        return ENVELOPE.pack(WIRE_VERSION, _DELEGATED, self.cluster_hash, ring, limit, sender)

    # messages of bytes ---------------------------------------------------------------------------------------------

    def kind(self, frame: bytes) -> int:
        """The kind byte, after version and cluster were checked. Raises `WireError`."""
        if len(frame) < PREFIX.size or len(frame) > self.part_bytes_max:
            raise WireError(f"a frame of {len(frame)} bytes")
        version, kind, cluster = PREFIX.unpack_from(frame)
        if not WIRE_OLDEST <= version <= WIRE_NEWEST:
            raise WireError(f"wire version {version}")
        if cluster != self.cluster_hash:
            raise ForeignCluster("another cluster")
        return int(kind)

    def decode(self, frame: bytes) -> Message:
        """Any message but a delegated envelope. Raises `WireError` and nothing else."""
        kind = self.kind(frame)
        decoder = _DECODERS.get(kind)
        if decoder is None:
            raise UnknownKind(f"kind {frame[1]}")
        if len(frame) > self.frame_bytes_max and kind != _DELTA:  # only a state may be larger, in parts
            raise WireError(f"a frame of {len(frame)} bytes")
        try:
            return decoder(self, frame)
        except WireError:
            raise
        except Exception as error:  # msgpack alone raises seven kinds of them; a stranger's bytes must never be ours
            raise WireError(f"malformed: {type(error).__name__}") from None

    def delta_head(self, frame: bytes) -> DeltaHead | None:
        """The fixed fields of a delta frame, None if it is no delta. Raises `WireError`; O(1)."""
        if self.kind(frame) != _DELTA:
            return None
        if len(frame) < DELTA_HEAD.size:
            raise WireError("a short delta")
        _, _, _, origin, start, nonce, version = DELTA_HEAD.unpack_from(frame)
        return DeltaHead(origin, (start, nonce), version)

    def decode_delta(self, frame: bytes) -> Delta:
        """A delta of which `delta_head` was read, so that its kind need not be looked at again. Raises `WireError`."""
        try:
            return _decode_delta(self, frame)
        except WireError:
            raise
        except Exception as error:  # as in `decode`
            raise WireError(f"malformed: {type(error).__name__}") from None

    def open_envelope(self, frame: bytes, offset: int) -> Delegated | None:
        """The envelope of a delegated frame that starts at `offset`; None if it is none. Raises `WireError`; O(1)."""
        if len(frame) < offset + ENVELOPE.size or frame[offset + 1] != _DELEGATED:
            return None
        version, _, cluster, ring, limit, sender = ENVELOPE.unpack_from(frame, offset)
        if not WIRE_OLDEST <= version <= WIRE_NEWEST or cluster != self.cluster_hash:
            raise WireError("an envelope of another version or cluster")
        return Delegated(ring, limit, IdHash(sender), frame[offset + ENVELOPE.size :])


# kinds ----------------------------------------------------------------------------------------------------------------

ID_BYTES_MAX = 128
_DELTA, _DELEGATED, _HEARTBEAT, _ACCUSATION = b"dDha"
_PING, _PONG, _SYNC, _ENTRIES, _WANT, _DONE, _FOREIGN = b"pPsewxf"
_DIAL_BACK, _REACHED, _BELIEF, _RECALL, _HISTORY, _REVOKED = b"bBmrRv"
_LINKED, _SYNCED = 1, 2
_is_id, _is_zone = ID_PATTERN.match, ZONE_PATTERN.match


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _array(packed: list[bytes]) -> bytes:
    count = len(packed)
    head = bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(packed)


def _encode_heartbeat(m: Heartbeat) -> tuple[int, tuple[Any, ...]]:
    flags = (_LINKED if m.linked else 0) | (_SYNCED if m.synced else 0)
    return _HEARTBEAT, (m.sender, *m.incarnation, m.version, m.pulse, m.digest, flags)


def _encode_accusation(m: Accusation) -> tuple[int, tuple[Any, ...]]:
    charges = [(c.subject, *c.incarnation, c.pulse, int(c.evidence)) for c in m.charges]
    return _ACCUSATION, (m.accuser, *m.incarnation, m.counter, charges)


_ENCODERS: dict[type, Callable[[Any], tuple[int, tuple[Any, ...]]]] = {
    Heartbeat: _encode_heartbeat,
    Accusation: _encode_accusation,
    Ping: lambda m: (_PING, (m.asker, *m.incarnation, m.pulse)),
    Pong: lambda m: (_PONG, (m.id, *m.incarnation, m.pulse, m.version, m.held_alive)),
    Sync: lambda m: (_SYNC, (m.asker, *m.incarnation, m.version, m.pulse, m.synced, m.sums, m.revoked)),
    Entries: lambda m: (_ENTRIES, (m.sender, m.synced, m.buckets, entry_fields(m.entries), m.more, m.revoked)),
    Want: lambda m: (_WANT, (entry_fields(m.entries),)),
    Done: lambda m: (_DONE, (m.sender,)),
    Foreign: lambda m: (_FOREIGN, ()),
    DialBack: lambda m: (_DIAL_BACK, (m.asker,)),
    Reached: lambda m: (_REACHED, (m.sender, m.contact, m.publisher, m.contact_tried, m.publisher_tried)),
    Revoked: lambda m: (_REVOKED, (m.revocations,)),
    Belief: lambda m: (_BELIEF, (m.subject, str(m.kind), prose(m.reason, REASON_BYTES_MAX))),
    Recall: lambda m: (_RECALL, (prose(m.name, NAME_BYTES_MAX),)),
    History: lambda m: (_HISTORY, (m.sender, [event_fields(event) for event in m.events], m.more)),
}


def _refuse_ext(code: int, data: bytes) -> NoReturn:
    raise WireError(f"an extension type {code} of {len(data)} bytes")


_unpackb = partial(
    msgpack.unpackb,
    raw=False,
    use_list=False,
    strict_map_key=True,
    max_array_len=ARRAY_MAX,
    max_map_len=LABELS_MAX,
    max_str_len=1024,
    max_bin_len=65536,
    max_ext_len=0,
    ext_hook=_refuse_ext,
)


def _unpack(frame: bytes, offset: int) -> Any:
    return _unpackb(memoryview(frame)[offset:])


def _decode_delta(codec: Codec, frame: bytes) -> Delta:
    _, _, _, origin_hash, start, nonce, version = DELTA_HEAD.unpack_from(frame)
    f = as_fields(_unpackb(memoryview(frame)[DELTA_HEAD.size :]), 8)
    origin, zone, since, part, parts, header, puts, removed = f[:8]
    # Every change of every origin comes through here: what is to be checked is asked in one go (`benchmarks visibility`).
    texts = type(origin) is str and type(zone) is str and _is_id(origin) and _is_zone(zone)
    if not texts or id_hash(codec.cluster, origin) != origin_hash:
        raise WireError("an origin that is not the one of its header, or a text out of its alphabet")
    plain = type(since) is int and type(part) is int and type(parts) is int and type(puts) is tuple and type(removed) is tuple
    if not (plain and 0 <= since < version <= NUMBER_MAX and 0 <= part < parts <= PARTS_MAX and start <= NUMBER_MAX):
        raise WireError("a delta with a field out of its range")
    if since == 0 and header is None:
        raise WireError("a state without a header")
    if since > 0 and parts > 1:
        raise WireError("a delta in parts")
    return Delta(
        origin,
        zone,
        (start, nonce),
        since,
        version,
        None if header is None else as_header(header),
        tuple([as_instance(put, zone, origin) for put in puts]),
        tuple(map(as_key, removed)),
        part,
        parts,
        dict(extras_of(puts)) if max(map(len, puts), default=0) > 8 else {},
        len(f) > 8 and type(f[-1]) is bytes and len(f[-1]) == SIGNATURE_BYTES,
    )


def _decode_heartbeat(codec: Codec, frame: bytes) -> Heartbeat:
    _, _, _, sender, start, nonce, version, pulse, digest, flags = HEARTBEAT.unpack_from(frame)
    incarnation = as_incarnation(start, nonce)
    number = BEAT.unpack_from(frame, HEARTBEAT.size)[0] if len(frame) == HEARTBEAT.size + BEAT.size else 0
    linked, synced = bool(flags & _LINKED), bool(flags & _SYNCED)
    return Heartbeat(sender, incarnation, as_number(version), pulse, digest, linked, synced, number)


def _decode_accusation(codec: Codec, frame: bytes) -> Accusation:
    f = as_fields(_unpack(frame, PREFIX.size), 5)
    charges = tuple(map(as_charge, as_list(f[4], CHARGES_MAX)))
    return Accusation(as_text(f[0], ID_PATTERN), as_incarnation(f[1], f[2]), as_number(f[3]), charges)


def _decode_ping(codec: Codec, frame: bytes) -> Ping:
    f = as_fields(_unpack(frame, PREFIX.size), 4)
    return Ping(as_text(f[0], ID_PATTERN), as_incarnation(f[1], f[2]), as_number(f[3], PULSE_MAX))


def _decode_pong(codec: Codec, frame: bytes) -> Pong:
    f = as_fields(_unpack(frame, PREFIX.size), 6)
    incarnation = as_incarnation(f[1], f[2])
    return Pong(as_text(f[0], ID_PATTERN), incarnation, as_number(f[3], PULSE_MAX), as_number(f[4]), as_flag(f[5]))


def _decode_sync(codec: Codec, frame: bytes) -> Sync:
    f = as_fields(_unpack(frame, PREFIX.size), 7)
    incarnation = as_incarnation(f[1], f[2])
    pulse = as_number(f[4], PULSE_MAX)
    asker, revoked = as_text(f[0], ID_PATTERN), as_number(f[7], DIGEST_MAX) if len(f) > 7 else 0
    return Sync(asker, incarnation, as_number(f[3]), pulse, as_flag(f[5]), as_bytes(f[6], BUCKETS * 8), revoked)


def _decode_entries(codec: Codec, frame: bytes) -> Entries:
    f = as_fields(_unpack(frame, PREFIX.size), 5)
    sender, revoked = as_text(f[0], ID_PATTERN), as_number(f[5], DIGEST_MAX) if len(f) > 5 else 0
    return Entries(sender, as_flag(f[1]), as_bytes(f[2], BUCKETS // 8), as_entries(f[3]), as_flag(f[4]), revoked)


def _decode_want(codec: Codec, frame: bytes) -> Want:
    return Want(as_entries(as_fields(_unpack(frame, PREFIX.size), 1)[0]))


def _decode_done(codec: Codec, frame: bytes) -> Done:
    return Done(as_text(as_fields(_unpack(frame, PREFIX.size), 1)[0], ID_PATTERN))


def _decode_foreign(codec: Codec, frame: bytes) -> Foreign:
    return Foreign()


def _decode_dial_back(codec: Codec, frame: bytes) -> DialBack:
    return DialBack(as_text(as_fields(_unpack(frame, PREFIX.size), 1)[0], ID_PATTERN))


def _decode_reached(codec: Codec, frame: bytes) -> Reached:
    f = as_fields(_unpack(frame, PREFIX.size), 3)
    contact, publisher = (None if answer is None else as_flag(answer) for answer in f[1:3])
    return Reached(as_text(f[0], ID_PATTERN), contact, publisher, *map(as_flag, f[3:5]))  # older peers say no more than three


def _decode_revoked(codec: Codec, frame: bytes) -> Revoked:
    told = as_list(as_fields(_unpack(frame, PREFIX.size), 1)[0], REVOCATIONS_MAX)
    return Revoked(tuple([as_bytes(raw, REVOCATION_BYTES) for raw in told]))


def _decode_belief(codec: Codec, frame: bytes) -> Belief:
    f = as_fields(_unpack(frame, PREFIX.size), 3)
    return Belief(as_text(f[0], ID_PATTERN), as_member_kind(f[1]), as_prose(f[2], REASON_BYTES_MAX))


def _decode_recall(codec: Codec, frame: bytes) -> Recall:
    return Recall(as_prose(as_fields(_unpack(frame, PREFIX.size), 1)[0], NAME_BYTES_MAX))


def _decode_history(codec: Codec, frame: bytes) -> History:
    f = as_fields(_unpack(frame, PREFIX.size), 3)
    return History(as_text(f[0], ID_PATTERN), tuple(map(as_event, as_list(f[1], EVENTS_MAX))), as_flag(f[2]))


_DECODERS: dict[int, Callable[[Codec, bytes], Message]] = {
    _DELTA: _decode_delta,
    _HEARTBEAT: _decode_heartbeat,
    _ACCUSATION: _decode_accusation,
    _PING: _decode_ping,
    _PONG: _decode_pong,
    _SYNC: _decode_sync,
    _ENTRIES: _decode_entries,
    _WANT: _decode_want,
    _DONE: _decode_done,
    _FOREIGN: _decode_foreign,
    _DIAL_BACK: _decode_dial_back,
    _REACHED: _decode_reached,
    _BELIEF: _decode_belief,
    _RECALL: _decode_recall,
    _HISTORY: _decode_history,
    _REVOKED: _decode_revoked,
}
