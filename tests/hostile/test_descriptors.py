"""Row 20: a process that runs out of descriptors lets no one in, says so, does not spin, and recovers; links that stand go on."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Iterator

import pytest

from gossip import Peer, new_secret
from tests.hostile.process import PATIENCE_S, Child, until

from ..faults_record import Record

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="doors are shut by a filter of Linux")

LIMIT = 160
CHILD = """
import json, os, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[3]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from gossip import Peer
kept = []
with Peer("short", cluster=sys.argv[1], secret=sys.argv[2] or None, bind="127.0.0.1:0", seeds=[]) as peer:
    peer.register("orders", port=1)
    print(json.dumps(peer.address), flush=True)
    for line in sys.stdin:
        if line == "exhaust\\n":
            try:
                while True:
                    kept.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                pass
        elif line == "release\\n":
            while kept:
                os.close(kept.pop())
        print(json.dumps([peer.status().counters, time.process_time(), [e.reason for e in peer.why("short")]]), flush=True)
"""


@pytest.fixture
def cluster() -> str:
    return f"descriptors-{uuid.uuid4().hex}"


@pytest.fixture(params=[None, new_secret()], ids=["open", "secret"])
def child(request: pytest.FixtureRequest, cluster: str) -> Iterator[tuple[Child, str | None]]:
    made = Child(CHILD, cluster, request.param or "", str(LIMIT))
    yield made, request.param
    made.process.kill()
    made.process.communicate()


def test_without_descriptors_nobody_is_let_in_until_there_are_some(
    child: tuple[Child, str | None], cluster: str, record: Record
) -> None:
    short, secret = child
    with Peer("friend", cluster=cluster, secret=secret, bind="127.0.0.1:0", seeds=[short.greeting]) as friend:
        friend.wait_for("orders", timeout=PATIENCE_S)
        until(lambda: friend.status().links == 1, "a link")
        short.ask("exhaust")
        until(lambda: short.ask()[0].get("connections_refused"), "the doors to be shut")
        until(lambda: any("no connection is let in" in reason for reason in short.ask()[2]), "a NOTICE")
        with Peer("late", cluster=cluster, secret=secret, bind="127.0.0.1:0", seeds=[short.greeting]) as late:
            _, before, _ = short.ask()
            began = time.monotonic()
            until(lambda: late.status().counters.get("conversations", 0) >= 3, "some tries")
            share = (short.ask()[1] - before) / (time.monotonic() - began)
            assert late.lookup("orders") == ()
            assert len(friend.lookup("orders")) == 1
            assert "short" in {member.name for member in friend.members()}
            short.ask("release")
            released = time.monotonic()
            late.wait_for("orders", timeout=PATIENCE_S)
            recovered_s = time.monotonic() - released
        record(
            20,
            "Z",
            what=f"descriptors exhausted {'in an open cluster' if secret is None else 'with a secret'}, a newcomer knocks",
            asked="an event, ≤ 10 % CPU, recovers",
            measured=f"a NOTICE; {share:.1%} of a core; the newcomer is in {recovered_s:.1f} s after there are some again",
            simulated="no scenario: simulated processes have no descriptors",
            held=share <= 0.10,
        )
        assert share < 0.5, f"it spins: {share:.0%} of a core"
        assert not [event for event in friend.why("short") if event.kind == "MEMBER_DEAD"]
