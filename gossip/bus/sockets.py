"""The sockets of one peer and every option set on them: an XPUB to speak, a SUB to hear, a ROUTER to be asked.

Invariant: whatever is opened here is closed by `close`, at once and without a word to send (LINGER 0), so that neither
`term` nor garbage collection can hang the host process. A ZeroMQ socket belongs to one thread at a time: bind in the
caller's, then hand the whole object to the bus thread.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket as sockets
from collections.abc import Iterator

import zmq

from ..config import Links as LinksConfig
from ..errors import ConfigError
from ..model import join_address
from .doors import Doors
from .keys import Keyring

# What the kernel may hold unread of a subscriber; two topics are honest. libzmq reads subscriptions in the thread that polls
# and returns when it has read all: never, of one who sends without end and faster than that. With so little nobody does;
# with four times as much a loaded machine was kept from its turns for seconds, and grew by 100 MiB.
SUBSCRIBER_BYTES = 1024
TOPIC_BYTES_MAX = 512  # MAXMSGSIZE of the XPUB: caps a stranger's topic; 256 would break the CURVE handshake
FRAME_BYTES_MAX = 1 << 20  # MAXMSGSIZE elsewhere; config caps what we send below it
HEARTBEAT_S = 10.0  # SUB and ROUTER ping so rarely: application heartbeats are the quick ones
HEARTBEAT_TIMEOUT_S = 30.0  # without an answer for so long the link is closed, by either end
NEVER_MS = 24 * 3600 * 1000  # RECONNECT_IVL of the SUB; see `_dress_subscriber`
DESCRIPTORS_AT_START = 40  # context, four sockets, their listeners, the mailbox; a few to spare
UNLIMITED = 1 << 60
READABLE = int(zmq.POLLIN)  # as the enum that it is it would make another of every `&`
RECOUNT_S = 1.0  # descriptors are counted at most this often

MONITOR_EVENTS = (
    zmq.Event.CONNECTED  # names the descriptor
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.DISCONNECTED
    | zmq.Event.CLOSED
)
# Not ACCEPT_FAILED: without a descriptor libzmq tells that as fast as it can.
CALLERS_EVENTS = (
    zmq.Event.ACCEPTED | zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.DISCONNECTED
)
ZAP_ENDPOINT = "inproc://zeromq.zap.01"  # RFC 27

BIND_FAULTS = {
    errno.EADDRINUSE: ("another socket listens there", "Stop the other program, or pass another bind="),
    errno.EADDRNOTAVAIL: ("this machine has no such address", "Bind an address of this machine, 127.0.0.1 or 0.0.0.0"),
    errno.ENODEV: ("this machine has no such address", "Bind an address of this machine, 127.0.0.1 or 0.0.0.0"),
    errno.EACCES: ("the system does not permit it", "Pass a port above 1023"),
    errno.EMFILE: ("the process has no file descriptor left", "Raise `ulimit -n`"),
}


class Sockets:
    """Context, XPUB, SUB, ROUTER, their monitors and doors. Made by `Sockets.open`, ended by `close`.

    With a keyring all of them speak CURVE, and `zap` is where libzmq asks who may come in; without one it is None.
    """

    def __init__(self, context: zmq.Context[zmq.SyncSocket], links: LinksConfig, keyring: Keyring | None) -> None:
        self.context = context
        self._links = links
        self.keyring = keyring
        self.zap = self._asked_by_libzmq() if keyring is not None else None
        self.publisher = self._dressed(zmq.SocketType.XPUB)
        self.subscriber = self._dressed(zmq.SocketType.SUB)
        self.contact = self._dressed(zmq.SocketType.ROUTER)
        self.monitor = self.watched(self.subscriber, "links", MONITOR_EVENTS)
        self.publisher_monitor = self.watched(self.publisher, "publisher", CALLERS_EVENTS)
        self.contact_monitor = self.watched(self.contact, "contact", CALLERS_EVENTS)
        self.publisher_doors = Doors(self.publisher, keyring, SUBSCRIBER_BYTES)
        self.contact_doors = Doors(self.contact, keyring)
        self._topics: set[bytes] = set()

    @classmethod
    def open(cls, links: LinksConfig, keyring: Keyring | None = None) -> Sockets:
        """Sockets with all options set, nothing bound. Private context: another library's `term` cannot close ours.

        Raises `ConfigError` if the process is short of descriptors: libzmq would abort it.
        """
        descriptors = Descriptors(1.0)
        if not descriptors.reserve(0.0, DESCRIPTORS_AT_START):
            raise ConfigError(
                f"cannot start: {descriptors.used} of {descriptors.limit} file descriptors are open, and a peer needs "
                f"{DESCRIPTORS_AT_START} more to begin with. Raise `ulimit -n`. Nothing was started."
            )
        return cls(zmq.Context(io_threads=1), links, keyring)

    def bind_contact(self, host: str, port: int) -> int:
        """Bind the ROUTER to an IP address; port 0 takes any free one. Returns the port. Raises `ConfigError`."""
        return _open(self.contact_doors, "contact", host, port)

    def bind_publisher(self, host: str, port: int) -> int:
        """Bind the XPUB to an IP address; port 0 takes any free one. Returns the port. Raises `ConfigError`."""
        return _open(self.publisher_doors, "publisher", host, port)

    def bind_extra(self, endpoint: str) -> bool:
        """Bind the ROUTER to this `ip:port` too. False if that is not possible."""
        try:
            host, _, port = endpoint.rpartition(":")
            self.contact_doors.open(host.strip("[]"), int(port))
        except (OSError, OverflowError, ValueError, zmq.ZMQError):
            return False
        return True

    def listen(self, topic: bytes) -> None:
        """Subscribe, once: the XPUBs count every subscription they get, so a second equal one must not leave here."""
        if topic not in self._topics:
            self._topics.add(topic)
            self.subscriber.setsockopt(zmq.SUBSCRIBE, topic)

    def unlisten(self, topic: bytes) -> None:
        """Unsubscribe. Frames that wait in the SUB are lost with it."""
        if topic in self._topics:
            self._topics.discard(topic)
            self.subscriber.setsockopt(zmq.UNSUBSCRIBE, topic)

    def caller(self) -> zmq.SyncSocket:
        """A new DEALER for one call. Raises `zmq.ZMQError` when the process has no descriptor left."""
        return self._dressed(zmq.SocketType.DEALER)

    def close(self) -> None:
        """Close everything, DEALERs included, and end the context. Idempotent; some milliseconds; only the owner thread may."""
        self.publisher_doors.close()
        self.contact_doors.close()
        self.context.destroy(linger=0)

    def watched(self, socket: zmq.SyncSocket, name: str, events: int) -> zmq.SyncSocket:
        """A socket that tells what becomes of the connections of another. Raises `zmq.ZMQError` without descriptors."""
        socket.monitor(f"inproc://{name}", events)
        monitor: zmq.SyncSocket = self.context.socket(zmq.PAIR)
        monitor.setsockopt(zmq.LINGER, 0)
        # libzmq's I/O thread sends the events and waits when the queue is full: no bound here. We alone cause events,
        # at most four a dial, strangers as fast as they can connect.
        monitor.setsockopt(zmq.RCVHWM, 0)
        monitor.connect(f"inproc://{name}")
        return monitor

    def _asked_by_libzmq(self) -> zmq.SyncSocket:
        zap: zmq.SyncSocket = self.context.socket(zmq.ROUTER)
        zap.setsockopt(zmq.LINGER, 0)
        zap.bind(ZAP_ENDPOINT)
        return zap

    def _dressed(self, kind: zmq.SocketType) -> zmq.SyncSocket:
        socket: zmq.SyncSocket = self.context.socket(kind)
        queue = self._links.queue_messages_max
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, FRAME_BYTES_MAX),
            (zmq.SNDHWM, queue),
            # No bound. At a bound libzmq stops reading, and does not survive a connection that is reset then and has
            # something to be answered: an assertion aborts the process (`!_io_error`; its issues 4364 and 4767). Who
            # brings too much is cut off instead (`floods.py`).
            (zmq.RCVHWM, 0),
            (zmq.HANDSHAKE_IVL, _milliseconds(self._links.handshake_timeout_s)),
            (zmq.CONNECT_TIMEOUT, _milliseconds(self._links.connect_timeout_s)),
        ):
            socket.setsockopt(option, value)
        _DRESS[kind](socket)
        return socket


class Descriptors:
    """How many file descriptors may still be opened. Counted at most once in `RECOUNT_S`, estimated in between."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._counted_at = float("-inf")
        self.used = 0
        self.limit = 0

    def reserve(self, now: float, wanted: int) -> bool:
        """Whether `wanted` more fit under the share of RLIMIT_NOFILE; if so they are counted as used. O(1), or one listing."""
        if now - self._counted_at >= RECOUNT_S:
            self._recount(now)
        if self.used + wanted > self.limit:
            return False
        self.used += wanted
        return True

    def _recount(self, now: float) -> None:
        self._counted_at = now
        self.limit = int(_descriptors_limit() * self._share)
        try:
            self.used = next((len(os.listdir(folder)) for folder in ("/proc/self/fd", "/dev/fd") if os.path.isdir(folder)), 0)
        except OSError:  # none is left to list them with
            self.used = _descriptors_limit()


