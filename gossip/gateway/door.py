"""What stands before every call: the token, the answer to whatever goes wrong, and the header that says how the peer is.

    Gossip-State: ready | joining | isolated | alone     "alone": it knew others, and has none left

An answer given while isolated or alone comes from the cache, and may be old.
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

logger = logging.getLogger("gossip.gateway")

OPEN_TO_ALL = ("/healthz",)  # says nothing but that the gateway answers
WORDS = {404: "There is nothing at this path", 405: "This path takes another method"}
STATE_HEADER = b"gossip-state"


class Door:
    """An ASGI application around another."""

    def __init__(self, inner: ASGIApp, peer: AsyncPeer, news: News, token: str | None) -> None:
        self._inner, self._peer, self._news = inner, peer, news
        self._credentials = None if token is None else f"Bearer {token}".encode()
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

    def _admit(self, scope: Scope) -> None:
        if self._credentials is None or scope["path"] in OPEN_TO_ALL:
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

