"""All peers come to hold the same: however they start, and wherever they first look."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from nodes.launch import Launcher, ask_all

from ..ports import free_ports
from .conftest import DEADLINE_S, OPEN_AND_SIGNED, names, nobody_hidden, register_one_each

Launch = Callable[..., Launcher]


@OPEN_AND_SIGNED
def test_ten_peers_hold_equal_views_and_give_equal_answers(launch: Launch) -> None:
    cluster = launch()
    workers = cluster.peers(names(10))
    register_one_each(workers)
    register_one_each(workers[:4], "payments")
    view = cluster.agree(workers, {"orders": 10, "payments": 4}, DEADLINE_S)
    assert view["instances"]["payments"] == [f"payments-{worker.name}" for worker in workers[:4]]
    keys = [f"user:{number}" for number in range(200)]
    owners = ask_all(workers, "owners", service="orders", keys=keys)
    assert owners == [owners[0]] * 10
    assert len(set(owners[0])) == 10
    nobody_hidden(workers)


@pytest.mark.parametrize("count", [2, 8])
def test_processes_that_start_at_the_same_instant_with_nothing_configured_find_each_other(
    launch: Launch, own_network: Sequence[str], count: int
) -> None:
    cluster = launch(seeds=False, prefix=own_network)
    workers = cluster.peers(names(count))
    register_one_each(workers)
    cluster.agree(workers, {"orders": count}, DEADLINE_S)


def test_a_newcomer_finds_the_others_after_the_holder_of_the_common_port_was_killed(
    launch: Launch, own_network: Sequence[str]
) -> None:
    cluster = launch(seeds=False, prefix=own_network)
    holder = cluster.peer("holder")
    holder.call("wait_synced", timeout=DEADLINE_S)
    others = cluster.peers(names(3))
    cluster.agree([holder, *others], {}, DEADLINE_S)
    holder.kill9()
    holder.wait()
    newcomer = cluster.peer("newcomer")
    register_one_each([newcomer])
    cluster.agree([*others, newcomer], {"orders": 1}, DEADLINE_S)
    nobody_hidden([*others, newcomer], but=[holder])


def test_a_seed_that_starts_after_those_who_were_told_of_it_unites_them(launch: Launch) -> None:
    cluster = launch()
    contact, publisher = free_ports(2)
    early = cluster.peers(names(3), seeds=[f"127.0.0.1:{contact}"])
    register_one_each(early)
    for worker in early:
        worker.call("wait_synced", timeout=DEADLINE_S)  # with nobody there, by its deadline
        assert len(worker.call("members")) == 1
    seed = cluster.peer("seed", bind=f"127.0.0.1:{contact},{publisher}", seeds=[])
    cluster.agree([*early, seed], {"orders": 3}, DEADLINE_S)
    nobody_hidden([*early, seed])


def test_a_peer_that_is_among_its_own_seeds_is_found_by_the_others(launch: Launch) -> None:
    cluster = launch()
    ports = free_ports(6)
    contacts = [f"127.0.0.1:{port}" for port in ports[::2]]
    workers = [cluster.load(name) for name in names(3)]
    answers = [
        cluster.ask_start(worker, bind=f"{contact},{port}", seeds=contacts)
        for worker, contact, port in zip(workers, contacts, ports[1::2], strict=True)
    ]
    for worker, answer in zip(workers, answers, strict=True):
        worker.started(answer)
    register_one_each(workers)
    cluster.agree(workers, {"orders": 3}, DEADLINE_S)
