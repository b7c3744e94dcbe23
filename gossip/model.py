"""The values a user meets: `Instance`, `Member`, `Event`, `Route`, `Status`. All frozen, hashable and picklable.

Also the one place that says what a valid name, weight, label set or route is. Callers' mistakes are turned into
`RegistrationError` by `checked_instance`; the codec applies the same patterns to what strangers send.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NoReturn

from .errors import RegistrationError
from .values import dataclass, field, fields

SERVICE_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
ID_PATTERN = re.compile(r"[A-Za-z0-9._:\[\]%/@-]{1,128}\Z")
HOST_PATTERN = re.compile(r"[A-Za-z0-9._:%-]{1,255}\Z")
ZONE_PATTERN = re.compile(r"[A-Za-z0-9._:/-]{0,64}\Z")
ROUTE_PATTERN = re.compile(r"/[^\s?#\x00-\x1f\x7f]{0,511}\Z")
WEIGHT_MAX = 100
LABELS_MAX = 64
LABELS_BYTES_MAX = 1024
ROUTES_MAX = 16
ROUTE_SEGMENTS_MAX = 32
ROUTE_BYTES_MAX = 512
SHOWN_MAX = 64  # characters of a wrong name that an error repeats


class _Word(str, Enum):
    """An enum whose members are, and print as, their own text."""

    def __str__(self) -> str:
        return str(self.value)


class InstanceState(_Word):
    """What may be done with an instance. `UP` and `STALE` ones are picked, routed to, and placed on rings.

    `DRAINING`: still there, no longer chosen. `CRITICAL`: fails its health check. `STALE`: remembered, not yet confirmed.
    """

    UP = "UP"
    DRAINING = "DRAINING"
    CRITICAL = "CRITICAL"
    STALE = "STALE"


class MemberState(_Word):
    """What this peer believes about another. A suspected member still serves; a dead or left one is hidden."""

    ALIVE = "ALIVE"
    SUSPECTED = "SUSPECTED"
    DEAD = "DEAD"
    LEFT = "LEFT"


class PeerState(_Word):
    """`joining` until synced, then `ready`; `closed` in the end. `isolated` while it hears nobody it should hear: most fell
    silent at once, or it has seeds and is alone, be it that none answers or that the last other left."""

    JOINING = "joining"
    READY = "ready"
    ISOLATED = "isolated"
    CLOSED = "closed"


class EventKind(_Word):
    """What an `Event` tells."""

    ADDED = "ADDED"
    CHANGED = "CHANGED"
    REMOVED = "REMOVED"
    RESYNC = "RESYNC"
    MEMBER_JOINED = "MEMBER_JOINED"
    MEMBER_SUSPECTED = "MEMBER_SUSPECTED"
    MEMBER_REFUTED = "MEMBER_REFUTED"
    MEMBER_DEAD = "MEMBER_DEAD"
    MEMBER_LEFT = "MEMBER_LEFT"
    NOTICE = "NOTICE"


class Labels(dict[str, str]):
    """A read-only `dict[str, str]`: hashable, picklable, equal to a plain dict of the same items."""

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("labels are read-only: pass new ones to Registration.update(labels=...)")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[Labels], tuple[dict[str, str]]]:
        return Labels, (dict(self),)


NO_LABELS = Labels()


def join_address(host: str, port: int) -> str:
    """`host:port`, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Instance:
    """One registered copy of a service. `(service, id)` names it in the whole cluster."""

    service: str
    id: str
    host: str
    port: int
    weight: int = 1
    labels: Labels = field(default_factory=lambda: NO_LABELS)  # Python 3.10 takes no dict as a default
    routes: tuple[str, ...] = ()
    zone: str = ""
    origin: str = ""
    state: InstanceState = InstanceState.UP

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return join_address(self.host, self.port)

    @property
    def key(self) -> tuple[str, str]:
        """`(service, id)`."""
        return self.service, self.id


@dataclass(frozen=True, slots=True)
class Member:
    """What this peer believes about one peer of the cluster (itself included)."""

    id: str
    name: str
    address: str
    zone: str
    state: MemberState
    incarnation: tuple[int, int]
    version: int
    instances: int


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened; `str(event)` reads well. `seq` orders the events of one peer.

    `at` is wall time in seconds, for display only.

    `before` and `after` are `Instance`s for ADDED, CHANGED, REMOVED, `Member`s for MEMBER_*, None elsewhere.
    """

    seq: int
    at: float
    kind: EventKind
    service: str | None
    before: Instance | Member | None
    after: Instance | Member | None
    reason: str

    def __str__(self) -> str:
        known = self.after or self.before
        about = f" {known.service}/{known.id}" if isinstance(known, Instance) else ""
        return f"{self.kind}{about}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Route:
    """A route prefix (normalised: `/a/b`, or `/`) and the instances that serve it, sorted by service and id."""

    prefix: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """How one peer is doing. `agreement` is the share of its neighbours whose digest equals its own (1.0 = all)."""

    id: str
    address: str
    cluster: str
    state: PeerState
    synced: bool
    agreement: float
    isolated: bool
    members: int
    suspects: int
    instances: int
    links: int
    loop_lag_s: float
    uptime_s: float
    protocol: int
    counters: Mapping[str, int] = field(hash=False)

    def as_dict(self) -> dict[str, Any]:
        """Plain values only, ready for `json.dumps`. O(counters)."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return plain | {"state": str(self.state), "counters": dict(self.counters)}


