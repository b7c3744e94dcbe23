"""Ten processes that sign, as ten that do not: joins, changes, deaths, restarts with the same key, and a member without one.

`pytest tests/cluster --signed` runs all tests of this folder so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gossip import new_signing_key, write_secret
from nodes.launch import Launcher, until

from .conftest import DEADLINE_S, names, nobody_hidden, of_member, register_one_each, standing

Launch = Callable[..., Launcher]


def test_ten_that_sign_agree_through_changes_a_kill_and_a_newcomer(launch: Launch) -> None:
    cluster = launch(signing_key="new")
    workers = standing(cluster, 10)
    assert all("@" in worker.id for worker in workers)
    for weight in range(2, 80):  # enough for its author to say all anew
        workers[1].call("update", service="orders", id=f"orders-{workers[1].name}", weight=weight)
    victim, *others = workers
    victim.kill9()
    cluster.agree(others, {"orders": 9}, DEADLINE_S)
    for worker in others:
        worker.wait_event(of_member("MEMBER_DEAD", victim.id), DEADLINE_S, "MEMBER_DEAD")
    newcomer = cluster.peer("newcomer")
    register_one_each([newcomer])
    cluster.agree([*others, newcomer], {"orders": 10}, DEADLINE_S)
    nobody_hidden([*others, newcomer], but=[victim])


def test_who_comes_back_with_its_key_and_id_replaces_what_it_said_before(launch: Launch, tmp_path: Path) -> None:
    key = tmp_path / "orders.key"
    write_secret(key, new_signing_key())
    cluster = launch(signing_key="new")
    others = cluster.peers(names(3))
    former = cluster.peer("former", id="orders", signing_key=str(key))
    register_one_each([*others, former])
    cluster.agree([*others, former], {"orders": 4}, DEADLINE_S)
    former.kill9()
    former.wait()
    again = cluster.peer("again", id="orders", signing_key=str(key))
    assert again.id == former.id
    again.call("register", service="payments", id="payments-1", port=9001)
    cluster.agree([*others, again], {"orders": 3, "payments": 1}, DEADLINE_S)


def test_a_process_that_does_not_sign_is_not_seen_and_harms_nobody(launch: Launch) -> None:
    cluster = launch(signing_key="new")
    workers = cluster.peers(names(3))
    register_one_each(workers)
    plain = cluster.peer("plain", signing_key=None)
    plain.call("register", service="orders", id="orders-plain", port=9001)
    for worker in workers:
        until(lambda worker=worker: worker.call("status")["counters"].get("unsigned_refused"), DEADLINE_S, "the refusal")
    cluster.agree(workers, {"orders": 3}, DEADLINE_S)
    nobody_hidden(workers)
