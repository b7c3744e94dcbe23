"""Links follow from the members, not more often than agreed, and a newcomer's far links from its subscribers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gossip.config import Config
from gossip.core.effects import Connect, Disconnect
from gossip.core.linking import Linker
from gossip.core.mesh import Mesh
from gossip.model import MemberState

MANY = 12
NEVER = float("inf")


@pytest.fixture
def linked(bench: Any) -> Callable[..., Linker]:
    """A linker whose peer knows so many others; those it learned of at once are the newcomer's first."""

    def make(count: int) -> Linker:
        linker = Linker(bench.local, Mesh())
        linker.relink(0.0)
        bench.join(*(f"p{number}" for number in range(count)))
        return linker

    return make


@pytest.fixture
def pause_s(config: Config) -> float:
    return config.overlay.relink_interval_s


@pytest.fixture
def patience_s(config: Config) -> float:
    return config.overlay.newcomer_wait_s


def connected(bench: Any) -> set[str]:
    return {effect.endpoint for effect in bench.effects(Connect)}


def publishers(bench: Any, hashes: set[Any]) -> set[str]:
    return {bench.table.by_hash[hash].publisher for hash in hashes}


def subscribe(bench: Any, count: int) -> None:
    """The first so many members link to me."""
    for number in range(count):
        bench.local.fan.add(bench.make.codec.hash(f"p{number}"))


# when -----------------------------------------------------------------------------------------------------------------


def test_the_first_links_of_a_newcomer_need_not_wait(bench: Any, linked: Callable[..., Linker]) -> None:
    linker = linked(1)
    assert linker.due(0.0)
    linker.relink(0.0)
    assert connected(bench) == publishers(bench, {bench.make.codec.hash("p0")})


def test_who_is_alone_and_nothing_changed_has_nothing_to_do(bench: Any) -> None:
    linker = Linker(bench.local, Mesh())
    assert linker.due(0.0)
    assert linker.relink(0.0) == set()
    assert not linker.due(1_000.0)
    assert linker.next_deadline() == NEVER
    assert bench.effects() == []


def test_a_change_is_followed_after_the_interval_and_not_before(
    bench: Any, linked: Callable[..., Linker], pause_s: float, patience_s: float
) -> None:
    linker = linked(2)
    linker.relink(patience_s)
    linker.relink(2 * patience_s)  # a newcomer no longer
    bench.effects()
    assert linker.next_deadline() == NEVER
    (c,) = bench.join("c")
    at = 2 * patience_s + pause_s
    assert linker.next_deadline() == at
    assert not linker.due(at - 0.01)
    assert linker.due(at)
    linker.relink(at)
    assert connected(bench) == {c.publisher}
    assert not linker.due(at + 60.0)


def test_the_link_of_the_dead_is_dropped(bench: Any, linked: Callable[..., Linker], patience_s: float) -> None:
    linker = linked(2)
    linker.relink(0.0)
    gone = bench.table.origins["p0"]
    bench.membership.settle(gone, MemberState.DEAD, "", 1.0)
    bench.effects()
    linker.relink(2 * patience_s)
    assert bench.effects(Disconnect) == [Disconnect(gone.publisher)]


def test_surplus_links_are_looked_at_again_when_their_time_is_over(bench: Any, linked: Callable[..., Linker]) -> None:
    linker = linked(2)
    linker._mesh.links.clear()
    linker._mesh._retiring_until = 7.0
    bench.local.links_dirty = False
    assert linker.next_deadline() == 7.0
    assert not linker.due(6.99)
    assert linker.due(7.0)


# whom -----------------------------------------------------------------------------------------------------------------


def test_it_returns_whom_to_watch_and_is_linked_to_all_of_them(
    bench: Any, linked: Callable[..., Linker], patience_s: float
) -> None:
    linker = linked(MANY)
    linker.relink(0.0)
    watched = linker.relink(patience_s)
    assert watched == bench.local.overlay.watched()
    assert publishers(bench, watched) <= connected(bench)


def test_a_newcomer_takes_its_near_links_only_and_looks_again(bench: Any, linked: Callable[..., Linker], pause_s: float) -> None:
    linker = linked(MANY)
    linker.relink(0.0)
    near, all_links = (bench.local.overlay.links(near_only=flag) for flag in (True, False))
    assert near < all_links
    assert connected(bench) == publishers(bench, near)
    assert linker.next_deadline() == pause_s


def test_a_newcomer_takes_all_links_after_a_while_even_without_subscribers(
    bench: Any, linked: Callable[..., Linker], patience_s: float
) -> None:
    linker = linked(MANY)
    linker.relink(0.0)
    linker.relink(patience_s - 0.01)
    near = publishers(bench, bench.local.overlay.links(near_only=True))
    assert connected(bench) == near
    linker.relink(patience_s)
    assert connected(bench) == publishers(bench, bench.local.overlay.links(near_only=False)) - near
    assert linker.next_deadline() == NEVER


@pytest.mark.parametrize(("subscribers", "far"), [(MANY // 2 - 1, False), (MANY // 2, True)])
def test_a_newcomer_takes_all_links_when_half_as_many_subscribe(
    bench: Any, linked: Callable[..., Linker], subscribers: int, far: bool
) -> None:
    linker = linked(MANY)
    linker.relink(0.0)
    subscribe(bench, subscribers)
    linker.relink(0.5)
    assert connected(bench) == publishers(bench, bench.local.overlay.links(near_only=not far))


def test_a_subscriber_makes_a_newcomer_look_again_and_nobody_else(
    bench: Any, linked: Callable[..., Linker], patience_s: float
) -> None:
    linker = linked(MANY)
    linker.relink(0.0)
    bench.local.links_dirty = False
    linker.subscribed()
    assert bench.local.links_dirty
    linker.relink(patience_s)  # a newcomer no longer
    linker.subscribed()
    assert not bench.local.links_dirty


def test_who_is_alone_again_is_a_newcomer_again(bench: Any, linked: Callable[..., Linker], patience_s: float) -> None:
    linker = linked(MANY)
    linker.relink(0.0)
    linker.relink(patience_s)
    for number in range(MANY):
        bench.membership.settle(bench.table.origins[f"p{number}"], MemberState.DEAD, "", 5.0)
    linker.relink(5.0)
    assert len(linker._mesh.links) == 0
    bench.join(*(f"q{number}" for number in range(MANY)))
    linker.relink(6.0)
    assert connected(bench) == publishers(bench, bench.local.overlay.links(near_only=True))
