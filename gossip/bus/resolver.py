"""Names of seeds to addresses, off the bus: libzmq would resolve them in its I/O thread and stall every socket.

A thread of its own, `gossip-<name>-seeds`, and only where a seed is a name: it resolves at once, every second until all
names were resolved once, and again every 30 s while the peer knows nobody, because addresses behind names move.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from ..model import join_address
from .addresses import Endpoint, resolve

RETRY_S = 1.0
AGAIN_S = 30.0


class Resolver:
    """Calls `found(endpoints)` on its own thread whenever the addresses of the seeds changed. Ends with `stop`."""

    def __init__(
        self, name: str, seeds: Sequence[Endpoint], *, alone: Callable[[], bool], found: Callable[[tuple[str, ...]], None]
    ) -> None:
        self._seeds = tuple(seeds)
        self._alone, self._found = alone, found
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gossip-{name}-seeds", daemon=True)

    def start(self) -> None:
        """Begin to resolve."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; a resolution under way is not waited for."""
        self._stopped.set()

    def _run(self) -> None:
        told: tuple[str, ...] = ()
        whole = False
        while not self._stopped.is_set():
            if not whole or self._alone():
                addresses = [self._address(seed) for seed in self._seeds]
                whole = whole or None not in addresses
                known = tuple(address for address in addresses if address is not None)
                if known and known != told and not self._stopped.is_set():
                    told = known
                    self._found(known)
            self._stopped.wait(AGAIN_S if whole else RETRY_S)

    def _address(self, seed: Endpoint) -> str | None:
        try:
            return join_address(resolve(seed.host) if seed.is_name else seed.host, seed.port)
        except (OSError, UnicodeError):  # UnicodeError: no name at all, such as a..b
            return None
