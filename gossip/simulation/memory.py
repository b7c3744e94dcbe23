"""What simulated nodes share, because it never changes: decoded messages.

A frame is sent to many, and each of them would decode it to an equal message. Here it is decoded once, by the real codec
from the real bytes. Nobody may change a message: receivers keep its parts and replace their own.
"""

from __future__ import annotations

from ..core.codec import Codec
from ..core.messages import Message

DECODED_MAX = 1 << 15  # messages; then all are forgotten
DECODED_BYTES_MAX = 1 << 25  # of their frames


class SharedCodec(Codec):
    """A codec that remembers what it decoded. One for all nodes of a cluster with the same limits."""

    __slots__ = ("_decoded", "_decoded_bytes")

    def __init__(self, cluster: str, *, frame_bytes_max: int, part_bytes_max: int) -> None:
        super().__init__(cluster, frame_bytes_max=frame_bytes_max, part_bytes_max=part_bytes_max)
        self._decoded: dict[bytes, Message] = {}
        self._decoded_bytes = 0

    def decode(self, frame: bytes) -> Message:
        """As `Codec.decode`; what it refuses it decodes, and refuses, each time."""
        found = self._decoded.get(frame)
        if found is None:
            found = super().decode(frame)
            if len(self._decoded) >= DECODED_MAX or self._decoded_bytes > DECODED_BYTES_MAX:
                self._decoded.clear()
                self._decoded_bytes = 0
            self._decoded[frame] = found
            self._decoded_bytes += len(frame)
        return found
