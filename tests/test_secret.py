"""Secret mode on real sockets: who has the secret is in, all others stay out and learn nothing, and both sides say why."""

from __future__ import annotations

import logging
import secrets
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import zmq

from gossip import AsyncPeer, ConfigError, EventKind, Observer, Peer
from gossip.bus.keys import keyring_of
from gossip.bus.porter import ADDRESS_UNKNOWN

PATIENCE_S = 30.0
SECRET, OTHER = secrets.token_urlsafe(32), secrets.token_urlsafe(32)


def until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """The first true value of a condition."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come true within {PATIENCE_S:g} s"
        time.sleep(0.002)
    return value


class Stage:
    """Makes the peers of one test and closes them after it."""

    def __init__(self) -> None:
        self.cluster = f"secret-{uuid.uuid4().hex}"
        self.ends = ExitStack()

    def peer(self, name: str, *seeds: Peer, **arguments: Any) -> Peer:
        chosen = {"cluster": self.cluster, "bind": "127.0.0.1:0", "seeds": [seed.address for seed in seeds], **arguments}
        peer = Peer(name, **chosen).start()
        self.ends.callback(peer.close)
        return peer


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    with made.ends:
        yield made


def names(peer: Peer) -> set[str]:
    """Whom a peer holds alive, itself included."""
    return {member.name for member in peer.members()}


def told(peer: Peer, *words: str) -> list[str]:
    """The NOTICEs that contain all of these words."""
    return [
        event.reason
        for event in peer.why(peer.name)
        if event.kind is EventKind.NOTICE and all(word in event.reason for word in words)
    ]


def test_who_has_the_secret_is_in(stage: Stage) -> None:
    a = stage.peer("a", secret=SECRET)
    a.register("orders", port=1)
    b = stage.peer("b", a, secret=SECRET.encode())
    b.wait_for("orders", timeout=PATIENCE_S)
    b.register("payments", port=2)
    a.wait_for("payments", timeout=PATIENCE_S)
    until(lambda: a.status().links == b.status().links == 1, "links")
    with Observer(cluster=stage.cluster, seeds=[b.address], secret=SECRET) as observer:
        observer.wait_for("orders", timeout=PATIENCE_S)
        assert [event.kind for event in observer.why("a", timeout=PATIENCE_S)]


def out(insider: Peer, outsider: Peer) -> None:
    """Neither knows of the other, and neither was sent a message."""
    assert outsider.name not in names(insider)
    assert names(outsider) == {outsider.name}
    assert outsider.lookup("orders") == ()
    for peer in (insider, outsider):
        counters = peer.status().counters
        heard = "deltas_applied frames_foreign frames_dropped broadcasts_received heartbeats_of_strangers".split()
        assert [counters.get(kind, 0) for kind in heard] == [0] * len(heard), counters
    assert insider.status().counters.get("conversations", 0) == 0


@pytest.mark.parametrize(
    ("inside", "outside", "at_home", "abroad"),
    [
        (SECRET, None, "came without a secret", "This peer has no secret: pass the cluster's secret="),
        (None, SECRET, "came with a secret, and this peer has none", "has no secret, or"),
        (SECRET, OTHER, "has another secret", "has another secret, or none"),
    ],
    ids=["open-dials-secret", "secret-dials-open", "other-secret"],
)
def test_who_has_another_secret_or_none_is_turned_away_and_both_sides_say_so(
    stage: Stage, caplog: pytest.LogCaptureFixture, inside: str | None, outside: str | None, at_home: str, abroad: str
) -> None:
    caplog.set_level(logging.WARNING, "gossip")
    insider = stage.peer("insider", secret=inside)
    insider.register("orders", port=1)
    outsider = stage.peer("outsider", insider, secret=outside)
    causes = {"has no secret, or": ("has no secret, and this peer has one", "has another secret, or none")}.get(abroad, (abroad,))
    until(lambda: insider.status().counters.get("strangers_refused"), "the insider to refuse")
    until(lambda: outsider.status().counters.get("refused_by_others"), "the outsider to be refused")
    until(lambda: any(told(outsider, insider.address, cause) for cause in causes), f"the outsider to say {abroad}")
    until(lambda: told(insider, at_home), f"the insider to say {at_home}")
    # whose connection libzmq has closed before the bus looks has no address any more
    assert told(insider, at_home)[0].startswith(("127.0.0.1:", f"{ADDRESS_UNKNOWN} "))
    tries = outsider.status().counters["conversations"]
    until(lambda: outsider.status().counters["conversations"] > tries, "a further try")
    out(insider, outsider)
    lines = [record.getMessage() for record in caplog.records if "secret" in record.getMessage()]
    assert len([line for line in lines if line.startswith("! insider")]) == 1, lines
    assert len([line for line in lines if line.startswith("! outsider")]) == 1, lines
    for secret in (SECRET, OTHER):
        assert secret not in caplog.text


def test_who_knows_the_server_key_but_has_a_curve_key_of_its_own_is_turned_away(stage: Stage) -> None:
    insider = stage.peer("insider", secret=SECRET)
    insider.register("orders", port=1)
    publisher = insider._node.local.me.publisher  # type: ignore[union-attr]
    context: zmq.Context[Any] = zmq.Context()
    try:
        public, private = zmq.curve_keypair()
        for kind, endpoint in ((zmq.DEALER, insider.address), (zmq.SUB, publisher)):
            socket = context.socket(kind)
            monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED)
            socket.setsockopt(zmq.CURVE_SERVERKEY, keyring_of(SECRET)[0].server_public)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, private)
            if kind == zmq.SUB:
                socket.subscribe(b"")
            socket.connect(f"tcp://{endpoint}")
            assert monitor.poll(1000 * PATIENCE_S)
            assert int.from_bytes(monitor.recv_multipart()[0][:2], "little") == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            assert not socket.poll(50)
            socket.disable_monitor()
            monitor.close(linger=0)
            socket.close(linger=0)
        until(lambda: told(insider, "127.0.0.1", "CURVE key of its own"), "the insider to say so")
    finally:
        context.destroy(linger=0)
    assert names(insider) == {"insider"}


def test_another_cluster_with_the_same_secret_stays_apart(stage: Stage) -> None:
    a = stage.peer("a", secret=SECRET)
    a.register("orders", port=1)
    b = stage.peer("b", a, secret=SECRET, cluster=f"{stage.cluster}-2")
    until(lambda: a.status().counters.get("frames_foreign"), "a frame of the other cluster")
    assert (names(a), names(b)) == ({"a"}, {"b"})
    assert b.lookup("orders") == ()


def test_a_peer_with_a_secret_may_go_beyond_the_machine_and_is_not_warned(stage: Stage) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Peer("a", bind="0.0.0.0:0", advertise="10.0.0.5", seeds=["10.0.0.7:7400"], secret=SECRET)
        AsyncPeer("a", bind="0.0.0.0:0", advertise="10.0.0.5", secret=SECRET)
        Observer(seeds=["10.0.0.7:7400"], secret=SECRET)
    with pytest.raises(ConfigError, match="needs an address they can dial"):
        Peer("a", seeds=["10.0.0.7:7400"], secret=SECRET)
    with pytest.raises(ConfigError, match=r"secret= .*insecure=True"):
        Peer("a", bind="0.0.0.0:0", advertise="10.0.0.5")
