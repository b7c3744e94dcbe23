"""TCP streams on the virtual network: order is kept, a lost packet costs time, an end is told where packets pass.

Model of one direction (`Pipe`). A message is one packet until something is lost. If it, or its acknowledgement, is lost,
it is sent again after 200 ms (the tail loss probe, RFC 8985, section 7), 200 ms later (the retransmission timeout), and
then after twice as long each time, with a window of one segment: all that is sent meanwhile waits behind it, up to the
sender's high-water mark, beyond which ZeroMQ drops. Where only the acknowledgements are lost, messages get through for the
first 200 ms, then they wait as well. There is no fast retransmission: these streams seldom have three packets under way.

A connection (two pipes) dies of itself as ZMTP heartbeats decide: its dialler 30 to 40 s, its listener 20 to 30 s after
the last that it heard (bus/sockets.py). Its end is a packet too, and waits as they do. The heartbeats themselves are
simulated only where so many packets are lost that they decide something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappush

from .network import GENTLE, RTO_MAX_S, RTO_S, Host, Network

SEGMENT_BYTES = 1400
HEARTBEAT_S = 10.0  # of ZMTP, by the dialler
HEARTBEAT_TIMEOUT_S = 30.0
HEAVY_LOSS = 0.1  # at less than this, eight packets or acknowledgements lost in a row, which take 30 s, are one in 500,000
NEVER = float("inf")

Take = Callable[..., object]


def _nothing(item: object) -> None:
    """Takes what a broken connection still brings."""


def _nobody() -> None:
    """Is told of the end of a broken connection."""


class Pipe:
    """One direction of a connection. `take` gets what arrives."""

    __slots__ = (
        "arrival",
        "bytes",
        "capacity",
        "commands",
        "doubt",
        "headed",
        "held",
        "messages",
        "network",
        "queue",
        "source",
        "stalled_at",
        "starved",
        "take",
        "target",
        "tries",
    )

    def __init__(
        self, network: Network, source: Host, target: Host, capacity: int, starved: Callable[[], None], *, commands: bool = False
    ) -> None:
        self.network = network
        self.source, self.target = source, target
        self.capacity = capacity  # messages that may wait
        self.commands = commands  # ZeroMQ's own: never dropped
        self.starved = starved
        self.take: Take = _nothing
        self.arrival = 0.0  # of the last message: order is kept
        self.queue: deque[tuple[Take, object, int]] | None = None  # what waits for a retransmission
        self.tries = 0
        self.headed = False  # the first segment of what waits got through, its acknowledgement did not
        self.doubt = NEVER  # when the retransmission timeout of an unacknowledged message runs out
        self.stalled_at = 0.0
        self.held = 0  # messages that wait unread at the receiver
        self.messages = self.bytes = 0

    def send(self, item: object, size: int) -> None:
        """Send a message of so many bytes."""
        self.messages += 1
        self.bytes += size
        network = self.network
        if network.calm and self.queue is None:
            arrival = network.now + network.latency_s + network.jitter_s * network.random.random()
            if arrival < self.arrival:
                arrival = self.arrival
            self.arrival = arrival
            network.order += 1
            heappush(network.heap, (arrival, network.order, self.take, item))
        else:
            self._send_in_weather(self.take, item, size)

    def finish(self, what: Take) -> None:
        """The sender's end is closed: nothing that waits here is sent any more; the end itself is, after what is under way."""
        if self.queue is not None:
            self.queue.clear()
        self._enter(what, None, 0)

    def whisper(self, what: Take) -> None:
        """Send what ZeroMQ itself says; it is not counted."""
        self._enter(what, None, 0)

    def _send_in_weather(self, what: Take, item: object, size: int) -> None:
        harsh = self.network.harsh
        copies = 1
        if harsh is not GENTLE and not self.commands:
            draw = self.network.random.random
            if harsh.drop and draw() < harsh.drop:
                return
            copies += harsh.duplicate > 0 and draw() < harsh.duplicate
            if harsh.reorder_s:
                for _ in range(copies):
                    late = harsh.reorder_s * draw() + self.network.way_s(self.source, self.target)
                    self.network.push(self.network.now + late, what, item)
                return
        for _ in range(copies):
            self._enter(what, item, size)

    def _enter(self, what: Take, item: object, size: int) -> None:
        """The way of one packet into the network, or into the queue."""
        network = self.network
        if self.queue is not None:
            if len(self.queue) < self.capacity or self.commands or item is None:
                self.queue.append((what, item, size))
            else:
                network.overflowed += 1
            return
        if not network.passes(self.source, self.target):
            self.queue = deque([(what, item, size)])
            self._stall(RTO_S)
            return
        self._deliver(what, item)
        if network.passes(self.target, self.source):
            self.doubt = NEVER
        elif self.doubt == NEVER:
            self.doubt = network.now + RTO_S
            network.push(self.doubt, self._doubted, self.doubt)

    def _deliver(self, what: Take, item: object) -> None:
        network = self.network
        self.arrival = max(self.arrival, network.now + network.way_s(self.source, self.target))
        network.push(self.arrival, what, item)

    def _doubted(self, doubt: float) -> None:
        if self.doubt == doubt and self.queue is None:
            self.queue = deque()
            self._stall(0.0)
            self.headed = True

    def _stall(self, wait_s: float) -> None:
        network = self.network
        self.tries, self.headed, self.doubt, self.stalled_at = 0, False, NEVER, network.now
        network.push(network.now + wait_s, self._retry, self.queue)

    def _retry(self, queue: object) -> None:
        """The first segment goes again; if it is acknowledged, all else follows."""
        network = self.network
        if self.queue is not queue or self.queue is None:
            return
        if network.passes(self.source, self.target):
            acknowledged = network.passes(self.target, self.source)
            self._release(NEVER if acknowledged else 0 if self.headed else SEGMENT_BYTES)
            if acknowledged:
                self.queue = None
                return
            self.headed = True
        if network.now - self.stalled_at > HEARTBEAT_TIMEOUT_S:
            self.starved()
            if self.queue is not queue:
                return
        network.push(network.now + min(RTO_S * 2**self.tries, RTO_MAX_S), self._retry, queue)
        self.tries += 1

    def _release(self, room: float) -> None:
        queue = self.queue
        while queue and room > 0:
            what, item, size = queue.popleft()
            room -= size
            self._deliver(what, item)

    def shut(self) -> None:
        """Both ends are closed."""
        self.take, self.queue, self.doubt, self.starved = _nothing, None, NEVER, _nobody  # no cycles are left
        self.source.closed_sent += self.messages
        self.source.closed_sent_bytes += self.bytes
        self.target.closed_received += self.messages
        self.target.closed_received_bytes += self.bytes


