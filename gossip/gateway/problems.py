"""Errors as documents: RFC 9457, `application/problem+json`. Each says what was wrong, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from .. import ConfigError, GossipError, NoInstances, PeerClosed, RegistrationError

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """What a client is told instead of an answer. `more`: members beside those of the RFC; `headers`: of the response."""

    def __init__(self, status: int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status, self.detail, self.more = status, detail, more
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The document."""
        title = HTTPStatus(self.status).phrase
        document = {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail, **self.more}
        return json.dumps(document, ensure_ascii=False).encode(errors="replace")

    @property
    def response(self) -> Response:
        """The document as a response."""
        return Response(self.body, self.status, self.headers, MEDIA_TYPE)


def problem_of(error: GossipError) -> Problem:
    """What an error of the library is for a client."""
    if isinstance(error, NoInstances):
        return Problem(404, str(error))
    if isinstance(error, (ConfigError, RegistrationError)):
        return Problem(400, str(error))
    if isinstance(error, PeerClosed):
        return Problem(503, "This gateway is stopping. Ask another one.", headers={"Retry-After": "1"})
    return Problem(503, f"{error}. Try again.", headers={"Retry-After": "1"})
