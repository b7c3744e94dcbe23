"""Large clusters that have converged already: what all peers hold alike is held once.

10,000 peers that each hold 10,000 origins are 10^8 entries. Here each peer's table and rings are the common ones and its
own differences: an origin is copied for a peer when that peer looks it up, because it may then change it; rings are
shared by all whose members differ from the common ones in the same way.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..core.codec import TOPIC_ALL, TOPIC_SELF
from ..core.effects import Connect
from ..core.messages import IdHash
from ..core.origin import Origin
from ..core.overlay import RINGS, Overlay, Ring, position
from ..core.table import Table
from .links import Supervised

if TYPE_CHECKING:
    from .cluster import Cluster
    from .peers import SimulatedPeer

GEOMETRIES_MAX = 4096

Key = TypeVar("Key", str, IdHash)
Places = list[tuple[int, IdHash]]


class Geometry:
    """Members and rings, shared and never changed."""

    __slots__ = ("members", "places")

    def __init__(self, members: set[IdHash], places: tuple[Places, ...]) -> None:
        self.members, self.places = members, places


class Commons:
    """What all peers of a settled cluster hold alike."""

    def __init__(self, origins: Iterable[Origin]) -> None:
        self.table = Table()
        for origin in origins:
            self.table.add(_copy(origin))
        members = {origin.hash for origin in self.table.origins.values()}
        places = tuple(sorted((position(ring, hash), hash) for hash in members) for ring in range(RINGS))
        self._geometries: dict[frozenset[IdHash], Geometry] = {frozenset(): Geometry(members, places)}

    def rings_of(self, me: IdHash, *, full_mesh_max: int) -> Overlay:
        """Ordinary rings of all that are common. O(members)."""
        overlay, base = Overlay(me, full_mesh_max=full_mesh_max), self._geometries[frozenset()]
        overlay.members = set(base.members)
        for ring, places in zip(overlay.rings, base.places, strict=True):
            ring.places = list(places)
        return overlay

    def geometry(self, differing: frozenset[IdHash]) -> Geometry:
        """The common members but for those who came or went. O(1) if another peer asked, else O(members)."""
        found = self._geometries.get(differing)
        if found is None:
            base = self._geometries[frozenset()]
            members, places = base.members ^ differing, tuple(list(listed) for listed in base.places)
            for ring, listed in enumerate(places):
                for hash in sorted(differing):
                    place = position(ring, hash), hash
                    if hash in members:
                        insort(listed, place)
                    else:
                        del listed[bisect_left(listed, place)]
            if len(self._geometries) >= GEOMETRIES_MAX:
                self._geometries = {frozenset(): base}
            found = self._geometries[differing] = Geometry(members, places)
        return found


class _Shared(dict[Key, Origin], Generic[Key]):
    """Origins under a key: a peer's own, and behind them the common ones.

    `get` hands out what may be changed: the peer's own, copied if need be. `[]` and `values` are for reading.
    """

    __slots__ = ("_base", "_gone", "_more", "_own")

    def __init__(self, base: dict[Key, Origin], own: Callable[[Origin], None]) -> None:
        self._base: dict[Key, Origin] = base
        self._own = own
        self._gone: set[Key] = set()
        self._more = 0  # of mine that are not common

    def get(self, key: Key, default: Any = None) -> Any:
        found = dict.get(self, key)
        if found is None:
            shared = self._base.get(key)
            if shared is None or key in self._gone:
                return default
            found = _copy(shared)
            self._own(found)
        return found

    def __getitem__(self, key: Key) -> Origin:
        if dict.__contains__(self, key):
            return dict.__getitem__(self, key)
        if key in self._gone:
            raise KeyError(key)
        return self._base[key]

    def __contains__(self, key: object) -> bool:
        return dict.__contains__(self, key) or (key in self._base and key not in self._gone)

    def __setitem__(self, key: Key, origin: Origin) -> None:
        if key in self._base:
            self._gone.discard(key)
        elif not dict.__contains__(self, key):
            self._more += 1
        dict.__setitem__(self, key, origin)

    def __delitem__(self, key: Key) -> None:
        if key in self._base:
            self._gone.add(key)
            dict.pop(self, key, None)
        else:
            dict.__delitem__(self, key)
            self._more -= 1

    def __len__(self) -> int:
        return len(self._base) - len(self._gone) + self._more

    def __iter__(self) -> Iterator[Key]:
        yield from (key for key in self._base if key not in self._gone)
        yield from (key for key in dict.keys(self) if key not in self._base)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]


class SharedTable(Table):
    """One peer's table, over the common one."""

    __slots__ = ()

    def __init__(self, commons: Commons, me: Origin) -> None:
        super().__init__()
        base = commons.table
        self.origins = _Shared(base.origins, self._own)
        self.by_hash = _Shared(base.by_hash, self._own)
        self.living, self.digest, self.sums = base.living, base.digest, list(base.sums)
        self._own(me)

    def _own(self, origin: Origin) -> None:
        self.origins[origin.id] = origin
        self.by_hash[origin.hash] = origin


