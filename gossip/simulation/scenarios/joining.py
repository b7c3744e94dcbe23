"""Joins: all at once, and into a cluster at work."""

from __future__ import annotations

from ..stage import POLL_S, Stage

LINKS_SHARE = 3.0


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
    """A range that is delegated to a newcomer without subscribers of its own would be lost."""
    stage.grow()
    end = stage.now + stage.seconds
    seeds = [peer.contact for peer in stage.living[:3]]
    while stage.now < end:
        for _ in range(5):
            stage.spawn(seeds=seeds)
        for _ in range(10):
            stage.register(stage.random.choice(stage.living[: stage.size]), watched=True)
            stage.run(0.1)
    stage.run(5.0)
    old = {process.peer for process in list(stage.truth.processes.values())[: stage.size]}
    stage.figure("p99 visibility", stage.visibility(at=old), 0.25, "s")
    stage.calm(10.0)
