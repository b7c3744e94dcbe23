"""Real peers on ::1, alone and with others on 127.0.0.1: a cluster may speak both where each machine does."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gossip import EventKind, InsecureWarning, Peer

Until = Callable[..., Any]
PATIENCE_S = 30.0


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.fixture
def peer() -> Iterator[Callable[..., Peer]]:
    """Starts peers of one cluster; each registers `web` under its own name."""
    cluster, made = f"ipv6-{uuid.uuid4().hex}", []

    def start(bind: str, *seeds: str, **arguments: Any) -> Peer:
        one = Peer(f"p{len(made)}", cluster=cluster, bind=bind, seeds=seeds, **arguments).start()
        made.append(one)
        one.register("web", port=80, id=one.name)
        return one

    yield start
    for one in made:
        one.close()


def agreed(until: Until, *peers: Peer) -> None:
    names = sorted(one.name for one in peers)
    for one in peers:
        until(lambda one=one: [i.id for i in one.lookup("web")] == names, f"{one.name} to see {names}", PATIENCE_S)
        until(lambda one=one: one.status().links == len(peers) - 1, f"{one.name} to be linked", PATIENCE_S)


def test_peers_on_ipv6_find_each_other_and_tell_addresses_in_brackets(peer: Callable[..., Peer], until: Until) -> None:
    first = peer("[::1]:0")
    second = peer("[0:0:0:0:0:0:0:1]:0", first.address)
    agreed(until, first, second)
    assert first.address.startswith("[::1]:")
    assert {member.address for member in second.members()} == {first.address, second.address}
    assert [instance.address for instance in second.lookup("web")] == ["[::1]:80"] * 2


def test_peers_of_both_families_make_one_cluster(peer: Callable[..., Peer], until: Until) -> None:
    six = peer("[::1]:0")
    four = peer("127.0.0.1:0", six.address)
    other_six = peer("[::1]:0", four.address)
    other_four = peer("127.0.0.1:0", other_six.address)
    agreed(until, six, four, other_six, other_four)


@pytest.mark.parametrize("dead", ["[::1]:0", "127.0.0.1:0"])
def test_a_crash_is_proved_across_families(peer: Callable[..., Peer], until: Until, dead: str) -> None:
    six, four, third = peer("[::1]:0"), None, None
    four = peer("127.0.0.1:0", six.address)
    third = peer(dead, six.address)
    agreed(until, six, four, third)
    third.close(leave=False)
    agreed(until, six, four)
    for one in (six, four):
        (death,) = [event for event in one.why(third.id) if event.kind is EventKind.MEMBER_DEAD]
        assert "its links closed" in death.reason  # a probe was refused; else it would have been silent for seconds


def test_a_peer_on_ipv6_leaves_gracefully(peer: Callable[..., Peer], until: Until) -> None:
    six = peer("[::1]:0")
    leaver = peer("[::1]:0", six.address)
    agreed(until, six, leaver)
    leaver.close()
    until(lambda: [e for e in six.why(leaver.id) if e.kind is EventKind.MEMBER_LEFT], "the goodbye", PATIENCE_S)


def test_a_bind_to_every_address_is_dialled_by_both_families(peer: Callable[..., Peer], until: Until, unused_port: int) -> None:
    with pytest.warns(InsecureWarning, match="^bind ::"):
        first = peer(f"[::]:{unused_port}", advertise="::1", insecure=True)
    assert first.address == f"[::1]:{unused_port}"
    agreed(until, first, peer("127.0.0.1:0", f"127.0.0.1:{unused_port}"), peer("[::1]:0", f"[::1]:{unused_port}"))


def test_both_ports_can_be_named(peer: Callable[..., Peer], until: Until, unused_port: int) -> None:
    first = peer(f"[::1]:0,{unused_port}")
    with socket.create_connection(("::1", unused_port), timeout=5):
        pass
    agreed(until, first, peer("[::1]:0", first.address))


def test_zero_configuration_takes_a_bind_on_ipv6() -> None:
    with Peer("zero", cluster=f"ipv6-{uuid.uuid4().hex}", bind="[::1]:0") as alone:
        alone.wait_synced(PATIENCE_S)
