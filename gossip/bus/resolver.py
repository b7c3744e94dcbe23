"""Seeds to addresses, off the bus: libzmq would resolve names in its I/O thread and stall every socket.

Native threads `gossip-<name>-seeds`, one for each name or file, at most `ASKED_AT_ONCE_MAX`, and none where there is neither:
each asks at once, every second until all of its seeds have answered and there is an address, and again every 30 s while the
peer knows nobody, because addresses behind names move. Each address is told as it comes: nobody waits for a slow name, and
numeric seeds wait for none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Protocol

from . import native
from .addresses import Endpoint
from .hush import logger
from .seeds import SEEDS_MAX, Seed

RETRY_S = 1.0
AGAIN_S = 30.0
ASKED_AT_ONCE_MAX = 8  # what is beyond is asked in turn


class Found(Protocol):
    """What a resolver tells."""

    def __call__(self, addresses: tuple[str, ...], *, pending: bool) -> None:
        """These are known now; `pending`: there are seeds that have not answered yet. From any native thread, one at a time."""
        ...


class Resolver:
    """Calls `found` whenever the addresses of the seeds changed, or the last of them has answered. Ends with `stop`.

    `beyond`: whether addresses of other machines may be dialled; else they are ignored, with a warning.
    """

    def __init__(
        self,
        name: str,
        seeds: Sequence[Seed],
        *,
        beyond: bool,
        alone: Callable[[], bool],
        found: Found,
    ) -> None:
        self._name = name
        self._beyond = beyond
        self._alone, self._found = alone, found
        numeric = {seed: dict.fromkeys(seed.addresses()) for seed in seeds if not seed.is_name}
        self._answers: dict[Seed, dict[Endpoint, None]] = {seed: numeric.get(seed, {}) for seed in seeds}  # the last of each
        self._names = [seed for seed in self._answers if seed.is_name]
        self._unanswered = set(self._names)  # not wholly, not once
        self._told: set[str] = set()  # warnings
        self._last: tuple[tuple[str, ...], bool] = (), True
        self._telling = native.lock()
        self._stopped = native.Ending()
        self._idle = [self._names[first::ASKED_AT_ONCE_MAX] for first in range(min(ASKED_AT_ONCE_MAX, len(self._names)))]

    def start(self) -> None:
        """Tell what needs no asking, and begin to ask the others. Does not wait."""
        self._tell()
        self.pursue()

    def pursue(self) -> None:
        """Begin to ask those for whom there was no thread before, if there are any. Any thread; O(1) if there are none."""
        with suppress(IndexError):
            while True:
                seeds = self._idle.pop()  # two callers never get the same
                try:
                    native.thread(f"gossip-{self._name}-seeds", partial(self._follow, seeds)).start()
                except RuntimeError as error:
                    self._idle.append(seeds)
                    hosts = ", ".join(seed.host for seed in seeds)
                    self._tell_once("threads", f"no thread to ask for the seeds {hosts}: {error}. It is tried again")
                    return

    def stop(self) -> None:
        """End soon; a resolution under way is not waited for."""
        self._stopped.set()

    def _follow(self, seeds: Sequence[Seed]) -> None:
        while not self._stopped.is_set():
            if not self._unanswered.isdisjoint(seeds) or self._alone():
                for seed in seeds:
                    self._ask(seed)
            known, pending = self._last
            self._stopped.wait(AGAIN_S if known and not pending else RETRY_S)

    def _ask(self, seed: Seed) -> None:
        """One that cannot answer wholly keeps what it last said: a resolver that is down is no reason to forget."""
        last, found = self._answers[seed], dict[Endpoint, None]()
        first = seed in self._unanswered
        try:
            for endpoint in seed.addresses():
                found[endpoint] = None
                if first:  # the rest of it may take its time
                    self._answers[seed] = found | last
                    self._tell()
            self._answers[seed] = found
            self._unanswered.discard(seed)
        except OSError as error:
            self._answers[seed] = found | last
            if first:
                self._tell_once(seed.host, f"the seed {seed.host} is not known yet, it is asked for every second: {error}")
        self._tell()

    def _tell(self) -> None:
        with self._telling:
            now = self._known(), bool(self._unanswered)
            if now != self._last and not self._stopped.is_set():
                self._last = now
                self._found(now[0], pending=now[1])

    def _known(self) -> tuple[str, ...]:
        found = dict.fromkeys(endpoint for answer in tuple(self._answers.values()) for endpoint in answer)
        usable = [endpoint.address for endpoint in found if self._dialled(endpoint)]
        if len(usable) > SEEDS_MAX:
            self._tell_once("many", f"the seeds have more than {SEEDS_MAX} addresses; the first of them are used")
        return tuple(usable[:SEEDS_MAX])

    def _dialled(self, endpoint: Endpoint) -> bool:
        if endpoint.unspecified:
            return False
        if not self._beyond and not endpoint.loopback:
            self._tell_once(
                "beyond",
                f"the seed {endpoint.address}, and any other beyond this machine, is ignored: that needs a "
                "secret, or insecure=True, and a bind= that others can dial",
            )
            return False
        return True

    def _tell_once(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.warning("! %s: %s", self._name, text)
