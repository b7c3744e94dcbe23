"""Floods against a live peer: its process lives, its memory stays bounded, the flooder is cut off, and others are served.

libzmq aborts its process when a connection is reset while its receive queue is full and something is to be answered on it;
so the queues have no bound, and who brings too much is cut off (`gossip/bus/floods.py`).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from benchmarks.join import CLUSTER as JOINED
from benchmarks.join import frames, tell
from gossip import Config, Peer, new_secret
from gossip.bus.keys import keyring_of
from gossip.config import Joining
from gossip.core.codec import Codec
from gossip.core.messages import Ping
from tests.hostile.process import PATIENCE_S, Child, until
from tests.hostile.strangers import frame, ready

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and the kernel tells what it received on Linux")

FLOOD_S = 2.0
ATTEMPTS = 4
MEMORY_KIB_MAX = 16 * 1024
HOLD_S = 1.5
PING = frame(b"\x04PING\x00\x00", 4)
NONSENSE = frame(b"x")
CHILD = """
import ctypes, json, os, sys
from gossip.bus import sockets
sockets.HEARTBEAT_S = 0.3  # the timer that aborted was libzmq's own
from gossip import Peer
own = ctypes.PyDLL(None)
with Peer("victim", cluster=sys.argv[1], secret=sys.argv[2] or None, bind="127.0.0.1:0", seeds=[]) as peer:
    peer.register("orders", id="orders-1", port=1)
    publisher = peer._bus._sockets.publisher_doors.ports
    print(json.dumps([peer.address, *publisher]), flush=True)
    for line in sys.stdin:
        what, _, much = line.strip().partition(" ")
        if what == "hold":  # nobody else runs: the interpreter's lock is kept
            own.usleep(int(float(much) * 1e6))
        view = [one.id for one in peer.lookup("payments")]
        labels = [one.labels.get("at", "") for one in peer.lookup("payments")]
        told = [event.reason for event in peer.why("victim")]
        print(json.dumps([peer.status().counters, view, labels, told]), flush=True)
"""


class Victim(Child):
    """A peer to be attacked."""

    def __init__(self, cluster: str, secret: str | None) -> None:
        self.cluster, self.secret = cluster, secret
        super().__init__(CHILD, cluster, secret or "")
        self.address, port = self.greeting
        host, _, contact = self.address.rpartition(":")
        self.contact, self.publisher = (host, int(contact)), (host, port)

    def count(self, kind: str) -> int:
        return int(self.ask()[0].get(kind, 0))

    @property
    def memory_kib(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.fixture
def cluster() -> str:
    return f"floods-{uuid.uuid4().hex}"


@pytest.fixture
def made(cluster: str) -> Iterator[Callable[[str | None], Victim]]:
    victims: list[Victim] = []

    def make(secret: str | None) -> Victim:
        victims.append(Victim(cluster, secret))
        return victims[-1]

    yield make
    for victim in victims:
        victim.process.kill()
        victim.process.communicate()


@pytest.fixture
def victim(made: Callable[[str | None], Victim]) -> Victim:
    return made(None)


def reset(connection: socket.socket) -> None:
    """End it by a RST."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def dialled(place: tuple[str, int], kind: bytes) -> socket.socket:
    """A connection whose handshake is done. Raises `OSError`."""
    connection = socket.create_connection(place, 2)
    try:
        connection.sendall(ready(kind))
        told = b""
        while len(told) < 64 + 2 + 20:  # its greeting and its READY
            more = connection.recv(1000)
            if not more:
                raise ConnectionError("hung up on")
            told += more
    except OSError:
        connection.close()
        raise
    return connection


def bounded(made: Callable[[str | None], Victim], attack: Callable[[Victim], int], secret: str | None = None) -> Victim:
    """A victim whose memory an attack did not harm: of a few, for one whose bus gets no turn for want of a core is not judged."""
    grown = []
    for _ in range(ATTEMPTS):
        victim = made(secret)
        grown.append(attack(victim))
        if grown[-1] <= MEMORY_KIB_MAX:
            return victim
    raise AssertionError(f"memory + {grown} KiB, {MEMORY_KIB_MAX} are allowed")


def flood(victim: Victim, place: tuple[str, int], kind: bytes, data: bytes, times: int | None = None) -> int:
    """Rounds of it for `FLOOD_S`: so many times, or until hung up on, then reset. Returns by how many KiB memory grew at most."""
    before = most = victim.memory_kib
    over = time.monotonic() + FLOOD_S
    while time.monotonic() < over:
        try:
            connection = dialled(place, kind)
        except OSError:
            continue
        with contextlib.suppress(OSError):
            sent = 0
            while (times is None or sent < times) and time.monotonic() < over:
                connection.sendall(data)
                sent += 1
                most = max(most, victim.memory_kib)
        reset(connection)
        assert victim.process.poll() is None, "the process was aborted"
    most = max(most, victim.memory_kib)
    return most - before


def unharmed(victim: Victim) -> None:
    """It lives, serves those it knew, and a newcomer that joins now."""
    assert victim.process.poll() is None, "the process was aborted"
    with Peer("newcomer", cluster=victim.cluster, secret=victim.secret, bind="127.0.0.1:0", seeds=[victim.address]) as newcomer:
        newcomer.wait_for("orders", timeout=PATIENCE_S)
        newcomer.register("payments", id="late", port=2)
        until(lambda: "late" in victim.ask()[1], "the newcomer's registration at the victim")


