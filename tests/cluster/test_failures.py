"""Processes are killed, hung, ended and replaced; the living never suffer for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nodes.launch import Launcher, Worker, ask_all, until

from .conftest import DEADLINE_S, free_ports, names, nobody_hidden, of_member, register_one_each

KILLED_GONE_S = 5.0  # generous: the figure itself is measured by the benchmarks
HUNG_GONE_S = 10.0
HUNG_BACK_S = 5.0

Launch = Callable[..., Launcher]


def all_linked(workers: list[Worker]) -> None:
    """So few all link to all; only who is linked sees a link close."""
    until(lambda: all(status["links"] >= len(workers) - 1 for status in ask_all(workers, "status")), DEADLINE_S, "links")


def standing(cluster: Launcher, count: int) -> list[Worker]:
    """So many peers with an instance of orders each, all linked and agreed."""
    workers = cluster.peers(names(count))
    register_one_each(workers)
    cluster.agree(workers, {"orders": count}, DEADLINE_S)
    all_linked(workers)
    return workers


def test_a_killed_peer_is_gone_at_all_others_and_nobody_else_is(launch: Launch) -> None:
    cluster = launch()
    *others, victim = standing(cluster, 10)
    victim.kill9()
    cluster.agree(others, {"orders": 9}, KILLED_GONE_S)
    for worker in others:
        dead = worker.wait_event(of_member("MEMBER_DEAD", victim.id), KILLED_GONE_S, "MEMBER_DEAD")
        assert victim.id in dead["event"]["reason"]
    nobody_hidden(others, but=[victim])
    assert victim.wait() == -9


@pytest.mark.parametrize(("count", "dying"), [(5, 2), (3, 2), (2, 1)])
def test_peers_that_die_together_are_gone_at_the_others(launch: Launch, count: int, dying: int) -> None:
    cluster = launch()
    workers = standing(cluster, count)
    victims, others = workers[:dying], workers[dying:]
    for victim in victims:
        victim.kill9()
    cluster.agree(others, {"orders": len(others)}, HUNG_GONE_S)  # who dies with the witnesses may look silent
    nobody_hidden(others, but=victims)


@pytest.mark.parametrize("written", [True, False], ids=["written-meanwhile", "nothing-written"])
def test_a_hung_peer_is_hidden_and_comes_back_and_accuses_nobody(launch: Launch, written: bool) -> None:
    cluster = launch()
    *others, hung = standing(cluster, 5)
    hung.stop()
    for worker in others:
        worker.wait_event(of_member("MEMBER_DEAD", hung.id), HUNG_GONE_S, f"{hung.name} hidden at {worker.name}")
    cluster.agree(others, {"orders": 4}, DEADLINE_S)
    if written:
        others[0].call("register", service="payments", id="payments-1", port=9001)
    hung.cont()
    cluster.agree([*others, hung], {"orders": 5, **({"payments": 1} if written else {})}, HUNG_BACK_S)
    nobody_hidden([*others, hung], but=[hung])
    accused = [told["event"]["reason"] for worker in [*others, hung] for told in worker.events]
    assert [reason for reason in accused if reason.startswith(f"{hung.id} says")] == []


@pytest.mark.parametrize("how", ["leave", "SIGTERM", "stdin"])
def test_a_peer_that_leaves_is_known_to_have_left_and_ends_with_0(launch: Launch, how: str) -> None:
    cluster = launch()
    *others, leaver = standing(cluster, 4)
    {"leave": leaver.leave, "SIGTERM": leaver.terminate, "stdin": leaver.close_input}[how]()
    for worker in others:
        worker.wait_event(of_member("MEMBER_LEFT", leaver.id), DEADLINE_S, f"MEMBER_LEFT at {worker.name}")
    assert leaver.wait() == 0
    cluster.agree(others, {"orders": 3}, DEADLINE_S)
    nobody_hidden(others)


def test_a_peer_that_vanishes_without_a_goodbye_is_dead_not_left(launch: Launch) -> None:
    cluster = launch()
    *others, vanishing = standing(cluster, 4)
    vanishing.call("vanish")
    for worker in others:
        worker.wait_event(of_member("MEMBER_DEAD", vanishing.id), KILLED_GONE_S, f"MEMBER_DEAD at {worker.name}")
    nobody_hidden(others, but=[vanishing])


def test_a_new_peer_on_the_address_of_a_dead_one_takes_its_place(launch: Launch) -> None:
    cluster = launch()
    contact, publisher = free_ports(2)
    others = cluster.peers(names(4))
    former = cluster.peer("former", bind=f"127.0.0.1:{contact},{publisher}")
    register_one_each([*others, former])
    cluster.agree([*others, former], {"orders": 5}, DEADLINE_S)
    former.kill9()
    former.wait()
    successor = cluster.peer("successor", bind=f"127.0.0.1:{contact},{publisher}")
    successor.call("register", service="payments", id="payments-1", port=9001)
    cluster.agree([*others, successor], {"orders": 4, "payments": 1}, DEADLINE_S)
    nobody_hidden([*others, successor], but=[former])
    assert successor.address == former.address


def test_a_rolling_restart_leaves_no_lookup_empty(launch: Launch) -> None:
    cluster = launch()
    reader = cluster.peer("reader")
    services = cluster.peers(names(2, "old"))
    register_one_each(services)
    cluster.agree([reader, *services], {"orders": 2}, DEADLINE_S)
    reader.call("read", service="orders")
    for number, former in enumerate(services):
        assert former.leave() == 0
        successor = cluster.peer(f"new{number}")
        register_one_each([successor])
        reader.call("wait_for", service="orders", n=2, timeout=DEADLINE_S)
    seen = reader.call("reading")
    assert seen["lookups"] > 0
    assert seen["empty"] == 0
    assert seen["fewest"] in (1, 2)  # 2 where no read fell between a leave and the successor's registration
    nobody_hidden([reader, *cluster.running])
