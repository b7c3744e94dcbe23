"""`Blocking`: an engine whose callers block until the bus has answered; what `Peer` and `Observer` have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from .bus import native
from .catalogue.events import Watch
from .engine import CALL_TIMEOUT_S, Engine
from .errors import PeerClosed
from .model import Instance
from .registration import Command
from .waiting import WAIT_STEP_S, Wanted

B = TypeVar("B", bound="Blocking")


class Blocking(Engine):
    """Life, events and waits. Any thread may call anything."""

    # life -------------------------------------------------------------------------------------------------------------

    def start(self: B) -> B:
        """Bind, start the bus thread, and begin to join; waits for nobody. Returns itself; idempotent while it runs.

        Raises `ConfigError` if an address cannot be bound, `PeerClosed` after `close`. Names among the seeds are resolved
        by threads of their own; those of `bind` and `advertise` here, where a snapshot is read, too. Else some milliseconds.
        """
        if not self._runs():
            self._start(self._prepare())
        return self

    def close(self, leave: bool = True) -> None:
        """Say goodbye, end the bus thread, release the ports. Idempotent; less than a second.

        `leave=False` vanishes as a crash does. Reads go on answering from the last view.
        """
        if self._mark_closed():
            self._end(leave)

    def __enter__(self: B) -> B:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # commands ---------------------------------------------------------------------------------------------------------

    def run(self, command: Command) -> tuple[bool, Any]:
        """Run a command on the bus thread, for `Registration`: (whether the peer ran, its result)."""
        mailbox = self._mailbox()
        if mailbox is None:
            return False, None
        try:
            return True, mailbox.call(self._bound(command), CALL_TIMEOUT_S)
        except PeerClosed:
            return False, None

    def _must(self, command: Command) -> Any:
        ran, result = self.run(command)
        if not ran:
            raise self._closed_error()
        return result

    def rotate_secrets(self, secrets: Sequence[str | bytes]) -> None:
        """From now on these secrets are valid, the newest first, as in `secret=`; nobody is told of it.

        Without downtime: give every peer [new, old], and when all have it, [new]. Others' connections that were made under
        a secret which is left out are ended; members come back at once, under a new one. One round trip to the bus thread.
        Raises `ConfigError`, for a weak secret or a peer without one, with nothing changed; `PeerClosed`.
        """
        command = self._rotating(secrets)
        self.run(command)

    # events and waits -------------------------------------------------------------------------------------------------

    def watch(self, service: str | None = None, *, initial: bool = False, since: int | None = None) -> Watch:
        """Follow what happens from this call on: of one service, or of everything, members included.

        `initial`: what is known now comes first, as ADDED. `since`: the events after that `seq` first, or one RESYNC if
        the history does not reach back so far. Never holds the peer up. One round trip to the bus thread; O(events) for
        those that come first. Raises `ConfigError`, `PeerClosed`.
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
        """Wait until this peer holds what the others hold (or found nobody to ask). Blocks the caller, not the peer.

        Raises `TimeoutError`, `PeerClosed`.
        """
        self._wait(self._sync_wanted(timeout), timeout)

    def _wait(self, wanted: Wanted, timeout: float | None) -> Any:
        woken = native.latch()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        with self._waiters.joined(woken):
            while (found := self._found(wanted, deadline)) is None:
                woken.wait(min(max(deadline - time.monotonic(), 0.0), WAIT_STEP_S))
                woken.clear()
            return found
