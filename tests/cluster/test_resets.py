"""Row 30: whatever stands between two halves resets all their links every 2 s; nobody is held dead again and again for it."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from nodes.launch import Launcher, Worker, ask_all

from ..network.proxy import Proxy
from ..ports import free_ports
from .conftest import DEADLINE_S, all_linked, names, register_one_each
from .measured import Record, rest_until, simulated

RESET_S = 2.0
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a RST

pytestmark = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc/net/tcp to see who dialled")

Launch = Callable[..., Launcher]


class Firewall(Proxy):
    """Stands before one port of a peer's, and can reset the connections of some of those who dialled."""

    def reset(self, ports: set[int]) -> int:
        """End what came from these ports of this machine; how many connections that were."""
        ended: list[int] = []
        self._do(lambda: ended.extend(self._reset(ports)))
        return len(ended)

    def _reset(self, ports: set[int]) -> list[int]:
        pairs = []
        for pair in set(self._pairs.values()):
            with suppress(OSError):  # it is over already
                if pair.near.getpeername()[1] in ports:
                    pairs.append(pair)
        for pair in pairs:
            for end in (pair.near, pair.far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            self._close(pair.near, pair.far)
        return [1] * len(pairs)


def ports_of(workers: list[Worker]) -> set[int]:
    """The local ports of all TCP connections of these processes."""
    inodes = set()
    for worker in workers:
        for descriptor in Path(f"/proc/{worker.pid}/fd").iterdir():
            with suppress(OSError):
                inodes.add(os.readlink(descriptor)[8:-1])  # socket:[inode]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    return {int(words[1].rpartition(":")[2], 16) for words in lines if words[9] in inodes}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seconds", [6, pytest.param(120, marks=pytest.mark.faults)])
def test_resets_between_two_halves_hide_nobody_twice_a_minute(launch: Launch, record: Record, seconds: int) -> None:
    cluster = launch()
    with ExitStack() as stack:
        halves: tuple[list[Worker], list[Worker]] = ([], [])
        walls: tuple[list[Firewall], list[Firewall]] = ([], [])
        for number, name in enumerate(names(8)):
            ports = free_ports(2)
            own = [stack.enter_context(Firewall(port)) for port in ports]
            bind, told = (f"127.0.0.1:{','.join(map(str, two))}" for two in (ports, [wall.port for wall in own]))
            seeds = {} if not number else {"seeds": [halves[0][0].address]}
            halves[number % 2].append(cluster.peer(name, bind=bind, advertise=told, **seeds))
            walls[number % 2].extend(own)
        workers = [*halves[0], *halves[1]]
        register_one_each(workers)
        cluster.agree(workers, {"orders": 8}, DEADLINE_S)
        all_linked(workers)
        before = _accusations(workers)
        began, resets, ended = time.monotonic(), 0, 0
        while time.monotonic() < began + seconds:
            for dialling, behind in zip(map(ports_of, halves), reversed(walls), strict=True):
                ended += sum(wall.reset(dialling) for wall in behind)
            resets += 1
            rest_until(began + resets * RESET_S)
        accused = (_accusations(workers) - before) / len(workers) / (seconds / 60)
        over = time.monotonic()
        cluster.agree(workers, {"orders": 8}, DEADLINE_S)
        all_linked(workers)
        back_s = time.monotonic() - over
        hidden = Counter(
            (worker.name, told["event"]["before"]["name"], int((told["t"] - began) // 60))
            for worker in workers
            for told in tuple(worker.events)
            if told["event"]["kind"] == "MEMBER_DEAD"
        )
        most = max(hidden.values(), default=0)
        record(
            30,
            "Z",
            what=f"all links between two halves of 4 are reset every {RESET_S:g} s for {seconds} s: {ended} in {resets} rounds",
            asked="nobody hidden twice a minute; accusations bounded",
            measured=f"a peer was hidden {most} times a minute at most; {accused:.1f} accusations per peer and minute; "
            f"all equal and linked {back_s:.1f} s after",
            simulated=simulated("resets"),
            held=most < 2 and accused <= 10,
        )
        assert ended >= resets * len(workers)  # else nothing was tried
        cluster.close()  # before its walls go


def _accusations(workers: list[Worker]) -> int:
    return sum(status["counters"].get("accusations_made", 0) for status in ask_all(workers, "status"))