def _descriptors_limit() -> int:
    """The soft RLIMIT_NOFILE. A system or a process without one is not bounded by us."""
    try:
        import resource  # here, because Windows has none, and importing us must not fail there
    except ImportError:
        return UNLIMITED
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return UNLIMITED if soft == resource.RLIM_INFINITY else soft


def whole_frames(socket: zmq.SyncSocket, frames_max: int) -> Iterator[tuple[bytes | None, zmq.Frame]]:
    """Up to `frames_max` waiting messages of one part each, with what `link_of` needs; None stands for one of several parts.

    Of that, only the first part is kept. Not copied by `recv`: a frame itself knows whether more parts follow, and that is
    quicker. Most often there is one: to ask whether a second waits costs a fifth of the exception that says there is none.
    """
    recv = socket.recv
    for number in range(frames_max):
        if number == 1 and not int(socket.getsockopt(zmq.EVENTS)) & READABLE:
            return
        try:
            frame = recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        if frame.more:
            _drop_rest(socket)
            yield None, frame
        else:
            yield frame.bytes, frame


def link_of(frame: zmq.Frame) -> str | None:
    """The `ip:port` that the connection which brought this frame was made to; None if it is gone meanwhile.

    libzmq names the connection's descriptor. It may belong to another connection by now: an endpoint is no proof.
    """
    try:
        with sockets.socket(fileno=os.dup(int(frame.get("__fd")))) as connection:
            host, port = connection.getpeername()[:2]
        address = ipaddress.ip_address(host)
    except (OSError, ValueError, TypeError, zmq.ZMQError):
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return join_address(str(mapped or address), port)


