"""Simulated peers: the real `Node` and the real catalogue, with the virtual network in place of the bus.

    cluster = Cluster(seed=1)
    a, b = cluster.spawn("a"), cluster.spawn("b")
    b.register("orders", port=80)
    cluster.run(1.0)
    a.lookup("orders")
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import cast

from ..catalogue.balance import Balance
from ..catalogue.catalogue import Catalogue
from ..catalogue.events import EventLog
from ..catalogue.reads import Reads
from ..config import Config
from ..core.effects import (
    Answer,
    Answered,
    Asked,
    Bind,
    Bound,
    Call,
    Changed,
    Connect,
    Disconnect,
    Effect,
    HangUp,
    Happened,
    Heard,
    Input,
    LinkClosed,
    Listen,
    Probe,
    Probed,
    ProbeOutcome,
    Publish,
    Recollected,
    Remember,
    Remembered,
    Subscribed,
    Unlisten,
    Unsubscribed,
)
from ..core.node import Node
from ..core.observer import ObserverNode
from ..core.selfhood import Identity
from ..model import Event, Instance, InstanceState, Member, checked_instance
from .network import Network

REDIAL_S = (0.1, 5.0)
CONNECT_S = 0.0005
CONNECT_TIMEOUT_S = 0.5
WALL_START_MS = 1_700_000_000_000


class SimulatedPeer(Reads):
    """One peer of a simulated cluster; answers all read calls as a real one does."""

    def __init__(self, cluster: Cluster, node: Node, host: str, contact: str, publisher: str) -> None:
        self.cluster = cluster
        self.node = node
        self.host, self.contact, self.publisher = host, contact, publisher
        self.running = True
        self.paused = False
        self.history: list[Happened] = []
        self.log = EventLog(node.local.config.limits, wall=lambda: cluster.network.now)
        self.recollected: dict[int, tuple[Event, ...]] = {}
        self.heard_broadcasts = 0
        self._zone = node.local.me.zone
        self._catalogue = Catalogue()
        self._balance = Balance(node.local.config.balancing)
        self._links: dict[str, bool] = {}  # endpoint -> up
        self._back_off: dict[str, float] = {}
        self._topics: set[bytes] = set()
        self._waiting: deque[Input] = deque()  # inputs of a paused process
        self._tick_at = float("inf")
        self._calls: dict[int, str] = {}

    # what a user does -------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The peer's id."""
        return self.node.id

    def register(
        self,
        service: str,
        *,
        port: int,
        id: str | None = None,
        weight: int = 1,
        labels: Mapping[str, str] | None = None,
        routes: Iterable[str] = (),
        ttl: float | None = None,
    ) -> Instance:
        """As `Peer.register`; returns the instance."""
        instance = checked_instance(
            service,
            host=self.host,
            port=port,
            id=id,
            weight=weight,
            labels=labels,
            routes=routes,
            zone=self._zone,
            origin=self.id,
        )
        self.perform(self.node.register(instance, ttl, self.cluster.network.now))
        return instance

    def deregister(self, instance: Instance) -> None:
        """As `Registration.deregister`."""
        self.perform(self.node.deregister([instance.key], self.cluster.network.now))

    def drain(self, instance: Instance) -> None:
        """As `Registration.drain`."""
        drained = dataclasses.replace(instance, origin=self.id, state=InstanceState.DRAINING)
        self.perform(self.node.replace(drained, self.cluster.network.now))

    def report_failure(self, instance: Instance) -> None:
        """As `Peer.report_failure`."""
        self.perform(self.node.report_failure(instance.key, self.cluster.network.now))

    def members(self) -> dict[str, Member]:
        """The living members by id."""
        return {origin.id: origin.member() for origin in self.node.local.table.alive()}

    # the shell --------------------------------------------------------------------------------------------------------

    def feed(self, input: Input) -> None:
        """An input from the network; a paused process takes it when it resumes."""
        if not self.running:
            return
        if self.paused:
            self._waiting.append(input)
        else:
            self.perform(self.node.handle(input, self.cluster.network.now))

    def perform(self, effects: list[Effect]) -> None:
        """Carry effects out in order, then plan the next tick."""
        changes = [effect for effect in effects if type(effect) is Changed]
        if changes:
            self._catalogue.apply(changes)
        self.log.record(changes, [effect for effect in effects if type(effect) is Happened])
        for effect in effects:
            action = self._ACTIONS.get(type(effect))
            if action is not None:
                action(self, effect)
        self._plan_tick()

    def _plan_tick(self) -> None:
        network = self.cluster.network
        due = max(network.now, min(self.node.next_deadline(), network.now + 1.0))
        if due < self._tick_at:
            self._tick_at = due
            network.at(due, partial(self._tick, due))

    def _tick(self, due: float) -> None:
        if not self.running or self.paused or due != self._tick_at:
            return
        self._tick_at = float("inf")
        self.perform(self.node.tick(self.cluster.network.now))

    def resume(self) -> None:
        """A paused process goes on: first its clock, then what waited at its sockets."""
        self.paused = False
        if not self.running:
            return
        self._tick_at = float("inf")
        self.perform(self.node.tick(self.cluster.network.now))
        while self._waiting:
            self.perform(self.node.handle(self._waiting.popleft(), self.cluster.network.now))

    def _send(self, other: SimulatedPeer, kind: str, size: int, deliver: Callable[[], None]) -> None:
        stream = (self.contact, kind), other.contact
        self.cluster.network.send(self.host, other.host, stream, size, deliver, lossless=kind == "sub")

    def _publish(self, effect: Publish) -> None:
        frame = effect.frame
        topic = frame[:9] if frame[:1] == b"@" else frame[:1]
        for other in self.cluster.subscribers(self.publisher, topic):
            self._send(other, "pub", len(frame), partial(self._arrive, other, frame))

    def _arrive(self, other: SimulatedPeer, frame: bytes) -> None:
        if other._links.get(self.publisher):
            other.feed(Heard(frame))

    def _listen(self, effect: Listen) -> None:
        self._topics.add(effect.topic)
        self._tell_topic(Subscribed(effect.topic))

    def _unlisten(self, effect: Unlisten) -> None:
        self._topics.discard(effect.topic)
        self._tell_topic(Unsubscribed(effect.topic))

    def _tell_topic(self, input: Subscribed | Unsubscribed) -> None:
        for endpoint, up in self._links.items():
            publisher = self.cluster.publishers.get(endpoint)
            if up and publisher is not None:
                self._send(publisher, "sub", 16, partial(publisher.feed, input))

    def _connect(self, effect: Connect) -> None:
        self._links[effect.endpoint] = False
        self._back_off[effect.endpoint] = REDIAL_S[0]
        self.cluster.network.after(CONNECT_S, partial(self._dial, effect.endpoint))

    def _dial(self, endpoint: str) -> None:
        if not self.running or self._links.get(endpoint) is not False:
            return
        publisher = self.cluster.publishers.get(endpoint)
        if publisher is None or not publisher.running or not self.cluster.network.connected(self.host, publisher.host):
            wait = self._back_off[endpoint]
            self._back_off[endpoint] = min(REDIAL_S[1], 2 * wait)
            self.cluster.network.after(wait * (0.5 + self.cluster.network.random.random()), partial(self._dial, endpoint))
            return
        self._links[endpoint] = True
        self._back_off[endpoint] = REDIAL_S[0]
        self.cluster.link(publisher, self)
        for topic in sorted(self._topics):
            self._send(publisher, "sub", 16, partial(publisher.feed, Subscribed(topic)))

    def _disconnect(self, effect: Disconnect) -> None:
        up = self._links.pop(effect.endpoint, False)
        publisher = self.cluster.publishers.get(effect.endpoint)
        if up and publisher is not None:
            self.cluster.unlink(publisher, self)

    def lose_link(self, endpoint: str, *, tell: bool) -> None:
        """The connection to a publisher broke; the supervisor dials again."""
        if self._links.get(endpoint):
            self._links[endpoint] = False
            if tell:
                self.feed(LinkClosed(endpoint))
            self.cluster.network.after(REDIAL_S[0], partial(self._dial, endpoint))

    def topics(self) -> set[bytes]:
        """What its SUB listens to."""
        return self._topics

    def _call(self, effect: Call) -> None:
        self._calls[effect.call] = effect.endpoint
        other = self.cluster.contacts.get(effect.endpoint)
        if other is not None and other.running:
            token = f"{self.contact}/{effect.call}".encode()
            asked = Asked(token, effect.frame)
            self._send(other, f"call{effect.call}", len(effect.frame), partial(other.feed, asked))

    def _hang_up(self, effect: HangUp) -> None:
        self._calls.pop(effect.call, None)

    def _answer(self, effect: Answer) -> None:
        contact, _, call = effect.token.decode().rpartition("/")
        other = self.cluster.contacts.get(contact)
        if other is not None and int(call) in other._calls:
            answered = Answered(int(call), effect.frame)
            self._send(other, f"answer{effect.token!r}", len(effect.frame), partial(other.feed, answered))

    def _probe(self, effect: Probe) -> None:
        network = self.cluster.network
        listener = self.cluster.publishers.get(effect.endpoint) or self.cluster.contacts.get(effect.endpoint)
        host = effect.endpoint.rpartition(":")[0]
        if not network.connected(self.host, host):
            outcome, delay = ProbeOutcome.UNKNOWN, CONNECT_TIMEOUT_S
        elif listener is not None and listener.running:
            outcome, delay = ProbeOutcome.OPEN, CONNECT_S
        else:
            outcome, delay = ProbeOutcome.REFUSED, CONNECT_S
        network.after(delay, lambda: self.feed(Probed(effect.endpoint, outcome)))

    def _bind(self, effect: Bind) -> None:
        taken = self.cluster.contacts.get(effect.endpoint)
        ok = taken is None or not taken.running
        if ok:
            self.cluster.contacts[effect.endpoint] = self
        self.cluster.network.after(0.0, lambda: self.feed(Bound(effect.endpoint, ok)))

    def _recall(self, effect: Remember) -> None:
        self.feed(Remembered(effect.token, self.log.why({effect.name})))

    def _recollect(self, effect: Recollected) -> None:
        self.recollected[effect.call] = effect.events

    def _remember(self, effect: Happened) -> None:
        self.history.append(effect)

    _ACTIONS: dict[type, Callable[..., None]] = {  # noqa: RUF012 - a dispatch table
        Publish: _publish,
        Listen: _listen,
        Unlisten: _unlisten,
        Connect: _connect,
        Disconnect: _disconnect,
        Call: _call,
        HangUp: _hang_up,
        Answer: _answer,
        Probe: _probe,
        Bind: _bind,
        Remember: _recall,
        Recollected: _recollect,
        Happened: _remember,
    }


