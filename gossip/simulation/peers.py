"""Simulated peers: the real `Node`, with the virtual network in place of the bus; what it tells is kept by `told.py`."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from ..catalogue.inherited import LastView
from ..core.codec import Codec
from ..core.effects import (
    Answer,
    Bind,
    Blame,
    Blamed,
    Bound,
    Call,
    Changed,
    Connect,
    Disconnect,
    Effect,
    HangUp,
    Happened,
    Input,
    Listen,
    Probe,
    Probed,
    ProbeOutcome,
    Publish,
    Recollected,
    Remember,
    Remembered,
    Shun,
    Subscribed,
    Unlisten,
    Unreached,
    Unsubscribed,
)
from ..core.node import Node
from ..core.observer import ObserverNode
from ..core.saved import Encoding, Known, Saved, carried_on, decode, me_of, others_of
from ..model import Instance, InstanceState, checked_instance
from . import links as wiring
from .links import Link, Supervised, Talk
from .network import RTO_S, SYN_RTO_S
from .streams import Connection, Pipe
from .told import Told

if TYPE_CHECKING:
    from .cluster import Cluster

WAIT_MAX_S = 1.0  # the bus ticks at least so often
TOPIC_BYTES = 9
_AT = ord("@")
NEVER = float("inf")


class SimulatedPeer(Told):
    """One peer of a simulated cluster; answers all read calls as a real one does."""

    def __init__(self, cluster: Cluster, node: Node, number: int, host: str, contact: str, publisher: str) -> None:
        super().__init__(node, cluster.network)
        self.cluster = cluster
        self.number = number  # of all that were started, in order
        self.host, self.contact, self.publisher = host, contact, publisher
        self.machine = cluster.network.host(host)
        self.running = True
        self.paused = False
        self.wall_skew_s = 0.0
        self.links: dict[str, Supervised] = {}  # wanted, by endpoint
        self.index: dict[bytes, dict[Pipe, None]] = {}  # topic -> who gets it
        self.askers: dict[bytes, Talk] = {}
        self.connections: dict[Connection, None] = {}
        self.topics: set[bytes] = set()
        self.when_resumed: list[Callable[[], object]] = []
        self._calls: dict[int, Talk | None] = {}
        self._carried: tuple[Known, ...] = ()
        self._deaf = False  # paused, clogged or slow: inputs wait
        self._still = False  # paused or slow: ticks wait as well
        self._clogged = False
        self._slow_s = 0.0
        self._waiting: deque[tuple[Input, Pipe | None]] = deque()
        self._tick_at = NEVER
        self.machine.on_clog.append(self._clog)

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
        self.perform(self.node.register(instance, ttl, self.network.now))
        return instance

    def deregister(self, instance: Instance) -> None:
        """As `Registration.deregister`."""
        self.perform(self.node.deregister([instance.key], self.network.now))

    def drain(self, instance: Instance) -> None:
        """As `Registration.drain`."""
        drained = dataclasses.replace(instance, origin=self.id, state=InstanceState.DRAINING)
        self.perform(self.node.replace(drained, self.network.now))

    def revoke(self, revocation: bytes) -> bool:
        """As `Peer.revoke`."""
        effects, news = self.node.revoke(revocation, self.network.now)
        self.perform(effects)
        return news

    def report_failure(self, instance: Instance) -> None:
        """As `Peer.report_failure`; the back-off is counted in simulated time."""
        self._note_failure(instance, self.network.now)
        self.perform(self.node.report_failure(instance.key, self.network.now))

    # what is saved ----------------------------------------------------------------------------------------------------

    def saved(self) -> Saved:
        """What this peer keeps for its next life, through the bytes of a snapshot."""
        node, local = self.node, self.node.local
        others = others_of(local, carried_on(self._carried, looked_for=node.looks_back, shown=node.holds_past))
        codec, limits = Codec(local.codec.cluster), local.config.limits
        revoked, most = local.authority.messages(), limits.snapshot_bytes_max
        pieces = Encoding(codec, me_of(local), others, saved_ms=0, bytes_max=most, revoked=revoked)
        return decode(b"".join(pieces), codec, limits)

    def resume_from(self, saved: Saved) -> None:
        """Begin with what an earlier life kept."""
        self._carried = saved.others
        if saved.others:
            self.show_first(LastView.of(instance for known in saved.others for instance in known.instances))

    # the shell --------------------------------------------------------------------------------------------------------

    def take(self, input: Input, mark: bytes, pipe: Pipe | None = None) -> None:
        """An input from the network; `mark` stands for it in the trace. A process that reads nothing takes it later."""
        if not self.running:
            return
        self.network.marks += mark
        if self._deaf:
            self._hold(input, pipe)
        elif self.cluster.tap is None:
            self.perform(self.node.handle(input, self.network.now))
        else:
            self._handle(input)

    def feed(self, input: Input) -> None:
        """An input from nowhere in particular."""
        self.take(input, repr(input).encode())

    def _handle(self, input: Input) -> None:
        tap = self.cluster.tap
        if tap is not None:
            tap(self, input)
        self.perform(self.node.handle(input, self.network.now))

    def _hold(self, input: Input, pipe: Pipe | None) -> None:
        if pipe is not None:
            # Who does not read takes all in nevertheless; of one that stands still as a whole the sender's mark is the bound.
            if self._still and pipe.held >= pipe.capacity and not pipe.commands:
                self.network.overflowed += 1
                return
            pipe.held += 1
        self._waiting.append((input, pipe))

    def perform(self, effects: list[Effect]) -> None:
        """Carry effects out in order, then plan the next tick."""
        if effects:
            actions = self._ACTIONS
            for effect in effects:
                actions[type(effect)](self, effect)
        due = self.node.next_deadline()
        if due < self._tick_at:
            self._plan_tick(due)

    def _plan_tick(self, due: float) -> None:
        now = self.network.now
        due = max(now, min(due, now + WAIT_MAX_S))
        if due < self._tick_at:
            self._tick_at = due
            self.network.push(due, self._tick, due)

    def _tick(self, due: float) -> None:
        if self.running and not self._still and due == self._tick_at:
            self._tick_at = NEVER
            self.perform(self.node.tick(self.network.now))

    # processes that stand still, read nothing, or are starved -----------------------------------------------------------

    def pause(self) -> None:
        """SIGSTOP: the kernel keeps the connections, the process does nothing."""
        self.paused = True
        self._listen()

    def resume(self) -> None:
        """SIGCONT: as the bus does, it takes what waited at its sockets, then looks at the clock."""
        self.paused = False
        self._listen()
        later, self.when_resumed = self.when_resumed, []
        for do in later:
            do()

    def _clog(self, clogged: bool) -> None:
        self._clogged = clogged
        self._listen()

    def starve(self, delay_s: float) -> None:
        """It runs only for a moment, each time after up to twice this; 0: as ever."""
        starved, self._slow_s = self._slow_s > 0, delay_s
        self._listen()
        if delay_s and not starved:
            self.network.after(2 * delay_s * self.network.random.random(), self._moment)

    def _moment(self) -> None:
        if not self._slow_s or not self.running:
            return
        if not self.paused:
            early = self.network.random.random() < 0.5  # it stood still between reading and looking at the clock
            if early:
                self._tick_now()
            if not self._clogged:
                self._read()
            if not early:
                self._tick_now()
        self.network.after(2 * self._slow_s * self.network.random.random(), self._moment)

    def _listen(self) -> None:
        was_still, self._still = self._still, self.paused or self._slow_s > 0
        self._deaf = self._still or self._clogged
        for connection in list(self.connections):
            connection.look()
        if not self._deaf:
            self._read()
        if was_still and not self._still:
            self._tick_now()

    def _tick_now(self) -> None:
        if not self.running:
            return
        self._tick_at = NEVER
        self.perform(self.node.tick(self.network.now))

    def _read(self) -> None:
        for _ in range(len(self._waiting)):
            if not self._waiting:  # it died of what it read
                return
            input, pipe = self._waiting.popleft()
            if pipe is not None:
                pipe.held -= 1
            self._handle(input)

    # effects ------------------------------------------------------------------------------------------------------------

    def _publish(self, effect: Publish) -> None:
        frame = effect.frame
        pipes = self.index.get(frame[:TOPIC_BYTES] if frame[0] == _AT else frame[:1])
        if pipes is not None:
            size = len(frame)
            for pipe in pipes:
                pipe.send(frame, size)

    def _listen_to(self, effect: Listen) -> None:
        self.topics.add(effect.topic)
        self._tell_all(Subscribed(effect.topic))

    def _unlisten(self, effect: Unlisten) -> None:
        self.topics.discard(effect.topic)
        self._tell_all(Unsubscribed(effect.topic))

    def _tell_all(self, input: Subscribed | Unsubscribed) -> None:
        for supervised in self.links.values():
            if supervised.link is not None:
                supervised.link.tell(input)

    def _connect(self, effect: Connect) -> None:
        self.cluster.links_changed += 1
        supervised = self.links[effect.endpoint] = Supervised(self, effect.endpoint)
        supervised.dial()

    def _disconnect(self, effect: Disconnect) -> None:
        self.cluster.links_changed += 1
        supervised = self.links.pop(effect.endpoint, None)
        if supervised is not None:
            supervised.drop()

    def lost(self, link: Link) -> None:
        """The connection of a link broke."""
        supervised = self.links.get(link.endpoint)
        if supervised is not None and supervised.link is link:
            self.take(wiring.broken(link), link.endpoint.encode())
            supervised.broke()

    def _call(self, effect: Call) -> None:
        talk = self._calls[effect.call] if effect.call in self._calls else self._dial(effect.call, effect.endpoint)
        if talk is not None and talk.near_open:
            talk.there.send(effect.frame, len(effect.frame))

    def _dial(self, call: int, endpoint: str) -> Talk | None:
        """Frames wait in the pipe until both handshakes are through. Who reaches nobody is told, who is not greeted is not."""
        network, talk = self.network, None
        other = self.cluster.contacts.get(endpoint)
        machine = other.machine if other is not None else network.host(endpoint.rpartition(":")[0])
        config = self.node.local.config.links
        connected = network.exchange_s(self.machine, machine, rto_s=SYN_RTO_S, limit_s=config.connect_timeout_s)
        if connected is None or other is None or not other.running:
            network.after(config.connect_timeout_s if connected is None else connected, lambda: self._unreached(call))
        else:
            greeted = network.exchange_s(self.machine, machine, rto_s=RTO_S, limit_s=config.handshake_timeout_s)
            if greeted is not None:
                talk = Talk(self, other, call)
                talk.there.arrival = network.now + connected + greeted + network.way_s(self.machine, machine)
        self._calls[call] = talk
        return talk

    def _unreached(self, call: int) -> None:
        if call in self._calls:
            self.feed(Unreached(call))

    def _hang_up(self, effect: HangUp) -> None:
        talk = self._calls.pop(effect.call, None)
        if talk is not None:
            talk.hang_up()

    def _answer(self, effect: Answer) -> None:
        talk = self.askers.get(effect.token)
        if talk is not None:
            talk.back.send(effect.frame, len(effect.frame))

    def _probe(self, effect: Probe) -> None:
        network, endpoint = self.network, effect.endpoint
        listener = self.cluster.publishers.get(endpoint) or self.cluster.contacts.get(endpoint)
        machine = listener.machine if listener is not None else network.host(endpoint.rpartition(":")[0])
        limit_s = self.node.local.config.detection.probe_timeout_s
        took = network.exchange_s(self.machine, machine, rto_s=SYN_RTO_S, limit_s=limit_s)
        if took is None:
            outcome = ProbeOutcome.UNKNOWN
        else:
            outcome = ProbeOutcome.OPEN if listener is not None and listener.running else ProbeOutcome.REFUSED
        mark = f"{endpoint} {outcome.value}".encode()
        network.after(limit_s if took is None else took, lambda: self.take(Probed(endpoint, outcome), mark))

    def _bind(self, effect: Bind) -> None:
        taken = self.cluster.contacts.get(effect.endpoint)
        ok = taken is None or not taken.running
        if ok:
            self.cluster.contacts[effect.endpoint] = self
        self.network.after(0.0, lambda: self.take(Bound(effect.endpoint, ok), effect.endpoint.encode()))

    def _recall(self, effect: Remember) -> None:
        events = self.log.why({effect.name})
        self.network.after(0.0, lambda: self.take(Remembered(effect.token, events), effect.token))

    def _recollect(self, effect: Recollected) -> None:
        self.recollected[effect.call] = effect.events

    def _blame(self, effect: Blame) -> None:
        if isinstance(effect.source, str):
            self.feed(Blamed(effect.source))

    def _shun(self, effect: Shun) -> None:
        supervised = self.links.get(effect.endpoint)
        if supervised is not None:
            supervised.shun(effect.seconds)

    def _event(self, effect: Changed | Happened) -> None:
        self.note(effect)
        now = self.network.now
        for hook in self.cluster.on_event:
            hook(self, effect, now)

    _ACTIONS: dict[type, Callable[[Any, Any], None]] = {  # noqa: RUF012 - a dispatch table
        Publish: _publish,
        Listen: _listen_to,
        Unlisten: _unlisten,
        Connect: _connect,
        Disconnect: _disconnect,
        Call: _call,
        HangUp: _hang_up,
        Answer: _answer,
        Probe: _probe,
        Bind: _bind,
        Remember: _recall,
        Blame: _blame,
        Shun: _shun,
        Recollected: _recollect,
        Happened: _event,
        Changed: _event,
    }

    # the end ------------------------------------------------------------------------------------------------------------

    def die(self) -> None:
        """As `kill -9`: the kernel closes its connections, and tells whoever can be reached."""
        self.running = False
        self._waiting.clear()
        self.machine.on_clog.remove(self._clog)
        for connection in list(self.connections):
            if isinstance(connection, Talk):
                connection.hang_up()
            elif isinstance(connection, Link) and connection.subscriber is self:
                connection.end_near()
            elif isinstance(connection, Link):
                connection.forget()
                connection.end_far()
        self.connections.clear()
        self.links.clear()


class SimulatedObserver(SimulatedPeer):
    """An observer of a simulated cluster: it reads, and is no member."""

    def __init__(self, cluster: Cluster, node: ObserverNode, number: int, host: str) -> None:
        nowhere = f"{host}:0"  # nobody calls it, or links to it
        super().__init__(cluster, cast("Node", node), number, host, nowhere, nowhere)
        self.observer = node

    def recall(self, name: str, patience_s: float = 5.0) -> int:
        """Ask the source about a name; `recollected` of the number holds the answer when it came."""
        effects, call = self.observer.recall(name, self.network.now, patience_s)
        self.perform(effects)
        return call
