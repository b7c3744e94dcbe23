"""Frames of the greatest size that cost a decoder the most we know of: for the test of its memory."""

from __future__ import annotations

from collections.abc import Callable

import msgpack

from gossip.core.codec import DELTA_HEAD, Codec
from gossip.core.messages import Incarnation

FRAME_BYTES = 64 * 1024
CODEC = Codec("default")
LIFE: Incarnation = (1_000, 1)


def filled(piece: bytes, head: bytes = b"") -> bytes:
    """A frame of the greatest size: the prefix of a delta, a head, and as many pieces as fit."""
    start = DELTA_HEAD.pack(1, ord("d"), CODEC.cluster_hash, CODEC.hash("a"), *LIFE, 1) + head
    return (start + piece * (FRAME_BYTES // len(piece)))[:FRAME_BYTES]


def puts(instance: Callable[[int], object]) -> bytes:
    """A state of as many instances as a list may hold, or a frame."""
    head = ("n", "10.0.0.1", 1, 1, 0, 0, 1000, 0, 0)
    body = msgpack.packb(("a", "", 0, 0, 1, head, [instance(number) for number in range(1024)], []))
    return DELTA_HEAD.pack(1, ord("d"), CODEC.cluster_hash, CODEC.hash("a"), *LIFE, 1) + bytes(body)


WORST = {
    "empty maps": filled(b"\x80", b"\xdd\x00\x00\xff\x00"),
    "empty lists": filled(b"\x90", b"\xdd\x00\x00\xff\x00"),
    "lists in lists": filled(b"\x91"),
    "maps in maps": filled(b"\x81\xa0"),
    "lists that promise four thousand million": filled(b"\xdd\xff\xff\xff\xff"),
    "maps that promise four thousand million": filled(b"\xdf\xff\xff\xff\xff"),
    "a text that promises four thousand million": filled(b"x", b"\xdb\xff\xff\xff\xff"),
    "short texts": filled(b"\xa1x", b"\x98" + b"\xdc\x04\x00" * 8),
    "lists of the greatest length": filled(b"\xdc\x04\x00" + b"\x90" * 1024, b"\x98"),
    "extensions": filled(b"\xd4\x01\x00", b"\xdc\x04\x00"),
    "timestamps": filled(b"\xd6\xff\xff\xff\xff\xff", b"\xdc\x04\x00"),
    "numbers": filled(b"\xcf" + b"\xff" * 8, b"\xdc\x04\x00"),
    "instances": puts(lambda number: ("service", f"instance-{number}", "10.0.0.1", 8080, 1, {}, [], 0)),
    "instances with labels": puts(lambda number: ("s", f"i{number}", "h", 1, 1, {str(k): "" for k in range(8)}, [], 0)),
    "instances with fields of later versions": puts(lambda number: ("s", f"i{number}", "h", 1, 1, {}, [], 0, *range(16))),
}