class SharedOverlay(Overlay):
    """One peer's rings, which are those of all whose members differ alike."""

    __slots__ = ("_commons", "_differing")

    def __init__(self, commons: Commons, me: IdHash, *, full_mesh_max: int) -> None:
        # not the base class's own beginning: it would build rings of me alone
        self.me, self.full_mesh_max = me, full_mesh_max
        self.rings = tuple(Ring(number) for number in range(RINGS))
        self._chosen = {}
        self._commons = commons
        self._differing: frozenset[IdHash] = frozenset()
        self._turn()

    def add(self, hash: IdHash) -> None:
        if hash not in self.members:
            self._differing ^= {hash}
            self._turn()

    def remove(self, hash: IdHash) -> None:
        if hash in self.members:
            self._differing ^= {hash}
            self._turn()

    def _turn(self) -> None:
        geometry = self._commons.geometry(self._differing)
        self._my_watchers = None
        self.members = geometry.members
        for ring, places in zip(self.rings, geometry.places, strict=True):
            ring.places = places


def _copy(origin: Origin) -> Origin:
    copied = Origin(origin.id, origin.hash, origin.incarnation, origin.header, origin.zone)
    copied.version, copied.state, copied.weight = origin.version, origin.state, origin.weight
    copied.instances, copied.extras = dict(origin.instances), dict(origin.extras)
    return copied


def settle(cluster: Cluster, peers: list[SimulatedPeer], *, apart: bool = False) -> None:
    """Let peers that just started hold each other, and be linked, as if they had joined long ago. O(peers × links)."""
    network = cluster.network
    commons = Commons(peer.node.local.me for peer in peers)
    by_hash = {peer.node.local.me.hash: peer for peer in peers}
    for peer in peers:
        local = peer.node.local
        local.table = SharedTable(commons, local.me)
        full_mesh_max = local.config.overlay.full_mesh_max
        if apart:
            local.overlay = commons.rings_of(local.me.hash, full_mesh_max=full_mesh_max)
        else:
            local.overlay = SharedOverlay(commons, local.me.hash, full_mesh_max=full_mesh_max)
    for peer in peers:
        for hash in sorted(peer.node.local.overlay.links(near_only=False)):
            by_hash[hash].node.local.fan.add(peer.node.local.me.hash)
    for peer in peers:
        node = peer.node
        effects = node.tick(network.now)
        for effect in effects:
            if isinstance(effect, Connect):
                _link(peer, cluster.publishers[effect.endpoint])
        for hash in node.mesh.links:
            node.mesh.came_up(hash)
        peer.perform([effect for effect in effects if not isinstance(effect, Connect)])


def _link(subscriber: SimulatedPeer, publisher: SimulatedPeer) -> None:
    supervised = subscriber.links[publisher.publisher] = Supervised(subscriber, publisher.publisher)
    link = supervised.rise(publisher)
    for topic in (TOPIC_SELF + subscriber.node.local.me.hash, TOPIC_ALL):
        link.serve(topic)
