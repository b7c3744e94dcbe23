"""What remembering costs: writing a snapshot of a large catalogue, what others feel of it, and starting from one.

Written as the keeper's thread does it while a peer runs, by its paces, and as at `close`, without. Anchor of both: the same
bytes written and synced in one go. What others feel: how late a thread is that sleeps a millisecond at a time, beside the same
with nobody writing. Started from: the file read, decoded and shown, beside unpacking the same frames and building an object for
each instance.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from gossip import Config
from gossip.catalogue.inherited import LastView
from gossip.config import Limits
from gossip.core.messages import Header
from gossip.core.node import Node
from gossip.core.origin import Origin
from gossip.core.selfhood import Identity
from gossip.snapshot import Keeper, Store

from .harness.run import Case, Run
from .join import CLUSTER, PER_ORIGIN, build, frames, instance_of

SLEEP_S = 0.001
QUIET_S = 1.0


def node_with(instances: int) -> Node:
    """A node that holds so many, as if it had been told them."""
    node = Node(
        Identity("me", "me", CLUSTER, "", "127.0.0.1", 7400, 7401, 1, 1), config=Config(limits=Limits()), chance=Random(1)
    )
    node.start(0.0)
    for number in range(max(1, instances // PER_ORIGIN)):
        id = f"origin-{number:05}"
        origin = Origin(id, node.local.codec.hash(id), (1, number), Header(id, "127.0.0.1", 9, 9), "")
        held = [instance_of(number, at, id) for at in range(min(PER_ORIGIN, instances))]
        origin.version, origin.instances = 1, {instance.key: instance for instance in held}
        node.local.table.add(origin)
    return node


@contextmanager
def sleeper(late: list[float]) -> Iterator[None]:
    """A thread that sleeps and notes how much too long that took."""
    ending = threading.Event()

    def run() -> None:
        while not ending.is_set():
            began = time.perf_counter()
            time.sleep(SLEEP_S)
            late.append(time.perf_counter() - began - SLEEP_S)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def by_size(run: Run, folder: str, instances: int) -> list[Case]:
    """Writing and starting, at one size."""
    node, limits = node_with(instances), Limits()
    store = Store(os.path.join(folder, str(instances)), CLUSTER, limits)
    store.acquire()
    run.check(store.mine, store.trouble)
    keepers = {paced: Keeper("me", store, node, limits, (), run.tell) for paced in (True, False)}
    keepers[False]._ending.set()  # as at `close`: no pauses
    plain, unpacked = f"write and sync the same bytes, {instances:,} instances", f"unpack and build {instances:,} instances"
    states = frames(instances)
    content = b""

    def write(paced: bool) -> Callable[[], list[float]]:
        def take() -> list[float]:
            late: list[float] = []
            with sleeper(late):
                worked, began = time.thread_time(), time.perf_counter()
                keepers[paced]._write()
                taken, worked = time.perf_counter() - began, time.thread_time() - worked
            if paced:
                run.record(f"interpreter's share of the writing thread, {instances:,} instances", [100 * worked / taken], "%")
                run.record(f"a thread beside it is late, {instances:,} instances", late, anchor="a thread alone is late")
            return [taken]

        return take

    def bare() -> list[float]:
        nonlocal content
        if not content:
            keepers[False]._write()
            content = store._read()
            run.record(f"bytes, {instances:,} instances", [float(len(content))], "B")
        began = time.perf_counter()
        with open(os.path.join(folder, "plain"), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return [time.perf_counter() - began]

    def start() -> list[float]:
        fresh = Store(store.path, CLUSTER, limits)
        store.close()
        began = time.perf_counter()
        saved = fresh.acquire()
        assert saved is not None, fresh.trouble
        view = LastView.of(instance for known in saved.others for instance in known.instances)
        taken = time.perf_counter() - began
        fresh.close()
        store.acquire()
        run.check(sum(len(each.up) for each in view.views.values()) == instances, "not all instances came back")
        return [taken]

    def anchor() -> list[float]:
        began = time.perf_counter()
        run.check(build(states) == instances, "the anchor built too few")
        return [time.perf_counter() - began]

    return [
        Case(plain, bare),
        Case(f"written while it runs, {instances:,} instances", write(True), plain),
        Case(f"written at close, {instances:,} instances", write(False), plain),
        Case(unpacked, anchor),
        Case(f"read and shown at the start, {instances:,} instances", start, unpacked),
    ]


def measure(run: Run) -> None:
    """By size."""
    late: list[float] = []
    with sleeper(late):
        time.sleep(QUIET_S)
    run.record("a thread alone is late", late)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for instances in run.pick((1_000, 10_000, 100_000), (1_000,)):
            run.interleave(by_size(run, folder, instances), rounds=run.pick(6, 2))
