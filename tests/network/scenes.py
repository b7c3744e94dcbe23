"""The N rows of the fault matrix: each a scene that plays in either world, and what it measured there.

A scene raises `AssertionError` where the fault did not do what it is for: a figure of a split that nobody saw says nothing.
"""

from __future__ import annotations

from gossip.simulation.stage import Figure

from .worlds import World

LIMIT_S = 120.0  # what has not come by then is never
LARGER, SMALLER = (0, 1, 2), (3, 4)
RESET_S = 2.0
HELD_MAX = 100  # instances of one peer, which may hold 256
REPAIRED_S = 5.0  # what no link carries is missed at two heartbeats in a row, and then fetched from a third

Figures = list[Figure]


def loss(world: World, seconds: int) -> Figures:
    """Row 2: 20 % of all packets lost on all links, a registration a second."""
    world.weather(loss=0.2)
    _write(world, seconds)
    return _undisturbed(world)


def delay(world: World, seconds: int) -> Figures:
    """50 ± 20 ms on all ways, a registration a second."""
    world.weather(delay_s=0.03, jitter_s=0.04)
    _write(world, seconds)
    figures = _undisturbed(world)
    assert world.visibility(0.0) > 0.03, "the packets were not delayed"
    return figures


def one_way(world: World, seconds: int) -> Figures:
    """Nothing passes from one host to one other; the other way, and everywhere else, all does."""
    world.cut([0], [4])
    began = world.now
    _write(world, seconds)
    assert world.suspected_after(began, 0, 4) + world.suspected_after(began, 4, 0) < float("inf"), "nobody noticed the cut"
    return _undisturbed(world, seen_s=REPAIRED_S)


def partition(world: World, seconds: int, writes: str) -> Figures:
    """Row 5: 3 : 2. `writes`: `both`, `one` (the larger side) or `none`; what was there before is withdrawn meanwhile, too."""
    began = world.now
    world.split(LARGER, SMALLER)
    writers = {"both": (*LARGER, *SMALLER), "one": LARGER, "none": ()}[writes]
    for second in range(seconds):
        if writers:
            host = writers[second % len(writers)]
            if second < len(writers) or second % 2 or world.held_by(host) > HELD_MAX:
                world.deregister(world.oldest_of(host))
            world.register(host)
        world.run(1.0)
    died = {(death.at, death.about) for death in world.deaths(began)}
    assert {(at, about) for at in LARGER for about in SMALLER} <= died, f"the split was too short to be seen as deaths: {died}"
    world.heal()
    return [_equal(world, 15.0, "equal after the heal")]


def blackhole(world: World, seconds: int) -> Figures:
    """Row 17: one host reaches nobody, and nobody it; nothing tells them so."""
    *others, lost = world.hosts
    began = world.now
    world.split(others, [lost])
    world.run(seconds)
    pairs = [(host, lost) for host in others] + [(lost, host) for host in others]
    seen = max(world.suspected_after(began, at, about) for at, about in pairs)
    world.heal()
    world.register(lost)
    world.register(others[0])
    up = world.until(lambda: world.equal() and world.linked(), LIMIT_S)
    return [Figure("link down seen", round(seen, 2), 5.0, "s"), Figure("up after the repair", round(up, 2), 6.0, "s")]


def resets(world: World, seconds: int) -> Figures:
    """Row 30: a firewall resets all links between two halves every 2 s."""
    before = world.counted("accusations_made")
    broken = world.counted("links_broken")
    for _ in range(round(seconds / RESET_S)):
        world.reset(LARGER, SMALLER)
        world.run(RESET_S)
    assert world.counted("links_broken") - broken >= seconds, "the resets ended no links"
    rate = (world.counted("accusations_made") - before) / world.size / (seconds / 60)
    return [
        Figure("times one peer was hidden within a minute", world.flips(), 1),
        Figure("accusations of each peer", round(rate, 2), 10.0, "a minute"),  # a rate: lenient on a busy machine
        _equal(world, 10.0),
    ]


def _write(world: World, seconds: int) -> None:
    for second in range(seconds):
        world.register(second % world.size)
        world.run(1.0)


def _undisturbed(world: World, *, seen_s: float = 3.0) -> Figures:
    """The fault ends; nobody was hidden, and changes got through in time."""
    world.heal()
    equal = _equal(world, 10.0)
    world.until(lambda: world.visibility(1.0) < float("inf"), LIMIT_S)  # a view may be answered before its event is told
    deaths = Figure("false deaths", len(world.deaths()), 0)
    return [deaths, Figure("p99 visibility", round(world.visibility(), 3), seen_s, "s"), equal]


def _equal(world: World, most_s: float, name: str = "equal after the faults") -> Figure:
    return Figure(name, round(world.until(world.equal, LIMIT_S), 2), most_s, "s")
