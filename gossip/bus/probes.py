"""Probes: a plain TCP connect that asks the kernel whether a process still listens at an endpoint.

Refused is proof that nobody listens (the kernel itself answers, in microseconds); everything else proves little. The
connection is reset at once, so it leaves neither TIME_WAIT here nor a byte at the other end.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct

import zmq

from ..core.effects import Probed, ProbeOutcome
from ..values import dataclass
from .hush import Hush
from .sockets import Descriptors

PROBES_OPEN_MAX = 64  # above it the answer is UNTRIED at once
DESCRIPTORS_PER_PROBE = 1

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class _Open:
    endpoint: str
    socket: socket.socket
    due: float


class Probes:
    """All running probes. Not thread-safe: the bus thread owns it."""

    def __init__(self, poller: zmq.Poller, timeout_s: float, hush: Hush, descriptors: Descriptors) -> None:
        self._poller = poller
        self._timeout_s = timeout_s
        self._hush = hush
        self._descriptors = descriptors
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def descriptors(self) -> dict[int, str]:
        """The descriptor of each with its endpoint."""
        return {descriptor: probe.endpoint for descriptor, probe in tuple(self._open.items())}

    def start(self, endpoint: str, now: float) -> Probed | None:
        """Probe `ip:port`. Returns the answer if it is known at once, else None: it comes from `finish` or `tick`."""
        if len(self._open) >= PROBES_OPEN_MAX or not self._descriptors.reserve(now, DESCRIPTORS_PER_PROBE):
            self._hush.full("probes_refused", now, f"{endpoint} is not probed: {len(self._open)} probes are under way")
            return Probed(endpoint, ProbeOutcome.UNTRIED)
        try:
            host, port = _target(endpoint)
            probe = _Open(endpoint, _dialler(host), now + self._timeout_s)
        except (OSError, ValueError):
            self._hush.count("probes_undiallable")
            return Probed(endpoint, ProbeOutcome.UNTRIED)
        return self._begin(probe, host, port)

    def finish(self, source: object) -> list[Probed]:
        """The answer of the probe whose descriptor the poller named, if it is (still) one of ours."""
        probe = self._open.get(source) if isinstance(source, int) else None
        return [] if probe is None else [self._end(probe, probe.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))]

    def tick(self, now: float) -> list[Probed]:
        """The probes that had no answer in time. O(probes)."""
        return [self._end(probe, errno.ETIMEDOUT) for probe in list(self._open.values()) if probe.due <= now]

    def next_deadline(self) -> float:
        """When `tick` is due. O(probes)."""
        return min((probe.due for probe in self._open.values()), default=float("inf"))

    def close(self) -> None:
        """Give all up, without answers."""
        for probe in list(self._open.values()):
            self._end(probe, errno.ECANCELED)

    def _begin(self, probe: _Open, host: str, port: int) -> Probed | None:
        fileno = probe.socket.fileno()
        self._open[fileno] = probe
        self._poller.register(fileno, zmq.POLLOUT | zmq.POLLERR)
        try:
            answer = probe.socket.connect_ex((host, port))
        except OSError:
            answer = errno.EINVAL
        return None if answer in (errno.EINPROGRESS, errno.EINTR) else self._end(probe, answer)

    def _end(self, probe: _Open, answer: int) -> Probed:
        fileno = probe.socket.fileno()
        outcome = _outcome(probe.socket, answer)
        self._poller.unregister(fileno)
        del self._open[fileno]
        probe.socket.close()
        return Probed(probe.endpoint, outcome)


def _target(endpoint: str) -> tuple[str, int]:
    # Anything but an address would be resolved by name, and the bus would wait for that.
    host, _, port = endpoint.rpartition(":")
    if not 0 < int(port) < 1 << 16:
        raise ValueError(f"{port} is no port")
    return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port)


def _dialler(host: str) -> socket.socket:
    dialler = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    dialler.setblocking(False)
    dialler.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    return dialler


def _outcome(dialler: socket.socket, answer: int) -> ProbeOutcome:
    if answer == errno.ECONNREFUSED or (answer == 0 and _met_itself(dialler)):
        return ProbeOutcome.REFUSED
    return ProbeOutcome.OPEN if answer == 0 else ProbeOutcome.UNKNOWN


def _met_itself(dialler: socket.socket) -> bool:
    # A dial to a dead port of the ephemeral range can draw that very port as its own and reach itself.
    try:
        return bool(dialler.getsockname() == dialler.getpeername())
    except OSError:
        return False