class SimulatedObserver(SimulatedPeer):
    """An observer of a simulated cluster: it reads, and is no member."""

    def __init__(self, cluster: Cluster, node: ObserverNode, host: str) -> None:
        super().__init__(cluster, cast("Node", node), host, f"{host}:0", f"{host}:0")  # nobody calls it, or links to it
        self.observer = node

    def recall(self, name: str) -> int:
        """Ask the source about a name; `recollected` of the number holds the answer when it came."""
        effects, call = self.observer.recall(name, self.cluster.network.now)
        self.perform(effects)
        return call


class Cluster:
    """Simulated peers on one virtual network. Everything follows from the seed."""

    def __init__(self, seed: int = 0, *, config: Config | None = None, network: Network | None = None) -> None:
        self.network = network or Network(seed)
        self.config = config or Config()
        self.peers: list[SimulatedPeer] = []
        self.observers: list[SimulatedObserver] = []
        self.publishers: dict[str, SimulatedPeer] = {}
        self.contacts: dict[str, SimulatedPeer] = {}
        self._links: dict[str, dict[str, SimulatedPeer]] = {}  # publisher endpoint -> subscriber contact -> subscriber
        self._spawned = 0

    # life and death ---------------------------------------------------------------------------------------------------

    def spawn(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        seeds: Iterable[str] | None = None,
        host: str | None = None,
        port: int = 7400,
        zone: str = "",
        zero_configuration: bool = False,
        wall_skew_s: float = 0.0,
        config: Config | None = None,
        check_reach: bool = False,
    ) -> SimulatedPeer:
        """Start a peer on a host of its own. `seeds` defaults to the contact of the first peer alive."""
        self._spawned += 1
        number = self._spawned
        name = name or f"p{number}"
        host = host or f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        contact, publisher = f"{host}:{port}", f"{host}:{port + 1}"
        if seeds is None and not zero_configuration:
            seeds = [peer.contact for peer in self.peers if peer.running][:1]
        random = self.network.random
        identity = Identity(
            id or f"{name}-{number:04d}",
            name,
            "default",
            zone,
            host,
            port,
            port + 1,
            WALL_START_MS + round((self.network.now + wall_skew_s) * 1000),
            random.getrandbits(64),
        )
        node = Node(
            identity,
            config=config or self.config,
            chance=random,
            seeds=tuple(seeds or ()),
            zero_configuration=zero_configuration,
            check_reach=check_reach,
        )
        peer = SimulatedPeer(self, node, host, contact, publisher)
        self.peers.append(peer)
        self.publishers[publisher] = self.contacts[contact] = peer
        peer.perform(node.start(self.network.now))
        return peer

    def observe(self, *seeds: str) -> SimulatedObserver:
        """Start an observer on a host of its own; it asks these contacts, or that of the first peer alive."""
        self._spawned += 1
        host = f"10.255.{self._spawned >> 8 & 255}.{self._spawned & 255}"
        node = ObserverNode(
            f"observer-{self._spawned}",
            name="observer",
            cluster="default",
            zone="",
            config=self.config,
            chance=self.network.random,
            seeds=seeds or [peer.contact for peer in self.running][:1],
        )
        observer = SimulatedObserver(self, node, host)
        self.contacts[observer.contact] = observer
        self.observers.append(observer)
        observer.perform(node.start(self.network.now))
        return observer

    def kill(self, peer: SimulatedPeer) -> None:
        """As `kill -9`: the kernel closes its connections, and tells whoever can be reached."""
        peer.running = False
        for subscriber in list(self._links.pop(peer.publisher, {}).values()):
            reachable = self.network.connected(peer.host, subscriber.host)
            self.network.after(
                self.network.latency_s, partial(subscriber.lose_link, peer.publisher, tell=reachable)
            )
        for endpoint, up in peer._links.items():
            publisher = self.publishers.get(endpoint)
            if up and publisher is not None:
                self.unlink(publisher, peer)
        for endpoint in [endpoint for endpoint, holder in self.contacts.items() if holder is peer]:
            del self.contacts[endpoint]

    def leave(self, peer: SimulatedPeer) -> None:
        """As `close()`: say goodbye, relay on, end."""
        peer.perform(peer.node.leave(self.network.now))
        self._end_when_left(peer)

    def _end_when_left(self, peer: SimulatedPeer) -> None:
        if peer.node.left:
            self.kill(peer)
        elif peer.running:
            peer.perform(peer.node.tick(self.network.now))
            self.network.after(0.01, partial(self._end_when_left, peer))

    def pause(self, peer: SimulatedPeer) -> None:
        """As SIGSTOP: its kernel keeps the connections, its process does nothing."""
        peer.paused = True

    def resume(self, peer: SimulatedPeer) -> None:
        """As SIGCONT."""
        peer.resume()

    # links ------------------------------------------------------------------------------------------------------------

    def link(self, publisher: SimulatedPeer, subscriber: SimulatedPeer) -> None:
        """A SUB is connected to an XPUB."""
        self._links.setdefault(publisher.publisher, {})[subscriber.contact] = subscriber

    def unlink(self, publisher: SimulatedPeer, subscriber: SimulatedPeer) -> None:
        """That connection ended; the publisher sees the subscriptions go."""
        if self._links.get(publisher.publisher, {}).pop(subscriber.contact, None) is not None:
            for topic in sorted(subscriber.topics()):
                self.network.after(self.network.latency_s, partial(publisher.feed, Unsubscribed(topic)))

    def subscribers(self, publisher: str, topic: bytes) -> list[SimulatedPeer]:
        """Whose SUB gets a message of this topic."""
        found = self._links.get(publisher, {}).values()
        return [peer for peer in found if topic in peer.topics()]

    # time and truth ---------------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.network.run(seconds)

    def run_until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> float:
        """Let time pass until the condition holds; returns how long it took. Raises `TimeoutError`."""
        start = self.network.now
        while not condition():
            if self.network.now - start > timeout_s:
                raise TimeoutError(f"not so after {timeout_s:g} simulated seconds")
            self.network.run(0.01)
        return self.network.now - start

    @property
    def running(self) -> list[SimulatedPeer]:
        """The peers that live."""
        return [peer for peer in self.peers if peer.running]

    def converged(self) -> bool:
        """Whether all running peers hold each other, and one digest."""
        running = self.running
        digests = {peer.node.local.table.digest for peer in running}
        return len(digests) == 1 and all(peer.node.local.table.living == len(running) for peer in running)
