"""Seeds to addresses, off the bus: libzmq would resolve names in its I/O thread and stall every socket.

A thread of its own, `gossip-<name>-seeds`, and only where a seed is a name or a file: it asks at once, every second until
all seeds have answered and there is an address, and again every 30 s while the peer knows nobody, because addresses
behind names move.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from .addresses import Endpoint
from .hush import logger
from .seeds import SEEDS_MAX, Seed

RETRY_S = 1.0
AGAIN_S = 30.0


class Resolver:
    """Calls `found(addresses)` on its own thread whenever the addresses of the seeds changed. Ends with `stop`.

    `beyond`: whether addresses of other machines may be dialled; else they are ignored, with a warning.
    """

    def __init__(
        self,
        name: str,
        seeds: Sequence[Seed],
        *,
        beyond: bool,
        alone: Callable[[], bool],
        found: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._name = name
        self._beyond = beyond
        self._alone, self._found = alone, found
        self._answers: dict[Seed, dict[Endpoint, None]] = {seed: {} for seed in seeds}  # the last of each
        self._answered: set[Seed] = set()  # wholly, once
        self._told: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"gossip-{name}-seeds", daemon=True)

    def start(self) -> None:
        """Begin to resolve."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; a resolution under way is not waited for."""
        self._stopped.set()

    def _run(self) -> None:
        told: tuple[str, ...] | None = None
        while not self._stopped.is_set():
            if not self._complete or self._alone():
                self._ask()
                known = self._known()
                if (known or self._complete) and known != told and not self._stopped.is_set():
                    told = known
                    self._found(known)
            self._stopped.wait(AGAIN_S if self._complete and told else RETRY_S)

    @property
    def _complete(self) -> bool:
        return len(self._answered) == len(self._answers)

    def _ask(self) -> None:
        """A seed that cannot answer wholly keeps what it last said: a resolver that is down is no reason to forget."""
        for seed, last in self._answers.items():
            found: dict[Endpoint, None] = {}
            try:
                for endpoint in seed.addresses():
                    found[endpoint] = None
                self._answered.add(seed)
            except OSError as error:
                found.update(last)
                if seed not in self._answered:
                    self._tell_once(seed.host, f"the seed {seed.host} is not known yet, it is asked for every second: {error}")
            self._answers[seed] = found

    def _known(self) -> tuple[str, ...]:
        found = dict.fromkeys(endpoint for answer in self._answers.values() for endpoint in answer)
        usable = [endpoint.address for endpoint in found if self._dialled(endpoint)]
        if len(usable) > SEEDS_MAX:
            self._tell_once("many", f"the seeds have {len(usable)} addresses; the first {SEEDS_MAX} are used")
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
