"""TCP over IPv4 in Ethernet frames: what a switch must read of a segment, and the RST that ends a connection.

Sources: RFC 791 (3.1), RFC 9293 (3.1, 3.10.7), RFC 5961 (3.2: a RST counts only with exactly the sequence number that is
expected next; others are answered with an acknowledgement that names it).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
IPV4 = 0x0800
TCP = 6
ETHERNET_BYTES = 14

_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHLLBBHHH")

Flow = tuple[bytes, int, bytes, int]  # source address and port, target address and port


@dataclass(frozen=True, slots=True)
class Segment:
    """The fields that matter of one segment."""

    flow: Flow
    sequence: int
    acknowledged: int
    flags: int
    length: int  # of sequence space: bytes, and one each for SYN and FIN

    @property
    def next_sequence(self) -> int:
        """What its receiver expects next, if this came in order."""
        return (self.sequence + self.length) % (1 << 32)


def opposite(flow: Flow) -> Flow:
    """The other direction of a connection."""
    source, source_port, target, target_port = flow
    return target, target_port, source, source_port


def is_ipv4(frame: bytes) -> bool:
    """Whether an Ethernet frame carries IPv4."""
    return len(frame) >= ETHERNET_BYTES + 20 and int.from_bytes(frame[12:14], "big") == IPV4


def segment_of(frame: bytes) -> Segment | None:
    """What an IPv4 frame carries, None if that is not TCP."""
    head = frame[ETHERNET_BYTES]
    size = 4 * (head & 15)
    _, _, total, _, _, _, protocol, _, source, target = _IP.unpack_from(frame, ETHERNET_BYTES)
    start = ETHERNET_BYTES + size
    if protocol != TCP or len(frame) < start + 20:
        return None
    source_port, target_port, sequence, acknowledged, offset, flags, _, _, _ = _TCP.unpack_from(frame, start)
    length = total - size - 4 * (offset >> 4) + bool(flags & SYN) + bool(flags & FIN)
    return Segment((source, source_port, target, target_port), sequence, acknowledged, flags, length)


def reset(flow: Flow, sequence: int, source_mac: bytes, target_mac: bytes) -> bytes:
    """The frame of a RST that its target takes for one of the flow's source."""
    source, source_port, target, target_port = flow
    bare = _TCP.pack(source_port, target_port, sequence, 0, 5 << 4, RST, 0, 0, 0)
    pseudo = source + target + struct.pack("!HH", TCP, len(bare))
    tcp = bare[:16] + struct.pack("!H", _checksum(pseudo + bare)) + bare[18:]
    head = _IP.pack(0x45, 0, 20 + len(tcp), 0, 0, 64, TCP, 0, source, target)
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return target_mac + source_mac + IPV4.to_bytes(2, "big") + head + tcp


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
