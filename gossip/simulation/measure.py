"""What a simulated cluster costs: one change, and silence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..core.codec import ENVELOPE, TOPIC_BYTES, TOPIC_SELF
from ..core.effects import Heard, Input
from ..core.messages import IdHash

if TYPE_CHECKING:
    from .cluster import Cluster
    from .peers import SimulatedPeer

# One way over Ethernet, without its frame: IPv4 20, TCP with timestamps 32; ZMTP's own frame head 2.
PACKET_BYTES = 52
MESSAGE_BYTES = PACKET_BYTES + 2
PING_BYTES = 2 * PACKET_BYTES + 9  # of ZMTP, with the acknowledgement of its answer, every 10 s by a subscriber
PONG_BYTES = PACKET_BYTES + 7


@dataclass(slots=True)
class Spread:
    """How one change got everywhere."""

    peers: int
    hops: dict[int, int] = field(default_factory=dict)  # peer number -> links the first copy went over
    messages: int = 0
    bytes: int = 0  # as handed to ZeroMQ, topic and envelope included
    seconds: float = 0.0  # until the last of them had it

    @property
    def hops_max(self) -> int:
        """The longest way of a first copy."""
        return max(self.hops.values(), default=0)

    @property
    def hops_mean(self) -> float:
        """The mean way of a first copy."""
        return sum(self.hops.values()) / max(1, len(self.hops))


def spread(cluster: Cluster, peer: SimulatedPeer, *, seconds: float = 2.0) -> Spread:
    """Register an instance at a peer, and follow the change through the links for so long.

    A copy that came over ring r went one link further than the copy its sender had of ring r.
    """
    found = Spread(len(cluster.running))
    depths: dict[tuple[int, IdHash], int] = {}
    start, former = cluster.now, cluster.tap
    origin = peer.node.local.me.hash
    body = TOPIC_BYTES + ENVELOPE.size

    def follow(receiver: SimulatedPeer, input: Input) -> None:
        if not isinstance(input, Heard) or len(input.frame) < body + 18 or input.frame[:1] != TOPIC_SELF:
            return
        frame = input.frame
        if frame[TOPIC_BYTES + 1 : TOPIC_BYTES + 2] != b"D" or frame[body + 10 : body + 18] != origin:
            return
        _, _, _, ring, _, sender = ENVELOPE.unpack_from(frame, TOPIC_BYTES)
        depth = depths.get((ring, sender), 0) + 1
        depths[ring, receiver.node.local.me.hash] = depth
        found.messages += 1
        found.bytes += len(frame)
        if receiver.number not in found.hops:
            found.hops[receiver.number] = depth
            found.seconds = cluster.now - start

    cluster.tap = follow
    try:
        peer.register("measured", port=1)
        cluster.run(seconds)
    finally:
        cluster.tap = former
    return found


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one peer sends while nothing happens, on the average; it receives as much."""

    messages_per_s: float
    bytes_per_s: float  # as handed to ZeroMQ
    wire_bytes_per_s: float  # with TCP/IP headers, acknowledgements and the pings of ZMTP, as computed, not simulated


def idle(cluster: Cluster, seconds: float) -> Traffic:
    """Let so much time pass, and count."""
    network, peers = cluster.network, len(cluster.running)
    messages, size = network.messages, network.bytes
    links = sum(len(peer.links) for peer in cluster.running) / peers
    cluster.run(seconds)
    each = (network.messages - messages) / seconds / peers
    bytes_each = (network.bytes - size) / seconds / peers
    wire = bytes_each + each * (MESSAGE_BYTES + PACKET_BYTES) + links * (PING_BYTES + PONG_BYTES) / 10
    return Traffic(each, bytes_each, wire)
