"""The porter: who comes in at the XPUB and the ROUTER, who is turned away and why, and how many may stand there.

libzmq takes every connection and keeps it until its handshake is done or HANDSHAKE_IVL is over. Here they are counted: of
those that have not got through the oldest are hung up on when there are too many, of those that have the newest; and when
descriptors run short the doors stay shut until there are some again. With a secret, libzmq asks us about every client key
(ZAP, RFC 27); the answers come from the bus thread, so a handshake waits while that is busy.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections import OrderedDict

import zmq

from ..config import Links as LinksConfig
from ..model import join_address
from ..values import dataclass, field
from . import native
from .doors import Doors
from .hush import Hush
from .keys import Keyring
from .knocks import OTHER_MECHANISM, REFUSALS_TOLD, WRONG_KEY
from .sockets import Descriptors, Sockets

EVENTS_PER_TURN = 1000
ANSWERS_PER_TURN = 200
GRACE_S = 0.5  # a handshake that takes longer may be cut off for a newer one
CROWD = 8  # so many times `handshakes_max` are never exceeded, grace or not
LOOK_S = 0.25  # between two looks at unfinished handshakes, while there are too many
RECOUNT_S = 2.0  # between two looks at the descriptors
HOSTS_MAX = 256  # remembered for having another secret
GREETING_BYTES = 72  # the 64 of ZMTP, and a little that the kernel counts too
NAMELESS_MAX = 24  # so many are not told of before one is told of without its address
ADDRESS_UNKNOWN = "somebody"

_ACKED_AT = 120  # tcpi_bytes_acked in struct tcp_info
_EVENT = struct.Struct("=HI")
_VERSION, _OK, _NO = b"1.0", b"200", b"400"


@dataclass(slots=True)
class _Callers:
    """The connections of one bound socket, by descriptor: address and, while the handshake lasts, since when."""

    monitor: zmq.SyncSocket
    doors: Doors
    greeting: OrderedDict[int, tuple[str, float]] = field(default_factory=OrderedDict)
    inside: dict[int, str] = field(default_factory=dict)
    flooded: bool = False  # nobody new is let in
    unlike: int = 0  # the protocol error of the handshake that failed in the event before


class Porter:
    """Not thread-safe: the bus thread owns it."""

    def __init__(
        self, sockets: Sockets, config: LinksConfig, hush: Hush, descriptors: Descriptors, keyring: Keyring | None
    ) -> None:
        self._config = config
        self._hush = hush
        self._descriptors = descriptors
        self._zap = sockets.zap
        self.keyring = keyring
        self._callers = (
            _Callers(sockets.publisher_monitor, sockets.publisher_doors),
            _Callers(sockets.contact_monitor, sockets.contact_doors),
        )
        self._strangers: OrderedDict[str, int] = OrderedDict()  # host -> handshakes with another key in a row
        self._nameless = 0
        self._due = float("-inf")
        self.shut = False

    @property
    def callers(self) -> int:
        """How many connections of others there are. Any thread."""
        return sum(len(one.greeting) + len(one.inside) for one in self._callers)

    def connected(self, doors: Doors) -> list[int]:
        """The descriptors of those who came in at these doors. O(connections)."""
        return [descriptor for one in self._callers if one.doors is doors for descriptor in (*one.greeting, *one.inside)]

    def rekey(self, keyring: Keyring) -> None:
        """Other secrets open from now on; who came in by one that is valid no longer is out."""
        self.keyring = keyring
        self._strangers.clear()
        for callers in self._callers:
            if callers.doors.rekey(keyring):
                callers.greeting.clear()  # libzmq tells nothing of their ends
                callers.inside.clear()

    # what libzmq tells ------------------------------------------------------------------------------------------------

    def on_monitor(self, now: float) -> None:
        """Take in what became of others' connections, at most `EVENTS_PER_TURN` a socket."""
        for callers in self._callers:
            for _ in range(EVENTS_PER_TURN):
                try:
                    head, _endpoint = callers.monitor.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                event, value = _EVENT.unpack(head)
                self._take(callers, event, value, now)

    def _take(self, callers: _Callers, event: int, value: int, now: float) -> None:
        unlike, callers.unlike = callers.unlike, 0
        if event == zmq.Event.ACCEPTED:
            self._accepted(callers, value, now)
        elif event == zmq.Event.HANDSHAKE_FAILED_PROTOCOL:
            callers.unlike = value  # the next event says whose it was
        elif event == zmq.Event.DISCONNECTED:
            address = callers.greeting.pop(value, ("", 0.0))[0] or callers.inside.pop(value, "")
            if unlike and not address and self._nameless < NAMELESS_MAX:
                self._nameless += 1  # gone before it could be asked for its address; the next one may be slower
                self._hush.count("strangers_refused")
            elif unlike:
                self._nameless = 0
                self._turned_away(address or ADDRESS_UNKNOWN, unlike, now)

    def _accepted(self, callers: _Callers, descriptor: int, now: float) -> None:
        self._hush.count("connections_accepted")
        address = _caller(descriptor)
        callers.inside.pop(descriptor, None)
        callers.greeting[descriptor] = address, now
        callers.greeting.move_to_end(descriptor)
        if not self._descriptors.reserve(now, 1):
            self._keep_shut(True, now)
        most, crowd = self._config.connections_max, CROWD * self._config.handshakes_max
        if len(callers.greeting) > crowd:
            self._sort(callers, now)
        if len(callers.greeting) + len(callers.inside) > most or len(callers.greeting) > crowd:
            if descriptor in callers.greeting:
                self._hang_up(callers, descriptor, now)
        elif len(callers.greeting) > self._config.handshakes_max:
            self._due = min(self._due, now + LOOK_S)

    def _turned_away(self, address: str, error: int, now: float) -> None:
        if error == OTHER_MECHANISM:
            text = (
                f"{address} came without a secret and was turned away. If it is one of ours, give it the cluster's secret"
                if self.keyring is not None
                else f"{address} came with a secret, and this peer has none: it was turned away. Give both the same secret"
            )
            self._hush.notice("strangers_refused", now, text, cause="another mechanism")
        elif error == WRONG_KEY:
            host = address.rpartition(":")[0]
            tries = self._strangers.pop(host, 0) + 1
            self._strangers[host] = tries
            if len(self._strangers) > HOSTS_MAX:
                self._strangers.popitem(last=False)
            if tries < REFUSALS_TOLD:  # while a secret is replaced some meet the wrong door
                self._hush.count("handshakes_refused")
            else:
                text = f"{address} has another secret and was turned away. If it is one of ours, compare the secrets"
                self._hush.notice("strangers_refused", now, text, cause="another secret")
        else:
            self._hush.count("handshakes_refused")  # it did not even try

    # bounds -----------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Hang up on who lingers, and see whether the doors may be opened. O(1) before `next_deadline`."""
        if now < self._due:
            return
        self._due = now + RECOUNT_S
        for callers in self._callers:
            self._settle(callers, now)
            if len(callers.greeting) > self._config.handshakes_max:
                self._due = now + LOOK_S
        self._keep_shut(not self._descriptors.reserve(now, 0), now)

    def next_deadline(self) -> float:
        """When `tick` is due. O(1)."""
        return self._due

    def _settle(self, callers: _Callers, now: float) -> None:
        """Of those whose handshake takes its time, the oldest go, down to `handshakes_max`."""
        if len(callers.greeting) > self._config.handshakes_max:
            self._sort(callers, now)
        surplus = len(callers.greeting) - self._config.handshakes_max
        while surplus > 0:
            descriptor, (_, since) = next(iter(callers.greeting.items()))
            if now - since < GRACE_S:
                return
            self._hang_up(callers, descriptor, now)
            surplus -= 1

    def _sort(self, callers: _Callers, now: float) -> None:
        """Who has got through is no longer greeting. libzmq does not say who that was; what it sent them does."""
        sure = self._config.handshake_timeout_s + 1.0
        for descriptor, (address, since) in tuple(callers.greeting.items()):
            if now - since > sure or _was_answered(descriptor, address):
                del callers.greeting[descriptor]
                callers.inside[descriptor] = address

    def _hang_up(self, callers: _Callers, descriptor: int, now: float) -> None:
        address, _ = callers.greeting.pop(descriptor)
        self._hush.notice(
            "connections_cut_off",
            now,
            f"too many connections: {address} and others are hung up on. At most {self._config.handshakes_max} may be without "
            f"an introduction, and {self._config.connections_max} in all. If they are peers, raise config.links.handshakes_max "
            "or connections_max",
        )
        _reset(descriptor, address)

    def _keep_shut(self, shut: bool, now: float) -> None:
        if shut:
            self._hush.notice(
                "connections_refused",
                now,
                f"no connection is let in: {self._descriptors.used} file descriptors are open and at most "
                f"{self._descriptors.limit} may be, {self._config.descriptors_share:.0%} of the limit. Raise `ulimit -n`; "
                "it is looked at again every other second",
            )
        if shut is not self.shut:
            self.shut = shut
            for callers in self._callers:
                callers.doors.keep_shut(shut or callers.flooded)

    def hold_off(self, doors: Doors, flooded: bool, now: float) -> None:
        """Let nobody new in at these doors while they are flooded: who is cut off must not come back at once. Linux only."""
        for callers in self._callers:
            if callers.doors is doors and callers.flooded is not flooded:
                callers.flooded = flooded
                doors.keep_shut(self.shut or flooded)
                if flooded:
                    text = "a port is flooded: until what waits there is done with no new connection is let in"
                    self._hush.full("callers_held_off", now, text)

    # who may come in --------------------------------------------------------------------------------------------------

    def answer(self, now: float) -> None:
        """Answer libzmq's questions about client keys, at most `ANSWERS_PER_TURN`."""
        if self._zap is None:
            return
        for _ in range(ANSWERS_PER_TURN):
            try:
                token, empty, _, number, _, address, _, mechanism, *credentials = self._zap.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            known = mechanism == b"CURVE" and self.keyring is not None and self.keyring.admits(b"".join(credentials))
            self._zap.send_multipart(
                [token, empty, _VERSION, number, _OK if known else _NO, b"" if known else b"unknown key", b"", b""], zmq.NOBLOCK
            )
            host = address.decode("ascii", "replace")
            if known:
                self._strangers.pop(host, None)
            else:
                text = f"{host} came with a CURVE key of its own and was turned away. If it is one of ours, compare the secrets"
                self._hush.notice("strangers_refused", now, text, cause="an unknown key")


def _caller(descriptor: int) -> str:
    """`ip:port` at the other end of an accepted connection; "" if it has ended already."""
    try:
        with native.borrowed(descriptor) as twin:
            return _peer(twin)
    except (OSError, ValueError):
        return ""


def _reset(descriptor: int, address: str) -> None:
    """End a connection of libzmq's. By now the number may be another's: only who is still connected to `address` is meant."""
    with contextlib.suppress(OSError), native.borrowed(descriptor) as twin:
        if _peer(twin) == address:
            twin.shutdown(socket.SHUT_RDWR)


def _was_answered(descriptor: int, address: str) -> bool:
    """Whether it was sent more than a greeting: who lacks the secret gets none. Linux tells; elsewhere time has to."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        with native.borrowed(descriptor) as twin:
            told = twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _ACKED_AT + 8)
            return _peer(twin) == address and int.from_bytes(told[_ACKED_AT:], sys.byteorder) > GREETING_BYTES
    except OSError:
        return False


def _peer(twin: socket.socket) -> str:
    host, port = twin.getpeername()[:2]
    return join_address(host.removeprefix("::ffff:"), port)
