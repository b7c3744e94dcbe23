"""`Peer`: what a service embeds. It adds to `Engine` that its callers block until the bus has answered."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from .catalogue.events import Watch
from .engine import CALL_TIMEOUT_S, WAIT_STEP_S, Engine, Wanted
from .errors import PeerClosed
from .model import Instance
from .registration import Command, Registration


class Peer(Engine):
    """One participant of a cluster, embedded in a service. Reads are answered in-process; any thread may call anything.

    Arguments are checked here and nothing runs before `start()` (or `with`). On one machine nothing needs to be
    configured: all that say `Peer()` find each other.

    `name`: for people, defaults to the host name. `id`: fixed identity, default `name-<random>`. `cluster`: peers of
    other clusters are ignored. `bind="host:port"` is the contact, the publisher takes port + 1 ("host:port,port" names
    both). `advertise="host[:port[,port]]"` is what others dial. `seeds`: contacts of peers that may already run; `[]` =
    alone, None = zero configuration on 127.0.0.1:7400 (alone, for a bind beyond loopback). `zone`: for `near=True`.
    `insecure=True` allows addresses beyond loopback without a secret, and warns. `secret`, `snapshot` and
    `fork="restart"` are not built yet. Raises `ConfigError`.
    """

    # life -------------------------------------------------------------------------------------------------------------

    def start(self) -> Peer:
        """Bind, start the bus thread, and begin to join; waits for nobody. Returns itself; idempotent while it runs.

        Raises `ConfigError` if an address cannot be bound, `PeerClosed` after `close`. Names among the seeds are resolved
        by a thread of their own; those of `bind` and `advertise` here.
        """
        if not self._runs():
            self._start(self._addresses())
        return self

    def close(self, leave: bool = True) -> None:
        """Say goodbye, end the bus thread, release the ports. Idempotent; less than a second.

        `leave=False` vanishes as a crash does. Reads go on answering from the last view.
        """
        if self._mark_closed():
            self._end(leave)

    def __enter__(self) -> Peer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # writes -----------------------------------------------------------------------------------------------------------

    def register(
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
    ) -> Registration:
        """Tell everybody that this service runs here; visible to this peer's reads when it returns.

        `host` defaults to the host of `.address`, `id` to `host:port`. `weight`: an int from 1 to 100. `labels`: str to
        str, 1 KiB. `routes`: path prefixes it serves. `ttl`: seconds after which it is gone unless renewed. `check` is
        not built yet. Raises `RegistrationError` with nothing changed, `PeerClosed`.
        """
        instance, command, _ = self._registering(
            service,
            port=port,
            host=host,
            id=id,
            weight=weight,
            labels=labels,
            routes=routes,
            ttl=ttl,
            check=check,
        )
        self._must(command)
        return Registration(self, instance)

    def run(self, command: Command) -> tuple[bool, Any]:
        """Run a command on the bus thread, for `Registration`: (whether the peer ran, its result)."""
        mailbox = self._mailbox()
        if mailbox is None:
            return False, None
        try:
            return True, mailbox.call(self._bound(command), CALL_TIMEOUT_S)
        except PeerClosed:
            return False, None

    def _must(self, command: Command) -> None:
        ran, _ = self.run(command)
        if not ran:
            raise self._closed_error()

    # events and waits -------------------------------------------------------------------------------------------------

    def watch(self, service: str | None = None, *, initial: bool = False, since: int | None = None) -> Watch:
        """Follow what happens from this call on: of one service, or of everything, members included.

        `initial`: what is known now comes first, as ADDED. `since`: the events after that `seq` first, or one RESYNC if
        the history does not reach back so far. Never holds the peer up. Raises `PeerClosed`.
        """
        watch, command = self._watching(service, initial=initial, since=since)
        self._must(command)
        return watch

    def wait_for(self, service: str, n: int = 1, timeout: float | None = None) -> tuple[Instance, ...]:
        """Wait until `n` instances of a service can be looked up; returns them. Blocks the caller, not the peer.

        Raises `TimeoutError` saying what was missing, `PeerClosed`.
        """
        found: tuple[Instance, ...] = self._wait(self._instances_wanted(service, n, timeout), timeout)
        return found

    def wait_synced(self, timeout: float | None = None) -> None:
        """Wait until this peer holds what the others hold (or found nobody to ask). Raises `TimeoutError`, `PeerClosed`."""
        self._wait(self._sync_wanted(timeout), timeout)

    def _wait(self, wanted: Wanted, timeout: float | None) -> Any:
        woken = threading.Event()
        self._waiters.append(woken)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        try:
            while (found := self._found(wanted, deadline)) is None:
                woken.wait(min(max(deadline - time.monotonic(), 0.0), WAIT_STEP_S))
                woken.clear()
            return found
        finally:
            self._waiters.remove(woken)
