"""Real processes with snapshots: all are killed, and what comes back is what was, until it is told better."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from gossip.config import Limits
from gossip.core.codec import Codec
from gossip.core.saved import decode
from nodes.launch import Launcher, Told, Worker, ask_all, until

from ..ports import free_ports
from .conftest import DEADLINE_S, ROOT, names

BACK_S = 15.0  # the figure; 2 s of it are the deadline of those who find nobody in sync
KILLS = 8

Launch = Callable[..., Launcher]


class Fleet:
    """Peers at fixed addresses, each with a file of its own; all may be ended and come back."""

    def __init__(self, cluster: Launcher, folder: Path, count: int) -> None:
        ports = free_ports(2 * count)
        binds = [f"127.0.0.1:{ports[2 * n]},{ports[2 * n + 1]}" for n in range(count)]
        self.cluster = cluster
        self.each: Mapping[str, Told] = {
            name: {"bind": bind, "snapshot": str(folder / name)} for name, bind in zip(names(count), binds, strict=True)
        }
        self.contacts = [bind.partition(",")[0] for bind in binds]

    def up(self, *some: str, **options: Any) -> list[Worker]:
        return self.cluster.peers(list(some or self.each), each=self.each, **options)


def states(worker: Worker, service: str) -> dict[str, str]:
    return {instance["id"]: instance["state"] for instance in worker.call("lookup", service=service)}


def register(worker: Worker, port: int, service: str = "orders", id: str | None = None) -> None:
    worker.call("register", service=service, id=id or f"{service}-{worker.name}", port=port)


def saved(folder: Path, worker: Worker, cluster: Launcher) -> set[str]:
    """The ids of all instances in this worker's file."""
    path = folder / worker.name
    if not path.exists():
        return set()
    found = decode(path.read_bytes(), Codec(cluster.cluster), Limits())
    return {instance.id for known in found.others for instance in known.instances}


def test_all_are_killed_one_serves_what_it_knew_and_all_is_up_when_the_others_are_back(
    launch: Launch, tmp_path: Path, record: Callable[..., None]
) -> None:
    fleet = Fleet(launch(), tmp_path, 5)
    workers = fleet.up()
    for number, worker in enumerate(workers):
        register(worker, 8001 + number)
    register(workers[1], 9001, "withdrawn")
    fleet.cluster.agree(workers, {"orders": 5, "withdrawn": 1}, DEADLINE_S)
    wanted = {f"orders-{worker.name}" for worker in workers} | {"withdrawn-p1"}
    for worker in workers:
        others = {id for id in wanted if not id.endswith(worker.name)}
        until(lambda worker=worker, others=others: saved(tmp_path, worker, fleet.cluster) == others, DEADLINE_S, worker.name)
    ids = [worker.id for worker in workers]
    for worker in workers:
        worker.kill9()
    for worker in workers:
        worker.wait()

    (alone,) = fleet.up("p0", seeds=[])
    assert alone.id == ids[0]
    assert states(alone, "orders") == {f"orders-p{n}": "STALE" for n in range(1, 5)}
    status = alone.call("status")
    assert (status["isolated"], status["state"], status["members"]) == (True, "isolated", 1)
    register(alone, 8001)
    until(lambda: alone.call("status")["synced"], DEADLINE_S, "synced, for want of anybody")
    assert states(alone, "orders") == {"orders-p0": "UP"} | {f"orders-p{n}": "STALE" for n in range(1, 5)}

    began = time.monotonic()
    back = fleet.up("p1", "p2", "p3", "p4", seeds=[])  # all seeds are gone: their own files tell them where
    for number, worker in enumerate(back, 1):
        register(worker, 8001 + number)
    everyone = [alone, *back]
    up = {f"orders-p{n}": "UP" for n in range(5)}
    def seen() -> list[dict[str, str]]:
        return [states(worker, "orders") for worker in everyone]

    until(lambda: seen() == [up] * 5, DEADLINE_S, lambda: f"all of it UP everywhere: {seen()}")
    took_s = time.monotonic() - began
    fleet.cluster.agree(everyone, {"orders": 5}, DEADLINE_S)
    assert [worker.id for worker in everyone] == ids
    assert [states(worker, "withdrawn") for worker in everyone] == [{}] * 5
    assert not any(status["isolated"] for status in ask_all(everyone, "status"))
    record(
        23, "Z", what="all killed, back one by one from their snapshots: all UP everywhere", asked=f"≤ {BACK_S:g} s",
        measured=f"{took_s:.1f} s", held=took_s <= BACK_S,
    )  # fmt: skip


