"""What a gateway is told, and its bounds. Durations are seconds, sizes bytes."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field

from .. import ConfigError
from .rules import AlertSettings

TOKEN_PATTERN = re.compile(r"[A-Za-z0-9._~+/-]{8,512}=*\Z")  # RFC 6750, section 2.1; shorter ones can be guessed

HOST_NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?\Z")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may cost. Each is counted where it is hit."""

    body_bytes_max: int = 64 * 1024  # of a request; more: larger registrations, more memory
    head_timeout_s: float = 10.0  # until a request's head is there; more: slow clients are spared, half-open ones stay longer
    body_timeout_s: float = 10.0  # the same for its body
    write_timeout_s: float = 20.0  # until a client reads on; more: slow clients are spared, dead ones stay longer
    keep_alive_s: float = 75.0  # an idle connection is kept so long
    connections_max: int = 1024  # at once; more: more clients, more memory and descriptors
    viewers_max: int = 256  # of /v1/watch at once; as above
    comment_s: float = 15.0  # silence on /v1/watch after which a comment shows that it lives; less: dead ones are found sooner
    listed_max: int = 10_000  # instances, services or members in one answer; what is left out is said


@dataclass(frozen=True, slots=True)
class Settings:
    """Where a gateway listens, and who may come in. Raises `ConfigError`."""

    host: str = "127.0.0.1"
    port: int = 5000
    token: str | None = None
    names: tuple[str, ...] = ()  # of the host, beside those of this machine, by which a gateway on loopback may be called
    probe_interval_s: float = 60.0  # between two measurements of visibility; 0: none. More: fewer changes, coarser histograms
    alerts: AlertSettings = field(default_factory=AlertSettings)
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        if self.token is not None and not TOKEN_PATTERN.match(self.token):
            raise ConfigError("token: it is not 8 to 512 of A-Z a-z 0-9 . _ ~ + / - (RFC 6750). Nothing was started.")
        for name in self.names:
            if not HOST_NAME_PATTERN.match(name):
                raise ConfigError(f"host-name={name!r} is no host name, such as gossip.example.com. Nothing was started.")
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"listen {self.host}: beyond this machine anybody could register and remove services. "
                "Give a token (--token-file or GOSSIP_GATEWAY_TOKEN), or listen on 127.0.0.1. Nothing was started."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen_address(text: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port` as host and port. Raises `ConfigError`."""
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"listen={text!r} is not host:port: pass something like 127.0.0.1:5000. Nothing was started.")
    return host, int(port)
