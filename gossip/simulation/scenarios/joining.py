"""Joins: all at once, and into a cluster at work."""

from __future__ import annotations

from ...core.codec import TOPIC_BYTES, TOPIC_SELF
from ...core.effects import Heard, Input
from ...core.messages import IdHash
from ...core.overlay import RINGS
from ..peers import SimulatedPeer
from ..stage import POLL_S, Stage

LINKS_SHARE = 3.0
JOIN_EVERY_S = 0.1  # more often than links are looked at, so that most learn late whom else to link to
COPIES_LOST_SHARE = 0.0025  # of the two of each change


def computed_links(members: int) -> int:
    """How many publishers a settled member links to, at most: 4 places and one in each slot, in each of two rings."""
    if members <= 17:
        return members - 1
    slots, step = 0, 4
    while step < members:
        slots += sum(1 for j in (1, 2, 3) if 4 < j * step < members)
        step *= 4
    return 2 * (4 + slots)


def join(stage: Stage) -> None:
    """Row 1."""
    stage.grow(settle=False)
    worst = 0.0
    start = stage.now

    def equal() -> bool:
        nonlocal worst
        if (stage.now - start) % 0.5 < POLL_S:
            worst = max(worst, max(len(peer.node.mesh.links) for peer in stage.living) / computed_links(stage.size))
        return stage.checkers.settled()

    stage.figure("equal views", stage.until(equal, 120.0), 15.0, "s")
    stage.run(stage.seconds / 6)
    stage.figure("links, of those computed", worst, LINKS_SHARE)
    down = sum(not link.up for peer in stage.living for link in peer.node.mesh.links.values())
    stage.figure("links that never came up", down, 0)
    stage.agree(15.0, "still equal")


def newcomers(stage: Stage) -> None:
    """A range that is delegated to a newcomer without subscribers of its own is lost, and one of the two copies with it."""
    stage.grow()
    old = stage.living
    end, seeds = stage.now + stage.seconds, [peer.contact for peer in old[:3]]
    copies, changes = _Copies(old), 0
    stage.cluster.tap = copies.count
    while stage.now < end:
        stage.spawn(seeds=seeds)
        for _ in range(2):
            stage.register(stage.random.choice(old), watched=True)
            changes += 1
            stage.run(JOIN_EVERY_S * stage.random.random())
    stage.run(5.0)
    stage.cluster.tap = None
    stage.figure("p99 visibility", stage.visibility(at=set(old)), 0.25, "s")
    stage.figure("copies lost", 1.0 - copies.seen / (RINGS * changes * (len(old) - 1)), COPIES_LOST_SHARE)
    stage.calm(10.0)


class _Copies:
    """Counts what comes to these peers, over either ring, of their own changes from now on."""

    def __init__(self, peers: list[SimulatedPeer]) -> None:
        self.seen = 0
        self._peers = set(peers)
        self._versions: dict[IdHash, int] = {peer.node.local.me.hash: peer.node.local.me.version for peer in peers}

    def count(self, peer: SimulatedPeer, input: Input) -> None:
        """A tap."""
        if peer not in self._peers or type(input) is not Heard or input.frame[:1] != TOPIC_SELF:
            return
        codec = peer.node.local.codec
        delegated = codec.open_envelope(input.frame, TOPIC_BYTES)
        head = codec.delta_head(delegated.frame) if delegated is not None else None
        if head is not None and head.version > self._versions.get(head.origin, head.version):
            self.seen += 1