def normal_route(path: str) -> str:
    """A route or request path as `/a/b`: the query cut, empty segments dropped, nothing decoded. O(length)."""
    cut = path.partition("?")[0].partition("#")[0]
    return "/" + "/".join(segment for segment in cut.split("/") if segment)


def _fault(service: object, what: str, advice: str) -> RegistrationError:
    return RegistrationError(f"cannot register {_shown(service)!r}: {what}. {advice}. Nothing was changed.")


def _shown(text: object) -> object:
    return text[:SHOWN_MAX] + "…" if isinstance(text, str) and len(text) > SHOWN_MAX else text


def _reachable(host: str) -> bool:
    """Whether somebody could call it: no 0.0.0.0, and colons only in an IPv6 address."""
    try:
        return not ipaddress.ip_address(host.partition("%")[0]).is_unspecified
    except ValueError:
        return ":" not in host and "%" not in host


def checked_labels(service: str, labels: Mapping[str, str] | None) -> Labels:
    """The caller's labels as `Labels`, sorted by key. Raises `RegistrationError`."""
    if not labels:
        return NO_LABELS
    if not isinstance(labels, Mapping) or any(type(text) is not str for item in labels.items() for text in item):
        raise _fault(service, f"labels must map str to str, not {labels!r}", "Turn other values into strings first")
    if len(labels) > LABELS_MAX:
        raise _fault(service, f"{len(labels)} labels are more than {LABELS_MAX}", "Keep what callers filter by")
    size = sum(len(key.encode(errors="replace")) + len(value.encode(errors="replace")) for key, value in labels.items())
    if size > LABELS_BYTES_MAX:
        raise _fault(
            service, f"the labels weigh {size} bytes, more than {LABELS_BYTES_MAX}", "Labels go to every peer: shorten them"
        )
    if not all(encodable(text) for item in labels.items() for text in item):
        raise _fault(service, "a label holds a lone surrogate, which UTF-8 cannot carry", "Pass clean text")
    return Labels(sorted(labels.items()))


def encodable(text: str) -> bool:
    """Whether UTF-8 can carry the text (lone surrogates cannot)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_routes(service: str, routes: Iterable[str]) -> tuple[str, ...]:
    """The caller's routes, normalised, without repeats. Raises `RegistrationError`."""
    if isinstance(routes, (str, bytes)):
        raise _fault(service, f"routes is the single text {routes!r}", f"Pass a sequence: routes=[{routes!r}]")
    if not isinstance(routes, Iterable):
        raise _fault(service, f"routes is {routes!r}, no sequence", "Pass routes=['/orders'], or leave it out")
    found: dict[str, None] = {}
    for route in routes:
        fits = type(route) is str and encodable(route) and len(route.encode()) <= ROUTE_BYTES_MAX
        if not fits or not ROUTE_PATTERN.match(route):
            raise _fault(
                service,
                f"the route {_shown(route)!r} is not a path",
                f"A route is '/' or '/a/b', up to {ROUTE_BYTES_MAX} bytes, no query, no spaces",
            )
        normal = normal_route(route)
        if normal.count("/") > ROUTE_SEGMENTS_MAX:
            raise _fault(service, f"the route {route!r} has more than {ROUTE_SEGMENTS_MAX} segments", "Register a shorter prefix")
        found[normal] = None
    if len(found) > ROUTES_MAX:
        raise _fault(service, f"{len(found)} routes are more than {ROUTES_MAX}", "Register a common prefix instead")
    return tuple(found)


def checked_weight(service: str, weight: int) -> int:
    """The caller's weight. Raises `RegistrationError`."""
    if type(weight) is not int or not 1 <= weight <= WEIGHT_MAX:
        raise _fault(
            service,
            f"weight {weight!r} is not an int from 1 to {WEIGHT_MAX}",
            "Weights are relative; drain() takes an instance out of rotation",
        )
    return weight


def checked_instance(
    service: str,
    *,
    host: str,
    port: int,
    id: str | None,
    weight: int,
    labels: Mapping[str, str] | None,
    routes: Iterable[str],
    zone: str,
    origin: str,
) -> Instance:
    """A caller's registration as an `Instance`. Raises `RegistrationError`; O(size of the arguments)."""
    if type(service) is not str or not SERVICE_PATTERN.match(service):
        raise _fault(service, "the service name is not 1 to 128 of A-Z a-z 0-9 . _ -", "Rename the service")
    host = host[1:-1] if isinstance(host, str) and host.startswith("[") and host.endswith("]") else host
    if type(host) is not str or not HOST_PATTERN.match(host) or not _reachable(host):
        what = f"host {_shown(host)!r} is no host name or address to call"
        raise _fault(service, what, "Pass host='10.0.0.5' or leave it out")
    if type(port) is not int or not 1 <= port <= 65535:
        raise _fault(service, f"port {port!r} is not an int from 1 to 65535", "Pass the port the service listens on")
    if id is None:
        id = join_address(host, port)
    if type(id) is not str or not ID_PATTERN.match(id):
        raise _fault(
            service,
            f"the instance id {_shown(id)!r} is not 1 to 128 of A-Z a-z 0-9 . _ - : [ ] % / @",
            "Pass another id= or leave it out",
        )
    return Instance(
        service,
        id,
        host,
        port,
        checked_weight(service, weight),
        checked_labels(service, labels),
        checked_routes(service, routes),
        zone,
        origin,
    )
