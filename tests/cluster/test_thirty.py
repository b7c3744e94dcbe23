"""More peers than link to each other one to one: they still hold the same."""

from __future__ import annotations

from collections.abc import Callable

from nodes.launch import Launcher, ask_all, until

from .conftest import names, nobody_hidden, register_one_each

COUNT = 30
AGREED_S = 60.0  # generous: thirty processes on a small, busy machine

Launch = Callable[..., Launcher]


def test_thirty_peers_hold_each_other_and_all_instances_and_agree(launch: Launch) -> None:
    cluster = launch()
    workers = cluster.peers(names(COUNT))
    register_one_each(workers)
    view = cluster.agree(workers, {"orders": COUNT}, AGREED_S)
    assert view["instances"]["orders"] == sorted(f"orders-{worker.name}" for worker in workers)
    until(lambda: all(status["agreement"] == 1.0 for status in ask_all(workers, "status")), AGREED_S, "an agreement of 1.0")
    assert {status["members"] for status in ask_all(workers, "status")} == {COUNT}
    nobody_hidden(workers)
    cluster.close()
    assert {worker.name: worker.code for worker in workers if worker.code != 0} == {}
