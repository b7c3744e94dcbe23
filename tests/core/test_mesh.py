"""Endpoints are counted, and a link is dropped only when its replacement is up."""

from __future__ import annotations

import pytest

from gossip.core.effects import Connect, Disconnect, Effect
from gossip.core.mesh import Mesh
from gossip.core.messages import IdHash

A, B, C = (IdHash(name * 8) for name in (b"a", b"b", b"c"))


@pytest.fixture
def mesh() -> Mesh:
    return Mesh()


def aim(mesh: Mesh, wanted: dict[IdHash, str], now: float = 0.0, living: str | set[IdHash] = "wanted") -> list[Effect]:
    return mesh.aim(wanted, set(wanted) | set(mesh.links) if living == "wanted" else set(living), now, timeout_s=2.0)  # type: ignore[arg-type]


def test_what_is_wanted_is_connected_once(mesh: Mesh) -> None:
    assert aim(mesh, {A: "a:1", B: "b:1"}) == [Connect("a:1"), Connect("b:1")]
    assert aim(mesh, {A: "a:1", B: "b:1"}) == []


def test_a_replaced_link_is_dropped_when_the_new_one_is_up(mesh: Mesh) -> None:
    aim(mesh, {A: "a:1"})
    assert not mesh.came_up(A)
    assert aim(mesh, {B: "b:1"}) == [Connect("b:1")]
    assert mesh.came_up(B)
    assert aim(mesh, {B: "b:1"}) == [Disconnect("a:1")]


def test_a_replaced_link_is_dropped_after_a_while_in_any_case(mesh: Mesh) -> None:
    aim(mesh, {A: "a:1"})
    aim(mesh, {B: "b:1"}, now=1.0)
    assert mesh.next_deadline() == 3.0
    assert aim(mesh, {B: "b:1"}, now=2.9) == []
    assert aim(mesh, {B: "b:1"}, now=3.0) == [Disconnect("a:1")]
    assert mesh.next_deadline() == float("inf")


def test_the_link_of_the_dead_is_dropped_at_once(mesh: Mesh) -> None:
    aim(mesh, {A: "a:1", B: "b:1"})
    assert aim(mesh, {B: "b:1"}, living={B}) == [Disconnect("a:1")]


def test_a_dead_peers_link_does_not_cut_its_successor_at_the_same_endpoint(mesh: Mesh) -> None:
    aim(mesh, {A: "x:1"})
    assert aim(mesh, {A: "x:1", B: "x:1"}) == []
    assert aim(mesh, {B: "x:1"}, living={B}) == []
    assert aim(mesh, {}, living=set()) == [Disconnect("x:1")]


def test_a_member_that_moved_is_linked_where_it_is_now(mesh: Mesh) -> None:
    aim(mesh, {A: "a:1"})
    assert aim(mesh, {A: "a:2"}) == [Disconnect("a:1"), Connect("a:2")]


def test_a_broken_connection_takes_all_its_links_down_until_they_answer_again(mesh: Mesh) -> None:
    aim(mesh, {A: "x:1", B: "x:1", C: "c:1"})
    for hash in (A, B, C):
        mesh.came_up(hash)
    assert mesh.broke("x:1") == [A, B]
    assert [mesh.links[hash].up for hash in (A, B, C)] == [False, False, True]
    mesh.came_up(A)
    assert mesh.links[A].up


def test_a_stranger_that_answers_is_no_link(mesh: Mesh) -> None:
    assert not mesh.came_up(A)
    assert mesh.broke("a:1") == []
