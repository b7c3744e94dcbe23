"""Connections of simulated peers, and the supervisor that dials them; the model is `bus/links.py` and `bus/calls.py`.

A link is a SUB's connection to an XPUB; a call is a DEALER's to a ROUTER. Dialling takes a TCP and a ZMTP handshake, is
refused where nobody listens, runs out where packets are dropped or the process stands still, and is tried again with the
supervisor's back-off. A call is dialled once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..core.effects import Answered, Asked, Heard, LinkClosed, LinkUnreached, Subscribed, Unsubscribed
from .network import RTO_S, SYN_RTO_S
from .streams import Connection

if TYPE_CHECKING:
    from .peers import SimulatedPeer

CONNECT_S = 0.0005  # what a handshake takes besides the way
SETTLE_S = 0.05  # between two dials of one endpoint
HELD_S = 5.0  # a link that lasted so long starts again with the shortest back-off
SUBSCRIPTION_BYTES = 16


class Link(Connection):
    """A SUB (near) at an XPUB (far)."""

    __slots__ = ("endpoint", "publisher", "subscriber", "topics")

    def __init__(self, subscriber: SimulatedPeer, publisher: SimulatedPeer, endpoint: str) -> None:
        config = subscriber.node.local.config.links
        super().__init__(
            subscriber.network, subscriber.machine, publisher.machine, config.queue_messages_max, commands=True
        )
        self.subscriber, self.publisher, self.endpoint = subscriber, publisher, endpoint
        self.topics: set[bytes] = set()  # subscriptions that the publisher got
        self.back.take = self.hear
        self.there.take = self._command
        subscriber.connections[self] = publisher.connections[self] = None

    def hear(self, frame: bytes) -> None:
        """A message reached the SUB."""
        if self.near_open:
            self.subscriber.take(Heard(frame, self.endpoint), frame, self.back)

    def tell(self, input: Subscribed | Unsubscribed) -> None:
        """The subscriber subscribes, or ends a subscription."""
        self.there.send(input, SUBSCRIPTION_BYTES)

    def _command(self, input: Subscribed | Unsubscribed) -> None:
        if not self.far_open:
            return
        if type(input) is Subscribed:
            self.serve(input.topic)
        elif input.topic not in self.topics or not self._end(input.topic):
            return
        self.publisher.take(input, input.topic, self.there)

    def serve(self, topic: bytes) -> None:
        """The publisher sends this topic here from now on."""
        self.topics.add(topic)
        self.publisher.index.setdefault(topic, {})[self.back] = None

    def _end(self, topic: bytes) -> bool:
        """Whether it was the last subscription to this topic: the publisher is told of no other's end."""
        self.topics.remove(topic)
        pipes = self.publisher.index[topic]
        del pipes[self.back]
        if not pipes:
            del self.publisher.index[topic]
        return not pipes

    def forget(self) -> list[bytes]:
        """The publisher serves this link no longer; the topics to which nobody listens any more."""
        return [topic for topic in sorted(self.topics) if self._end(topic)]

    def unwell(self) -> bool:
        return self.subscriber.paused or self.publisher.paused

    def near_told(self) -> None:
        self.subscriber.connections.pop(self, None)
        self.subscriber.lost(self)

    def far_told(self) -> None:
        self.publisher.connections.pop(self, None)
        for topic in self.forget():
            self.publisher.take(Unsubscribed(topic), topic, self.there)


class Talk(Connection):
    """A DEALER (near) at a ROUTER (far)."""

    __slots__ = ("asked", "asker", "number", "token")

    def __init__(self, asker: SimulatedPeer, asked: SimulatedPeer, number: int) -> None:
        config = asker.node.local.config.links
        super().__init__(asker.network, asker.machine, asked.machine, config.queue_messages_max, commands=False)
        self.asker, self.asked, self.number = asker, asked, number
        self.token = f"{asker.contact}/{asker.number}/{number}".encode()
        self.there.take = self._ask
        self.back.take = self._answer
        asker.connections[self] = asked.connections[self] = None
        asked.askers[self.token] = self

    def _ask(self, frame: bytes) -> None:
        if self.far_open:
            self.asked.take(Asked(self.token, frame), frame, self.there)

    def _answer(self, frame: bytes) -> None:
        if self.near_open:
            self.asker.take(Answered(self.number, frame), frame, self.back)

    def hang_up(self) -> None:
        """The asker closes it. ZeroMQ tells the other's process nothing."""
        self.near_told()
        self.far_told()
        self.near_open = self.far_open = False
        self._tidy()

    def near_told(self) -> None:
        self.asker.connections.pop(self, None)

    def far_told(self) -> None:
        self.asked.connections.pop(self, None)
        self.asked.askers.pop(self.token, None)