def routed_frames(socket: zmq.SyncSocket, frames_max: int) -> Iterator[tuple[bytes, bytes | None, zmq.Frame]]:
    """The same for a ROUTER: `(routing id, message, frame)`; None stands for a message of another shape."""
    recv = socket.recv
    for _ in range(frames_max):
        try:
            token = recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        frame = recv(zmq.NOBLOCK, copy=False) if token.more else token
        if frame is token or frame.more:
            _drop_rest(socket)
            yield token.bytes, None, frame
        else:
            yield token.bytes, frame.bytes, frame


def _drop_rest(socket: zmq.SyncSocket) -> None:
    while socket.getsockopt(zmq.RCVMORE):
        socket.recv(zmq.NOBLOCK)


def _open(doors: Doors, role: str, host: str, port: int) -> int:
    address = join_address(host, port)
    try:
        if not 0 <= port < 1 << 16:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return doors.open(host, port)
    except (OSError, zmq.ZMQError) as error:
        why, advice = BIND_FAULTS.get(
            error.errno or 0, (error.strerror, "Pass an IP address and a port from 0 to 65535 as bind=")
        )
        raise ConfigError(f"cannot bind the {role} socket to {address}: {why}. {advice}. Nothing was started.") from error


def _dress_publisher(socket: zmq.SyncSocket) -> None:
    socket.setsockopt(zmq.MAXMSGSIZE, TOPIC_BYTES_MAX)
    # Every subscription is told, the end of only the last equal one: libzmq knows whose each is. Not VERBOSER: of a
    # connection that subscribed twice it tells two beginnings and one end.
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)


def _dress_subscriber(socket: zmq.SyncSocket) -> None:
    socket.setsockopt(zmq.SNDHWM, 0)  # subscriptions beyond a bound would be lost silently
    # The link supervisor alone dials, so libzmq's own retry is put off beyond any link's life. Not -1: there libzmq
    # removes the endpoint by a command that it sends after the DISCONNECTED event, and which may hit the link dialled
    # since: 10 of 4,000 fresh links died without an event.
    socket.setsockopt(zmq.RECONNECT_IVL, NEVER_MS)
    _dress_heartbeats(socket)


def _dress_contact(socket: zmq.SyncSocket) -> None:
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    _dress_heartbeats(socket)


def _dress_caller(socket: zmq.SyncSocket) -> None:
    # One call is one try; nothing dials the same endpoint again on this socket, so -1 is safe here. Not IMMEDIATE: the
    # first frame waits in the pipe while the connection is made.
    socket.setsockopt(zmq.RECONNECT_IVL, -1)


def _dress_heartbeats(socket: zmq.SyncSocket) -> None:
    socket.setsockopt(zmq.HEARTBEAT_IVL, _milliseconds(HEARTBEAT_S))
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _milliseconds(HEARTBEAT_TIMEOUT_S))
    # travels in the ping: an XPUB, which never pings, closes a subscriber that fell silent for so long
    socket.setsockopt(zmq.HEARTBEAT_TTL, _milliseconds(HEARTBEAT_TIMEOUT_S))


_DRESS = {
    zmq.SocketType.XPUB: _dress_publisher,
    zmq.SocketType.SUB: _dress_subscriber,
    zmq.SocketType.ROUTER: _dress_contact,
    zmq.SocketType.DEALER: _dress_caller,
}


def _milliseconds(seconds: float) -> int:
    return max(1, min(round(seconds * 1000), (1 << 31) - 1))
