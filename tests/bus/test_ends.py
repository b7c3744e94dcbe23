"""A peer whose bus ends by itself, or cannot begin: nobody waits for ever, nothing stays open."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest
import zmq

from gossip import Peer, PeerClosed


def test_waits_and_watches_end_when_the_bus_ends_by_itself() -> None:
    peer = Peer("ends", cluster="ends", bind="127.0.0.1:0", seeds=[]).start()
    outcomes: list[str] = []

    def wait() -> None:
        try:
            peer.wait_for("never")
        except PeerClosed:
            outcomes.append("wait ended")

    watch = peer.watch()
    waiting = threading.Thread(target=wait)
    waiting.start()
    reading = threading.Thread(target=lambda: outcomes.append(f"watch ended after {len(list(watch))}"))
    reading.start()

    def die(node: object, now: float) -> object:
        peer._bus._poller.poll = lambda timeout: (_ for _ in ()).throw(zmq.ZMQError(zmq.ETERM))  # type: ignore[union-attr]
        return [], None

    peer.run(die)  # type: ignore[arg-type]
    waiting.join(10)
    reading.join(10)
    assert sorted(outcome.split(" after")[0] for outcome in outcomes) == ["wait ended", "watch ended"]
    assert peer.state == "closed"
    peer.close()


FEW = """
import os, resource
from gossip import ConfigError, Peer
used = len(os.listdir("/proc/self/fd"))
for spare in range(0, 31):
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    try:
        Peer("few", cluster="few", bind="127.0.0.1:0", seeds=[]).start()
    except ConfigError as error:
        assert "ulimit -n" in str(error), error
    else:
        raise SystemExit(f"started with {spare} descriptors")
print("ok")
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc/self/fd to count descriptors")
def test_too_few_descriptors_are_an_error_of_ours_and_no_abort() -> None:
    run = subprocess.run([sys.executable, "-c", FEW], capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, "ok"), run.stderr


def test_a_peer_is_neither_pickled_nor_copied() -> None:
    peer = Peer("pickle", cluster="pickle", bind="127.0.0.1:0", seeds=[])
    for attempt in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match="Start one in the other process"):
            attempt(peer)


def test_the_common_port_as_my_own_contact_is_not_dialled() -> None:
    try:
        peer = Peer("mine", cluster="mine", bind="127.0.0.1:7400").start()
    except ValueError:
        pytest.skip("another program of this machine holds 127.0.0.1:7400")
    with peer:
        peer.wait_synced(timeout=15)
        assert peer.status().counters.get("conversations", 0) == 0


class Interrupted(Peer):
    """A peer that a signal handler closes while `start` is under way, in the very thread that starts it."""

    def _make_node(self, *arguments: Any) -> Any:
        self.close()
        return super()._make_node(*arguments)


def test_a_close_that_interrupts_the_start_ends_it() -> None:
    peer = Interrupted("interrupted", seeds=[])
    with pytest.raises(PeerClosed, match="was closed"):
        peer.start()
    assert f"gossip-{peer.name}" not in [thread.name for thread in threading.enumerate()]
    assert peer.state == "closed"
