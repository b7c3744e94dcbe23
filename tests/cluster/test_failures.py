"""Processes are killed, hung, ended and replaced; the living never suffer for it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from gossip.simulation import Cluster
from nodes.launch import Launcher

from ..ports import free_ports
from .conftest import (
    DEADLINE_S,
    OPEN_AND_SIGNED,
    accusations_by,
    all_linked,
    names,
    nobody_hidden,
    of_member,
    put_by,
    register_one_each,
    removed_of,
    standing,
)
from .measured import Record, after, quantile, rest_until, simulated, spread

Launch = Callable[..., Launcher]


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.faults)])
def test_a_killed_peer_is_gone_at_all_others_and_nobody_else_is(launch: Launch, record: Record, kills: int) -> None:
    cluster = launch()
    workers = standing(cluster, 10)
    waits = []
    for number in range(kills):
        victim, *others = workers
        at = victim.kill9()
        waits += [after(worker, at, removed_of(victim), f"{victim.name} gone") for worker in others]
        cluster.agree(others, {"orders": 9}, DEADLINE_S)
        for worker in others:
            dead = worker.wait_event(of_member("MEMBER_DEAD", victim.id), DEADLINE_S, "MEMBER_DEAD")
            assert victim.id in dead["event"]["reason"]
        nobody_hidden(others, but=[worker for worker in cluster.workers if worker.ended])
        assert victim.wait() == -9
        workers = [*others, cluster.peer(f"next{number}")]
        register_one_each(workers[-1:])
        cluster.agree(workers, {"orders": 10}, DEADLINE_S)
        all_linked(workers)
    record(
        8,
        "Z",
        what=f"kill -9 of 1 of 10, {kills} times",
        asked="gone everywhere p50 ≤ 100 ms, p99 ≤ 500 ms",
        measured=spread(waits),
        simulated=simulated("two-of-one-host", "gone everywhere"),
        held=quantile(waits, 0.5) <= 0.1 and quantile(waits, 0.99) <= 0.5,
    )


@OPEN_AND_SIGNED
@pytest.mark.parametrize(("count", "dying"), [(5, 2), (3, 2), (2, 1)])
def test_peers_that_die_together_are_gone_at_the_others(launch: Launch, count: int, dying: int) -> None:
    cluster = launch()
    workers = standing(cluster, count)
    victims, others = workers[:dying], workers[dying:]
    for victim in victims:
        victim.kill9()
    cluster.agree(others, {"orders": len(others)}, DEADLINE_S)  # who dies with the witnesses may look silent
    nobody_hidden(others, but=victims)


@pytest.mark.parametrize(
    ("count", "hung_s", "written"), [(10, 10.0, True), (5, 5.0, False)], ids=["written-meanwhile", "nothing-written"]
)
def test_a_hung_peer_is_hidden_and_comes_back_and_accuses_nobody(
    launch: Launch, record: Record, count: int, hung_s: float, written: bool
) -> None:
    cluster = launch()
    *others, hung = standing(cluster, count)
    stopped = time.monotonic()
    hung.stop()
    hidden = [after(worker, stopped, of_member("MEMBER_DEAD", hung.id), f"{hung.name} hidden") for worker in others]
    cluster.agree(others, {"orders": count - 1}, DEADLINE_S)
    if written:
        others[0].call("register", service="payments", id="payments-1", port=9001)
    rest_until(stopped + hung_s)
    resumed = time.monotonic()
    hung.cont()
    back = [after(worker, resumed, put_by(hung), f"{hung.name} back") for worker in others]
    cluster.agree([*others, hung], {"orders": count, **({"payments": 1} if written else {})}, DEADLINE_S)
    equal = time.monotonic() - resumed
    nobody_hidden([*others, hung], but=[hung])
    assert accusations_by(hung, [*others, hung]) == []
    record(
        9,
        "Z",
        what=f"SIGSTOP for {hung_s:g} s of 1 of {count}, {'a write' if written else 'nothing written'} meanwhile",
        asked="may be hidden; back ≤ 2 s after SIGCONT; accuses nobody",
        measured=f"hidden after {spread(hidden)}; back after {spread(back)}; all equal after {equal:.2f} s; 0 accusations",
        simulated=simulated("pauses"),
        held=max(back) <= 2.0 and equal <= 2.0,
    )


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


@OPEN_AND_SIGNED
def test_a_peer_that_vanishes_without_a_goodbye_is_dead_not_left(launch: Launch) -> None:
    cluster = launch()
    *others, vanishing = standing(cluster, 4)
    vanishing.call("vanish")
    for worker in others:
        worker.wait_event(of_member("MEMBER_DEAD", vanishing.id), DEADLINE_S, f"MEMBER_DEAD at {worker.name}")
    nobody_hidden(others, but=[vanishing])


@pytest.mark.parametrize("replaced_at", ["at-once", "when-it-was-gone"])
def test_a_new_peer_on_the_address_of_a_dead_one_takes_its_place(launch: Launch, record: Record, replaced_at: str) -> None:
    cluster = launch()
    bind = "127.0.0.1:{},{}".format(*free_ports(2))
    others = cluster.peers(names(4))
    former = cluster.peer("former", bind=bind)
    register_one_each([*others, former])
    cluster.agree([*others, former], {"orders": 5}, DEADLINE_S)
    successor = cluster.load("successor")
    successor.wait_loaded()
    former.kill9()
    former.wait()
    if replaced_at == "when-it-was-gone":
        cluster.agree(others, {"orders": 4}, DEADLINE_S)
    began = time.monotonic()
    successor.started(cluster.ask_start(successor, bind=bind))
    successor.call("register", service="payments", id="payments-1", port=9001)
    cluster.agree([*others, successor], {"orders": 4, "payments": 1}, DEADLINE_S)
    took = time.monotonic() - began
    nobody_hidden([*others, successor], but=[former])
    assert successor.address == former.address
    record(
        32,
        "Z",
        what=f"a new peer on a dead one's ip:port, {replaced_at.replace('-', ' ')}",
        asked="one cluster ≤ 3 s, the dead gone",
        measured=f"equal views after {took:.2f} s, the dead gone",
        simulated="no scenario",
        held=took <= 3.0,
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("count", "times"), [(5, 2), pytest.param(2, 20, marks=pytest.mark.faults)])
def test_a_seed_that_comes_back_knowing_only_itself_is_found_by_the_others(
    launch: Launch, record: Record, seed: int, count: int, times: int
) -> None:
    """It dials nobody: the others must. In turn under its id and under a new one, at any moment between their dials."""
    cluster, chance = launch(), random.Random(seed)
    bind = "127.0.0.1:{},{}".format(*free_ports(2))
    first = cluster.peer("seed", id="seed", bind=bind, seeds=[])
    others = cluster.peers(names(count), seeds=[first.address])
    register_one_each(others)
    cluster.agree([*others, first], {"orders": count}, DEADLINE_S)
    took = []
    for turn in range(times):
        all_linked([*others, first])
        again = cluster.load(f"seed{turn}")
        again.wait_loaded()
        first.kill9()
        first.wait()
        cluster.agree(others, {"orders": count}, DEADLINE_S)
        rest_until(time.monotonic() + 3.0 * chance.random())
        began = time.monotonic()
        again.started(cluster.ask_start(again, bind=bind, seeds=[], id=f"seed{turn}" if turn % 2 else first.id))
        cluster.agree([*others, again], {"orders": count}, DEADLINE_S)
        took.append(time.monotonic() - began)
        first = again
    nobody_hidden([*others, first], but=[worker for worker in cluster.workers if worker.ended])
    record(
        32,
        "Z",
        what=f"a seed of {count} others, restarted, knows only itself; {times} times",
        asked="one cluster ≤ 3 s, the dead gone",
        measured=f"equal views after {spread(took)}",
        simulated=_seed_back_simulated(count, seed),
        held=max(took) <= 3.0,
    )


def _seed_back_simulated(count: int, seed: int) -> str:
    took = []
    for number in range(20):
        cluster = Cluster(seed + number)
        first = cluster.spawn("seed", seeds=[])
        for _ in range(count):
            cluster.spawn(seeds=[first.contact])
        cluster.run(30.0)
        cluster.kill(first)
        cluster.run(cluster.run_until(cluster.converged) + 3.0 * cluster.network.random.random())
        cluster.restart(first)
        took.append(cluster.run_until(cluster.converged))
    return f"20 seeds: {spread(took)}"
