"""The link supervisor: keeps the SUB connected to every wanted endpoint, whatever the other end does.

Invariants: this class alone dials (libzmq's own retry is off, `sockets.py`), at most one connection per endpoint is
known to libzmq at any time, and a wanted endpoint is always up, being dialled, or due to be dialled. libzmq never
retries after a protocol error, a refused secret or an oversized frame; here all ends look alike:

    WAITING --due--> DIALLING --handshake--> UP
       ^                 | closed, failed,    | closed
       '---- back-off ---'     overdue        |        DROPPED = no longer wanted, but too fresh to dial again
       '--------------------------------------'

A broken link is cut (`disconnect`) in the turn that tells so and dialled again `SETTLE_S` later at the earliest: events
carry no connection, only an endpoint, and what the old connection still says must not be taken for the new one's.
"""

from __future__ import annotations

import errno
import random
import struct
from collections.abc import Callable
from enum import Enum

import zmq

from ..config import Links as LinksConfig
from ..core.effects import LinkClosed, LinkUnreached
from ..values import dataclass
from .hush import Hush
from .keys import Keyring, Keys
from .knocks import Knocks, Turned
from .sockets import Descriptors, Sockets

SETTLE_S = 0.05  # between cutting and dialling the same endpoint
HELD_S = 5.0  # a link that lasted so long starts again with the shortest back-off
OVERDUE_S = 1.0  # beyond connect and handshake timeout; libzmq tells of neither when it runs out of descriptors
REFUSED_RETRY_S = 1.0  # until a dial refused for lack of descriptors is tried again
DESCRIPTORS_PER_LINK = 1
EVENTS_PER_TURN = 1000

_EVENT = struct.Struct("=HI")


class LinkState(Enum):
    """See the drawing above."""

    WAITING = "waiting"
    DIALLING = "dialling"
    UP = "up"
    DROPPED = "dropped"


@dataclass(slots=True)
class Link:
    """One endpoint. `due`: when to dial, to give up dialling, to shorten the back-off, or to forget, by state.

    `descriptor`: of the connection that was made last, by libzmq; -1 before.
    """

    endpoint: str
    state: LinkState
    due: float
    backoff_s: float
    descriptor: int = -1
    keys: Keys | None = None  # with which it was dialled
    told: bool = False  # since it was wanted: that it was up, or that a dial met nobody


