"""What one simulated peer's node told, as a user reads it: the real catalogue and the real log, kept up when somebody looks.

Invariant: a look at any time shows what it would have shown had every change been applied at once.
"""

from __future__ import annotations

from collections import deque

from ..catalogue.balance import Balance
from ..catalogue.catalogue import Catalogue
from ..catalogue.events import EventLog
from ..catalogue.inherited import LastView
from ..catalogue.reads import Reads
from ..core.effects import Changed, Happened
from ..core.node import Node
from ..model import Event, Member
from .network import Network

UNLOGGED_MAX = 4096  # events kept until somebody asks for the log


class Told(Reads):
    """The read side of a simulated peer. `history`: all that happened to members, in order."""

    def __init__(self, node: Node, network: Network) -> None:
        self.node, self.network = node, network
        self.history: list[Happened] = []
        self.recollected: dict[int, tuple[Event, ...]] = {}
        self._zone = node.local.me.zone
        self._balance = Balance(node.local.config.balancing, clock=lambda: network.now)
        self._views = Catalogue()
        self._unseen: list[Changed] = []  # changes that no reader has looked at yet
        self._log: EventLog | None = None
        self._logged_at = 0.0
        self._unlogged: deque[tuple[float, Changed | Happened]] = deque(maxlen=UNLOGGED_MAX)

    def note(self, effect: Changed | Happened) -> None:
        """The node tells this now. O(1) until somebody looks."""
        if isinstance(effect, Changed):
            self._unseen.append(effect)
        else:
            self.history.append(effect)
        self._record(self.network.now, effect)

    def show_first(self, views: LastView) -> None:
        """Show this until the node knows enough."""
        self._views = views

    def members(self) -> dict[str, Member]:
        """The living members by id."""
        return {origin.id: origin.member() for origin in self.node.local.table.alive()}

    def why(self, name: str) -> tuple[Event, ...]:
        """As `Peer.why`: the last 64 events about a member or an instance; `at` is simulated time."""
        origins = self.node.local.table.origins.values()
        return self.log.why({name, *(origin.id for origin in origins if origin.header.name == name)})

    @property
    def log(self) -> EventLog:
        """The events, as a peer's own log keeps them. Made on first use, of the last `UNLOGGED_MAX` of them."""
        if self._log is None:
            self._log = EventLog(self.node.local.config.limits, wall=lambda: self._logged_at)
            for at, effect in self._unlogged:
                self._record(at, effect)
            self._unlogged.clear()
        return self._log

    def _record(self, at: float, effect: Changed | Happened) -> None:
        if self._log is None:
            self._unlogged.append((at, effect))
            return
        self._logged_at = at
        self._log.record([effect] if isinstance(effect, Changed) else (), [effect] if isinstance(effect, Happened) else ())

    @property
    def _catalogue(self) -> Catalogue:  # type: ignore[override]
        """What readers read: changes are applied, in one batch, when the next one comes."""
        if self._unseen:
            changes, self._unseen = self._unseen, []
            self._views.apply(changes)
        if isinstance(self._views, LastView) and not self.node.holds_past:
            self._views = self._views.own
        return self._views
