"""`Gateway`: the parts put together, as one ASGI application with a beginning and an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from .. import AsyncPeer, Config, GossipError, PeerClosed
from .alerts import Alerts
from .api import Api
from .chronicle import Chronicle
from .discovery import Discovery
from .door import Door
from .holdings import SERVICE_OF_GATEWAYS, Holdings
from .metrics import Metrics
from .news import News
from .original import Original
from .picture import Picture
from .probe import Observe, Probe
from .rules import Rules
from .settings import Settings
from .static import Static
from .stream import Streams

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
OWN_INSTANCES = 2  # of those a peer may hold, the gateway's own


class Gateway:
    """The HTTP face of a started peer. `async with` begins and ends its tasks; `asgi` serves."""

    def __init__(
        self, peer: AsyncPeer, settings: Settings, listening: tuple[str, int], observe: Observe | None = None
    ) -> None:
        self._peer, self._settings, self._listening = peer, settings, listening
        bounds = settings.bounds
        self.news = News(peer)
        self.holdings = Holdings(peer, Config().limits.instances_max - OWN_INSTANCES)
        self.streams = Streams(peer, self.news, bounds)
        chronicle = Chronicle(peer)
        self.news.listen(chronicle.hear)
        self.api = Api(peer, self.holdings, chronicle, bounds)
        self.picture = Picture(peer, self.news, chronicle)
        self.static = Static()
        self.original = Original(peer, self.holdings, bounds)
        self._observe = observe
        router = Router()
        self.asgi = Door(router, peer, self.news, settings)
        self.metrics = Metrics(peer, self.asgi, self.holdings, self.streams)
        self.news.on_detection(self.metrics.detection.observe)
        router.routes.extend(self._routes())
        self.peer_ended = False
        self._at_end: list[Callable[[], object]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def _routes(self) -> list[Route]:
        api = self.api
        reads: dict[str, Endpoint] = {
            "/": self.static.index,
            "/page/{name}": self.static.file,
            "/discover": self.original.discover,
            "/healthz": api.healthz,
            "/v1/events": self.picture.events,
            "/v1/instances": api.instances,
            "/v1/locate": api.locate,
            "/v1/members": api.members,
            "/metrics": self.metrics.serve,
            "/v1/openapi.json": api.openapi,
            "/v1/overlay": self.picture.overlay,
            "/v1/prometheus/sd": Discovery(api).serve,
            "/v1/pick": api.pick,
            "/v1/preference-list": api.preference_list,
            "/v1/route": api.route,
            "/v1/services": api.services,
            "/v1/services/{service}/ring": self.picture.ring,
            "/v1/status": api.status,
            "/v1/watch": self.streams.watch,
            "/v1/why": api.why,
        }
        writes: dict[str, Endpoint] = {
            "/register": self.original.register,
            "/v1/deregister": api.deregister,
            "/v1/drain": api.drain,
            "/v1/register": api.register,
            "/v1/renew": api.renew,
        }
        return [
            *(Route(path, endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    async def __aenter__(self) -> Gateway:
        host, port = self._listening
        here = self._peer.address.rpartition(":")[0].strip("[]") if host in ("0.0.0.0", "::") else host
        mine = await self._peer.register(SERVICE_OF_GATEWAYS, host=here, port=port, id=self._peer.id)
        self._begin(self._follow())
        if self._settings.alerts.webhooks:
            self._begin(self._alerts(here, port).run(here, port))
        every = self._settings.probe_interval_s
        if self._observe is not None and every > 0:
            self._begin(Probe(self._peer, mine, self._observe, self.metrics.visibility.observe, every).run())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _alerts(self, host: str, port: int) -> Alerts:
        rules = Rules(
            self._peer,
            self._settings.alerts,
            cut_off=lambda: self.asgi.state in (b"isolated", b"alone"),
            bounds_hit=lambda: self.metrics.bounds_hit(self._peer.status().counters),
        )
        self.news.listen(rules.see)
        alerts = Alerts(self._peer, self._settings.alerts, rules, f"http://{host}:{port}/")
        self.news.listen(alerts.hear)
        return alerts

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _follow(self) -> None:
        with suppress(PeerClosed, GossipError):
            await self.news.follow()
        self.peer_ended = True
        for tell in self._at_end:
            tell()

    def on_end(self, tell: Callable[[], object]) -> None:
        """Have it told when the peer has ended by itself."""
        self._at_end.append(tell)

    def end_streams(self) -> None:
        """Let go of all viewers: the end is near."""
        self.streams.close()
