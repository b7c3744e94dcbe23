"""`AsyncPeer`: the twin of `Peer` for asyncio. The same engine and bus thread; what waits for them is awaited here.

    await register ──▶ mailbox ──▶ bus thread ──▶ call_soon_threadsafe ──▶ the loop goes on

Invariants: the loop is never blocked; a call costs no thread (but `close`, and `start` with names or a file); nothing here
raises in the bus thread, not even when the loop was closed meanwhile; a cancelled call leaves nothing behind that its
docstring does not tell.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from .bus.mailbox import Letter, Mailbox
from .catalogue.events import Watch, nothing_came
from .checks import Check
from .engine import CALL_TIMEOUT_S
from .errors import PeerClosed
from .model import Event, Instance
from .participant import Participant
from .registration import Command, Handle
from .waiting import Wanted

T = TypeVar("T")


class AsyncPeer(Participant):
    """The twin of `Peer` for asyncio: the same arguments, names and errors; what waits for bus or network is awaited.

    Reads (`lookup`, `pick`, `status` …) are plain calls from any thread; the rest is called in a running event loop,
    whichever. Costs are those of `Peer`; a call that waits costs the loop two callbacks. A cancelled call is withdrawn if
    the bus has not begun it; each method says what becomes of it otherwise. `fork="restart"` is a `ConfigError`.
    The peer outlives a loop that ends before `await close()`, until the process does. Under gevent it holds up no greenlet.
    """

    # life -------------------------------------------------------------------------------------------------------------

    async def start(self) -> AsyncPeer:
        """Bind, start the bus thread, and begin to join; waits for nobody. Returns itself; idempotent while it runs.

        Raises `ConfigError` if an address cannot be bound, `PeerClosed` after `close`. Names in `bind` and `advertise` are
        resolved, and a snapshot is read, in a thread; cancelled before that is done, it has started nothing.
        """
        if not self._runs():
            slow = self._has_names() or self._has_files()
            self._start(await _aside(f"gossip-{self._name}-start", self._prepare) if slow else self._prepare())
        return self

    async def close(self, leave: bool = True) -> None:
        """Say goodbye, end the bus thread, release the ports. Idempotent; less than a second, spent off the loop.

        `leave=False` vanishes as a crash does. Reads go on answering from the last view. Cancelled, it is carried out all
        the same, and only not waited for.
        """
        if self._mark_closed():
            await _aside(f"gossip-{self._name}-close", lambda: self._end(leave))

    async def __aenter__(self) -> AsyncPeer:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # writes -----------------------------------------------------------------------------------------------------------

    async def register(
        self,
        service: str,
        *,
        port: int,
        host: str | None = None,
        id: str | None = None,
        weight: int = 1,
        labels: Mapping[str, str] | None = None,
        routes: Iterable[str] = (),
        ttl: float | None = None,
        check: object = None,
    ) -> AsyncRegistration:
        """As `Peer.register`. Cancelled, no instance remains, here or elsewhere.

        If it had been registered already, it is removed again before `CancelledError` goes on; others may have seen it.
        """
        checked = None if check is None else Check.of(check)
        instance, command, back = self._registering(
            service,
            port=port,
            host=host,
            id=id,
            weight=weight,
            labels=labels,
            routes=routes,
            ttl=ttl,
        )
        ran, number = await self.run(command, back=back)
        if not ran:
            raise self._closed_error()
        registration = AsyncRegistration(self, instance, number)
        self._checking(registration, checked)
        return registration

    async def run(self, command: Command, *, firm: bool = False, back: Command | None = None) -> tuple[bool, Any]:
        """Run a command on the bus thread, for `AsyncRegistration`: (whether the peer ran, its result).

        Cancelled, it is withdrawn if it has not begun, unless it is `firm`; and if it has, `back` is run after it.
        """
        mailbox = self._mailbox()
        if mailbox is None:
            return False, None
        bell = _Bell()
        try:
            letter = mailbox.send(self._bound(command), bell.set)
            try:
                await _settled(letter, bell)
            except BaseException as ended:  # cancelled, or thrown away with its loop
                begun = firm or not letter.claim()
                if begun and back is not None and isinstance(ended, asyncio.CancelledError):
                    await self._take_back(back, mailbox)
                raise
            return True, mailbox.answer(letter, CALL_TIMEOUT_S)
        except PeerClosed:
            return False, None

    async def _take_back(self, back: Command, mailbox: Mailbox) -> None:
        bell = _Bell()
        with suppress(PeerClosed):  # whatever it was went with the peer
            await _settled(mailbox.send(self._bound(back), bell.set, bounded=False), bell)

    async def rotate_secrets(self, secrets: Sequence[str | bytes]) -> None:
        """As `Peer.rotate_secrets`. Cancelled, it is carried out all the same, and only not waited for."""
        command = self._rotating(secrets)
        await self.run(command, firm=True)

    async def renew_certificate(self, certificate: str | os.PathLike[str]) -> None:
        """As `Peer.renew_certificate`. Reads a file, if one is named. Cancelled, it was either withdrawn or carried out."""
        ran, _ = await self.run(self._certifying(certificate))
        if not ran:
            raise self._closed_error()

    async def revoke(self, revocation: str | os.PathLike[str]) -> bool:
        """As `Peer.revoke`. Cancelled, it is carried out all the same, and only not waited for."""
        ran, found = await self.run(self._revoking(revocation), firm=True)
        if not ran:
            raise self._closed_error()
        return bool(found)

    # events and waits -------------------------------------------------------------------------------------------------

    def watch(self, service: str | None = None, *, initial: bool = False, since: int | None = None) -> AsyncWatch:
        """Follow what happens from this call on: `async for`, or `await watch.get(timeout)`. Arguments as in `Peer.watch`.

        A plain call: it does not wait, only asks. `await peer.watch(...)` is the same watch once it is subscribed.
        Raises `PeerClosed`.
        """
        bell = _Bell()
        watch, command = self._watching(service, initial=initial, since=since, ring=bell.set)
        mailbox = self._mailbox()
        if mailbox is None:
            raise self._closed_error()
        return AsyncWatch(watch, mailbox, mailbox.send(self._bound(command), bell.set), bell)

    async def wait_for(self, service: str, n: int = 1, timeout: float | None = None) -> tuple[Instance, ...]:
        """Wait until `n` instances of a service can be looked up; returns them.

        Raises `TimeoutError` saying what was missing, `PeerClosed`.
        """
        found: tuple[Instance, ...] = await self._wait(self._instances_wanted(service, n, timeout), timeout)
        return found

    async def wait_synced(self, timeout: float | None = None) -> None:
        """Wait until this peer holds what the others hold (or found nobody to ask). Raises `TimeoutError`, `PeerClosed`."""
        await self._wait(self._sync_wanted(timeout), timeout)

    async def _wait(self, wanted: Wanted, timeout: float | None) -> Any:
        bell, deadline = _Bell(), _deadline(timeout)
        with self._waiters.joined(bell):
            while (found := self._found(wanted, deadline)) is None:
                await bell.wait(deadline)
                bell.clear()
            return found


class AsyncRegistration(Handle):
    """The twin of `Registration`: one registered instance; `async with` deregisters on exit. After `close` it does nothing."""

    def __init__(self, peer: AsyncPeer, instance: Instance, number: int) -> None:
        super().__init__(instance, number)
        self._peer = peer

    async def update(
        self,
        *,
        weight: int | None = None,
        labels: Mapping[str, str] | None = None,
        routes: Iterable[str] | None = None,
    ) -> Instance:
        """As `Registration.update`. Cancelled, it was either withdrawn or carried out, as `.instance` shows."""
        return await self._change(self._updating(weight, labels, routes))

    async def drain(self) -> Instance:
        """As `Registration.drain`. Cancelled, it was either withdrawn or carried out, as `.instance` shows."""
        return await self._change(self._draining())

    async def _change(self, command: Command) -> Instance:
        ran, changed = await self._peer.run(command)
        return changed if ran else self._instance

    async def renew(self) -> None:
        """As `Registration.renew`. Cancelled, it was either withdrawn or carried out."""
        await self._peer.run(self._renewing())

    async def deregister(self) -> None:
        """Remove the instance everywhere. Idempotent. Cancelled, it is carried out all the same, and only not waited for."""
        await self._peer.run(self._deregistering(), firm=True)

    async def __aenter__(self) -> AsyncRegistration:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.deregister()


class AsyncWatch:
    """The twin of `Watch`: `async for`, or `await watch.get(timeout)`; `async with` closes it. For the loop it was made in.

    The queue is that of `Watch`, with its bound and its `RESYNC`: a slow loop never holds the peer up.
    """

    def __init__(self, watch: Watch, mailbox: Mailbox, letter: Letter, bell: _Bell) -> None:
        self._watch = watch
        self._mailbox = mailbox
        self._letter = letter
        self._bell = bell

    async def get(self, timeout: float | None = None) -> Event:
        """The next event. Raises `TimeoutError` after `timeout` seconds, `PeerClosed` when the watch has ended.

        A cancelled `get` has taken no event.
        """
        deadline = _deadline(timeout)
        while (event := self._watch.take()) is None:
            if self._letter.error is not None:  # refused: it never began
                raise self._letter.error
            if time.monotonic() >= deadline:
                raise nothing_came(timeout)
            await self._bell.wait(deadline)
            self._bell.clear()
        return event

    def close(self) -> None:
        """No more events come, after those that wait to be read. Idempotent; any thread; a waiting reader ends."""
        self._watch.close()

    def __aiter__(self) -> AsyncWatch:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self.get()
        except PeerClosed:
            raise StopAsyncIteration from None

    def __await__(self) -> Generator[Any, None, AsyncWatch]:
        return self._subscribed().__await__()

    async def _subscribed(self) -> AsyncWatch:
        try:
            await _settled(self._letter, self._bell)
            self._mailbox.answer(self._letter, CALL_TIMEOUT_S)
        except BaseException:
            self.close()  # the caller never gets hold of it
            raise
        return self

    async def __aenter__(self) -> AsyncWatch:
        return await self

    async def __aexit__(self, *_: object) -> None:
        self.close()


# between the threads and the loop -------------------------------------------------------------------------------------


class _Bell:
    """The twin of `threading.Event`: set by any thread, awaited in the loop it was made in, by any number of tasks.

    However often it is set before the loop looks, it is one call into the loop: a slow loop is not flooded.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] = self._loop.create_future()
        self._coming = False

    def set(self) -> None:
        if not self._coming:
            self._coming = True
            with suppress(RuntimeError):  # the loop is closed, and nobody waits in it
                self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        self._coming = False  # first: what is set from here on must ring again
        if not self._rung.done():
            self._rung.set_result(None)

    def clear(self) -> None:
        """To be followed by a look at what was waited for."""
        if self._rung.done():
            self._rung = self._loop.create_future()

    async def wait(self, deadline: float) -> None:
        """Until it is set, or `time.monotonic()` has reached the deadline."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("this belongs to another event loop: watch the peer in the loop that reads the events")
        timeout = None if deadline == math.inf else max(deadline - time.monotonic(), 0.0)
        await asyncio.wait((self._rung,), timeout=timeout)  # not wait_for: before Python 3.12 that may lose a cancellation


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else time.monotonic() + timeout


async def _settled(letter: Letter, bell: _Bell) -> None:
    """Until a letter is settled, or too late to wait for; `Mailbox.answer` tells them apart."""
    deadline = _deadline(CALL_TIMEOUT_S)
    while not letter.wait(0) and time.monotonic() < deadline:
        await bell.wait(deadline)
        bell.clear()


async def _aside(name: str, do: Callable[[], T]) -> T:
    """Run what blocks in a daemon thread of its own. Cancelled, it goes on, and nobody asks for its result.

    Not in the loop's pool: that may be full of others, and a loop that ends waits for all of it.
    """
    bell = _Bell()
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(do())
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to the caller
            outcome.set_exception(error)
        bell.set()

    threading.Thread(target=run, name=name, daemon=True).start()
    await bell.wait(math.inf)
    return outcome.result()
