"""Records as plain tuples and back, field by field: exact types, ranges and patterns, for `codec.py`.

Invariant: `as_...` returns a checked value or raises `WireError` (an enum's or a table's own error counts as one, too:
`Codec.decode` turns whatever a stranger's bytes raise into it). `as_fields` hands out at least `count` fields; more are
those of a later version and stand at the end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from ..errors import WireError
from ..model import (
    HOST_PATTERN,
    ID_PATTERN,
    LABELS_BYTES_MAX,
    NO_LABELS,
    ROUTE_PATTERN,
    ROUTE_SEGMENTS_MAX,
    ROUTES_MAX,
    SERVICE_PATTERN,
    WEIGHT_MAX,
    ZONE_PATTERN,
    Event,
    EventKind,
    Instance,
    InstanceState,
    Labels,
    Member,
    MemberState,
)
from .certificates import CERTIFICATE_BYTES_MAX
from .messages import Charge, Entry, Evidence, Header, HeaderFlags, Incarnation, InstanceKey

NUMBER_MAX = (1 << 63) - 1
NONCE_MAX = DIGEST_MAX = (1 << 64) - 1
PULSE_MAX = (1 << 32) - 1
ENTRIES_MAX = 256
INTERVAL_MS_MAX = 3_600_000
EXTRA_FIELDS_MAX = 16
KEY_BYTES = 32  # of the public key of an origin that signs
REASON_BYTES_MAX = 512  # as UTF-8


# to tuples ------------------------------------------------------------------------------------------------------------


def header_fields(header: Header) -> tuple[object, ...]:
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
        *((header.key,) if header.key else ()),
        *((header.certificate,) if header.certificate else ()),
        *header.extra,
    )


_STATE_CODES = {InstanceState.UP: 0, InstanceState.DRAINING: 1, InstanceState.CRITICAL: 2, InstanceState.STALE: 3}
_STATES = {code: state for state, code in _STATE_CODES.items()}
_MEMBER_STATE_CODES = {MemberState.ALIVE: 0, MemberState.SUSPECTED: 1, MemberState.DEAD: 2, MemberState.LEFT: 3}
_is_id, _is_host = ID_PATTERN.match, HOST_PATTERN.match
_MEMBER_STATES = {code: state for state, code in _MEMBER_STATE_CODES.items()}
_KINDS = {str(kind): kind for kind in EventKind}
_MEMBER_KINDS = {name: kind for name, kind in _KINDS.items() if name.startswith("MEMBER_")}


def instance_fields(instance: Instance, extra: tuple[object, ...]) -> tuple[object, ...]:
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


def entry_fields(entries: Iterable[Entry]) -> list[tuple[object, ...]]:
    return [(e.origin, *e.incarnation, e.version, e.pulse) for e in entries]


def _known_fields(known: Instance | Member | None) -> tuple[object, ...] | None:
    """What an event is about: an instance has three fields, a member nine."""
    if known is None:
        return None
    if isinstance(known, Instance):
        return known.origin, known.zone, instance_fields(known, ())
    return (
        known.id,
        known.name,
        known.address,
        known.zone,
        _MEMBER_STATE_CODES[known.state],
        *known.incarnation,
        known.version,
        known.instances,
    )


def prose(text: str, bytes_max: int) -> str:
    """A text for people, cut between two characters to so many bytes of UTF-8, which is what limits count."""
    if len(text) <= bytes_max and text.isascii():
        return text
    return text.encode("utf-8", "replace")[:bytes_max].decode("utf-8", "ignore")


def event_fields(event: Event) -> tuple[object, ...]:
    return (
        event.seq,
        event.at,
        str(event.kind),
        event.service,
        _known_fields(event.before),
        _known_fields(event.after),
        prose(event.reason, REASON_BYTES_MAX),
    )


# from tuples ----------------------------------------------------------------------------------------------------------


def as_fields(value: Any, count: int) -> tuple[Any, ...]:
    if type(value) is not tuple or not count <= len(value) <= count + EXTRA_FIELDS_MAX:
        raise WireError(f"not {count} fields")
    return value


def as_number(value: Any, most: int = NUMBER_MAX, least: int = 0) -> int:
    if type(value) is not int or not least <= value <= most:
        raise WireError("a number out of range")
    return value


def as_flag(value: Any) -> bool:
    if type(value) is not bool:
        raise WireError("not a boolean")
    return value


def as_text(value: Any, pattern: Any) -> str:
    if type(value) is not str or not pattern.match(value):
        raise WireError("a text out of its alphabet")
    return value


def as_list(value: Any, most: int) -> tuple[Any, ...]:
    if type(value) is not tuple or len(value) > most:
        raise WireError("not a list, or too long")
    return value


def as_bytes(value: Any, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise WireError(f"not {size} bytes")
    return value


def as_incarnation(start: Any, nonce: Any) -> Incarnation:
    return as_number(start), as_number(nonce, NONCE_MAX)


@lru_cache(maxsize=4096)
def _as_service(name: Any) -> str:
    """One object for each name, however many records bear it; names recur, so the cache is also quicker than the pattern."""
    return as_text(name, SERVICE_PATTERN)


@lru_cache(maxsize=16384)
def _as_address(host: Any) -> str:
    found = ipaddress.ip_address(as_text(host, HOST_PATTERN))
    if isinstance(found, ipaddress.IPv6Address) and (found.scope_id is not None or found.ipv4_mapped is not None):
        raise WireError("an address of one machine only, or a second spelling of an IPv4 one")
    return str(found)


def as_header(value: Any) -> Header:
    f = as_fields(value, 9)
    return Header(
        as_text(f[0], ID_PATTERN),
        _as_address(f[1]),
        as_number(f[2], 65535, 1),
        as_number(f[3], 65535, 1),
        as_number(f[4], PULSE_MAX),
        HeaderFlags(as_number(f[5], 0xFF)),
        as_number(f[6], INTERVAL_MS_MAX, 1),
        as_number(f[7]),
        as_number(f[8], NONCE_MAX),
        *_as_credentials(f),
    )


def _as_credentials(f: tuple[Any, ...]) -> tuple[bytes, bytes, tuple[object, ...]]:
    """The key with which it signs, the certificate of that key, and what later versions append."""
    if not _is_key(f):
        return b"", b"", _as_flat(f[9:])
    if len(f) > 10 and type(f[10]) is bytes and 0 < len(f[10]) <= CERTIFICATE_BYTES_MAX:
        return f[9], f[10], _as_flat(f[11:])
    return f[9], b"", _as_flat(f[10:])


def _is_key(f: tuple[Any, ...]) -> bool:
    return len(f) > 9 and type(f[9]) is bytes and len(f[9]) == KEY_BYTES


def _as_flat(extra: tuple[Any, ...]) -> tuple[object, ...]:
    for value in extra:
        if type(value) not in (int, str, bytes, bool, float, type(None)):
            raise WireError("a nested trailing field")
    return extra


def _as_labels(value: Any) -> Labels:
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


def _as_routes(value: Any) -> tuple[str, ...]:
    routes = as_list(value, ROUTES_MAX)
    for route in routes:
        segments = as_text(route, ROUTE_PATTERN).count("/")
        if segments > ROUTE_SEGMENTS_MAX or "//" in route or (len(route) > 1 and route[-1] == "/"):
            raise WireError("a route that is not normal")
    return routes


def as_instance(value: Any, zone: str, origin: str) -> Instance:
    if type(value) is not tuple or not 8 <= len(value) <= 8 + EXTRA_FIELDS_MAX:
        raise WireError("not 8 fields")
    service, id, host, port, weight, labels, routes, state = value[:8]
    # Joining reads a hundred thousand of these: what is to be checked of each is asked in one go (`benchmarks join`).
    plain = type(id) is str and type(host) is str and type(port) is int and type(weight) is int and type(state) is int
    if not (plain and _is_id(id) and _is_host(host) and 1 <= port <= 65535 and 1 <= weight <= WEIGHT_MAX and state in _STATES):
        raise WireError("an instance with a field out of its range")
    return Instance(
        _as_service(service),
        id,
        host,
        port,
        weight,
        NO_LABELS if labels == {} else _as_labels(labels),
        () if routes == () else _as_routes(routes),
        zone,
        origin,
        _STATES[state],
    )


def extras_of(puts: tuple[Any, ...]) -> Iterator[tuple[InstanceKey, tuple[object, ...]]]:
    for fields in puts:
        if len(fields) > 8:
            yield (fields[0], fields[1]), _as_flat(fields[8:])


def as_key(value: Any) -> InstanceKey:
    f = as_fields(value, 2)
    return _as_service(f[0]), as_text(f[1], ID_PATTERN)


def as_charge(value: Any) -> Charge:
    f = as_fields(value, 5)
    evidence = Evidence(as_number(f[4], max(Evidence), min(Evidence)))
    return Charge(as_text(f[0], ID_PATTERN), as_incarnation(f[1], f[2]), as_number(f[3], PULSE_MAX), evidence)


def as_entries(value: Any) -> tuple[Entry, ...]:
    return tuple(map(_as_entry, as_list(value, ENTRIES_MAX)))


def _as_entry(value: Any) -> Entry:
    f = as_fields(value, 5)
    return Entry(as_text(f[0], ID_PATTERN), as_incarnation(f[1], f[2]), as_number(f[3]), as_number(f[4], PULSE_MAX))


def as_prose(value: Any, most: int) -> str:
    """A text for people. Control characters would reach their terminals: they are shown as `?`."""
    if type(value) is not str or len(value) > most:
        raise WireError("not a text, or too long")
    return value if value.isprintable() else "".join(char if char.isprintable() else "?" for char in value)


def as_member_kind(value: Any) -> EventKind:
    if type(value) is not str:
        raise WireError("a kind that is no text")
    return _MEMBER_KINDS[value]


def _as_known(value: Any) -> Instance | Member | None:
    if value is None:
        return None
    if type(value) is tuple and len(value) == 3:
        return as_instance(value[2], as_text(value[1], ZONE_PATTERN), as_text(value[0], ID_PATTERN))
    f = as_fields(value, 9)
    return Member(
        as_text(f[0], ID_PATTERN),
        as_text(f[1], ID_PATTERN),
        as_text(f[2], ID_PATTERN),
        as_text(f[3], ZONE_PATTERN),
        _MEMBER_STATES[as_number(f[4], max(_MEMBER_STATES))],
        as_incarnation(f[5], f[6]),
        as_number(f[7]),
        as_number(f[8]),
    )


def as_event(value: Any) -> Event:
    f = as_fields(value, 7)
    if type(f[1]) is not float or not 0 <= f[1] < NUMBER_MAX or type(f[2]) is not str:
        raise WireError("an event without a time or kind")
    service = None if f[3] is None else as_text(f[3], SERVICE_PATTERN)
    return Event(as_number(f[0]), f[1], _KINDS[f[2]], service, _as_known(f[4]), _as_known(f[5]), as_prose(f[6], REASON_BYTES_MAX))


