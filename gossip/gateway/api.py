"""The JSON API under `/v1`: each call of a peer as one endpoint. `openapi.py` describes it, and a test compares the two."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from .. import AsyncPeer, Event, Instance, InstanceState, Member
from .chronicle import Chronicle
from .holdings import Holdings, Wish
from .openapi import DOCUMENT
from .problems import Problem
from .requests import Answer, Fields, Query, json_of, shown
from .settings import Bounds

STRATEGIES = ("round_robin", "random", "uniform")
PREFERENCE_MAX = 1024
NAMES_COMPARED_MAX = 1000  # with one that is unknown, to find what was meant
NAMES_SHOWN_MAX = 3
TEXT_COMPARED_MAX = 128  # characters
CHOICE = ("strategy", "zone")
REPEATABLE = ("label", "exclude")


def plain(value: Instance | Member | Event) -> dict[str, Any]:
    """A value of the library as JSON. An instance has its address too."""
    found = dataclasses.asdict(value)
    if isinstance(value, Instance):
        found["address"] = value.address
    elif isinstance(value, Event):
        found |= {"before": value.before and plain(value.before), "after": value.after and plain(value.after)}
    return found


class Api:
    """The endpoints, over one peer."""

    def __init__(self, peer: AsyncPeer, holdings: Holdings, chronicle: Chronicle, bounds: Bounds) -> None:
        self._peer, self._holdings, self._chronicle, self._bounds = peer, holdings, chronicle, bounds

    # writes -----------------------------------------------------------------------------------------------------------

    async def register(self, request: Request) -> Response:
        """201 with the instance, or 200 if it was registered here before."""
        fields = Fields(await json_of(request, self._bounds))
        service, host, port = fields.needed_text("service"), fields.needed_text("host"), fields.port("port")
        instance, is_new = await self._holdings.hold(Wish.of(fields, service, host, port))
        return Answer(plain(instance), 201 if is_new else 200)

    async def renew(self, request: Request) -> Response:
        """The time to live of one held here starts anew."""
        return Answer(plain(await self._holdings.renew(*await self._named(request))))

    async def drain(self, request: Request) -> Response:
        """One held here takes no more new work."""
        return Answer(plain(await self._holdings.drain(*await self._named(request))))

    async def deregister(self, request: Request) -> Response:
        """One held here goes."""
        return Answer(plain(await self._holdings.deregister(*await self._named(request))))

    async def _named(self, request: Request) -> tuple[str, str]:
        fields = Fields(await json_of(request, self._bounds))
        named = fields.needed_text("service"), fields.needed_text("id")
        fields.done()
        return named

    # the catalogue ----------------------------------------------------------------------------------------------------

    async def services(self, request: Request) -> Response:
        """All services, with how many instances are known and how many may be used."""
        Query(request, ())
        names = self._peer.services()
        rows = [(name, self._peer.lookup(name), self._peer.lookup(name, include_draining=True)) for name in self._cut(names)]
        found = [{"service": name, "instances": len(known), "up": len(up)} for name, up, known in rows]
        return Answer({"services": found, "left_out": len(names) - len(found)})

    async def instances(self, request: Request) -> Response:
        """Instances, of one service or of all, that meet all filters."""
        query = Query(request, ("service", "zone", "state", "origin"), ("label",))
        found = self.filtered(query)
        shown = self._cut(found)
        return Answer({"instances": [self._aged(one) for one in shown], "left_out": len(found) - len(shown)})

    def _aged(self, thing: Instance | Member) -> dict[str, Any]:
        return plain(thing) | {"known_s": self._chronicle.known_s(thing)}

    def filtered(self, query: Query) -> list[Instance]:
        """Those that a query asks for; without `state` the usable ones. O(instances of the services asked for)."""
        service, origin = query.text("service"), query.text("origin")
        state = query.choice("state", [str(one) for one in InstanceState] + ["any"])
        filters: dict[str, Any] = {"labels": query.labels(), "zone": query.text("zone"), "include_draining": state is not None}
        names = self._peer.services() if service is None else (service,)
        found = [one for name in names for one in self._peer.lookup(name, **filters)]
        return [one for one in found if state in (None, "any", str(one.state)) and origin in (None, one.origin)]

    async def pick(self, request: Request) -> Response:
        """One instance of a service, balanced."""
        query = Query(request, ("service", *CHOICE), REPEATABLE)
        return Answer(plain(self._peer.pick(query.needed("service"), **self._choice(query))))

    async def route(self, request: Request) -> Response:
        """One instance that serves a path."""
        query = Query(request, ("path", *CHOICE), REPEATABLE)
        return Answer(plain(self._peer.route(query.needed("path"), **self._choice(query))))

    def _choice(self, query: Query) -> dict[str, Any]:
        return {
            "strategy": query.choice("strategy", STRATEGIES) or "round_robin",
            "labels": query.labels(),
            "zone": query.text("zone"),
            "exclude": query.texts("exclude"),
        }

    async def locate(self, request: Request) -> Response:
        """The owner of a key."""
        query = Query(request, ("service", "key"))
        return Answer(plain(self._peer.locate(query.needed("service"), query.needed("key"))))

    async def preference_list(self, request: Request) -> Response:
        """The owner of a key and its stand-ins."""
        query = Query(request, ("service", "key", "n"))
        n = query.whole("n", PREFERENCE_MAX)
        found = self._peer.preference_list(query.needed("service"), query.needed("key"), 3 if n is None else n)
        return Answer({"instances": [plain(one) for one in found]})

    # the cluster ------------------------------------------------------------------------------------------------------

    async def members(self, request: Request) -> Response:
        """The peers of the cluster."""
        query = Query(request, ("include_dead",))
        found = self._peer.members(include_dead=query.truth("include_dead"))
        shown = self._cut(found)
        return Answer({"members": [self._aged(one) for one in shown], "left_out": len(found) - len(shown)})

    async def status(self, request: Request) -> Response:
        """How this gateway's peer is doing."""
        Query(request, ())
        return Answer(self._peer.status().as_dict() | {"held": len(self._holdings)})

    async def why(self, request: Request) -> Response:
        """The last events about a name."""
        name = Query(request, ("name",)).needed("name")
        events = self._peer.why(name)
        if not events:
            self._check_known(name)
        return Answer({"events": [plain(event) for event in events]})

    def _check_known(self, name: str) -> None:
        """That something is called so, of which nothing is remembered any more. Raises `Problem`. O(members + instances)."""
        members = self._peer.members(include_dead=True)
        services = self._peer.services()
        instances = (one for service in services for one in self._peer.lookup(service, include_draining=True))
        if any(name in (one.id, one.name) for one in members) or name in services:
            return
        if any(name in (one.id, one.address, f"{one.service}/{one.id}") for one in instances):
            return
        names = [*services, *(one.id for one in members), *(one.name for one in members)]
        near = get_close_matches(name[:TEXT_COMPARED_MAX], names[:NAMES_COMPARED_MAX], NAMES_SHOWN_MAX)
        hint = f" Nearest known: {', '.join(map(repr, dict.fromkeys(near)))}." if near else ""
        raise Problem(
            404,
            f"Nothing is remembered here about {shown(name)}.{hint} A name is a member's id or name, an instance's id or "
            "address, or a service: GET /v1/members and /v1/instances list them.",
            field="name",
        )

    async def openapi(self, request: Request) -> Response:
        """What is here, for programs."""
        return Answer(DOCUMENT)

    async def healthz(self, request: Request) -> Response:
        """That the gateway answers."""
        return Answer({"status": "ok"})

    def _cut(self, found: Sequence[Any]) -> Sequence[Any]:
        return found[: self._bounds.listed_max]
