"""Hosts that are network namespaces, and the switch between them, in user space: one process, driven by JSON lines.

    in    {"hosts": 5}                                                     once, first
    out   {"up": ["/proc/81/fd/7", ...]}      or     {"refused": "why"}    the namespaces, for `nsenter --net=`
    in    {"paths": [[0, 1, {"loss": 0.2, "delay_s": 0.05, "jitter_s": 0.02}], ...]}    from host 0 to host 1, until said anew
    in    {"reset": [[0, 1], ...]}                                         end the connections between two hosts now
    out   {"done": {"passed": 81, "lost": 3, "resets": 0}}                 to each of these, when it holds

Nothing has a name: a namespace lives as long as this process or one inside it, a tap device as long as its descriptor,
and this process ends with its stdin. So nothing can be left behind, however the tests end. Order is kept on each path, as
one cable keeps it; jitter delays what comes after as well.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.network.segments import RST, SYN, Flow, is_ipv4, opposite, reset, segment_of

CLONE_NEWNET = 0x40000000  # linux/sched.h
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h
DEVICE = "eth0"
FRAME_BYTES = 2048
FRAMES_PER_TURN = 256
FLOWS_MAX = 8192  # connections remembered, each way
HOSTS_MAX = 250


def address(host: int) -> str:
    """The address of a host, counted from 0."""
    return f"10.78.0.{host + 1}"


def _mac(host: int) -> bytes:
    return bytes((2, 0, 0, 0, 0, host + 1))


@dataclass(frozen=True, slots=True)
class Way:
    """What frames meet on their way from one host to another."""

    loss: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0  # more of it, at random


CLEAR = Way()


@dataclass(slots=True)
class Half:
    """One direction of a TCP connection."""

    source: int
    target: int
    next_sequence: int = 0  # of what was sent last
    expected: int | None = None  # by its receiver, as that said
    ended: bool = False  # by us: whoever still speaks gets a RST


def plug(host: int, hosts: int) -> tuple[int, int]:
    """Make a namespace and its tap device; this process is inside it afterwards. Returns both descriptors."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "unshare")
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TAP | IFF_NO_PI))
    lines = ["link set lo up", f"link set {DEVICE} address {_mac(host).hex(':')}"]
    lines += [f"addr add {address(host)}/24 dev {DEVICE}", f"link set {DEVICE} up"]
    # who is where is known from the start, so that what is lost is never an ARP request
    others = [other for other in range(hosts) if other != host]
    lines += [f"neigh add {address(o)} lladdr {_mac(o).hex(':')} dev {DEVICE} nud permanent" for o in others]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True, capture_output=True)
    return namespace, tap


