"""Heartbeats: mine to my watchers once an interval, to whoever linked at once, and to observers; whether another's is its own.

They are never relayed. Where peers sign, each bears a number that only rises and a signature for the one it goes to, so that
none can be replayed or handed on.
"""

from __future__ import annotations

from .local import Local
from .messages import Heartbeat, IdHash
from .origin import Origin


class Heartbeats:
    """Owns when the next is due, and the numbers of those that I signed."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self.next_at = 0.0
        self._signed = 0

    def begin(self, now: float) -> None:
        """The first comes within half an interval, so that peers do not beat in step."""
        self.next_at = now + self._local.jittered(self._local.config.heartbeats.interval_s) / 2

    def tick(self, now: float) -> None:
        """Once an interval, to my watchers and observers. O(watchers)."""
        if now < self.next_at:
            return
        local = self._local
        self.next_at = max(now, self.next_at + local.config.heartbeats.interval_s)
        frame = local.codec.encode(self.of_now(linked=False))
        local.show(frame)
        for hash in local.overlay.my_watchers():
            if hash in local.fan.subscribers:
                self._tell(hash, frame)

    def of_now(self, *, linked: bool) -> Heartbeat:
        """How far I am. `linked`: an answer to whoever linked."""
        local, me = self._local, self._local.me
        return Heartbeat(me.hash, me.incarnation, me.version, me.header.pulse, local.table.digest, linked, local.synced)

    def greet(self, hash: IdHash) -> None:
        """Somebody linked: what it missed before shows at once."""
        self._tell(hash, self._local.codec.encode(self.of_now(linked=True)))

    def greet_observers(self) -> None:
        """Somebody observes."""
        self._local.show_message(self.of_now(linked=True))

    def _tell(self, hash: IdHash, frame: bytes) -> None:
        seal = self._local.seal
        if seal.signs:
            self._signed += 1
            frame = seal.signed_beat(frame, self._signed, hash)
        self._local.tell(hash, frame)

    def is_its_own(self, beat: Heartbeat, frame: bytes, origin: Origin) -> bool:
        """Whether another's is signed, for me, and was not heard before. Raises `Forged`."""
        local = self._local
        if not beat.number or (beat.incarnation, beat.number) <= origin.beat:
            local.counters["heartbeats_replayed" if beat.number else "heartbeats_unsigned"] += 1
            return False
        local.seal.verify_beat(origin.id, origin.header.key, frame, local.me.hash)
        origin.beat = beat.incarnation, beat.number
        return True