class Supervised:
    """One endpoint that a SUB is to be linked to: dialled until it is up, and again when it broke."""

    __slots__ = ("_back_off_s", "_told", "_up_at", "endpoint", "link", "peer")

    def __init__(self, peer: SimulatedPeer, endpoint: str) -> None:
        self.peer, self.endpoint = peer, endpoint
        self.link: Link | None = None
        self._back_off_s = peer.node.local.config.links.redial_min_s
        self._up_at = 0.0
        self._told = False  # that it was up, or that a dial met nobody

    @property
    def wanted(self) -> bool:
        """Whether the peer still wants this link."""
        return self.peer.running and self.peer.links.get(self.endpoint) is self

    def dial(self, _: object = None) -> None:
        """Dial now."""
        peer = self.peer
        if not self.wanted or self.link is not None:
            return
        if peer.paused:
            peer.when_resumed.append(self.dial)
            return
        network, config = peer.network, peer.node.local.config.links
        machine = network.host(self.endpoint.rpartition(":")[0])
        publisher = peer.cluster.publishers.get(self.endpoint)
        machine = publisher.machine if publisher is not None else machine
        connected = network.exchange_s(peer.machine, machine, rto_s=SYN_RTO_S, limit_s=config.connect_timeout_s)
        if connected is None:
            network.push(network.now + config.connect_timeout_s, self._failed, None)
        elif publisher is None or not publisher.running:
            network.push(network.now + connected, self._unreached, None)
        else:
            greeted = network.exchange_s(peer.machine, machine, rto_s=RTO_S, limit_s=config.handshake_timeout_s)
            wait = config.handshake_timeout_s if greeted is None else greeted + CONNECT_S
            network.push(network.now + connected + wait, self._failed if greeted is None else self._linked, publisher)

    def _linked(self, publisher: SimulatedPeer) -> None:
        peer = self.peer
        if not self.wanted or self.link is not None:
            return
        if peer.paused:
            peer.when_resumed.append(self.dial)
        elif not publisher.running:
            self._unreached()
        elif publisher.paused or not peer.network.connected(peer.host, publisher.host):
            wait = peer.node.local.config.links.handshake_timeout_s
            peer.network.push(peer.network.now + wait, self._failed, None)
        else:
            link = self.rise(publisher)
            for topic in sorted(peer.topics):
                link.tell(Subscribed(topic))

    def rise(self, publisher: SimulatedPeer) -> Link:
        """The connection is made."""
        self._up_at, self._told = self.peer.network.now, True
        self.link = Link(self.peer, publisher, self.endpoint)
        if not self.peer.network.calm:
            self.link.look()
        return self.link

    def _unreached(self, _: object = None) -> None:
        """Nobody listens there, or who did ended in the midst of the handshake."""
        if self.wanted and not self._told:
            self._told = True
            self.peer.take(LinkUnreached(self.endpoint), self.endpoint.encode())
        self._failed()

    def _failed(self, _: object = None) -> None:
        if self.wanted:
            self._retry()

    def broke(self) -> None:
        """It was up, and is no longer."""
        self.link = None
        config = self.peer.node.local.config.links
        if self.peer.network.now - self._up_at >= HELD_S:
            self._back_off_s = config.redial_min_s
        self._retry()

    def _retry(self) -> None:
        network = self.peer.network
        wait = max(SETTLE_S, self._back_off_s * (0.5 + 0.5 * network.random.random()))
        self._back_off_s = min(2 * self._back_off_s, self.peer.node.local.config.links.redial_max_s)
        network.push(network.now + wait, self.dial, None)

    def shun(self, seconds: float) -> None:
        """Cut it, and dial again only after so long."""
        self.drop()
        self.peer.network.push(self.peer.network.now + seconds, self.dial, None)

    def drop(self) -> None:
        """It is wanted no longer, or not now."""
        link, self.link = self.link, None
        if link is not None:
            link.subscriber.connections.pop(link, None)
            link.end_near()


def broken(link: Link) -> LinkClosed:
    """What the SUB's node is told of it."""
    return LinkClosed(link.endpoint)
