"""What a peer costs: memory, idle CPU and traffic, the import; beside bare Python, a slotted object, serf.

Memory is private memory (USS, /proc/<pid>/smaps_rollup) of processes made for it alone. Traffic is what the loopback device
of a network namespace of our own carries, TCP/IP headers counted, so that nobody else's is; without the right to make one
(root) it is shown as absent. CPU is time on a core (schedstat), of whole processes that do nothing but hold a peer.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from nodes.launch import Launcher, Worker

from .anchors.serf import serf_cluster
from .harness.run import AbsentError, Case, Run

CLONE_NEWNET = 0x40000000  # linux/sched.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
SETTLE_S = 60.0
CHANGES_PER_S = 100
CACHED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed packages are
PROGRAMS = {
    "bare Python, its packages, three sockets": """
import msgpack, uhashring, zmq
context = zmq.Context()
sockets = [context.socket(kind) for kind in (zmq.XPUB, zmq.SUB, zmq.ROUTER)]
for one in (sockets[0], sockets[2]): one.bind("tcp://127.0.0.1:*")
""",
    "one peer": """
from gossip import Peer
peer = Peer("one", cluster="footprint", bind="127.0.0.1:0", seeds=[]).start()
peer.wait_synced(10)
""",
    "catalogue": """
from gossip import Peer
from benchmarks.join import CLUSTER, frames, tell
states = frames(%d)
peer = Peer("one", cluster=CLUSTER, bind="127.0.0.1:0", seeds=[]).start()
peer.wait_synced(10)
before = private()
tell(peer, states)
del states
assert peer.status().instances == %d
""",
    "slotted objects": """
import msgpack, sys
from benchmarks.join import frames, DELTA_HEAD
class Held:
    __slots__ = ("service", "id", "host", "port", "weight", "labels", "routes", "zone", "origin", "state")
    def __init__(self, *fields):
        for slot, value in zip(self.__slots__, fields): setattr(self, slot, value)
states = frames(%d)
before = private()
kept, intern = {}, sys.intern
for frame in states:
    origin, zone, *_, puts, _ = msgpack.unpackb(frame[DELTA_HEAD.size:], use_list=False)
    for s, i, h, p, w, l, r, st in puts: kept[i] = Held(intern(s), i, intern(h), p, w, None, (), "", intern(origin), st)
del states, frame, puts
""",
}
MEASURE = """
import gc
def private():
    gc.collect()
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Private"))
before = 0
"""


def told_by(program: str) -> float:
    """What a new Python prints at the end of this program."""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True, env=CACHED)
    return float(told.stdout)


def memory(program: str, per: int = 1) -> list[float]:
    """Private bytes of a process that ran this, beyond `before`."""
    return [told_by(f"{MEASURE}{program}\nprint(private() - before)") / per]


def imported(statement: str) -> list[float]:
    """CPU seconds of an import in a new Python whose files are in the cache of the system."""
    return [told_by(f"import time; began = time.process_time(); {statement}; print(time.process_time() - began)")]


def sizes(run: Run) -> None:
    """Memory and imports, all in new processes, in turns."""
    held = run.pick(20_000, 2_000)
    bare, peer = "bare Python, its packages, three sockets", "one peer"
    slotted = "slotted object of one instance"
    cases = [Case(name, partial(memory, PROGRAMS[name]), None if name == bare else bare, "B") for name in (bare, peer)]
    cases += [
        Case(slotted, partial(memory, PROGRAMS["slotted objects"] % held, held), None, "B"),
        Case("one instance of another peer", partial(memory, PROGRAMS["catalogue"] % (held, held), held), slotted, "B"),
        Case("import zmq, msgpack, uhashring", partial(imported, "import zmq, msgpack, uhashring")),
        Case("import gossip", partial(imported, "import gossip"), "import zmq, msgpack, uhashring"),
    ]
    run.interleave(cases, run.pick(10, 3))
    pairs = zip(run.figure(peer).rounds, run.figure(bare).rounds, strict=True)
    run.record("one peer beyond bare Python", [mine[0] - theirs[0] for mine, theirs in pairs], "B")


# idle -----------------------------------------------------------------------------------------------------------------


def own_network() -> None:
    """Move this process, and those it starts from now on, into a network of their own. Raises `AbsentError`."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise AbsentError("a network namespace of our own needs root, and Linux")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(one, SIOCGIFFLAGS, asked))[0]
        fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def carried_bytes() -> int:
    """What the loopback device carried so far, each packet once."""
    lines = Path("/proc/self/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split(":")[1].split()[0]) for line in lines if line.strip().startswith("lo:"))


def cpu_s(pid: int) -> float:
    """Seconds that the threads of a process spent on a core."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def cost(run: Run, name: str, pids: Sequence[int], seconds: float, traffic: bool, busy: Callable[[], None] | None = None) -> None:
    """CPU and traffic per process over a while, in which `busy` runs, or nothing."""
    for _ in range(run.pick(4, 2)):
        before, cpu, began = carried_bytes(), sum(map(cpu_s, pids)), time.monotonic()
        while time.monotonic() - began < seconds / 4:
            (busy or partial(time.sleep, 0.05))()
        took = time.monotonic() - began
        run.record(f"CPU, {name}", [100 * (sum(map(cpu_s, pids)) - cpu) / took / len(pids)], "%")
        if traffic:
            run.record(f"traffic each way, {name}", [(carried_bytes() - before) / took / len(pids)], "B/s")


def idle(run: Run, peers: int, seconds: float, traffic: bool) -> None:
    """A calm cluster of so many processes; then the same under changes of one of them."""
    with Launcher(f"footprint-{os.getpid()}-{peers}") as launcher:
        workers = launcher.peers([f"peer{number}" for number in range(peers)], events=False)
        for worker in workers:
            worker.call("register", service="idle", id=worker.name, port=1)
        launcher.agree(workers, {"idle": peers}, SETTLE_S)
        time.sleep(run.pick(12.0, 3.0))  # links come to rest
        cost(run, f"idle, N = {peers}", [worker.pid for worker in workers], seconds, traffic)
        first, *others = workers
        weights = iter(range(10**9))
        cost(
            run,
            f"{CHANGES_PER_S} changes/s, N = {peers}",
            [worker.pid for worker in others],
            seconds / 2,
            False,
            lambda: _change(first, next(weights)),
        )


def _change(worker: Worker, number: int) -> None:
    began = time.monotonic()
    worker.call("update", service="idle", id=worker.name, weight=1 + number % 100)
    time.sleep(max(0.0, 1 / CHANGES_PER_S - (time.monotonic() - began)))


def idle_serf(run: Run, nodes: int, seconds: float, traffic: bool) -> None:
    """The anchor."""
    with serf_cluster(nodes) as cluster:
        for rpc in cluster.rpcs:
            rpc.close()
        time.sleep(run.pick(10.0, 2.0))
        cost(run, f"serf idle, N = {nodes}", [agent.pid for agent in cluster.agents], seconds, traffic)


def measure(run: Run) -> None:
    """Sizes first; then clusters, in a network of their own if that may be."""
    sizes(run)
    traffic = run.attempt("traffic", lambda: own_network() or True) is not None
    seconds = run.pick(20.0, 4.0)
    for peers in run.pick((10, 30, 60), (5,)):
        idle(run, peers, seconds, traffic)
    for nodes in run.pick((10, 30), (5,)):
        run.attempt(f"serf idle, N = {nodes}", idle_serf, run, nodes, seconds, traffic)
