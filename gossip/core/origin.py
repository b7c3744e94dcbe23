"""One origin's log: what it said in its present life, in order, without holes.

Invariant: `(incarnation, version)` never goes back, and the state is exactly the fold of the deltas `(0, version]` of
that incarnation. A delta is applied only if its `since` is what is held; older is a duplicate; newer waits for the
missing ones (design, section 3; the model in 120 seeds: without the gap check 117 diverge).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ..model import Instance, Member, MemberState, join_address
from .messages import Delta, Header, HeaderFlags, IdHash, Incarnation, InstanceKey

LOG_BYTES_MAX = 256 * 1024  # of recent deltas, per origin; beyond it a whole state is sent
STATE_OVERHEAD_BYTES = 160  # what a state weighs without instances, and one instance, for the log's bound
INSTANCE_BYTES = 120


def record_bytes(instance: Instance) -> int:
    """What an instance weighs on the wire, within a few bytes."""
    labels = sum(len(key.encode()) + len(value.encode()) + 4 for key, value in instance.labels.items())
    routes = sum(len(route.encode()) + 3 for route in instance.routes)
    return 16 + len(instance.service) + len(instance.id) + len(instance.host) + labels + routes


class Outcome(Enum):
    """What became of a delta. `counter` is the name under which it is counted."""

    counter: str

    def __init__(self, word: str) -> None:
        self.counter = f"deltas_{word.replace(' ', '_')}"

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    GAP = "gap"  # an earlier delta is missing
    PARTIAL = "partial"  # a part of a state; more are coming
    OLD_LIFE = "old life"
    DOUBTED = "doubted"  # its number leaps: the origin is asked first
    UNSIGNED = "unsigned"  # its origin did not sign it, and must
    UNCERTIFIED = "uncertified"  # its origin shows no certificate that is valid now, and must


class Origin:
    """What one peer holds of one origin. Owned by `Table`; changed only through `apply` and the liveness below."""

    __slots__ = (
        "alive",
        "base",
        "base_bytes",
        "beat",
        "counted",
        "early",
        "early_bytes",
        "extras",
        "hash",
        "header",
        "id",
        "incarnation",
        "instances",
        "log",
        "log_bytes",
        "parts",
        "parts_bytes",
        "settled_at",
        "state",
        "version",
        "weight",
        "zone",
    )

    def __init__(self, id: str, hash: IdHash, incarnation: Incarnation, header: Header, zone: str) -> None:
        self.id = id
        self.hash = hash
        self.incarnation = incarnation
        self.version = 0
        self.header = header
        self.zone = zone
        self.instances: dict[InstanceKey, Instance] = {}
        self.extras: dict[InstanceKey, tuple[object, ...]] = {}
        # (since, version, frame), contiguous up to `version`. A list: an empty deque weighs 600 bytes, and most stay empty
        self.log: list[tuple[int, int, bytes]] = []
        self.log_bytes = 0
        self.base: tuple[bytes, ...] = ()  # of an origin that signs: the frames of its last whole state; the log begins there
        self.base_bytes = 0
        self.beat: tuple[Incarnation, int] = (0, 0), 0  # its last signed heartbeat
        self.weight = 0  # bytes of what is held, from above; `weigh` makes it exact
        self.early: dict[int, tuple[Delta, bytes]] = {}  # by since; waiting for the delta that ends there
        self.parts: dict[int, tuple[Delta, bytes]] = {}  # of a state that is arriving in parts
        self.early_bytes = self.parts_bytes = 0
        self.counted = 0, 0  # what `Table` counted of it: (held, waiting)
        self.state = MemberState.ALIVE
        self.alive = True  # whether it counts as a living member (a suspected one does)
        self.settled_at = 0.0  # when it died or left; counts the retention

    # what is held ---------------------------------------------------------------------------------------------------

    @property
    def contact(self) -> str:
        """`ip:port` of its ROUTER."""
        return join_address(self.header.host, self.header.contact_port)

    @property
    def publisher(self) -> str:
        """`ip:port` of its XPUB."""
        return join_address(self.header.host, self.header.publisher_port)

    def listens_at(self, endpoint: str) -> bool:
        """Whether it says that it does, with either socket."""
        return endpoint in (self.publisher, self.contact)

    @property
    def leaving(self) -> bool:
        """Whether it said goodbye."""
        return bool(self.header.flags & HeaderFlags.LEAVING)

    @property
    def interval_s(self) -> float:
        """Its own heartbeat interval; its silence is judged by it."""
        return self.header.interval_ms / 1000

    @property
    def life(self) -> tuple[Incarnation, int]:
        """(incarnation, pulse) of what is merged."""
        return self.incarnation, self.header.pulse

    @property
    def heard_life(self) -> tuple[Incarnation, int]:
        """The highest life that it claimed itself, though its predecessors be missing: what is held against it must match
        that, and a refutation exceed. O(early)."""
        if not self.early:
            return self.life
        lives = [(delta.incarnation, delta.header.pulse) for delta, _ in self.early.values() if delta.header is not None]
        return max((self.life, *lives))

    def member(self) -> Member:
        """As users see it."""
        return Member(
            self.id, self.header.name, self.contact, self.zone, self.state, self.incarnation, self.version, len(self.instances)
        )

    # changes --------------------------------------------------------------------------------------------------------

    def judge(self, incarnation: Incarnation, since: int, version: int) -> Outcome:
        """What `apply` would answer to such a delta, but for parts. O(1), changes nothing."""
        if incarnation < self.incarnation:
            return Outcome.OLD_LIFE
        if incarnation > self.incarnation:
            return Outcome.APPLIED if since == 0 else Outcome.GAP
        if version <= self.version:
            return Outcome.DUPLICATE
        return Outcome.APPLIED if since == 0 or since == self.version else Outcome.GAP

    def apply(self, delta: Delta, frame: bytes, *, log_deltas_min: int) -> Outcome:
        """Take one delta in. `frame` is kept to be passed on as it is. O(changes)."""
        outcome = self.judge(delta.incarnation, delta.since, delta.version)
        return self.take(delta, frame, log_deltas_min=log_deltas_min) if outcome is Outcome.APPLIED else outcome

    def take(self, delta: Delta, frame: bytes, *, log_deltas_min: int) -> Outcome:
        """`apply` to a delta of which `judge` said APPLIED. A part of a state may still be PARTIAL."""
        if delta.since == 0:
            return self._apply_state(delta, frame)
        self._fold(delta)
        self.weight += len(frame)
        self.log.append((delta.since, delta.version, frame))
        self.log_bytes += len(frame)
        self._trim(log_deltas_min)
        return Outcome.APPLIED

    def _apply_state(self, delta: Delta, frame: bytes) -> Outcome:
        if delta.parts > 1 and not self._complete(delta, frame):
            return Outcome.PARTIAL
        pieces = [self.parts[number][0] for number in range(delta.parts)] if delta.parts > 1 else [delta]
        frames = tuple(self.parts[number][1] for number in range(delta.parts)) if delta.parts > 1 else (frame,)
        self.weight = sum(map(len, frames))
        self.incarnation, self.zone = delta.incarnation, delta.zone
        self.instances, self.extras = {}, {}
        for piece in pieces:
            self._fold(piece)
        self.parts, self.parts_bytes = {}, 0
        self.log.clear()
        self.log_bytes = 0
        self.base, self.base_bytes = (frames, self.weight) if self.header.key else ((), 0)
        return Outcome.APPLIED

    def _complete(self, delta: Delta, frame: bytes) -> bool:
        """Keep a part of a state; whether it was the last. A newer cut replaces an older one that is not complete."""
        if self.parts:
            first = next(iter(self.parts.values()))[0]
            if (delta.incarnation, delta.version) < (first.incarnation, first.version):
                return False
            if (delta.incarnation, delta.version, delta.parts) != (first.incarnation, first.version, first.parts):
                self.parts, self.parts_bytes = {}, 0
        former = self.parts.get(delta.part)
        self.parts_bytes += len(frame) - (len(former[1]) if former is not None else 0)
        self.parts[delta.part] = delta, frame
        return len(self.parts) == delta.parts

    def _fold(self, delta: Delta) -> None:
        for key in delta.removed:
            self.instances.pop(key, None)
            self.extras.pop(key, None)
        for instance in delta.put:
            key = instance.service, instance.id
            self.instances[key] = instance
            self.extras.pop(key, None)
        self.extras.update(delta.extras)
        if delta.header is not None:
            self.header = delta.header
        self.version = delta.version

    def weigh(self) -> int:
        """What its instances weigh on the wire. O(instances)."""
        self.weight = sum(map(record_bytes, self.instances.values()))
        return self.weight

    def outgrows_its_log(self, size: int) -> bool:
        """Whether one more delta of `size` is more than an origin that signs says before it says all anew."""
        return bool(self.base) and self.log_bytes + size > LOG_BYTES_MAX + 2 * self.base_bytes

    def _trim(self, log_deltas_min: int) -> None:
        if self.base:  # it can only be told in its own words: a state and all that followed it
            return
        weight = STATE_OVERHEAD_BYTES + INSTANCE_BYTES * len(self.instances)
        while self.log_bytes > LOG_BYTES_MAX or (len(self.log) > log_deltas_min and self.log_bytes > weight):
            self.log_bytes -= len(self.log.pop(0)[2])

    # deltas that arrived too early ----------------------------------------------------------------------------------

    def keep_early(self, delta: Delta, frame: bytes, most: int, bytes_max: int) -> bool:
        """Keep a delta that lacks its predecessor; False beyond `most` or `bytes_max`: the repair brings it again."""
        kept = self.early.get(delta.since)
        if kept is not None and kept[0].incarnation >= delta.incarnation:
            return True
        grown = self.early_bytes + len(frame) - (len(kept[1]) if kept is not None else 0)
        if (kept is None and len(self.early) >= most) or grown > bytes_max:
            return False
        self.early[delta.since], self.early_bytes = (delta, frame), grown
        return True

    def next_early(self) -> tuple[Delta, bytes] | None:
        """The kept delta that fits now, if any; those that became old are forgotten."""
        if not self.early:
            return None
        found = self.early.get(self.version)
        if found is not None and found[0].incarnation == self.incarnation:
            self.early_bytes -= len(found[1])
            return self.early.pop(self.version)
        self.early = {
            since: kept
            for since, kept in self.early.items()
            if kept[0].incarnation > self.incarnation or (kept[0].incarnation == self.incarnation and since > self.version)
        }
        self.early_bytes = sum(len(frame) for _, frame in self.early.values())
        return None

    @property
    def waiting_bytes(self) -> int:
        """What is kept of deltas and parts whose others have not arrived."""
        return self.early_bytes + self.parts_bytes

    # answers --------------------------------------------------------------------------------------------------------

    def deltas_since(self, incarnation: Incarnation, version: int) -> Iterable[bytes] | None:
        """The frames `(version, mine]`, or None if only a whole state will do. O(log)."""
        if incarnation != self.incarnation or not self.log or version < self.log[0][0]:
            return None
        return [frame for since, _, frame in self.log if since >= version]
