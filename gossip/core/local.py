"""What the parts of one node share: its tables, its settings, and the effects gathered so far.

One `Local` per peer. Each table has one owner that changes it; `out` is append-only within one input and is handed to
the shell by the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from ..config import Config
from ..model import EventKind, Instance, Member, MemberState, join_address
from .authority import Authority
from .bounds import Bounds
from .codec import TOPIC_ALL, TOPIC_OBSERVERS, TOPIC_SELF, Codec
from .directory import Directory
from .effects import Effect, Happened, Publish
from .messages import Header, IdHash, Incarnation, Message
from .origin import Origin
from .overlay import RINGS, Fan, Overlay
from .signatures import Seal, Signing
from .table import Table

LIFE_LEAP_MS = 86_400_000  # a life that begins so long after what is known, and after my clock, is asked about first
VERSION_LEAP = 1_000_000  # likewise a version (or pulse) so far above what is known


class Chance(Protocol):
    """The randomness a node is given; `random.Random` meets it."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """An int of k random bits."""
        ...


class Local:
    """The shared tables of one node. `me` is my own origin, an ordinary entry of the table."""

    def __init__(
        self,
        *,
        id: str,
        cluster: str,
        zone: str,
        header: Header,
        incarnation: Incarnation,
        config: Config,
        chance: Chance,
        signing: Signing | None = None,
        revoked: Sequence[bytes] = (),
    ) -> None:
        self.config = config
        self.seal = Seal(cluster, signing)
        self.chance = chance
        self.codec = Codec(
            cluster, frame_bytes_max=config.limits.frame_bytes_max, part_bytes_max=config.limits.state_part_bytes_max
        )
        self.out: list[Effect] = []
        self.counters: Counter[str] = Counter()
        self.bounds = Bounds(self.counters, self.notice)
        self.authority = Authority(id, self.bounds, signing, revoked)
        self.table = Table()
        self.directory = Directory(lambda origin: self.table.origins[origin].incarnation, self._speaks_of_itself)
        self.me = Origin(id, self.codec.hash(id), incarnation, header, zone)
        self.overlay = Overlay(self.me.hash, full_mesh_max=config.overlay.full_mesh_max)
        self.fan = Fan(self.me.hash)
        self.links_dirty = True
        self.synced = False
        self.observed = False  # whether anybody listens to `+`; nothing is published there while nobody does
        self.started_at = 0.0

    # sending ----------------------------------------------------------------------------------------------------------

    def broadcast(self, frame: bytes) -> None:
        """Send a delta to everybody: delegate the whole of each ring, of one if everybody is linked to me."""
        for ring in range(1 if self.everybody_linked() else RINGS):
            self.delegate(ring, None, frame)

    def delegate(self, ring: int, limit: int | None, frame: bytes) -> None:
        """Pass a frame on to my linked subscribers inside a part of a ring, each with its own part. O(parts)."""
        me = self.me.hash
        envelope = self.codec.envelope
        for hash, reach in self.fan.parts(ring, limit):
            self.out.append(Publish(TOPIC_SELF + hash + envelope(ring, reach, me) + frame))

    def everybody_linked(self) -> bool:
        """Whether every living member subscribes to me."""
        members, subscribers = self.overlay.members, self.fan.subscribers
        return len(subscribers) >= len(members) - 1 and all(hash in subscribers for hash in members if hash != self.me.hash)

    def spread(self, news: tuple[bytes, ...]) -> None:
        """Broadcast what I heard first-hand and what changes who lives."""
        for frame in news:
            self.broadcast(frame)

    def tell(self, hash: IdHash, frame: bytes) -> None:
        """Send a frame to one linked subscriber."""
        self.out.append(Publish(TOPIC_SELF + hash + frame))

    def flood(self, frame: bytes) -> None:
        """Send a frame to all linked subscribers, who decide whether to pass it on."""
        self.out.append(Publish(TOPIC_ALL + frame))

    def show(self, *frames: bytes) -> None:
        """Send to my observers what I learned, in the order in which I did."""
        if self.observed:
            self.out += [Publish(TOPIC_OBSERVERS + frame) for frame in frames]

    def show_message(self, message: Message) -> None:
        """The same for what is not encoded yet."""
        if self.observed:
            self.show(self.codec.encode(message))

    # telling the user -------------------------------------------------------------------------------------------------

    def happened(
        self, kind: EventKind, subject: str, reason: str, *, before: Member | None = None, after: Member | None = None
    ) -> None:
        """An event about a member."""
        self.out.append(Happened(kind, subject, before, after, reason))

    def notice(self, subject: str, reason: str) -> None:
        """A NOTICE event: something the operator should know."""
        self.out.append(Happened(EventKind.NOTICE, subject, None, None, reason))

    # facts ------------------------------------------------------------------------------------------------------------

    @property
    def alone(self) -> bool:
        """Whether I know no other living member."""
        return self.table.living <= 1

    @property
    def suspects(self) -> int:
        """How many members are accused. Any thread; O(members)."""
        return sum(1 for origin in tuple(self.table.origins.values()) if origin.state is MemberState.SUSPECTED)

    def is_leap_of_life(self, known_start: int, start: int, now: float) -> bool:
        """Whether a life that begins at `start` (wall ms) leaps above what is known of it and what my own clock makes likely."""
        return start > max(known_start, 1000 * self.wall_s(now)) + LIFE_LEAP_MS

    def wall_s(self, now: float) -> float:
        """The wall clock, as far as I know it: what it was at my start, and the time since then."""
        return self.me.header.boot_ms / 1000 + now - self.started_at

    def at_wall_s(self, wall_s: float) -> float:
        """When the wall clock surely shows that: a millisecond later, since the sum of both may be rounded down."""
        return wall_s - self.me.header.boot_ms / 1000 + self.started_at + 0.001

    def is_leap_of_version(self, known: int, version: int) -> bool:
        """The same for the numbers that count within a life."""
        return version > known + VERSION_LEAP

    def _speaks_of_itself(self, record: Instance) -> bool:
        """Whether a record is of its own peer's host, under the id that names that address. Told only where peers sign."""
        header = self.table.origins[record.origin].header
        return self.seal.verifies and record.host == header.host and record.id == record.address

    def contact_of(self, header: Header) -> str:
        """`ip:port` of the ROUTER that a header names."""
        return join_address(header.host, header.contact_port)

    def jittered(self, seconds: float) -> float:
        """The duration ± 20 %, so that peers do not act in step."""
        return seconds * (0.8 + 0.4 * self.chance.random())
