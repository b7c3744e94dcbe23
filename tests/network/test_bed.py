"""The bed itself: a cut cuts one way, loss loses, delay delays in order, a reset ends connections, and nothing stays behind."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodes.launch import until

from .bed import Hosts
from .switch import CLONE_NEWNET

ROOT = Path(__file__).parents[2]
PATIENCE_S = 10.0
SILENCE_S = 0.3  # what has not come by then, over a switch on the same machine, does not come
PORT = 9


class Lab:
    """Two or three hosts, and sockets of this process on them."""

    def __init__(self, count: int, seed: int) -> None:
        self._stack = ExitStack()
        self.hosts = self._stack.enter_context(Hosts(count, seed))

    def socket(self, host: int, kind: socket.SocketKind) -> socket.socket:
        """A socket belongs to the namespace in which its thread was when it was made."""
        made: list[socket.socket] = []
        libc = ctypes.CDLL(None, use_errno=True)

        def make() -> None:
            namespace = os.open(self.hosts.prefix(host)[1].removeprefix("--net="), os.O_RDONLY)
            assert libc.setns(namespace, CLONE_NEWNET) == 0
            os.close(namespace)
            made.append(self._stack.enter_context(socket.socket(socket.AF_INET, kind)))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(PATIENCE_S)
        return made[0]

    def mailbox(self, host: int) -> socket.socket:
        """A bound UDP socket."""
        found = self.socket(host, socket.SOCK_DGRAM)
        found.bind((self.hosts.address(host), PORT))
        return found

    def connection(self, here: int, there: int) -> tuple[socket.socket, socket.socket]:
        """Both ends of a TCP connection."""
        server = self.socket(there, socket.SOCK_STREAM)
        server.bind((self.hosts.address(there), 0))
        server.listen()
        client = self.socket(here, socket.SOCK_STREAM)
        client.connect(server.getsockname())
        accepted = self._stack.enter_context(server.accept()[0])
        accepted.settimeout(PATIENCE_S)
        return client, accepted

    def close(self) -> None:
        """All sockets, then the hosts."""
        self._stack.close()


@pytest.fixture
def lab(bed: None, seed: int) -> Iterator[Lab]:
    made = Lab(3, seed)
    yield made
    made.close()


def send(source: socket.socket, target: socket.socket, count: int = 1) -> None:
    for number in range(count):
        source.sendto(str(number).encode(), target.getsockname())


def received(target: socket.socket, least: int = 1) -> list[int]:
    """All that comes until nothing comes any more; so much is waited for, however busy the machine is."""
    found: list[int] = []
    while True:
        target.settimeout(SILENCE_S if len(found) >= least else PATIENCE_S)
        try:
            found.append(int(target.recv(100)))
        except TimeoutError:
            return found


def test_a_cut_is_one_way_and_concerns_nobody_else(lab: Lab) -> None:
    a, b, c = (lab.mailbox(host) for host in range(3))
    lab.hosts.set_paths([0], [1], loss=1.0)
    for source, target in ((a, b), (b, a), (a, c), (c, b)):
        send(source, target)
    assert [len(received(one)) for one in (a, b, c)] == [1, 1, 1]
    lab.hosts.set_paths([0], [1])
    send(a, b)
    assert len(received(b)) == 1


def test_as_many_packets_are_lost_as_was_asked_for(lab: Lab) -> None:
    a, b = lab.mailbox(0), lab.mailbox(1)
    lab.hosts.set_paths([0], [1], loss=0.3)
    send(a, b, 400)
    assert 200 < len(received(b, 201)) < 360  # six standard deviations off


def test_delay_and_jitter_hold_packets_back_and_keep_their_order(lab: Lab) -> None:
    a, b = lab.mailbox(0), lab.mailbox(1)
    lab.hosts.set_paths([0], [1], delay_s=0.2, jitter_s=0.1)
    began = time.monotonic()
    send(a, b, 50)
    first = int(b.recv(100))
    assert time.monotonic() - began >= 0.2
    assert [first, *received(b, 49)] == list(range(50))


def test_a_reset_ends_the_connections_between_two_hosts_at_both_ends_and_no_others(lab: Lab) -> None:
    ended, kept = lab.connection(0, 1), lab.connection(0, 2)
    for one, other in (ended, kept):
        one.sendall(b"ping")
        assert other.recv(4) == b"ping"
    lab.hosts.reset([0], [1])
    for end in ended:
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    kept[1].sendall(b"pong")
    assert kept[0].recv(4) == b"pong"


HOLDER = """
from tests.network.worlds import RealWorld
world = RealWorld(2)
world.begin()
print(world._net._process.pid, *(worker.pid for worker in world._workers), flush=True)
input()
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_behind_however_the_tests_end(bed: None, how: signal.Signals) -> None:
    command = [sys.executable, "-c", HOLDER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True) as holder:
        assert holder.stdout is not None
        pids = [int(pid) for pid in holder.stdout.readline().split()]
        assert len(pids) == 3
        holder.send_signal(how)
        holder.wait(PATIENCE_S)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), PATIENCE_S, f"the end of {pids}")
