"""A secret is replaced under load: no lookup fails, nobody is held dead, changes spread, and newcomers get in at every step."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable

from nodes.launch import Launcher, Worker, ask_all, until

from .conftest import DEADLINE_S, names, nobody_hidden, register_one_each

OLD, NEW = secrets.token_urlsafe(32), secrets.token_urlsafe(32)


def test_a_secret_is_replaced_under_load_without_a_failed_lookup(launch: Callable[..., Launcher]) -> None:
    cluster = launch(secret=OLD)
    workers = cluster.peers(names(5))
    register_one_each(workers)
    cluster.agree(workers, {"orders": 5}, DEADLINE_S)
    until(lambda: all(status["links"] >= 4 for status in ask_all(workers, "status")), DEADLINE_S, "links")
    for worker in workers:
        worker.call("read", service="orders")
    everybody = list(workers)
    numbers = itertools.count(1)

    def spreads(origin: Worker) -> None:
        """What is registered now is seen by all that run."""
        number = next(numbers)
        origin.call("register", service=f"change-{number}", id="x", port=number)
        for worker in everybody:
            worker.call("wait_for", service=f"change-{number}", timeout=DEADLINE_S)

    def joins(name: str, secret: list[str], seed: Worker) -> Worker:
        """A newcomer with these secrets, which are valid at this step, knows all and is known to all."""
        newcomer = cluster.peer(name, secret=secret, seeds=[seed.address])
        newcomer.call("wait_for", service="orders", n=5, timeout=DEADLINE_S)
        everybody.append(newcomer)
        spreads(newcomer)
        return newcomer

    for valid, was in (([NEW, OLD], [OLD]), ([NEW], [NEW, OLD])):
        for number, worker in enumerate(tuple(everybody)):
            worker.call("rotate", secrets=valid)
            spreads(worker)
            if number == 2:  # some have it, some have not: with either one gets in, at either
                joins(f"early{len(everybody)}", was, workers[0])
                joins(f"late{len(everybody)}", valid, workers[4])
        for worker in everybody[-2:]:
            worker.call("rotate", secrets=valid)
        joins(f"after{len(everybody)}", valid, workers[1])

    read = [worker.call("reading") for worker in workers]
    assert all(seen["lookups"] > 100 for seen in read), read
    assert [(seen["empty"], seen["fewest"]) for seen in read] == [(0, 5)] * 5
    nobody_hidden(everybody)
    kinds = {told["event"]["kind"] for worker in everybody for told in tuple(worker.events)}
    assert "MEMBER_DEAD" not in kinds
    until(lambda: all(s["links"] >= len(everybody) - 1 for s in ask_all(everybody, "status")), DEADLINE_S, "all linked again")
    spreads(workers[0])


def test_who_has_only_the_old_secret_is_out_at_once_when_it_is_dropped(launch: Callable[..., Launcher]) -> None:
    cluster = launch(secret=[NEW, OLD])
    workers = cluster.peers(names(3))
    former = cluster.peer("former", secret=OLD)
    register_one_each(workers)
    cluster.agree([*workers, former], {"orders": 3}, DEADLINE_S)
    until(lambda: former.call("status")["links"] == 3, DEADLINE_S, "links")
    for worker in workers:
        worker.call("rotate", secrets=[NEW])
    workers[0].call("register", service="payments", id="secretive", port=9)
    for worker in workers:
        worker.call("wait_for", service="payments", timeout=DEADLINE_S)
        until(lambda worker=worker: former.id not in worker.call("view")["members"], DEADLINE_S, "the former one's end")
    assert former.call("lookup", service="payments") == []

    def refused() -> bool:
        return any(status["counters"].get("strangers_refused") for status in ask_all(workers, "status"))

    until(refused, DEADLINE_S, "a refusal")
