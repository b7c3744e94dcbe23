"""The catalogue as Prometheus reads it over HTTP (`http_sd`)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .api import Api
from .requests import Answer, Query
from .targets import targets


class Discovery:
    """`/v1/prometheus/sd`."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def serve(self, request: Request) -> Response:
        """One target group per instance, filtered as `/v1/instances`."""
        query = Query(request, ("service", "zone", "state", "origin"), ("label",))
        return Answer(targets(self._api.filtered(query)))
