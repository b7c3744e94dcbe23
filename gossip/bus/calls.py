"""Calls: one short-lived DEALER for each question to another peer's ROUTER.

A call is one connection: once it is made it is never made anew, so an answer always belongs to the questions of this call.
Before that, where there are secrets, it may have to knock several times (`knocks.py`). Who is turned away for good is told
so (`Refused`), and whose dial comes to nobody as well (`Unreached`); all other failure is silence, and the core's own timeout
ends every call with a hang-up. Source: the request half of anti-entropy (Demers 1987).
"""

from __future__ import annotations

import struct

import zmq

from ..config import Links as LinksConfig
from ..core.effects import Answered, Refused, Unreached
from ..values import dataclass, field
from .floods import Flood
from .hush import Hush
from .keys import Keys
from .knocks import Knocks, Turned
from .sockets import MONITOR_EVENTS, Descriptors, Sockets, whole_frames

CALLS_OPEN_MAX = 256  # above it new calls are dropped and counted, which looks like loss to the core
ANSWERS_PER_TURN = 64  # of one call
EVENTS_PER_TURN = 16  # of one call
DESCRIPTORS_PER_CALL = 4  # the signallers of the socket and of both ends of its monitor, and the connection
SAID_BYTES_MAX = 16 * 1024 * 1024  # on one call, kept for the next knock
KNOCKS_MAX = 8  # tries of one call to get through a handshake
KNOCK_PAUSE_S = 0.005  # before the second; doubles
NEVER = float("inf")

_EVENT = struct.Struct("=HI")


@dataclass(slots=True, eq=False)
class _Call:
    number: int
    endpoint: str
    flood: Flood
    dealer: zmq.SyncSocket = field(init=False)
    monitor: zmq.SyncSocket = field(init=False)
    keys: Keys | None = None
    said: list[bytes] = field(default_factory=list)  # until the handshake is done, for the next knock
    said_bytes: int = 0
    through: bool = False
    knocks: int = 1
    due: float = NEVER  # of the next knock
    over: bool = False  # its socket is closed already: the other end flooded us, or there was too much to say again


