"""What the page draws that no call of a peer tells: the ring of a service, the overlay of the members, the last events."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .. import AsyncPeer
from .api import plain
from .chronicle import Chronicle
from .news import News
from .problems import Problem
from .requests import Answer, Query

PLACES_MAX = 4096
PLACES = 720  # half a degree each
STAND_INS = 3  # instances told for a key: its owner and those after it
RING_WEIGHT_MAX = 10_000  # of all instances of a service together; a ring beyond that takes seconds to build
RINGS_KEPT_MAX = 64  # services of which it is remembered who owns what
GONE_S = 60.0  # so long the places of the dead are told
OVERLAY_MEMBERS_MAX = 200  # up to so many all links are told at once; beyond, those of one member

Node = tuple[float, tuple[str, ...]]  # place, and whom it subscribes to


class Picture:
    """The endpoints, over one peer. Answers are computed once per change, however many look on."""

    def __init__(self, peer: AsyncPeer, news: News, chronicle: Chronicle) -> None:
        self._peer, self._news, self._chronicle = peer, news, chronicle
        self._rings: OrderedDict[str, tuple[object, dict[str, float], list[str]]] = OrderedDict()
        self._overlay: tuple[frozenset[str], frozenset[str], dict[str, Node]] = frozenset(), frozenset(), {}

    async def ring(self, request: Request) -> Response:
        """Who owns how much of a service's ring, who owns evenly spaced places of it, and where a key lies."""
        query = Query(request, ("places", "key"))
        service, key = request.path_params["service"], query.text("key")
        given = query.whole("places", PLACES_MAX)
        weight = sum(one.weight for one in self._peer.lookup(service))
        if weight > RING_WEIGHT_MAX:
            raise Problem(503, f"The instances weigh {weight} together; up to {RING_WEIGHT_MAX} are drawn. Lower the weights.")
        ring = await asyncio.to_thread(self._peer.ring, service)  # a large one is built for a second or so, and once
        shares, owners = self._drawn(service, ring, PLACES if given is None else given)
        up = [one for one in self._peer.lookup(service) if one.id in shares]
        number = {one.id: at for at, one in enumerate(up)}
        rows = [{"id": one.id, "weight": one.weight, "origin": one.origin, "share": shares[one.id]} for one in up]
        places = [number.get(id, -1) for id in owners]
        answer: dict[str, Any] = {"service": service, "instances": rows, "places": places}
        if key is not None:
            owner, *others = (one.id for one in ring.preference_list(key, STAND_INS))
            answer["key"] = {"key": key, "place": ring.place(key), "owner": owner, "stand_ins": others}
        return Answer(answer)

    def _drawn(self, service: str, ring: Any, places: int) -> tuple[dict[str, float], list[str]]:
        """The shares, and who owns so many places: computed once for each ring, while nobody wants another number of places."""
        kept = self._rings.get(service)
        if kept is None or kept[0] is not ring or len(kept[2]) != places:
            kept = self._rings[service] = ring, ring.shares(), ring.owners_at(places)
            if len(self._rings) > RINGS_KEPT_MAX:
                self._rings.popitem(last=False)
        return kept[1:]

    async def overlay(self, request: Request) -> Response:
        """The members in the order of their first ring, and who subscribes to whom: computed, not observed."""
        query = Query(request, ("member",))
        living, computed = self._computed()
        wanted = query.text("member")
        if wanted is not None and wanted not in living:
            raise Problem(404, "No member of this id lives. GET /v1/members lists them.", field="member")
        order = sorted(living, key=lambda id: computed[id][0])
        number = {id: at for at, id in enumerate(order)}
        drawn = order if wanted is None and len(order) <= OVERLAY_MEMBERS_MAX else [wanted or self._peer.id]
        links = [[number[id], number[other]] for id in drawn if id in number for other in computed[id][1] if other in number]
        members = [{"id": id, "place": computed[id][0]} for id in order]
        gone = [{"id": id, "place": computed[id][0]} for id in self._gone_lately(living) if id in computed]
        found = {"computed": True, "members": members, "gone": gone, "links": links}
        return Answer(found | {"members_left_out": len(order) - len(drawn)})

    def _computed(self) -> tuple[frozenset[str], dict[str, Node]]:
        """Who lives; and of those and of who went lately: place and links."""
        living = frozenset(member.id for member in self._peer.members())
        all_told = living | self._gone_lately(living)
        if (living, all_told) != self._overlay[:2]:
            self._overlay = living, all_told, self._peer.overlay()
        return living.intersection(self._overlay[2]), self._overlay[2]  # between the two looks some may have come, or ended

    def _gone_lately(self, living: frozenset[str]) -> frozenset[str]:
        others = (one for one in self._peer.members(include_dead=True) if one.id not in living)
        return frozenset(one.id for one in others if self._chronicle.known_s(one) < GONE_S)

    async def events(self, request: Request) -> Response:
        """The last events, oldest first, and the cursor from which /v1/watch goes on."""
        Query(request, ())
        events = [plain(event) for event in self._chronicle.recent]
        return Answer({"events": events, "cursor": f"{self._news.life}-{self._news.last_seq}", "now": time.time()})
