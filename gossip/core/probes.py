"""Probes: plain TCP connects to where links closed or met nobody, for whoever wants to know whether a process is gone.

A dying process closes its links before its listening socket, and the kernel answers for a while: where somebody still
listens, it is knocked at again, three times at most. Invariant: one connect to an endpoint is under way at a time, and its
outcome answers all who ask about that endpoint, but only of the life that was asked about.
"""

from __future__ import annotations

from enum import Enum

from ..values import dataclass
from .effects import Probe
from .local import Local
from .messages import Incarnation

REPROBES_S = (0.03, 0.1, 0.3)
NEVER = float("inf")


class Reason(Enum):
    """Why somebody's endpoint is probed."""

    LINK = "my own link to it closed, or could not be made"
    CASE = "others say that theirs did"


@dataclass(slots=True)
class _Again:
    """An endpoint that answered: how often it was knocked at since, and when to do so next."""

    times: int = 0
    due: float = NEVER


class Probes:
    """Owns the connects under way and those to come."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._asked: dict[tuple[str, Reason], dict[str, Incarnation | None]] = {}  # (endpoint, why) -> whose, in which life
        self._again: dict[str, _Again] = {}  # by endpoint

    def ask(self, endpoint: str, id: str, reason: Reason) -> None:
        """Find out whether anybody listens where this peer did; nothing new if that is being found out."""
        if not any((endpoint, each) in self._asked for each in Reason):
            self._local.out.append(Probe(endpoint))
        self._asked.setdefault((endpoint, reason), {}).setdefault(id, self._life(id))

    def ended(self, endpoint: str, reason: Reason) -> list[str]:
        """A connect there ended: whom that tells of, of those who were asked about for this reason.

        Of who began another life meanwhile it tells nothing: there is one more connect for it.
        """
        asked = self._asked.pop((endpoint, reason), {})
        anew = {id for id, life in asked.items() if life != self._life(id)}
        for id in sorted(anew):
            self.ask(endpoint, id, reason)
        return sorted(asked.keys() - anew)

    def _life(self, id: str) -> Incarnation | None:
        origin = self._local.table.origins.get(id)
        return origin.incarnation if origin is not None else None

    def knock_later(self, endpoint: str, now: float) -> None:
        """Somebody listens there: try again in a moment, unless that was done often enough."""
        again = self._again.setdefault(endpoint, _Again())
        if again.times < len(REPROBES_S):
            again.due = now + REPROBES_S[again.times]
            again.times += 1
        else:
            del self._again[endpoint]

    def settle(self, endpoint: str) -> None:
        """It is known who lives there, or that nobody does: no need to knock again."""
        self._again.pop(endpoint, None)

    def due(self, now: float) -> list[str]:
        """Where to knock again now. Whoever still wants to know has to `ask`, who does not to `settle`."""
        due = [endpoint for endpoint, again in self._again.items() if now >= again.due]
        for endpoint in due:
            self._again[endpoint].due = NEVER
        return due

    def next_deadline(self) -> float:
        """When it is to be knocked again. O(endpoints that answered)."""
        return min((again.due for again in self._again.values()), default=NEVER)
