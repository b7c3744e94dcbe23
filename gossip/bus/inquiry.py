"""Who answers at an address? For `gossip doctor`, which must tell a peer from whatever else may sit there.

    look      a plain TCP connect and the greeting of ZMTP 3 (RFC 23): the mechanism, and without encryption the kind of socket
    converse  a DEALER of our own: questions, and what is answered, or that we are turned away
    hears     a SUB: whether a publisher lets us in

Nothing here joins, and nothing stays open. Every call is bounded by its `timeout_s`; any thread may make one.
"""

from __future__ import annotations

import secrets
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Any

import zmq

from ..model import join_address
from ..values import dataclass
from .keys import Keyring, Keys
from .knocks import Turned

GREETING_BYTES = 64
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
GREETING = SIGNATURE + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)  # version 3.0, no server
VERSION_AT = 11  # so many bytes of a greeting make the other end tell all of its own
COMMAND_BYTES_MAX = 512
SHOWN_BYTES_MAX = 60
KNOCKS_MAX = 12  # of two doors the wrong one that often: once in 4,096 times
FRAME_BYTES_MAX = 1 << 20
FRAMES_MAX = 4096
_EVENT = struct.Struct("=HI")


class Presence(Enum):
    """What a TCP connect and a greeting met."""

    REFUSED = "the connection is refused"
    SILENT = "no answer"
    STRANGER = "no ZeroMQ"
    ZEROMQ = "ZeroMQ"


@dataclass(frozen=True, slots=True)
class Look:
    """`said`: the beginning of what a stranger answered, or the system's error. `kind`: ROUTER, XPUB …, "" if encrypted."""

    presence: Presence
    said: str = ""
    mechanism: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Talk:
    """What came of questions: whether we got through the handshake, were turned away, and the answers."""

    through: bool
    refused: bool
    answers: tuple[bytes, ...] = ()


def versions() -> tuple[str, tuple[int, ...], bool]:
    """Of pyzmq, of libzmq, and whether the latter can encrypt."""
    return zmq.pyzmq_version(), tuple(zmq.zmq_version_info()), bool(zmq.has("curve"))


# look -----------------------------------------------------------------------------------------------------------------


def look(host: str, port: int, timeout_s: float) -> Look:
    """Who is at this IP address and port, as far as that is told without a secret."""
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.sendall(
                GREETING[:VERSION_AT]
            )  # not the mechanism yet: of another one some hang up before they tell theirs
            greeting = _read(connection, GREETING_BYTES, time.monotonic() + (deadline - time.monotonic()) / 2)
            if len(greeting) >= 10 and greeting[:1] == b"\xff" and greeting[9:10] == b"\x7f":
                mechanism = greeting[12:32].rstrip(b"\0").decode("ascii", "replace")
                kind = _kind(connection, deadline) if mechanism == "NULL" else ""
                return Look(Presence.ZEROMQ, mechanism=mechanism or "unknown", kind=kind)
    except ConnectionRefusedError:
        return Look(Presence.REFUSED)
    except OSError as error:
        return Look(Presence.SILENT, error.strerror or str(error))
    return Look(Presence.STRANGER, _words(greeting) or _asked_in_http(host, port, deadline))


def _kind(connection: socket.socket, deadline: float) -> str:
    """Of the socket at the other end, as its READY command says."""
    connection.sendall(GREETING[VERSION_AT:])
    head = _read(connection, 2, deadline)
    if len(head) < 2 or not head[0] & 4:
        return ""
    body = _read(connection, min(head[1], COMMAND_BYTES_MAX), deadline)
    _, found, rest = body.partition(b"Socket-Type")
    return rest[4 : 4 + int.from_bytes(rest[:4], "big")].decode("ascii", "replace") if found else ""


def _asked_in_http(host: str, port: int, deadline: float) -> str:
    """What it says to a request, if it waits for one."""
    try:
        with socket.create_connection((host, port), max(0.1, deadline - time.monotonic())) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return _words(_read(connection, SHOWN_BYTES_MAX, max(deadline, time.monotonic() + 0.2)))
    except OSError:
        return ""


