"""Where a peer binds, what it advertises, whom it dials: a caller's texts as checked values.

    bind        "h:p" or "h:p,q"           contact (ROUTER) on p, publisher (XPUB) on q, or on p + 1
    advertise   "h", "h:p" or "h:p,q"      what others dial; a missing port is the bound one
    seeds       ["h:p", …]                 contacts of peers that may already run

libzmq accepts nonsense in silence (port 99999, unknown names), so everything is checked here, and names become IP
addresses before it hears of them.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ConfigError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host:port`, with the publisher's port if it was named. Port 0 is any free one."""

    host: str
    port: int
    publisher_port: int | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost may be anywhere."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def unspecified(self) -> bool:
        """Whether it is 0.0.0.0: bound everywhere, reached nowhere."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def is_name(self) -> bool:
        """Whether it must be resolved first."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


def parse_bind(text: str) -> Endpoint:
    """`"h:p"` or `"h:p,q"`. Raises `ConfigError`."""
    host, ports = _split("bind", text, "bind='127.0.0.1:7400'")
    if not ports:
        raise _fault("bind", text, "it names no port", "Say bind='127.0.0.1:7400', or port 0 for any free one")
    return Endpoint(host, ports[0], ports[1] if len(ports) > 1 else None)


def parse_advertise(text: str) -> Endpoint:
    """`"h"`, `"h:p"` or `"h:p,q"`; a missing port is 0. Raises `ConfigError`."""
    host, ports = _split("advertise", text, "advertise='10.0.0.5:7400'")
    found = Endpoint(host, ports[0] if ports else 0, ports[1] if len(ports) > 1 else None)
    if found.unspecified:
        raise _fault("advertise", text, "nobody can dial that address", "Name the address under which others reach this machine")
    return found


def parse_seeds(seeds: Iterable[str]) -> tuple[Endpoint, ...]:
    """Each `"host:port"`. Raises `ConfigError`."""
    if isinstance(seeds, (str, bytes)):
        raise ConfigError(
            f"seeds={seeds!r} is one text, and its characters would be taken for seeds. Pass a list: seeds=[{seeds!r}]"
        )
    return tuple(dict.fromkeys(_parse_seed(seed) for seed in seeds))


def _parse_seed(seed: str) -> Endpoint:
    if isinstance(seed, str) and seed.partition(":")[0] in ("dns", "file"):
        raise _fault("seeds", seed, "this form is not built yet", "Pass 'host:port' seeds for now")
    host, ports = _split("seeds", seed, "seeds=['10.0.0.5:7400']")
    if len(ports) != 1 or not ports[0]:
        raise _fault("seeds", seed, "a seed is host:port, the contact of a peer", "Say seeds=['10.0.0.5:7400']")
    found = Endpoint(host, ports[0])
    if found.unspecified:
        raise _fault("seeds", seed, "nobody can be reached at that address", "Name the address of the machine that peer runs on")
    return found


def _split(what: str, text: str, example: str) -> tuple[str, list[int]]:
    if not isinstance(text, str):
        raise _fault(what, text, "it is not a text", f"Say {example}")
    if text.startswith("[") or text.count(":") > 1:
        raise _fault(what, text, "IPv6 is not built yet", f"Pass an IPv4 address: {example}")
    host, colon, rest = text.strip().partition(":")
    if not host or len(host) > 253 or any(not (c.isalnum() or c in ".-_") for c in host):
        raise _fault(what, text, "the host is no address or name", f"Say {example}")
    try:
        ports = [int(port) for port in rest.split(",")] if colon else []
    except ValueError:
        raise _fault(what, text, "a port is not a number", f"Say {example}") from None
    if len(ports) > 2 or not all(0 <= port <= 65535 for port in ports):
        raise _fault(what, text, "a port is not between 0 and 65535", f"Say {example}")
    return (LOOPBACK if host == "localhost" else host), ports


def _fault(what: str, given: object, why: str, advice: str) -> ConfigError:
    return ConfigError(f"{what}: cannot use {given!r}: {why}. {advice}. Nothing was started.")


def resolve(host: str) -> str:
    """The first IPv4 address of a name. Blocks; raises `OSError`."""
    found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    return str(found[0][4][0])
