"""The two calls of the service this project replaces, word for word: `POST /register` and `GET /discover`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .. import AsyncPeer, Instance, NoInstances
from .holdings import Holdings, Wish
from .problems import Problem
from .requests import Answer, Fields, Query, json_of
from .settings import Bounds

STRATEGIES = {"random": "uniform", "round_robin": "round_robin", "weighted": "random"}  # its words -> ours
WAYS = ("cache", "route", "hash")


class Original:
    """Both endpoints, over one peer."""

    def __init__(self, peer: AsyncPeer, holdings: Holdings, bounds: Bounds) -> None:
        self._peer, self._holdings, self._bounds = peer, holdings, bounds

    async def register(self, request: Request) -> Response:
        """`{"name", "address", "port"}`, and what `/v1/register` takes beside them."""
        fields = Fields(await json_of(request, self._bounds))
        name, address, port = fields.needed_text("name"), fields.needed_text("address"), fields.port("port")
        await self._holdings.hold(Wish.of(fields, name, address, port))
        return Answer({"status": "success"})

    async def discover(self, request: Request) -> Response:
        """One instance: `by` cache, route or hash."""
        query = Query(request, ("name", "by", "strategy", "key", "path"))
        way = query.choice("by", WAYS) or "cache"
        strategy = query.choice("strategy", STRATEGIES)
        self._refuse_idle(query, way)
        if way == "cache":
            found = self._peer.pick(query.needed("name"), strategy=STRATEGIES[strategy or "round_robin"])
            return Answer({"address": found.address})
        if way == "hash":
            found = self._peer.locate(query.needed("name"), query.needed("key"))
        else:
            found = self._routed(query.text("name"), query.text("path"), STRATEGIES[strategy or "round_robin"])
        return Answer({"address": found.host, "port": str(found.port)})

    def _refuse_idle(self, query: Query, way: str) -> None:
        """What would change nothing is a misunderstanding."""
        for name, ways in (("key", ("hash",)), ("path", ("route",)), ("strategy", ("cache", "route"))):
            if query.text(name) is not None and way not in ways:
                raise Problem(400, f"{name}= means nothing with by={way}; it goes with by={' or by='.join(ways)}.", field=name)

    def _routed(self, name: str | None, path: str | None, strategy: str) -> Instance:
        if name is None and path is None:
            raise Problem(400, "by=route needs name= or path=: whose address is wanted?", field="path")
        sought = path if path is not None else f"/{name}"
        others = [one for route in self._peer.routes(sought) for one in route.instances if name not in (None, one.service)]
        try:
            return self._peer.route(sought, strategy=strategy, exclude=others)
        except NoInstances as error:
            raise Problem(404, f"{error}. A service has the route /<name> if it was registered here without routes.") from None
