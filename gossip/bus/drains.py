"""Drains: what has arrived at the sockets is read, a bounded portion a turn, and handed to the core; who floods is cut off.

    publisher    subscriptions, of whoever links to us             at most SUBSCRIPTIONS_PER_TURN
    subscriber   what the links brought                            at most HEARD_PER_TURN
    contact      questions                                         at most ASKED_PER_TURN, and FLOODED_PER_TURN unread
    monitors     what becomes of links, and of others' connections
    zap          with a secret: who may come in

Invariants: a drain never raises; each has a guard of its own, so a fault in one, however often it comes, keeps neither the
others nor the tick from their turn. A socket whose drain failed is left alone for `ASIDE_S`: it would wake the loop at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container

import zmq

from ..config import Links as LinksConfig
from ..core.effects import Asked, Heard, Input, Subscribed, Unsubscribed
from ..values import dataclass
from .doors import Doors
from .floods import MESSAGE_BYTES_MIN, Flood, cut_off, descriptor_of
from .hush import Hush
from .links import Links
from .porter import Porter
from .sockets import Sockets, link_of, routed_frames, whole_frames
from .unseen import UNSEEN_BYTES_MAX, Unseen

HEARD_PER_TURN = 500
ASKED_PER_TURN = 200
SUBSCRIPTIONS_PER_TURN = 1000
FLOODED_PER_TURN = 5000  # questions of those who were cut off for a flood, which are dropped unread
AHEAD_S = 10  # so many seconds' worth of messages of links may wait, before the one that brought most of them is cut
AHEAD_BYTES_MAX = 64 * 1024 * 1024
FLOODED_SHUN_S = 60.0  # a link that flooded is dialled again after so long
ASIDE_S = 0.1
NEVER = float("inf")

Drain = Callable[[float], object]
Feed = Callable[[Input, float], None]
Survives = Callable[..., bool]


@dataclass(slots=True)
class _Port:
    """A socket to which others come, each of whom may bring so much within a second."""

    socket: zmq.SyncSocket
    doors: Doors
    most: int
    flood: Flood
    unseen: Unseen | None  # in an open cluster
    unread: bool = False  # the last turn left something


class Drains:
    """All drains of one peer. Not thread-safe: the bus thread owns it.

    `feed(input, now)` hands on what was read and never raises; `survives(what, do, *arguments)` is the guard: whether `do`
    ended well; a fault in `what` is told.
    """

    def __init__(
        self,
        sockets: Sockets,
        poller: zmq.Poller,
        config: LinksConfig,
        links: Links,
        porter: Porter,
        hush: Hush,
        feed: Feed,
        survives: Survives,
    ) -> None:
        self._poller, self._links, self._porter, self._hush = poller, links, porter, hush
        self._feed, self._survives = feed, survives
        self._sub = sockets.subscriber
        self._heard = Flood(config.messages_per_s, descriptor_of, patient=True)
        self._heard_most = config.messages_per_s
        self._ahead: deque[tuple[bytes | None, zmq.Frame]] = deque()  # read, and not handed on yet
        strange = sockets.keyring is None and Unseen.available()
        self._publisher, self._contact = (
            _Port(socket, doors, most, Flood(most), Unseen(socket, doors) if strange else None)
            for socket, doors, most in (
                (sockets.publisher, sockets.publisher_doors, config.subscriptions_per_s),
                (sockets.contact, sockets.contact_doors, config.messages_per_s),
            )
        )
        self._look_at = -NEVER
        self._aside: dict[object, float] = {}  # a socket whose drain failed, and when it is read again
        self._of: dict[object, tuple[str, Drain]] = {
            sockets.publisher: ("reading the subscriptions", self._subscriptions),
            sockets.subscriber: ("reading the links", self.hear),
            sockets.contact: ("reading the questions", self._questions),
            sockets.monitor: ("following the links", self._follow_links),
            sockets.publisher_monitor: ("following the callers", porter.on_monitor),
            sockets.contact_monitor: ("following the callers", porter.on_monitor),
        }
        if sockets.zap is not None:
            self._of[sockets.zap] = "judging who may come in", porter.answer

    def watch(self) -> None:
        """Have the poller tell of all these sockets."""
        for socket in self._of:
            self._poller.register(socket, zmq.POLLIN)

    def rest(self, ready: Container[object], now: float) -> None:
        """A turn begins with these sockets ready: what the others held is read to the end. O(1)."""
        if self._sub not in ready and self._sub not in self._aside:
            if self._ahead:
                self._survives(*self._of[self._sub], now)
            else:  # what a link may bring counts from when it was seen empty
                self._heard.emptied(now)
        for port in (self._publisher, self._contact):
            if port.unread and port.socket not in ready and port.socket not in self._aside:
                self._survives("opening a port again", self._emptied, port, now)

    def read(self, source: object, now: float) -> bool:
        """Read a portion of what waits at this socket, if it is one of these. Whether it is. Never raises."""
        found = self._of.get(source)
        if found is None:
            return False
        if not self._survives(*found, now):
            self._poller.unregister(source)
            self._aside[source] = now + ASIDE_S
        return True

    def tick(self, now: float) -> None:
        """Try again where a fault is long enough ago; look for what shows in no message. O(1) before `next_deadline`."""
        for socket in [socket for socket, due in self._aside.items() if due <= now]:
            del self._aside[socket]
            self._poller.register(socket, zmq.POLLIN)
        if now >= self._look_at:
            self._look_at = now + ASIDE_S  # should a look fail
            self._look_at = min(self._look(port, now) for port in (self._publisher, self._contact))

    def _look(self, port: _Port, now: float) -> float:
        """For what shows in no message; when to look again."""
        if port.unseen is None:
            return NEVER
        for whose in port.unseen.look(self._porter.connected(port.doors), now):
            text = f"{whose} brought more than {UNSEEN_BYTES_MAX} bytes of no whole message: the connection was cut off"
            self._hush.full("connections_flooded", now, text)
        return port.unseen.next_deadline()

    def next_deadline(self) -> float:
        """When a turn is due: at once while there is something to hand on."""
        if self._ahead:
            return -NEVER
        return min(self._look_at, *self._aside.values()) if self._aside else self._look_at

    # what others say --------------------------------------------------------------------------------------------------

    def hear(self, now: float) -> None:
        """Read what the links brought."""
        feed, took, ahead = self._feed, self._heard.took, self._ahead
        self._heard.begin(now)
        fresh = whole_frames(self._sub, HEARD_PER_TURN)
        for _ in range(HEARD_PER_TURN):
            item = ahead.popleft() if ahead else next(fresh, None)
            if item is None:
                self._heard.emptied(now)
                return
            heard, frame = item
            if took(frame):
                self._look_ahead(now)
            if heard is None:
                self._hush.tell("frames_multipart", now, "a stranger published a message of several parts")
            else:
                feed(Heard(heard, frame), now)

    def _subscriptions(self, now: float) -> None:
        port, taken = self._publisher, 0
        port.flood.begin(now)
        for topic, frame in whole_frames(port.socket, SUBSCRIPTIONS_PER_TURN):
            taken += 1
            source = descriptor_of(frame)  # none where libzmq itself tells of an end
            if port.unseen is not None:
                port.unseen.saw(frame)
            if source is not None and port.flood.took(frame, source):
                self._cut_off(port, frame, now)
            if topic is None or topic[:1] not in (b"\x00", b"\x01"):
                self._hush.tell("subscriptions_malformed", now, "a stranger sent the publisher what is no subscription")
            else:
                self._feed(Subscribed(topic[1:]) if topic[0] else Unsubscribed(topic[1:]), now)
        if taken < SUBSCRIPTIONS_PER_TURN:
            self._emptied(port, now)
        else:
            self._left_some(port, now)

    def _questions(self, now: float) -> None:
        port, taken, fed = self._contact, 0, 0
        flood = port.flood
        flood.begin(now)
        for token, question, frame in routed_frames(port.socket, ASKED_PER_TURN + FLOODED_PER_TURN):
            taken += 1
            if port.unseen is not None:
                port.unseen.saw(frame)
            if token in flood.caught:
                continue
            if flood.took(frame, token):
                self._cut_off(port, frame, now)
                continue
            if question is None:
                self._hush.tell("asks_malformed", now, "a stranger asked in a message that is not of one part")
            else:
                self._feed(Asked(token, question, frame), now)
            fed += 1
            if fed == ASKED_PER_TURN:
                break
        if fed < ASKED_PER_TURN and taken < ASKED_PER_TURN + FLOODED_PER_TURN:
            self._emptied(port, now)
            return
        for frame in flood.growing(port.doors.ports):
            self._cut_off(port, frame, now)
        self._left_some(port, now)

    def _follow_links(self, now: float) -> None:
        # A publisher that says goodbye and closes may be seen to close first; cutting its link would drop the goodbye.
        self._survives(*self._of[self._sub], now)
        for event in self._links.on_monitor(now):
            self._feed(event, now)

    # who brings too much ----------------------------------------------------------------------------------------------

    def turn_out(self, token: bytes, source: object) -> None:
        """Cut an asker off, and drop what still waits of it."""
        self._contact.flood.caught.add(token)
        self._contact.unread = True
        if isinstance(source, zmq.Frame):
            cut_off(source, self._contact.doors.ports, MESSAGE_BYTES_MIN)

    def _left_some(self, port: _Port, now: float) -> None:
        port.unread = True
        if port.flood.caught:
            self._porter.hold_off(port.doors, True, now)

    def _emptied(self, port: _Port, now: float) -> None:
        port.flood.emptied(now)
        if port.unread:
            port.unread = False
            self._porter.hold_off(port.doors, False, now)

    def _cut_off(self, port: _Port, frame: zmq.Frame, now: float) -> None:
        whose = cut_off(frame, port.doors.ports, port.most * MESSAGE_BYTES_MIN) or "somebody who is gone"
        text = f"{whose} brought more than {port.most} messages within a second: the connection was cut off"
        self._hush.full("connections_flooded", now, text)

    def _look_ahead(self, now: float) -> None:
        """Links go on bringing more than `messages_per_s`. An honest peer at full speed may, but is no quicker than this one is
        at reading alone; so read on without handing it on. If no end is seen then, cut the link that brought most.
        """
        ahead, most, size = self._ahead, AHEAD_S * self._heard_most, 0
        for item in whole_frames(self._sub, most + 1 - len(ahead)):
            ahead.append(item)
            size += len(item[1])
            if size > AHEAD_BYTES_MAX:
                break
        if len(ahead) > most or size > AHEAD_BYTES_MAX:
            of_source: dict[str | None, list[zmq.Frame]] = {}
            for _, frame in ahead:
                of_source.setdefault(descriptor_of(frame), []).append(frame)
            flood = max(of_source.values(), key=len)
            if self._shun(flood[0], now):
                dropped = set(map(id, flood))
                kept = [item for item in ahead if id(item[1]) not in dropped]
                ahead.clear()
                ahead.extend(kept)
        self._heard.emptied(now)

    def _shun(self, frame: zmq.Frame, now: float) -> bool:
        """Cut the link that brought this. Whether there was one."""
        endpoint = link_of(frame)
        if endpoint is None or self._links.state(endpoint) is None:
            return False
        self._links.shun(endpoint, now + FLOODED_SHUN_S)
        text = (
            f"the link to {endpoint} brought more than {self._heard_most} messages a second, and more than "
            f"{AHEAD_S * self._heard_most} waited; it is cut for {FLOODED_SHUN_S:g} s"
        )
        self._hush.full("links_flooded", now, text)
        return True