class Links:
    """All links of one SUB. Not thread-safe: the bus thread owns it. Time is an argument, jitter comes from `rng`."""

    def __init__(
        self,
        sockets: Sockets,
        config: LinksConfig,
        rng: random.Random,
        hush: Hush,
        descriptors: Descriptors,
        knocks: Knocks | None = None,
    ) -> None:
        self._knocks = knocks or Knocks(hush, None)
        self._subscriber = sockets.subscriber
        self._monitor = sockets.monitor
        self._config = config
        self._rng = rng
        self._hush = hush
        self._descriptors = descriptors
        self._links: dict[str, Link] = {}
        self._deadline = float("inf")
        self._handshake_s = config.handshake_timeout_s + OVERDUE_S  # what a dial may take besides the connect
        self.refused = 0
        self._on_due: dict[LinkState, Callable[[Link, float], None]] = {
            LinkState.WAITING: self._dial,
            LinkState.DIALLING: self._overdue,
            LinkState.UP: self._held,
            LinkState.DROPPED: self._forget,
        }

    @property
    def up(self) -> int:
        """How many links are up now. O(links)."""
        return sum(link.state is LinkState.UP for link in tuple(self._links.values()))

    @property
    def descriptors(self) -> dict[int, str]:
        """The descriptor of each connection with its endpoint; a broken one's may be another's by now. O(links)."""
        return {link.descriptor: link.endpoint for link in tuple(self._links.values()) if link.descriptor >= 0}

    def state(self, endpoint: str) -> LinkState | None:
        """The state of one link, None if it is not wanted. O(1)."""
        link = self._links.get(endpoint)
        return None if link is None or link.state is LinkState.DROPPED else link.state

    def connect(self, endpoint: str, now: float) -> None:
        """Want a link to `ip:port`, from the next `tick` on until `disconnect`. A second call changes nothing. O(1)."""
        link = self._links.get(endpoint)
        if link is None:
            link = self._links[endpoint] = Link(endpoint, LinkState.WAITING, now, self._config.redial_min_s)
        elif link.state is LinkState.DROPPED:
            link.state = LinkState.WAITING
        self._expect(link.due)

    def disconnect(self, endpoint: str, now: float) -> None:
        """Want it no longer; its queued frames are lost. Unknown endpoints are ignored. O(1)."""
        link = self._links.get(endpoint)
        if link is None or link.state is LinkState.DROPPED:
            return
        self._cut(link)
        link.state, link.due, link.backoff_s = LinkState.DROPPED, now + SETTLE_S, self._config.redial_min_s
        link.told = False
        self._expect(link.due)

    def shun(self, endpoint: str, until: float) -> None:
        """Cut a wanted link and dial it again only then. Nobody is told that it closed: its peer is not at an end. O(1)."""
        link = self._links.get(endpoint)
        if link is None or link.state is LinkState.DROPPED:
            return
        self._cut(link)
        link.state, link.due = LinkState.WAITING, until
        self._expect(link.due)

    def on_monitor(self, now: float) -> list[LinkClosed | LinkUnreached]:
        """Take in what libzmq tells about connections (at most `EVENTS_PER_TURN`). Returns the links that were up and broke,
        and, once, those that were not up yet and whose dial met nobody.

        Drain the SUB before: cutting a link drops the frames of it that still wait there, a goodbye perhaps.
        """
        told: list[LinkClosed | LinkUnreached] = []
        for _ in range(EVENTS_PER_TURN):
            try:
                head, endpoint = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            link = self._links.get(endpoint.decode("ascii", "replace").removeprefix("tcp://"))
            if link is None or link.state not in (LinkState.DIALLING, LinkState.UP):
                continue
            number, value = _EVENT.unpack(head)
            event = zmq.Event(number)
            if event is zmq.Event.CONNECTED:
                link.descriptor = value
            elif event is zmq.Event.HANDSHAKE_SUCCEEDED:
                self._rise(link, now)
            else:
                told += self._broke(link, event, value, now)
        return told

    def rekey(self, keyring: Keyring, now: float) -> list[LinkClosed]:
        """Links that were dialled with keys which are valid no longer are dialled anew. Returns those that were up."""
        stale = [link for link in self._links.values() if link.keys is not None and link.keys not in keyring]
        closed = []
        for link in stale:
            if link.state in (LinkState.DIALLING, LinkState.UP):
                if link.state is LinkState.UP:
                    closed.append(LinkClosed(link.endpoint))
                self._cut(link)
                link.state, link.due, link.keys = LinkState.WAITING, now + SETTLE_S, None
                self._expect(link.due)
        return closed

    def tick(self, now: float) -> None:
        """Dial what is due, give up what is overdue.

        O(1) before `next_deadline`, O(links) at it.
        """
        if now < self._deadline:
            return
        self.refused = 0
        for link in [link for link in self._links.values() if link.due <= now]:
            self._on_due[link.state](link, now)
        self._deadline = min((link.due for link in self._links.values()), default=float("inf"))
        if self.refused:
            self._tell_refusal(now)

    def next_deadline(self) -> float:
        """When `tick` is due, in seconds of the clock that `now` is read from. May be early, never late. O(1)."""
        return self._deadline

    def _dial(self, link: Link, now: float) -> None:
        if not self._descriptors.reserve(now, DESCRIPTORS_PER_LINK):
            self.refused += 1
            link.due = now + REFUSED_RETRY_S * (1 + self._rng.random())
            return
        self._hush.count("links_dialled")
        try:
            self._subscriber.setsockopt(zmq.IPV6, int("[" in link.endpoint))
            link.keys = self._knocks.dress(self._subscriber, link.endpoint)
            self._subscriber.connect(f"tcp://{link.endpoint}")
        except zmq.ZMQError as error:
            self._hush.tell("links_undiallable", now, f"cannot dial {link.endpoint!r}: {error.strerror}")
            self._retry(link, now)
            return
        link.state, link.due = LinkState.DIALLING, now + self._config.connect_timeout_s + self._handshake_s

    def _overdue(self, link: Link, now: float) -> None:
        self._hush.count("links_overdue")
        self._retry(link, now)

    def _held(self, link: Link, now: float) -> None:
        link.backoff_s, link.due = self._config.redial_min_s, float("inf")

    def _forget(self, link: Link, now: float) -> None:
        del self._links[link.endpoint]

    def _rise(self, link: Link, now: float) -> None:
        self._hush.count("links_up")
        self._knocks.opened(link.endpoint, link.keys)
        link.state, link.due, link.told = LinkState.UP, now + HELD_S, True
        self._expect(link.due)

    def _broke(self, link: Link, event: zmq.Event, value: int, now: float) -> list[LinkClosed | LinkUnreached]:
        told: list[LinkClosed | LinkUnreached] = []
        if link.state is LinkState.UP:
            self._hush.count("links_broken")
            told.append(LinkClosed(link.endpoint))
        elif event is zmq.Event.CLOSED:
            self._hush.count("dials_unanswered")
        elif event in Turned:
            self._knocks.turned_away(link.endpoint, link.keys, event, value, now)
            if link.keys is not None and not self._knocks.hopeless(link.endpoint):
                link.backoff_s = self._config.redial_min_s  # it may have been the wrong door
        else:  # a socket of another kind is told as a mere DISCONNECTED
            self._hush.tell("handshakes_failed", now, f"{link.endpoint} took the connection but is no peer, or just ended")
        in_time = now < link.due - self._handshake_s  # else the dial ran out, which tells nothing of its peer
        if not link.told and event not in Turned and in_time:
            told.append(LinkUnreached(link.endpoint))
            link.told = True
        self._retry(link, now)
        return told

    def _retry(self, link: Link, now: float) -> None:
        self._cut(link)
        delay = link.backoff_s * (0.5 + 0.5 * self._rng.random())
        link.state, link.due = LinkState.WAITING, now + max(delay, SETTLE_S)
        link.backoff_s = max(link.backoff_s, min(2 * link.backoff_s, self._config.redial_max_s))
        self._expect(link.due)

    def _cut(self, link: Link) -> None:
        try:
            self._subscriber.disconnect(f"tcp://{link.endpoint}")
        except zmq.ZMQError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):  # not dialled, or could not be
                raise

    def _expect(self, due: float) -> None:
        self._deadline = min(self._deadline, due)

    def _tell_refusal(self, now: float) -> None:
        used, limit = self._descriptors.used, self._descriptors.limit
        text = (
            f"{self.refused} links refused: {used} file descriptors are open and at most {limit} may be, "
            f"{self._config.descriptors_share:.0%} of the limit. Raise `ulimit -n`; they are tried again"
        )
        self._hush.full("links_refused", now, text)
