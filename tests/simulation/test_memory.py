"""What simulated nodes share does not change in anybody's hands."""

from __future__ import annotations

import pytest

from gossip.core.codec import Codec
from gossip.core.messages import Ping
from gossip.errors import WireError
from gossip.simulation import Cluster, Harsh
from gossip.simulation.memory import SharedCodec


def test_no_receiver_changes_a_message_that_others_hold_as_well(seed: int) -> None:
    cluster = Cluster(seed)
    for number in range(12):
        cluster.spawn().register("web", port=number + 1, labels={"version": str(number)})
    cluster.run(2)
    cluster.network.harsh = Harsh(drop=0.1, duplicate=0.2, reorder_s=0.3)
    cluster.kill(cluster.peers[3])
    cluster.pause(cluster.peers[4])
    for number in range(30):
        cluster.peers[number % 3].register("db", port=number + 1)
        cluster.run(0.3)
    cluster.resume(cluster.peers[4])
    cluster.run(5)
    shared = cluster.codec(cluster.config)
    alone = Codec("default", frame_bytes_max=shared.frame_bytes_max, part_bytes_max=shared.part_bytes_max)
    assert len(shared._decoded) > 100
    assert all(alone.decode(frame) == message for frame, message in shared._decoded.items())


def test_a_shared_codec_decodes_once_keeps_a_bounded_number_and_refuses_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossip.simulation.memory.DECODED_MAX", 8)
    codec = SharedCodec("default", frame_bytes_max=65536, part_bytes_max=262144)
    frames = [codec.encode(Ping("a", (1, 2), number)) for number in range(50)]
    assert codec.decode(frames[0]) is codec.decode(bytes(frames[0]))
    assert [codec.decode(frame) for frame in frames] == [Ping("a", (1, 2), number) for number in range(50)]
    assert len(codec._decoded) <= 8
    for _ in range(2):
        with pytest.raises(WireError):
            codec.decode(b"nonsense")