class Switch:
    """Passes frames on. Single-threaded."""

    def __init__(self, taps: list[int], seed: int | None) -> None:
        self._taps = taps
        self._hosts = {tap: host for host, tap in enumerate(taps)}
        self._by_mac = {_mac(host): host for host in range(len(taps))}
        self._paths: dict[tuple[int, int], Way] = {}
        self._busy_until: dict[tuple[int, int], float] = {}
        self._random = random.Random(seed)
        self._waiting: list[tuple[float, int, int, bytes]] = []  # due, number, target, frame
        self._number = 0
        self._halves: OrderedDict[Flow, Half] = OrderedDict()
        self.counts = dict.fromkeys(("passed", "lost", "resets"), 0)

    def set_path(self, source: int, target: int, path: Way) -> None:
        """What frames from one to the other meet from now on; what is on its way already is not touched."""
        self._paths[source, target] = path

    def take(self, tap: int) -> None:
        """Read what a host sent."""
        for _ in range(FRAMES_PER_TURN):
            try:
                frame = os.read(tap, FRAME_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            target = self._by_mac.get(frame[:6])
            if target is not None and is_ipv4(frame):  # no broadcasts, no IPv6: hosts know each other
                self._forward(self._hosts[tap], target, frame)

    def _forward(self, source: int, target: int, frame: bytes) -> None:
        path = self._paths.get((source, target), CLEAR)
        if path.loss and self._random.random() < path.loss:
            self.counts["lost"] += 1
        elif self._is_ended(source, target, frame):
            return
        elif path.delay_s or path.jitter_s or self._busy_until.get((source, target), 0.0) > time.monotonic():
            due = time.monotonic() + path.delay_s + path.jitter_s * self._random.random()
            due = self._busy_until[source, target] = max(due, self._busy_until.get((source, target), 0.0))
            self._number += 1
            heapq.heappush(self._waiting, (due, self._number, target, frame))
        else:
            self._write(target, frame)

    def deliver(self) -> float:
        """Write what is due; returns for how many seconds nothing more is, -1 for ever."""
        while self._waiting:
            left = self._waiting[0][0] - time.monotonic()
            if left > 0:
                return left
            _, _, target, frame = heapq.heappop(self._waiting)
            self._write(target, frame)
        return -1

    def _write(self, target: int, frame: bytes) -> None:
        try:
            os.write(self._taps[target], frame)
            self.counts["passed"] += 1
        except OSError:  # its queue is full: as a real switch does
            self.counts["lost"] += 1

    # resets -----------------------------------------------------------------------------------------------------------

    def _is_ended(self, source: int, target: int, frame: bytes) -> bool:
        """Note what a connection has come to; a frame of one that was reset is answered with a RST, and goes no further."""
        segment = segment_of(frame)
        if segment is None:
            return False
        half, back = self._halves.get(segment.flow), self._halves.get(opposite(segment.flow))
        if half is None or segment.flags & SYN:
            if half is not None and half.ended and not segment.flags & RST:
                self._halves.pop(opposite(segment.flow), None)  # the same ports, anew
                back = None
            half = self._halves[segment.flow] = Half(source, target)
            if len(self._halves) > FLOWS_MAX:
                self._halves.popitem(last=False)
        if half.ended:
            if not segment.flags & RST:  # its sender is told so, in the name of the other
                self._tell(opposite(segment.flow), segment.acknowledged, target, source)
            return True
        half.next_sequence = segment.next_sequence
        if back is not None:
            back.expected = segment.acknowledged
        if segment.flags & RST:
            self._halves.pop(segment.flow, None)
            self._halves.pop(opposite(segment.flow), None)
        return False

    def reset(self, here: int, there: int) -> None:
        """As a firewall that loses its table, and says so: all connections between two hosts end, at both ends."""
        for flow, half in list(self._halves.items()):
            if {half.source, half.target} == {here, there} and not half.ended:
                half.ended = True
                for sequence in {half.next_sequence, half.expected if half.expected is not None else half.next_sequence}:
                    self._tell(flow, sequence, half.source, half.target)

    def _tell(self, flow: Flow, sequence: int, source: int, target: int) -> None:
        self.counts["resets"] += 1
        self._write(target, reset(flow, sequence, _mac(source), _mac(target)))


def obey(switch: Switch, told: dict[str, Any]) -> None:
    """One command."""
    for source, target, path in told.get("paths", ()):
        switch.set_path(source, target, Way(**path))
    for here, there in told.get("reset", ()):
        switch.reset(here, there)


def say(**told: Any) -> None:
    """Write one line."""
    print(json.dumps(told), flush=True)


def run(switch: Switch, taps: list[int]) -> None:
    """Until stdin ends."""
    poll, source, rest = select.epoll(), sys.stdin.fileno(), b""
    for descriptor in (source, *taps):
        poll.register(descriptor, select.EPOLLIN)
    while True:
        for descriptor, _ in poll.poll(switch.deliver()):
            if descriptor != source:
                switch.take(descriptor)
                continue
            chunk = os.read(source, 1 << 16)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                obey(switch, json.loads(line))
                say(done=switch.counts)


def main() -> int:
    """Run one switch until its stdin closes."""
    os.setpgid(0, 0)  # a Ctrl-C meant for the tests does not reach it: they end it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = json.loads(os.read(sys.stdin.fileno(), 1 << 16))
    hosts = min(HOSTS_MAX, int(asked["hosts"]))
    try:
        plugs = [plug(host, hosts) for host in range(hosts)]
    except (OSError, subprocess.CalledProcessError) as error:
        say(refused=f"{error} {getattr(error, 'stderr', '') or ''}".strip())
        return 1
    say(up=[f"/proc/{os.getpid()}/fd/{namespace}" for namespace, _ in plugs])
    taps = [tap for _, tap in plugs]
    run(Switch(taps, asked.get("seed")), taps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