class Calls:
    """All open calls of one peer. Not thread-safe: the bus thread owns it."""

    def __init__(
        self,
        sockets: Sockets,
        poller: zmq.Poller,
        hush: Hush,
        descriptors: Descriptors,
        config: LinksConfig,
        knocks: Knocks | None = None,
    ) -> None:
        self._messages_per_s = config.messages_per_s
        self._sockets = sockets
        self._poller = poller
        self._hush = hush
        self._descriptors = descriptors
        self._knocks = knocks or Knocks(hush, None)
        self._open: dict[int, _Call] = {}
        self._sources: dict[zmq.SyncSocket, _Call] = {}
        self._connections = 0

    def __len__(self) -> int:
        return len(self._open)

    def send(self, call: int, endpoint: str, frame: bytes, now: float) -> None:
        """Send on this call, to the ROUTER at `ip:port`; the first frame opens it. Dropped and counted when that fails."""
        found = self._open.get(call) or self._dial(call, endpoint, now)
        if found is None or found.over:
            return
        if not found.through and found.keys is not None:
            found.said.append(frame)
            found.said_bytes += len(frame)
            if found.said_bytes > SAID_BYTES_MAX:
                text = f"{endpoint} does not come to an end of its handshake, and more than {SAID_BYTES_MAX} bytes wait for it"
                self._hush.full("calls_overfull", now, f"{text}: the call was ended")
                self._end(found)
                return
        self._say(found, frame)

    def hang_up(self, call: int) -> None:
        """Close the call's socket; what was not sent or read yet is lost. Unknown calls are ignored."""
        found = self._open.pop(call, None)
        if found is not None and not found.over:
            self._close(found)

    def receive(self, source: object, now: float) -> list[Answered | Refused | Unreached]:
        """What waits on this socket, if it is (still) one of ours; at most `ANSWERS_PER_TURN`."""
        if not isinstance(source, zmq.Socket) or source not in self._sources:
            return []
        call = self._sources[source]
        if source is call.monitor:
            return self._follow(call, now)
        answers: list[Answered | Refused | Unreached] = []
        taken = 0
        call.flood.begin(now)
        for answer, frame in whole_frames(source, ANSWERS_PER_TURN):
            taken += 1
            if call.flood.took(frame, call.number):
                self._end_flooded(call, now)
                return []
            if answer is None:
                self._hush.count("calls_multipart")
            else:
                answers.append(Answered(call.number, answer))
        if taken < ANSWERS_PER_TURN:
            call.flood.emptied(now)
        return answers

    def tick(self, now: float) -> None:
        """Knock again where it is time. O(calls)."""
        for call in [call for call in self._open.values() if call.due <= now]:
            call.due = NEVER
            self._close(call)
            if self._connect(call, now):
                call.knocks += 1
                for frame in call.said:
                    self._say(call, frame)
            else:
                del self._open[call.number]

    def next_deadline(self) -> float:
        """When `tick` is due. O(calls)."""
        return min((call.due for call in self._open.values()), default=NEVER)

    def _end_flooded(self, call: _Call, now: float) -> None:
        """To the core that is silence, which ends the call in its time."""
        most = self._messages_per_s
        text = f"{call.endpoint} answered with more than {most} messages within a second: the call was ended"
        self._hush.full("calls_flooded", now, text)
        self._end(call)

    def _end(self, call: _Call) -> None:
        """Close its socket. Until the core hangs up nothing more is said on it."""
        call.over, call.due = True, NEVER
        call.said.clear()
        self._close(call)

    def _follow(self, call: _Call, now: float) -> list[Answered | Refused | Unreached]:
        """What became of the connection."""
        for _ in range(EVENTS_PER_TURN):
            try:
                head, _endpoint = call.monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            number, value = _EVENT.unpack(head)
            event = zmq.Event(number)
            if event is zmq.Event.HANDSHAKE_SUCCEEDED:
                call.through = True
                call.said.clear()
                self._knocks.opened(call.endpoint, call.keys)
            elif event is zmq.Event.CLOSED and not call.through:
                self._hush.count("calls_unreached")
                return [Unreached(call.number)]
            elif event in Turned and not call.through and call.due == NEVER:
                self._knocks.turned_away(call.endpoint, call.keys, event, value, now)
                if self._knocks.hopeless(call.endpoint):
                    return [Refused(call.number)]
                if call.keys is not None and call.knocks < KNOCKS_MAX:
                    call.due = now + KNOCK_PAUSE_S * 2 ** (call.knocks - 1)
        return []

    def _say(self, call: _Call, frame: bytes) -> None:
        try:
            call.dealer.send(frame, zmq.NOBLOCK)
        except zmq.Again:
            self._hush.count("calls_unsent")

    def _dial(self, number: int, endpoint: str, now: float) -> _Call | None:
        if len(self._open) >= CALLS_OPEN_MAX or not self._descriptors.reserve(now, DESCRIPTORS_PER_CALL):
            self._hush.full("calls_refused", now, f"a call to {endpoint} was dropped: {len(self._open)} are open")
            return None
        call = _Call(number, endpoint, Flood(self._messages_per_s))
        if not self._connect(call, now):
            return None
        self._open[number] = call
        return call

    def _connect(self, call: _Call, now: float) -> bool:
        """A new DEALER for it. False, and said why, if there is none to be had."""
        dealer = None
        try:
            dealer = self._sockets.caller()
            self._connections += 1
            monitor = self._sockets.watched(dealer, f"call-{self._connections}", MONITOR_EVENTS)
        except zmq.ZMQError as error:
            if dealer is not None:
                dealer.close(linger=0)
            self._hush.full("calls_refused", now, f"a call to {call.endpoint} was dropped: {error.strerror}")
            return False
        try:
            call.keys = self._knocks.dress(dealer, call.endpoint)
            dealer.setsockopt(zmq.IPV6, int("[" in call.endpoint))
            dealer.connect(f"tcp://{call.endpoint}")
        except zmq.ZMQError as error:
            dealer.close(linger=0)
            monitor.close(linger=0)
            self._hush.tell("calls_undiallable", now, f"cannot call {call.endpoint!r}: {error.strerror}")
            return False
        call.dealer, call.monitor = dealer, monitor
        for source in (dealer, monitor):
            self._sources[source] = call
            self._poller.register(source, zmq.POLLIN)
        return True

    def _close(self, call: _Call) -> None:
        # First: events that find no reader hold up libzmq's I/O thread, and with it every socket of this peer, for ever.
        call.dealer.disable_monitor()
        for source in (call.dealer, call.monitor):
            del self._sources[source]
            self._poller.unregister(source)
            source.close(linger=0)