def test_a_full_queue_a_ping_and_a_reset_do_not_end_the_process(made: Callable[[str | None], Victim]) -> None:
    victim = bounded(made, lambda it: flood(it, it.contact, b"DEALER", (NONSENSE * 2500 + PING) * 8, times=1))
    assert victim.count("connections_shunned") > 0
    unharmed(victim)


@pytest.mark.parametrize(("port", "kind", "data"), [("contact", b"DEALER", NONSENSE), ("publisher", b"SUB", frame(b"\x01x"))])
def test_a_reset_while_nobody_reads_does_not_end_the_process_when_the_heartbeat_falls_due(
    victim: Victim, port: str, kind: bytes, data: bytes
) -> None:
    connection = dialled(getattr(victim, port), kind)
    victim.say(f"hold {HOLD_S}")
    with contextlib.suppress(OSError):
        connection.sendall((data * 1000 + PING) * 10)
    time.sleep(HOLD_S / 5)  # what was sent is read, by libzmq alone; there is nothing to be asked meanwhile
    reset(connection)
    victim.hear()
    unharmed(victim)


def test_nonsense_without_end_is_cut_off(made: Callable[[str | None], Victim]) -> None:
    victim = bounded(made, lambda it: flood(it, it.contact, b"DEALER", NONSENSE * 20_000))
    assert victim.count("connections_shunned") > 0
    unharmed(victim)


def test_messages_without_end_are_cut_off(cluster: str, made: Callable[[str | None], Victim]) -> None:
    ping = frame(Codec(cluster).encode(Ping("me", (1, 1), 0)))
    victim = bounded(made, lambda it: flood(it, it.contact, b"DEALER", (ping * 500 + PING) * 4))
    assert victim.count("connections_flooded") > 0
    assert any("was cut off" in told for told in victim.ask()[3])
    unharmed(victim)


def test_subscriptions_without_end_are_cut_off(made: Callable[[str | None], Victim]) -> None:
    topics = b"".join(frame(b"\x01topic-%08d" % number) for number in range(10_000))
    victim = bounded(made, lambda it: flood(it, it.publisher, b"SUB", topics + PING))
    assert victim.count("connections_flooded") > 0
    unharmed(victim)


@pytest.mark.parametrize("data", [frame(b"", 1) * 20_000, frame(bytes(200), 1) * 2000], ids=["empty", "200 bytes"])
def test_the_parts_of_a_message_without_end_are_cut_off(victim: Victim, data: bytes) -> None:
    grown = flood(victim, victim.contact, b"DEALER", data)
    print(f"memory + {grown / 1024:.0f} MiB, {victim.count('connections_flooded')} cut off")
    assert victim.count("connections_flooded") > 0
    assert any("bytes of no whole message" in told for told in victim.ask()[3])
    unharmed(victim)


def test_a_member_that_floods_is_cut_off(cluster: str, made: Callable[[str | None], Victim]) -> None:
    secret = new_secret()
    ping = Codec(f"{cluster}\0secret").encode(Ping("me", (1, 1), 0))

    def as_member(victim: Victim) -> int:
        before = victim.memory_kib
        with zmq.Context() as context, context.socket(zmq.DEALER) as member:
            for option, value in ((zmq.LINGER, 0), (zmq.HEARTBEAT_IVL, 1), (zmq.SNDTIMEO, 100)):  # pings of ZMTP among them
                member.setsockopt(option, value)
            keyring_of(secret)[0].dress_client(member)
            member.connect(f"tcp://{victim.address}")  # and comes again when it was cut off
            until(lambda: says(member, ping, 20_000) or victim.count("connections_flooded"), "somebody to be cut off")
        return victim.memory_kib - before

    unharmed(bounded(made, as_member, secret))


def says(member: zmq.Socket[bytes], message: bytes, times: int) -> None:
    """As often, or until it was cut off."""
    with contextlib.suppress(zmq.Again):
        for _ in range(times):
            member.send(message)


# the honest -------------------------------------------------------------------------------------------------------------


def test_who_did_not_read_for_long_catches_up_and_nobody_is_cut_off(victim: Victim) -> None:
    with Peer("writer", cluster=victim.cluster, bind="127.0.0.1:0", seeds=[victim.address]) as writer:
        mine = writer.register("payments", id="p", port=1)
        until(lambda: victim.ask()[2] == [""], "the registration")
        until(lambda: writer.status().links == 1, "the link")
        victim.say("hold 3")
        for number in range(6000):
            mine.update(labels={"at": str(number)})
        victim.hear()
        until(lambda: victim.ask()[2] == ["5999"], "the last change")
        counters = victim.ask()[0]
        assert "links_flooded" not in counters
        assert "connections_flooded" not in counters
        assert "connections_flooded" not in writer.status().counters
        assert not [event for event in writer.why("victim") if event.kind == "MEMBER_DEAD"]


def test_a_newcomer_to_a_hundred_thousand_instances_is_not_cut_off() -> None:
    patient = Config(joining=Joining(synced_deadline_s=PATIENCE_S))
    with Peer("seed", cluster=JOINED, bind="127.0.0.1:0", seeds=[]) as seed:
        tell(seed, frames(100_000))
        with Peer("newcomer", cluster=JOINED, bind="127.0.0.1:0", seeds=[seed.address], config=patient) as newcomer:
            newcomer.wait_synced(PATIENCE_S)
            assert newcomer.status().instances == 100_000
            for peer in (seed, newcomer):
                assert not [kind for kind in peer.status().counters if "flooded" in kind]
