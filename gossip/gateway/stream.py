"""`/v1/watch`: what happens, as server-sent events, with a cursor that can be resumed.

    id: <life>-<seq>        the cursor: `Last-Event-ID`, or since=<life>-<seq>, resumes after it
    event: ADDED            the kind; RESYNC: something was missed, look everything up again
    data: {…}               the event

`life` is drawn by each gateway at its start: a cursor of another gateway, or of an earlier life, is answered by RESYNC first.
Events of `initial=true` carry no id: whoever loses the connection among them asks anew, and gets them all again.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from .. import AsyncPeer, AsyncWatch, Event, EventKind, PeerClosed
from .api import plain
from .news import News
from .problems import Problem
from .requests import Query
from .settings import Bounds

CURSOR_PATTERN = re.compile(r"([0-9a-f]{1,32})-([0-9]{1,18})\Z")
RETRY_MS = 1000
KNOWN_BEFORE = "known when the watch began"  # the reason of initial events
FOREIGN_CURSOR = "the cursor is of another gateway, or of an earlier life of this one; look everything up again"


class Streams:
    """All viewers of one gateway, at most `viewers_max`."""

    def __init__(self, peer: AsyncPeer, news: News, bounds: Bounds) -> None:
        self._peer, self._news, self._bounds = peer, news, bounds
        self._open: set[AsyncWatch] = set()
        self._closed = False
        self.refused = 0

    def __len__(self) -> int:
        return len(self._open)

    async def watch(self, request: Request) -> Response:
        """One viewer, until it goes or the gateway does."""
        query = Query(request, ("service", "initial", "since"))
        initial = query.truth("initial")
        cursor = request.headers.get("last-event-id") or query.text("since")
        if len(self._open) >= self._bounds.viewers_max:
            self.refused += 1
            text = f"{self._bounds.viewers_max} viewers watch here already, the bound. Watch at another gateway."
            raise Problem(503, text, headers={"Retry-After": "5"})
        since, at_first = self._resumed(cursor)
        start = self._news.last_seq if since is None else since
        # a resumed one has what was there at first, unless it must look everything up again
        watch = self._peer.watch(query.text("service"), initial=initial and (since is None or bool(at_first)), since=since)
        self._open.add(watch)
        try:
            await watch
        except BaseException:
            self._open.discard(watch)
            raise
        if self._closed:
            watch.close()
        return _Viewer(self._told(watch, at_first, start), self._bounds.write_timeout_s, lambda: self._let_go(watch))

    def _let_go(self, watch: AsyncWatch) -> None:
        watch.close()
        self._open.discard(watch)

    def _resumed(self, cursor: str | None) -> tuple[int | None, str]:
        """After which event to go on, and what to say before."""
        if not cursor:
            return None, ""
        parts = CURSOR_PATTERN.match(cursor)
        if parts is None:
            text = "The cursor is not the id of an event, such as 5f3a9c-42. Leave it out to begin now."
            raise Problem(400, text, field="since")
        if parts[1] != self._news.life:
            resync = Event(self._news.last_seq, time.time(), EventKind.RESYNC, None, None, None, FOREIGN_CURSOR)
            return None, self._text(resync, with_id=False)
        return int(parts[2]), ""

    async def _told(self, watch: AsyncWatch, at_first: str, start: int) -> AsyncIterator[str]:
        yield f"retry: {RETRY_MS}\n\n" + at_first
        untold: int | None = start  # a cursor that no event has carried
        while True:
            try:
                event = await watch.get(self._bounds.comment_s if untold is None else 0.0)
            except TimeoutError:
                yield ":\n\n" if untold is None else self._id(untold) + "\n"
                untold = None
            except PeerClosed:
                return
            else:
                early = event.kind is EventKind.ADDED and event.reason == KNOWN_BEFORE
                untold = event.seq if early else None
                yield self._text(event, with_id=not early)

    def _id(self, seq: int) -> str:
        return f"id: {self._news.life}-{seq}\n"

    def _text(self, event: Event, *, with_id: bool) -> str:
        return f"{self._id(event.seq) if with_id else ''}event: {event.kind}\ndata: {json.dumps(plain(event))}\n\n"

    def close(self) -> None:
        """All viewers are let go: the gateway stops."""
        self._closed = True
        for watch in tuple(self._open):
            watch.close()


class _Viewer(Response):
    """A stream to a viewer, who is given up if it reads nothing for too long."""

    media_type = "text/event-stream"

    def __init__(self, told: AsyncIterator[str], patience_s: float, let_go: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._told, self._patience_s, self._let_go = told, patience_s, let_go

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve it until it goes, or there is no more to tell."""
        tasks = {asyncio.ensure_future(self._stream(send)), asyncio.ensure_future(_gone(receive))}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._let_go()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _stream(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async for text in self._told:  # who reads no more is hung up on: a later cursor resumes
            message = {"type": "http.response.body", "body": text.encode(), "more_body": True}
            await asyncio.wait_for(send(message), self._patience_s)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