def _read(connection: socket.socket, wanted: int, deadline: float) -> bytes:
    """Up to so many bytes; fewer if the other end ends, or by then."""
    read = b""
    while len(read) < wanted and (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        try:
            part = connection.recv(wanted - len(read))
        except (TimeoutError, ConnectionError):
            break
        if not part:
            break
        read += part
    return read


def _words(read: bytes) -> str:
    line = read[:SHOWN_BYTES_MAX].decode("utf-8", "replace").splitlines()[:1]
    return "".join(c if c.isprintable() else "?" for c in (line or [""])[0])


# ask ------------------------------------------------------------------------------------------------------------------


def converse(
    address: str,
    keyring: Keyring | None,
    frames: Sequence[bytes],
    timeout_s: float,
    enough: Callable[[list[bytes]], bool] = bool,
) -> Talk:
    """Send these to the ROUTER at `ip:port`, and gather what it answers until that is `enough`, or the time is over.

    Raises `OSError` for want of descriptors.
    """
    return _dial(zmq.DEALER, address, keyring, frames, timeout_s, enough)


def hears(address: str, keyring: Keyring | None, timeout_s: float) -> bool:
    """Whether a publisher at `ip:port` lets a subscriber in."""
    return _dial(zmq.SUB, address, keyring, (), timeout_s, lambda answers: True).through


def _dial(
    kind: int,
    address: str,
    keyring: Keyring | None,
    frames: Sequence[bytes],
    timeout_s: float,
    enough: Callable[[list[bytes]], bool],
) -> Talk:
    deadline = time.monotonic() + timeout_s
    every: list[Keys | None] = list(keyring) if keyring is not None else [None]
    context: zmq.Context[zmq.SyncSocket] = zmq.Context(io_threads=1)
    try:
        for knock in range(KNOCKS_MAX if keyring is not None else 2):
            talk = _knock(context, kind, address, every[knock % len(every)], frames, deadline, enough)
            if not talk.refused or time.monotonic() >= deadline:
                return talk
        return Talk(False, True)
    except zmq.ZMQError as error:  # for want of descriptors, above all
        raise OSError(error.errno, error.strerror) from None
    finally:
        context.destroy(linger=0)


def _knock(
    context: zmq.Context[zmq.SyncSocket],
    kind: int,
    address: str,
    keys: Keys | None,
    frames: Sequence[bytes],
    deadline: float,
    enough: Callable[[list[bytes]], bool],
) -> Talk:
    caller: zmq.SyncSocket = context.socket(kind)
    events: zmq.SyncSocket | None = None
    try:
        left_ms = max(1, int((deadline - time.monotonic()) * 1000))
        options = {zmq.LINGER: 0, zmq.RECONNECT_IVL: -1, zmq.MAXMSGSIZE: FRAME_BYTES_MAX, zmq.HANDSHAKE_IVL: left_ms}
        options[zmq.RCVHWM] = 0  # libzmq aborts when a full queue's connection is reset; time bounds what comes
        for option, value in options.items():
            caller.setsockopt(option, value)
        if keys is not None:
            keys.dress_client(caller)
        caller.setsockopt(zmq.IPV6, int("[" in address))
        events = caller.get_monitor_socket(_FOLLOWED)
        caller.connect(f"tcp://{address}")
        for frame in frames:
            with suppress(zmq.Again):  # turned away already: the events say so
                caller.send(frame, zmq.NOBLOCK)
        return _listen(caller, events, deadline, enough, answered=not frames)
    finally:
        if events is not None:
            caller.disable_monitor()  # first: events that find no reader hold up libzmq's I/O thread
            events.close(linger=0)
        caller.close(linger=0)


def _listen(
    caller: zmq.SyncSocket, events: zmq.SyncSocket, deadline: float, enough: Callable[[list[bytes]], bool], *, answered: bool
) -> Talk:
    poller = zmq.Poller()
    poller.register(events, zmq.POLLIN)
    poller.register(caller, zmq.POLLIN)
    answers: list[bytes] = []
    through = False
    while (left := deadline - time.monotonic()) > 0:
        ready: dict[Any, int] = dict(poller.poll(int(left * 1000) + 1))
        if events in ready:
            number, _ = _EVENT.unpack(events.recv_multipart()[0])
            through |= number == zmq.EVENT_HANDSHAKE_SUCCEEDED
            if (through and answered) or (number == zmq.EVENT_CLOSED and not through):  # in, or not even connected
                return Talk(through, False)
            if number in _TURNED and not answers:
                return Talk(through, not through)
        if caller in ready:
            parts = caller.recv_multipart()
            answers.append(parts[-1])
            if enough(answers) or len(answers) >= FRAMES_MAX:
                break
    return Talk(through, False, tuple(answers))


_TURNED = frozenset({*map(int, Turned), int(zmq.EVENT_DISCONNECTED)})
_FOLLOWED = sum(_TURNED) | int(zmq.EVENT_HANDSHAKE_SUCCEEDED) | int(zmq.EVENT_CLOSED)


def asker() -> str:
    """A name under which nobody else asks."""
    return f"doctor-{secrets.token_hex(6)}"


def free_to_bind(host: str, port: int) -> OSError | None:
    """Why this IP address and port cannot be listened at now; None if they can. Port 0 is any."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1)
    except (OSError, OverflowError) as error:
        return error if isinstance(error, OSError) else OSError(0, f"port {port} is no port")
    return None


def reached(address: str, timeout_s: float) -> str:
    """ "" if a TCP connect to `ip:port` succeeds, else why not."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except OSError as error:
        return Presence.REFUSED.value if isinstance(error, ConnectionRefusedError) else (error.strerror or str(error))
    return ""


def shown(host: str, port: int) -> str:
    """`host:port`, as people write it."""
    return join_address(host, port)
