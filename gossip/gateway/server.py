"""The process: one peer, one listening socket, uvicorn between them, until a signal.

uvicorn waits for ever for the head of a request, and for its answer to be read; `PatientProtocol` does not. Invariants: no
connection outlives its bound (`head_timeout_s`, `body_timeout_s`, `write_timeout_s`, `keep_alive_s`), and no answer is anything
but a problem document.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from .. import AsyncPeer, ConfigError
from .app import Gateway
from .probe import Observe
from .problems import MEDIA_TYPE, Problem
from .settings import Bounds, Settings

BACKLOG = 2048
STOP_S = 3.0  # requests under way at the end get so long


def patient(bounds: Bounds, refused: Callable[[], object]) -> type[H11Protocol]:
    """uvicorn's protocol, with an end to its patience. `refused` is told of each connection beyond the bound."""

    class PatientProtocol(H11Protocol):
        _waiting: asyncio.TimerHandle | None = None  # for the client to send
        _unread: asyncio.TimerHandle | None = None  # for the client to read

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # writing pauses as soon as anything waits for the client
            if len(self.connections) > bounds.connections_max:
                refused()
                self._hang_up(503, f"{bounds.connections_max} clients are connected, the bound. Ask another gateway.")
            else:
                self._watch_the_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_is_there()
            self._all_is_read()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._all_is_read()
            waiting = self.transport.get_write_buffer_size()
            self._unread = self.loop.call_later(bounds.write_timeout_s, self._nothing_read, waiting)

        def resume_writing(self) -> None:
            self._all_is_read()
            super().resume_writing()

        def _all_is_read(self) -> None:
            if self._unread is not None:
                self._unread.cancel()
                self._unread = None

        def _nothing_read(self, before: int) -> None:
            waiting = self.transport.get_write_buffer_size()
            if waiting >= before:
                self.transport.abort()  # a close would wait for ever: until all is read
            else:  # slow, but it reads
                self._unread = self.loop.call_later(bounds.write_timeout_s, self._nothing_read, waiting)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_the_head()

        def _watch_the_head(self) -> None:
            if self.transport.is_closing() or not (self.conn.their_state is h11.IDLE or self._is_answered()):
                self._head_is_there()
            elif self._waiting is None:
                self._waiting = self.loop.call_later(bounds.head_timeout_s, self._too_late)

        def _is_answered(self) -> bool:
            """Whether it still sends the body of a request that was answered without it."""
            return self.conn.their_state is h11.SEND_BODY and self.cycle is not None and self.cycle.response_complete

        def _head_is_there(self) -> None:
            if self._waiting is not None:
                self._waiting.cancel()
                self._waiting = None

        def _too_late(self) -> None:
            self._waiting = None
            if self._is_answered():
                self.transport.close()
            elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
                self._hang_up(408, f"The head of the request was not there after {bounds.head_timeout_s:g} s. Send it in one go.")

        def send_400_response(self, msg: str) -> None:
            self._hang_up(400, f"{msg} Send HTTP/1.1.")

        def _hang_up(self, status: int, detail: str) -> None:
            if not self.transport.is_closing():
                body = Problem(status, detail).body
                fields = f"Content-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close"
                self.transport.write(f"HTTP/1.1 {status} \r\n{fields}\r\n\r\n".encode() + body)
                self.transport.close()

    return PatientProtocol


class Server(uvicorn.Server):
    """uvicorn's server, ended by its owner. Streams end first, for it waits for all that goes on."""

    def __init__(self, config: uvicorn.Config, before_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._before_stop = before_stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The owner does."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the streams, then all else."""
        self._before_stop()
        await super().shutdown(sockets)


def bind(settings: Settings) -> socket.socket:
    """The listening socket. Raises `ConfigError` if it cannot be had."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        sock = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"listen {settings.host}:{settings.port}: {error}. Nothing was started.") from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(place)
        sock.listen(BACKLOG)  # now: whoever is told that it started may connect at once
    except OSError as error:
        sock.close()
        raise ConfigError(
            f"listen {settings.host}:{settings.port}: {error}. Choose another with --listen, or stop who holds it. "
            "Nothing was started."
        ) from error
    return sock


async def serve(
    peer: AsyncPeer, settings: Settings, started: Callable[[Gateway, tuple[Any, ...]], None], observe: Observe | None = None
) -> bool:
    """Start the peer, serve until SIGINT or SIGTERM, close it. False if the peer ended by itself. Raises `ConfigError`."""
    sock = bind(settings)
    try:
        async with peer:
            gateway = Gateway(peer, settings, sock.getsockname()[:2], observe)
            config = uvicorn.Config(
                gateway.asgi,
                http=patient(settings.bounds, gateway.metrics.refuse_connection),
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                timeout_keep_alive=int(settings.bounds.keep_alive_s),
                timeout_graceful_shutdown=int(STOP_S),
            )
            server = Server(config, gateway.end_streams)
            async with gateway:
                loop = asyncio.get_running_loop()
                for number in (signal.SIGINT, signal.SIGTERM):
                    with suppress(NotImplementedError, RuntimeError, ValueError):  # no main thread, or Windows
                        loop.add_signal_handler(number, setattr, server, "should_exit", True)
                gateway.on_end(lambda: setattr(server, "should_exit", True))
                started(gateway, sock.getsockname())
                await server.serve(sockets=[sock])
                return not gateway.peer_ended
    finally:
        sock.close()