class Connection:
    """From a dialler (near) to a listener (far). Whoever subclasses it overrides what each end is told."""

    __slots__ = ("back", "beating", "far", "far_open", "near", "near_open", "network", "there", "trouble_at")

    def __init__(self, network: Network, near: Host, far: Host, capacity: int, *, commands: bool) -> None:
        self.network = network
        self.near, self.far = near, far
        self.there = Pipe(network, near, far, capacity, self.starve, commands=commands)
        self.back = Pipe(network, far, near, capacity, self.starve)
        self.near_open = self.far_open = True
        self.beating = False  # heartbeats are simulated
        self.trouble_at = NEVER  # since when the two ends do not hear each other
        near.connections[self] = far.connections[self] = None

    @property
    def pipes(self) -> tuple[Pipe, Pipe]:
        """Towards the listener, and back."""
        return self.there, self.back

    def near_told(self) -> None:
        """The dialler learns that it broke."""

    def far_told(self) -> None:
        """The listener learns that it broke."""

    def unwell(self) -> bool:
        """Whether an end has reason not to hear the other, besides cuts."""
        return False

    def end_near(self) -> None:
        """The dialler closes its end, or dies; its kernel tells the other."""
        if self.near_open:
            self.near_open = False
            self.there.finish(self._far_hears)
            self._tidy()

    def end_far(self) -> None:
        """The listener closes its end, or dies."""
        if self.far_open:
            self.far_open = False
            self.back.finish(self._near_hears)
            self._tidy()

    def reset(self) -> None:
        """Both ends get a RST from somebody in between; what is under way is lost."""
        now = self.network.now
        self.network.push(now + self.network.way_s(self.far, self.near), self._near_hears, None)
        self.network.push(now + self.network.way_s(self.near, self.far), self._far_hears, None)

    def _near_hears(self, _: object) -> None:
        if self.near_open:
            self.near_open = False
            self.near_told()
            self._tidy()

    def _far_hears(self, _: object) -> None:
        if self.far_open:
            self.far_open = False
            self.far_told()
            self._tidy()

    def _tidy(self) -> None:
        if not self.near_open and not self.far_open and self in self.near.connections:
            del self.near.connections[self]
            self.far.connections.pop(self, None)
            self.there.shut()
            self.back.shut()

    # heartbeats of ZMTP -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Cuts or ends changed: do both ends still hear each other? If not, each will find out."""
        network = self.network
        there, back = network.path(self.near, self.far), network.path(self.far, self.near)
        if there is not None and back is not None and not self.unwell():
            self.trouble_at = NEVER
            if not self.beating and max(there.loss, back.loss) >= HEAVY_LOSS:
                self.beating = True
                self.there.arrival = max(self.there.arrival, network.now)
                self.back.arrival = max(self.back.arrival, network.now)
                network.push(network.now + HEARTBEAT_S * network.random.random(), self._beat, None)
        elif self.trouble_at == NEVER:
            self.trouble_at = now = network.now
            heard = HEARTBEAT_S * network.random.random()  # how long ago the last ping was
            network.push(now + HEARTBEAT_TIMEOUT_S - heard, self._far_misses, now)
            network.push(now + HEARTBEAT_TIMEOUT_S + HEARTBEAT_S - heard, self._near_misses, now)

    def _beat(self, _: object) -> None:
        """The dialler's ping. Whatever arrives counts as its answer, and as itself at the listener."""
        network = self.network
        there, back = network.path(self.near, self.far), network.path(self.far, self.near)
        if not self.near_open or there is None or back is None or max(there.loss, back.loss) < HEAVY_LOSS:
            self.beating = False
            return
        if self.far_open and network.now - self.there.arrival > HEARTBEAT_TIMEOUT_S:
            self.end_far()
            self.far_told()
        if network.now - self.back.arrival > HEARTBEAT_TIMEOUT_S + HEARTBEAT_S:
            self.end_near()
            self.near_told()
            return
        self.there.whisper(self._on_ping)
        network.push(network.now + HEARTBEAT_S, self._beat, None)

    def _on_ping(self, _: object) -> None:
        if self.far_open and not self.unwell():
            self.back.whisper(_nothing)

    def starve(self) -> None:
        """Packets are lost for so long that no heartbeat got through."""
        self._near_misses(self.trouble_at)

    def _far_misses(self, since: float) -> None:
        if self.trouble_at == since and self.far_open:
            self.end_far()
            self.far_told()

    def _near_misses(self, since: float) -> None:
        if self.trouble_at == since and self.near_open:
            self.end_near()
            self.near_told()
