"""Bytes to messages and back, and every limit on what a stranger may send.

Invariant: `decode` returns a message or raises `WireError`; whatever the bytes, nothing else happens. A frame is

    wire version (1)  kind (1)  cluster hash (8)  [fixed fields by kind]  msgpack of positional tuples

Deltas and delegated envelopes keep what the relay path needs in the fixed fields, so that a duplicate is dropped before
msgpack sees it and a frame is passed on as the same bytes. Unknown kinds are refused as `UnknownKind` (counted apart:
a newer peer), unknown trailing fields are ignored, and kept where a record is passed on.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NoReturn

import msgpack

from ..errors import WireError
from ..model import (
    HOST_PATTERN,
    ID_PATTERN,
    LABELS_BYTES_MAX,
    LABELS_MAX,
    NO_LABELS,
    ROUTE_PATTERN,
    ROUTE_SEGMENTS_MAX,
    ROUTES_MAX,
    SERVICE_PATTERN,
    WEIGHT_MAX,
    ZONE_PATTERN,
    Instance,
    InstanceState,
    Labels,
)
from .messages import (
    BUCKETS,
    Accusation,
    Charge,
    Delta,
    Done,
    Entries,
    Entry,
    Evidence,
    Foreign,
    Header,
    HeaderFlags,
    Heartbeat,
    IdHash,
    Incarnation,
    InstanceKey,
    Message,
    Ping,
    Pong,
    Sync,
    Want,
)

WIRE_VERSION = 1
WIRE_OLDEST = 1
WIRE_NEWEST = WIRE_VERSION + 1  # a peer one version ahead is understood, by the rules above
NUMBER_MAX = (1 << 63) - 1
NONCE_MAX = (1 << 64) - 1
PULSE_MAX = (1 << 32) - 1
ARRAY_MAX = 1024
CHARGES_MAX = 256
ENTRIES_MAX = 256
PARTS_MAX = 4096
INTERVAL_MS_MAX = 3_600_000
EXTRA_FIELDS_MAX = 16

PREFIX = struct.Struct("!BB8s")
DELTA_HEAD = struct.Struct("!BB8s8sQQQ")  # ..., origin hash, start, nonce, version
HEARTBEAT = struct.Struct("!BB8s8sQQQIQB")  # ..., sender hash, start, nonce, version, pulse, digest, flags
ENVELOPE = struct.Struct("!BB8sBQ8s")  # ..., ring, limit of the range, sender hash
TOPIC_SELF = b"@"
TOPIC_ALL = b"*"
TOPIC_BYTES = 9

_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address)


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


@lru_cache(maxsize=65536)
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

    def encode_delta(self, delta: Delta) -> bytes:
        """A delta as one frame; the caller keeps it within the limits."""
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
            None if delta.header is None else _header_fields(delta.header),
            [_instance_fields(instance, extras.get(instance.key, ())) for instance in delta.put],
            delta.removed,
        )
        return head + _pack(body)

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
    ) -> list[bytes]:
        """A whole state `(0, version]` as frames of at most `bytes_max`, cut by size. O(size)."""
        groups: list[list[bytes]] = [[]]
        room = whole = bytes_max - DELTA_HEAD.size - 2 * ID_BYTES_MAX - len(_pack(_header_fields(header)))
        for instance in instances:
            packed = _pack(_instance_fields(instance, extras.get(instance.key, ())))
            if len(packed) > room or len(groups[-1]) >= ARRAY_MAX:
                groups.append([])
                room = whole
            groups[-1].append(packed)
            room -= len(packed)
        head = DELTA_HEAD.pack(WIRE_VERSION, _DELTA, self.cluster_hash, self.hash(origin), *incarnation, version)
        return [
            head
            + b"\x98"  # an array of the eight fields of `encode_delta`
            + _pack(origin)
            + _pack(zone)
            + _pack(0)
            + _pack(part)
            + _pack(len(groups))
            + _pack(_header_fields(header))
            + _array(packed)
            + b"\x90"
            for part, packed in enumerate(groups)
        ]

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
_LINKED, _SYNCED = 1, 2


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _array(packed: list[bytes]) -> bytes:
    count = len(packed)
    head = bytes([0x90 | count]) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return head + b"".join(packed)


def _header_fields(header: Header) -> tuple[object, ...]:
    return (
        header.name,
        header.host,
        header.contact_port,
        header.publisher_port,
        header.pulse,
        int(header.flags),
        header.interval_ms,
        header.boot_ms,
        header.boot_nonce,
        *header.extra,
    )


_STATE_CODES = {InstanceState.UP: 0, InstanceState.DRAINING: 1, InstanceState.CRITICAL: 2, InstanceState.STALE: 3}
_STATES = {code: state for state, code in _STATE_CODES.items()}


def _instance_fields(instance: Instance, extra: tuple[object, ...]) -> tuple[object, ...]:
    return (
        instance.service,
        instance.id,
        instance.host,
        instance.port,
        instance.weight,
        dict(instance.labels),
        instance.routes,
        _STATE_CODES[instance.state],
        *extra,
    )


def _entry_fields(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    return [(e.origin, *e.incarnation, e.version, e.pulse) for e in entries]


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
    Sync: lambda m: (_SYNC, (m.asker, *m.incarnation, m.version, m.pulse, m.synced, m.sums)),
    Entries: lambda m: (_ENTRIES, (m.sender, m.synced, m.buckets, _entry_fields(m.entries), m.more)),
    Want: lambda m: (_WANT, (_entry_fields(m.entries),)),
    Done: lambda m: (_DONE, (m.sender,)),
    Foreign: lambda m: (_FOREIGN, ()),
}


# Decoding: exact types, ranges and patterns, field by field. `_fields` hands out at least `count` of them; more are
# those of a later version and stand at the end.


def _refuse_ext(code: int, data: bytes) -> NoReturn:
    raise WireError(f"an extension type {code} of {len(data)} bytes")


def _unpack(frame: bytes, offset: int) -> Any:
    return msgpack.unpackb(
        memoryview(frame)[offset:],
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


def _fields(value: Any, count: int) -> tuple[Any, ...]:
    if type(value) is not tuple or not count <= len(value) <= count + EXTRA_FIELDS_MAX:
        raise WireError(f"not {count} fields")
    return value


def _number(value: Any, most: int = NUMBER_MAX, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise WireError("a number out of range")
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError("not a boolean")
    return value


def _text(value: Any, pattern: Any) -> str:
    if type(value) is not str or not pattern.match(value):
        raise WireError("a text out of its alphabet")
    return value


def _list(value: Any, most: int) -> tuple[Any, ...]:
    if type(value) is not tuple or len(value) > most:
        raise WireError("not a list, or too long")
    return value


def _bytes(value: Any, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise WireError(f"not {size} bytes")
    return value


def _incarnation(start: Any, nonce: Any) -> Incarnation:
    return _number(start), _number(nonce, NONCE_MAX)


@lru_cache(maxsize=16384)
def _address(host: Any) -> str:
    return str(ipaddress.ip_address(_text(host, HOST_PATTERN)))


def _header(value: Any) -> Header:
    f = _fields(value, 9)
    return Header(
        _text(f[0], ID_PATTERN),
        _address(f[1]),
        _number(f[2], 65535, 1),
        _number(f[3], 65535, 1),
        _number(f[4], PULSE_MAX),
        HeaderFlags(_number(f[5], 0xFF)),
        _number(f[6], INTERVAL_MS_MAX, 1),
        _number(f[7]),
        _number(f[8], NONCE_MAX),
        _flat(f[9:]),
    )


def _flat(extra: tuple[Any, ...]) -> tuple[object, ...]:
    for value in extra:
        if type(value) not in (int, str, bytes, bool, float, type(None)):
            raise WireError("a nested trailing field")
    return extra


def _labels(value: Any) -> Labels:
    if type(value) is not dict:
        raise WireError("labels are not a map")
    if not value:
        return NO_LABELS
    size = 0
    for key, text in value.items():
        if type(key) is not str or type(text) is not str:
            raise WireError("a label is not text")
        size += len(key.encode()) + len(text.encode())
    if size > LABELS_BYTES_MAX:
        raise WireError("labels too large")
    return Labels(value)


def _routes(value: Any) -> tuple[str, ...]:
    routes = _list(value, ROUTES_MAX)
    for route in routes:
        if _text(route, ROUTE_PATTERN).count("/") > ROUTE_SEGMENTS_MAX or "//" in route or (len(route) > 1 and route[-1] == "/"):
            raise WireError("a route that is not normal")
    return routes


def _instance(value: Any, zone: str, origin: str) -> Instance:
    f = _fields(value, 8)
    return Instance(
        _text(f[0], SERVICE_PATTERN),
        _text(f[1], ID_PATTERN),
        _text(f[2], HOST_PATTERN),
        _number(f[3], 65535, 1),
        _number(f[4], WEIGHT_MAX, 1),
        _labels(f[5]),
        _routes(f[6]),
        zone,
        origin,
        _STATES[_number(f[7], max(_STATES))],
    )


def _extras(puts: tuple[Any, ...]) -> Iterator[tuple[InstanceKey, tuple[object, ...]]]:
    for fields in puts:
        if len(fields) > 8:
            yield (fields[0], fields[1]), _flat(fields[8:])


def _key(value: Any) -> InstanceKey:
    f = _fields(value, 2)
    return _text(f[0], SERVICE_PATTERN), _text(f[1], ID_PATTERN)


def _decode_delta(codec: Codec, frame: bytes) -> Delta:
    _, _, _, origin_hash, start, nonce, version = DELTA_HEAD.unpack_from(frame)
    f = _fields(_unpack(frame, DELTA_HEAD.size), 8)
    origin, zone = _text(f[0], ID_PATTERN), _text(f[1], ZONE_PATTERN)
    if codec.hash(origin) != origin_hash:
        raise WireError("an origin that is not the one of its header")
    version = _number(version, least=1)
    since = _number(f[2], version - 1)
    parts = _number(f[4], PARTS_MAX, 1)
    header = None if f[5] is None else _header(f[5])
    if since == 0 and header is None:
        raise WireError("a state without a header")
    if since > 0 and parts > 1:
        raise WireError("a delta in parts")
    puts = _list(f[6], ARRAY_MAX)
    return Delta(
        origin,
        zone,
        _incarnation(start, nonce),
        since,
        version,
        header,
        tuple([_instance(put, zone, origin) for put in puts]),
        tuple(map(_key, _list(f[7], ARRAY_MAX))),
        _number(f[3], parts - 1),
        parts,
        dict(_extras(puts)),
    )


def _decode_heartbeat(codec: Codec, frame: bytes) -> Heartbeat:
    _, _, _, sender, start, nonce, version, pulse, digest, flags = HEARTBEAT.unpack_from(frame)
    incarnation = _incarnation(start, nonce)
    return Heartbeat(sender, incarnation, _number(version), pulse, digest, bool(flags & _LINKED), bool(flags & _SYNCED))


def _charge(value: Any) -> Charge:
    f = _fields(value, 5)
    evidence = Evidence(_number(f[4], max(Evidence), min(Evidence)))
    return Charge(_text(f[0], ID_PATTERN), _incarnation(f[1], f[2]), _number(f[3], PULSE_MAX), evidence)


def _decode_accusation(codec: Codec, frame: bytes) -> Accusation:
    f = _fields(_unpack(frame, PREFIX.size), 5)
    charges = tuple(map(_charge, _list(f[4], CHARGES_MAX)))
    return Accusation(_text(f[0], ID_PATTERN), _incarnation(f[1], f[2]), _number(f[3]), charges)


def _decode_ping(codec: Codec, frame: bytes) -> Ping:
    f = _fields(_unpack(frame, PREFIX.size), 4)
    return Ping(_text(f[0], ID_PATTERN), _incarnation(f[1], f[2]), _number(f[3], PULSE_MAX))


def _decode_pong(codec: Codec, frame: bytes) -> Pong:
    f = _fields(_unpack(frame, PREFIX.size), 6)
    incarnation = _incarnation(f[1], f[2])
    return Pong(_text(f[0], ID_PATTERN), incarnation, _number(f[3], PULSE_MAX), _number(f[4]), _flag(f[5]))


def _decode_sync(codec: Codec, frame: bytes) -> Sync:
    f = _fields(_unpack(frame, PREFIX.size), 7)
    incarnation = _incarnation(f[1], f[2])
    pulse = _number(f[4], PULSE_MAX)
    return Sync(_text(f[0], ID_PATTERN), incarnation, _number(f[3]), pulse, _flag(f[5]), _bytes(f[6], BUCKETS * 8))


def _entries(value: Any) -> tuple[Entry, ...]:
    return tuple(map(_entry, _list(value, ENTRIES_MAX)))


def _entry(value: Any) -> Entry:
    f = _fields(value, 5)
    return Entry(_text(f[0], ID_PATTERN), _incarnation(f[1], f[2]), _number(f[3]), _number(f[4], PULSE_MAX))


def _decode_entries(codec: Codec, frame: bytes) -> Entries:
    f = _fields(_unpack(frame, PREFIX.size), 5)
    return Entries(_text(f[0], ID_PATTERN), _flag(f[1]), _bytes(f[2], BUCKETS // 8), _entries(f[3]), _flag(f[4]))


def _decode_want(codec: Codec, frame: bytes) -> Want:
    return Want(_entries(_fields(_unpack(frame, PREFIX.size), 1)[0]))


def _decode_done(codec: Codec, frame: bytes) -> Done:
    return Done(_text(_fields(_unpack(frame, PREFIX.size), 1)[0], ID_PATTERN))


def _decode_foreign(codec: Codec, frame: bytes) -> Foreign:
    return Foreign()


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
}
