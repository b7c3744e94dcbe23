"""The two rings of members, and what is computed from them: links, watchers, the ranges of a broadcast.

Invariant: every answer follows from the member list and my own links alone; nothing is negotiated. Ring r orders the
members by `blake2b(r, id hash)`.

Links (design, section 4): a subscriber takes the members 1, 2, 3 and 4 places before it in each ring, and one in each
slot of the offsets j·4^i before it, kept as long as it stays in the slot ("sticky": one join moves about 27 links of
1,000 members instead of 8,028). Broadcast: ranges of a ring delegated to linked subscribers, farthest first (El-Ansary,
Alima, Brand, Haridi: Efficient Broadcast in Structured P2P Networks, 2003, section 3.2), over both rings.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise

from .messages import IdHash

RINGS = 2
CIRCLE = 1 << 64
WATCH_PLACES = 4  # a member is watched by so many after it in each ring
NEAR_PLACES = 3  # a newcomer links to so many before it first


@lru_cache(maxsize=4096)  # of 2,000 members; each is 270 bytes, and a simulation of more is hardly slower
def position(ring: int, hash: IdHash) -> int:
    """Where a peer stands on a ring: 64 bits; part of the protocol."""
    return int.from_bytes(blake2b(hash, digest_size=8, salt=bytes([ring])).digest(), "big")


@lru_cache(maxsize=64)
def slots(members: int) -> tuple[tuple[int, int], ...]:
    """The slots `[from, to)` of offsets beyond the exact places, for so many members."""
    offsets = []
    step = 4
    while step < members:
        offsets += [j * step for j in (1, 2, 3) if j * step < members]
        step *= 4
    offsets = [offset for offset in offsets if offset > WATCH_PLACES]
    return tuple(pairwise([*offsets, members]))


class Ring:
    """One ring: the members by position. Lists, because neighbours are asked for far more often than members change."""

    __slots__ = ("number", "places")

    def __init__(self, number: int) -> None:
        self.number = number
        self.places: list[tuple[int, IdHash]] = []

    def add(self, hash: IdHash) -> None:
        """O(members) to move the list, in one memmove."""
        insort(self.places, (position(self.number, hash), hash))

    def remove(self, hash: IdHash) -> None:
        """As `add`."""
        del self.places[self.rank(hash)]

    def rank(self, hash: IdHash) -> int:
        """The place of a member; for a stranger the place it would take. O(log members)."""
        return bisect_left(self.places, (position(self.number, hash), hash))

    def at(self, rank: int) -> IdHash:
        """The member at a place, round the circle."""
        return self.places[rank % len(self.places)][1]

    def before(self, hash: IdHash, places: int) -> list[IdHash]:
        """The members 1 … `places` places before a member, nearest first."""
        rank = self.rank(hash)
        return [self.at(rank - offset) for offset in range(1, min(places, len(self.places) - 1) + 1)]

    def after(self, hash: IdHash, places: int) -> list[IdHash]:
        """The members 1 … `places` places after a member, nearest first."""
        rank = self.rank(hash)
        return [self.at(rank + offset) for offset in range(1, min(places, len(self.places) - 1) + 1)]


class Overlay:
    """The rings of all living members, me among them, and the links chosen so far."""

    __slots__ = ("_chosen", "_my_watchers", "full_mesh_max", "me", "members", "rings")

    def __init__(self, me: IdHash, *, full_mesh_max: int) -> None:
        self.me = me
        self.full_mesh_max = full_mesh_max
        self.rings = tuple(Ring(number) for number in range(RINGS))
        self.members: set[IdHash] = set()
        self._my_watchers: tuple[IdHash, list[IdHash]] | None = None  # me, and who watches me; None if members changed
        self._chosen: dict[tuple[int, int], IdHash] = {}  # (ring, slot) -> the publisher kept in it
        self.add(me)

    def add(self, hash: IdHash) -> None:
        """A member lives. Twice is once."""
        if hash not in self.members:
            self._my_watchers = None
            self.members.add(hash)
            for ring in self.rings:
                ring.add(hash)

    def remove(self, hash: IdHash) -> None:
        """A member is gone."""
        if hash in self.members:
            self._my_watchers = None
            self.members.discard(hash)
            for ring in self.rings:
                ring.remove(hash)

    def links(self, *, near_only: bool) -> set[IdHash]:
        """The publishers to subscribe to. `near_only`: a newcomer's first links. O(log members) once settled."""
        if near_only:
            return {hash for ring in self.rings for hash in ring.before(self.me, NEAR_PLACES)}
        if len(self.members) <= self.full_mesh_max:
            return self.members - {self.me}
        wanted: set[IdHash] = set()
        for ring in self.rings:
            wanted.update(ring.before(self.me, WATCH_PLACES))
            wanted.update(self._slot_links(ring))
        wanted.discard(self.me)
        return wanted

    def choose_anew(self, me: IdHash) -> None:
        """Be this member, with nothing chosen yet."""
        self.me = me
        self._chosen.clear()

    def _slot_links(self, ring: Ring) -> Iterable[IdHash]:
        mine = ring.rank(self.me)
        members = len(ring.places)
        for low, high in slots(members):
            kept = self._chosen.get((ring.number, low))
            if kept is None or kept not in self.members or not low <= (mine - ring.rank(kept)) % members < high:
                kept = ring.at(mine - (low + high) // 2)
                self._chosen[ring.number, low] = kept
            yield kept

    def watchers(self, subject: IdHash) -> set[IdHash]:
        """Who watches a member: those 1 to 4 places after it in each ring."""
        return {hash for ring in self.rings for hash in ring.after(subject, WATCH_PLACES)} - {subject}

    def audience(self) -> set[IdHash]:
        """Who surely links to me, sooner or later: all members of a small cluster, else my watchers."""
        return self.members - {self.me} if len(self.members) <= self.full_mesh_max else self.watchers(self.me)

    def my_watchers(self) -> list[IdHash]:
        """Who watches me, in one order for all. O(1) unless members changed."""
        if self._my_watchers is None or self._my_watchers[0] != self.me:
            self._my_watchers = self.me, sorted(self.watchers(self.me))
        return self._my_watchers[1]

    def watched(self) -> set[IdHash]:
        """Whom I watch: those 1 to 4 places before me in each ring."""
        return {hash for ring in self.rings for hash in ring.before(self.me, WATCH_PLACES)} - {self.me}


def computed_links(members: Iterable[IdHash], *, full_mesh_max: int) -> dict[IdHash, set[IdHash]]:
    """Whom each member would subscribe to if it chose now: its true links differ where it keeps an older choice in a slot.

    O(members × log² members).
    """
    found: dict[IdHash, set[IdHash]] = {}
    overlay: Overlay | None = None
    for member in (listed := list(members)):
        if overlay is None:
            overlay = Overlay(member, full_mesh_max=full_mesh_max)
            for other in listed:
                overlay.add(other)
        overlay.choose_anew(member)
        found[member] = overlay.links(near_only=False)
    return found


class Fan:
    """My linked subscribers as the fingers of both rings: who gets which part of a broadcast.

    Any linked subscriber counts, placed by its hash, known as a member or not. Changed by the XPUB's events, which
    tell the end of the last subscription only: two processes may subscribe under one id for a moment.
    """

    __slots__ = ("_fingers", "_origin_positions", "subscribers")

    def __init__(self, me: IdHash) -> None:
        self.subscribers: set[IdHash] = set()
        self.turn_to(me)

    def turn_to(self, me: IdHash) -> None:
        """Take positions relative to this id (at the start, and when I take a new one)."""
        self._origin_positions = tuple(position(ring, me) for ring in range(RINGS))
        self._fingers: tuple[list[tuple[int, IdHash]], ...] = tuple([] for _ in range(RINGS))
        for hash in self.subscribers:
            self._place(hash)

    def _place(self, hash: IdHash) -> None:
        for ring, fingers in enumerate(self._fingers):
            insort(fingers, ((position(ring, hash) - self._origin_positions[ring]) % CIRCLE, hash))

    def add(self, hash: IdHash) -> None:
        """A subscription arrived."""
        if hash not in self.subscribers:
            self.subscribers.add(hash)
            self._place(hash)

    def remove(self, hash: IdHash) -> None:
        """The last subscription under this id ended."""
        if hash in self.subscribers:
            self.subscribers.remove(hash)
            for ring, fingers in enumerate(self._fingers):
                fingers.remove(((position(ring, hash) - self._origin_positions[ring]) % CIRCLE, hash))

    def parts(self, ring: int, limit: int | None) -> list[tuple[IdHash, int]]:
        """(subscriber, limit of its part) for the part of a ring between me and `limit`, farthest first.

        None is the whole ring, which only an origin asks for: a limit at my own place is an empty part. O(parts).
        """
        mine = self._origin_positions[ring]
        span = CIRCLE if limit is None else (limit - mine) % CIRCLE
        fingers = self._fingers[ring]
        count = bisect_left(fingers, (span, b""))
        found = []
        reach = mine if limit is None else limit
        for distance, hash in reversed(fingers[:count]):
            if distance:
                found.append((hash, reach))
                reach = (mine + distance) % CIRCLE
        return found
