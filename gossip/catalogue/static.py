"""`StaticPeer`: the read calls over instances given by hand, for users' unit tests. No socket, thread or clock runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..config import Balancing
from ..core.effects import Changed
from ..errors import ConfigError, RegistrationError
from ..model import ZONE_PATTERN, Instance, Labels, checked_instance, checked_labels, checked_routes
from ..values import replace
from .balance import Balance
from .catalogue import Catalogue
from .reads import Reads

Entry = str | Instance | Mapping[str, Any]

FIELDS = ("port", "host", "id", "weight", "labels", "routes", "zone")


class StaticPeer(Reads):
    """A peer that knows what it is told: `StaticPeer({"payments": ["127.0.0.1:9"]})`.

    Each entry is an address `host:port` (IPv6 in brackets), an `Instance` of that service, or a mapping of the fields
    of a registration, of which only `port` is required: {"port": 9, "weight": 2, "labels": {"version": "2"}}.
    Raises `ConfigError` or `RegistrationError` for anything else. Meets `Lookups`; a context manager that does nothing.
    Only one thread at a time may call `set`.
    """

    def __init__(self, services: Mapping[str, Iterable[Entry]] | None = None, zone: str = "") -> None:
        if services is not None and not isinstance(services, Mapping):
            raise ConfigError(f"StaticPeer takes a mapping of services, not {services!r}: {{'payments': ['127.0.0.1:9']}}")
        self._catalogue = Catalogue()
        self._zone = _checked_zone(zone)
        self._balance = Balance(Balancing())
        for service, entries in (services or {}).items():
            self.set(service, entries)

    def set(self, service: str, instances: Iterable[Entry]) -> None:
        """Replace all instances of a service, in one step for readers; an empty list removes it. O(n log n).

        Raises `ConfigError` or `RegistrationError`; then nothing was changed.
        """
        new = _instances(service, instances)
        old = self._catalogue.views.get(service)
        gone = {instance.id: instance for instance in old.instances} if old else {}
        changes = [Changed(gone.pop(after.id, None), after, "set") for after in new]
        self._catalogue.apply(changes + [Changed(before, None, "set") for before in gone.values()])

    def report_failure(self, instance: Instance) -> None:
        """Skip the instance in picks and routes for a back-off of 1 s, longer if it is reported again. O(1).

        Nobody is pinged. Raises `ConfigError` for what is no Instance.
        """
        self._note_failure(instance, self._balance.clock())

    def __enter__(self) -> StaticPeer:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _instances(service: str, entries: Iterable[Entry]) -> list[Instance]:
    if not isinstance(service, str):
        raise ConfigError(f"the service {service!r} is not a str: pass its name")
    if isinstance(entries, (str, bytes, Mapping, Instance)) or not isinstance(entries, Iterable):
        raise ConfigError(f"the instances of {service!r} are {entries!r}: pass a list, such as ['127.0.0.1:9']")
    found: dict[str, Instance] = {}
    for entry in entries:
        instance = _instance(service, entry)
        if instance.id in found:
            raise RegistrationError(f"{service!r} has two instances {instance.id!r}: give one of them another id")
        found[instance.id] = instance
    return list(found.values())


def _instance(service: str, entry: Entry) -> Instance:
    if isinstance(entry, str):
        host, port = _split(service, entry)
        return _checked(service, {"host": host, "port": port})
    if isinstance(entry, Mapping):
        return _checked(service, entry)
    if not isinstance(entry, Instance):
        raise ConfigError(f"{entry!r} is no instance of {service!r}: pass 'host:port', an Instance, or a mapping with a port")
    if entry.service != service:
        raise ConfigError(f"instance {entry.id!r} is of service {entry.service!r}: list it there, not under {service!r}")
    if isinstance(entry.labels, Labels) and entry.routes == checked_routes(service, entry.routes):
        return entry
    labels, routes = checked_labels(service, entry.labels), checked_routes(service, entry.routes)
    return replace(entry, labels=labels, routes=routes)


def _checked(service: str, fields: Mapping[str, Any]) -> Instance:
    unknown = [name for name in fields if name not in FIELDS]
    if unknown or "port" not in fields:
        what = f"has unknown fields {unknown!r}" if unknown else "has no port"
        raise ConfigError(f"the instance {dict(fields)!r} of {service!r} {what}: the fields are {', '.join(FIELDS)}")
    return checked_instance(
        service,
        host=fields.get("host", "127.0.0.1"),
        port=fields["port"],
        id=fields.get("id"),
        weight=fields.get("weight", 1),
        labels=fields.get("labels"),
        routes=fields.get("routes", ()),
        zone=_checked_zone(fields.get("zone", "")),
        origin="static",
    )


def _split(service: str, address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed) or not (port.isascii() and port.isdigit() and len(port) <= 5):
        raise ConfigError(f"{address!r} is no address of an instance of {service!r}: write 'host:port', IPv6 as '[::1]:9'")
    return host, int(port)


def _checked_zone(zone: str) -> str:
    if not isinstance(zone, str) or not ZONE_PATTERN.match(zone):
        raise ConfigError(f"the zone {zone!r} is not up to 64 of A-Z a-z 0-9 . _ : / -: rename it")
    return zone
