"""What stands before every call: the name it was called by, the token, the answer to whatever goes wrong, and the state header.

    Gossip-State: ready | joining | isolated | alone     "alone": it knew others, and has none left

An answer given while isolated or alone comes from the cache, and may be old.

DNS rebinding: a page of some site lets its own name point to 127.0.0.1, and its scripts may then talk to what listens there.
The browser still sends that name as Host. So a gateway that listens on loopback answers to names of this machine alone.
"""

from __future__ import annotations

import hmac
import logging
from collections import Counter

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .. import AsyncPeer, GossipError, PeerState
from .news import News
from .problems import Problem, problem_of
from .settings import Settings, is_loopback

logger = logging.getLogger("gossip.gateway")

OPEN_TO_ALL = ("/healthz", "/")  # say nothing but that the gateway answers
OF_THE_PAGE = "/page/"  # as the page itself: it asks for the token
WORDS = {404: "There is nothing at this path", 405: "This path takes another method"}
STATE_HEADER = b"gossip-state"


class Door:
    """An ASGI application around another."""

    def __init__(self, inner: ASGIApp, peer: AsyncPeer, news: News, settings: Settings) -> None:
        self._inner, self._peer, self._news = inner, peer, news
        self._credentials = None if settings.token is None else f"Bearer {settings.token}".encode()
        self._names = {name.lower() for name in (settings.host, *settings.names)} if is_loopback(settings.host) else None
        self.answers: Counter[int] = Counter()  # by status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                self.answers[message["status"]] += 1
                message["headers"] = [*message.get("headers", ()), (STATE_HEADER, self.state)]
            await send(message)

        try:
            self._check_host(scope)
            self._admit(scope)
            scope["app"] = self._inner  # so that starlette raises what it has no route for
            await self._inner(scope, receive, answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a document and never a traceback
            problem = self._explained(error)
            if not begun:
                await problem.response(scope, receive, answer)

    @property
    def state(self) -> bytes:
        """The header's value now. O(1)."""
        state = self._peer.state
        return b"alone" if state is PeerState.READY and self._news.alone else state.value.encode()

    def _check_host(self, scope: Scope) -> None:
        if self._names is None:
            return
        given = next((value for name, value in scope["headers"] if name == b"host"), None)
        if given is None:  # HTTP/1.0; no browser
            return
        name = _without_port(given.decode("latin-1")).rstrip(".").lower()
        if name not in self._names and not is_loopback(name):
            text = "This gateway listens on loopback, and answers to names of this machine alone. Say localhost, or, behind a "
            raise Problem(421, text + "proxy that sends another name, start it with --host-name NAME.", field="Host")

    def _admit(self, scope: Scope) -> None:
        path = scope["path"]
        if self._credentials is None or path in OPEN_TO_ALL or path.startswith(OF_THE_PAGE):
            return
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given[:7].title() + given[7:], self._credentials):
            wrong = "is not the one this gateway was started with" if given else "is missing"
            text = f"The bearer token {wrong}. Send the header Authorization: Bearer <token>."
            raise Problem(401, text, headers={"WWW-Authenticate": "Bearer"})

    def _explained(self, error: Exception) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, GossipError):
            return problem_of(error)
        if isinstance(error, HTTPException):
            text = f"{WORDS.get(error.status_code, error.detail)}. GET /v1/openapi.json lists all calls."
            return Problem(error.status_code, text, headers=dict(error.headers or {}))
        logger.error("! a request failed: %r", error, exc_info=error)
        return Problem(500, "This is a fault of the gateway, not of the request. Its log says more.")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
