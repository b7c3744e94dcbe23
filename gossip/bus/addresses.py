"""Where a peer binds and what it advertises: a caller's texts as checked values. (Whom it dials: `seeds`.)

    bind        "h:p" or "h:p,q"           contact (ROUTER) on p, publisher (XPUB) on q, or on p + 1
    advertise   "h", "h:p" or "h:p,q"      what others dial; a missing port is the bound one

`h` is a name, an IPv4 address, or an IPv6 address in brackets; the brackets may go where no port follows. libzmq accepts
nonsense in silence (port 99999, unknown names), so everything is checked here, names become IP addresses before it hears
of them, and each address has one spelling: libzmq takes two for two links.
"""

from __future__ import annotations

import ipaddress
import socket

from ..errors import ConfigError
from ..model import join_address
from ..values import dataclass
from . import native

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host:port`, with the publisher's port if it was named. Port 0 is any free one."""

    host: str
    port: int
    publisher_port: int | None = None

    @property
    def address(self) -> str:
        """`host:port`, an IPv6 host in brackets."""
        return join_address(self.host, self.port)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it. A name other than localhost may be anywhere."""
        return self.host == "localhost" or ((found := _ip(self.host)) is not None and found.is_loopback)

    @property
    def unspecified(self) -> bool:
        """Whether it is 0.0.0.0 or [::]: bound everywhere, reached nowhere."""
        return (found := _ip(self.host)) is not None and found.is_unspecified

    @property
    def is_name(self) -> bool:
        """Whether it must be resolved first."""
        return _ip(self.host) is None


def parse_bind(text: str) -> Endpoint:
    """`"h:p"` or `"h:p,q"`. Raises `ConfigError`."""
    host, ports = split("bind", text, "127.0.0.1:7400", local=LOOPBACK)
    if not ports:
        raise fault("bind", text, "it names no port", f"Say bind={join_address(host, 7400)!r}, or port 0 for any free one")
    return Endpoint(host, ports[0], ports[1] if len(ports) > 1 else None)


def parse_advertise(text: str) -> Endpoint:
    """`"h"`, `"h:p"` or `"h:p,q"`; a missing port is 0. Raises `ConfigError`."""
    host, ports = split("advertise", text, "10.0.0.5:7400", local=LOOPBACK)
    found = Endpoint(host, ports[0] if ports else 0, ports[1] if len(ports) > 1 else None)
    if found.unspecified:
        raise fault("advertise", text, "nobody can dial that address", "Name the address under which others reach this machine")
    return found


def split(what: str, text: str, example: str, *, local: str) -> tuple[str, list[int]]:
    """Host and ports, checked; an address in its one spelling, `localhost` as `local`. Raises `ConfigError`."""
    if not isinstance(text, str):
        raise fault(what, text, "it is not a text", f"Say {example!r}")
    host, ports = _cut(what, text.strip(), example)
    try:
        numbers = [_port(port) for port in ports.split(",")] if ports is not None else []
    except ValueError:
        raise fault(what, text, "a port is not a number", f"Say {example!r}") from None
    if len(numbers) > 2 or not all(0 <= port <= 65535 for port in numbers):
        raise fault(what, text, "a port is not between 0 and 65535, or there are more than two", f"Say {example!r}")
    return (local if host.lower() == "localhost" else host), numbers


def fault(what: str, given: object, why: str, advice: str) -> ConfigError:
    """The error of an address that cannot be used."""
    return ConfigError(f"{what}: cannot use {given!r}: {why}. {advice}. Nothing was started.")


def _cut(what: str, text: str, example: str) -> tuple[str, str | None]:
    """The host, checked, and what follows its colon, or None."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or rest[:1] not in ("", ":"):
            raise fault(what, text, "after the brackets may stand a colon and ports", "Say '[2001:db8::1]:7400'")
        return _ipv6(what, host, text), (rest[1:] if rest else None)
    if text.count(":") > 1:
        return _bare(what, text), None
    host, colon, rest = text.partition(":")
    if not host or len(host) > 253 or any(not (c.isalnum() or c in ".-_") for c in host):
        raise fault(what, text, "the host is no address or name", f"Say {example!r}")
    return host, (rest if colon else None)


def _bare(what: str, text: str) -> str:
    """An IPv6 address without brackets, unless its end could be meant as a port, as in `fd00::5:7400`."""
    before, _, end = text.rpartition(":")
    if _ip(text) is None or (end.isdigit() and _ip(before) is not None):
        raise fault(
            what,
            text,
            "it has several colons, and where an IPv6 address ends and a port begins is not to be seen",
            "Write the address in brackets: '[2001:db8::1]:7400', or '[2001:db8::1]' where no port is needed",
        )
    return _ipv6(what, text, text)


def _ipv6(what: str, host: str, text: str) -> str:
    found = _ip(host)
    if found is None or ":" not in host:
        raise fault(what, text, f"{host!r} is no IPv6 address", "In brackets stands an IPv6 address, as in '[2001:db8::1]:7400'")
    if isinstance(found, ipaddress.IPv6Address) and (found.scope_id is not None or found.is_link_local):
        raise fault(
            what,
            text,
            "a link-local address means another machine at each peer, and its zone (%eth0) another interface",
            "Pass a global or unique local address (fd00::/8) of that machine, or its name",
        )
    return str(found)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address a text spells; None for a name. `::ffff:10.0.0.5` is 10.0.0.5, to the kernel too."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, ipaddress.IPv6Address) else found


def _port(text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise ValueError(text)
    return int(text)


def resolve(host: str, *, off_greenlets: bool = False) -> str:
    """One address of a name: the first IPv4 one, else the first IPv6 one. Blocks; raises `OSError`."""
    return resolve_all(host, off_greenlets=off_greenlets)[0]


def resolve_all(host: str, *, off_greenlets: bool = False) -> list[str]:
    """All addresses of a name, IPv4 before IPv6, each once; link-local ones left out. Blocks; raises `OSError`.

    `off_greenlets`: on a native thread of our own, where gevent's resolver has no business.
    """
    try:
        answers = (native.getaddrinfo if off_greenlets else socket.getaddrinfo)(host, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except UnicodeError as error:  # no name at all, such as a..b
        raise OSError(f"{host!r} is no possible name: {error}") from error
    found = [_ip(str(answer[4][0])) for answer in answers]
    usable = [ip for ip in found if ip is not None and not (ip.version == 6 and ip.is_link_local)]
    if not usable:
        raise OSError(f"{host!r} has no address that other machines could use")
    return list(dict.fromkeys(str(ip) for ip in sorted(usable, key=lambda ip: ip.version)))