def test_what_was_withdrawn_while_one_was_away_never_comes_back_where_that_was_seen(launch: Launch, tmp_path: Path) -> None:
    fleet = Fleet(launch(), tmp_path, 4)
    workers = fleet.up()
    *others, away = workers
    register(others[0], 8001)
    register(others[1], 9001, "withdrawn")
    fleet.cluster.agree(workers, {"orders": 1, "withdrawn": 1}, DEADLINE_S)
    until(lambda: "withdrawn-p1" in saved(tmp_path, away, fleet.cluster), DEADLINE_S, "what is withdrawn later, in the file")
    away.kill9()
    away.wait()
    others[1].call("deregister", service="withdrawn", id="withdrawn-p1")
    fleet.cluster.agree(others, {"orders": 1}, DEADLINE_S)
    seen = [len(worker.events) for worker in others]
    (again,) = fleet.up(away.name, seeds=["127.0.0.1:1"])  # nobody is there
    fleet.cluster.agree([*others, again], {"orders": 1}, DEADLINE_S)
    assert states(again, "orders") == {"orders-p0": "UP"}
    time.sleep(1.0)  # what would come back must have the time to
    after = [told["event"] for worker, was in zip(others, seen, strict=True) for told in worker.events[was:]]
    assert [event for event in after if event["kind"] in ("ADDED", "CHANGED", "REMOVED")] == []
    assert [states(worker, "withdrawn") for worker in [*others, again]] == [{}] * 4


WRITER = """
import sys
from gossip.config import Limits
from gossip.core.codec import Codec
from gossip.core.messages import Header
from gossip.core.saved import Encoding, Known
from gossip.model import Instance
from gossip.snapshot import Store

store = Store(sys.argv[1], "test", Limits())
store.acquire()
assert store.mine, store.trouble
header = Header("a", "127.0.0.1", 1, 2)
many = tuple(Instance("orders", f"i{n}", "127.0.0.1", 80, origin="b") for n in range(200))
for number in range(1, 1 << 30):
    others = [Known(f"b{n}", "", (1, 1), 1, header, many) for n in range(5)]
    store.write(Encoding(Codec("test"), Known("a", "", (number, 1), 1, header), others, saved_ms=0, bytes_max=1 << 20))
    print(number, flush=True)
"""


def test_whoever_is_killed_in_the_midst_of_writing_leaves_a_whole_file(tmp_path: Path, seed: int) -> None:
    random, path, last = Random(seed), tmp_path / "snapshot", 0
    caught = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(random.randrange(1, 4)):
                assert writer.stdout.readline()  # it is at work
            time.sleep(0.02 * random.random())
            writer.kill()
            said = [int(line) for line in writer.stdout.read().split()]
        content = path.read_bytes()
        found = decode(content, Codec("test"), Limits())
        assert [len(known.instances) for known in found.others] == [200] * 5
        assert found.me.incarnation[0] >= max(said, default=0)  # what was written is there
        caught += path.with_name("snapshot.tmp").exists()
        assert {file.name for file in tmp_path.iterdir()} <= {"snapshot", "snapshot.tmp", "snapshot.lock"}
        last = max(last, found.me.incarnation[0])
    assert caught, "no kill came in the midst of a write: this test showed nothing"
    assert last


def test_a_peer_whose_snapshot_was_torn_joins_as_any_newcomer(launch: Launch, tmp_path: Path) -> None:
    fleet = Fleet(launch(), tmp_path, 3)
    workers = fleet.up()
    register(workers[0], 8001)
    fleet.cluster.agree(workers, {"orders": 1}, DEADLINE_S)
    lost = workers[2]
    assert lost.leave() == 0
    path = tmp_path / lost.name
    torn = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(torn)
    (again,) = fleet.up(lost.name)
    fleet.cluster.agree([*workers[:2], again], {"orders": 1}, DEADLINE_S)
    assert again.id != lost.id
    assert path.with_name(f"{lost.name}.refused").read_bytes() == torn
