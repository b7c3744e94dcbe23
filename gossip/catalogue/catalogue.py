"""The catalogue: service -> view, and the route table. One writer, any number of readers, no lock.

Invariant: between two calls of `apply` the views are exactly those of the instances added and not yet removed, however
the changes were cut into batches. Each changed service is swapped once per batch, by one assignment.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..core.effects import Changed
from ..errors import PeerForked
from ..model import Instance
from .routes import Routes
from .view import View

Edits = dict[str, dict[str, Instance | None]]


class Catalogue:
    """What readers read: `views` (service -> View) and `routes`. Take each once per call.

    Only the writer changes `views`; a reader that wants all keys takes `views.copy()`, which is atomic.
    """

    __slots__ = ("routes", "views")

    views: dict[str, View]
    routes: Routes

    def __init__(self) -> None:
        self.views = {}
        self.routes = Routes()

    def apply(self, changes: Sequence[Changed]) -> None:
        """Make these changes visible; for the one writer. One swap per changed service, and one of the route table.

        One change costs O(log n) and a copy of the service's n references, n changes one sort.
        """
        gone: list[Instance] = []
        new: list[Instance] = []
        for service, edits in _by_service(changes).items():
            view, replaced = (self.views.get(service) or View()).changed(edits)
            if view.instances:
                self.views[service] = view
            else:
                self.views.pop(service, None)
            for instance in replaced:
                if instance.routes:
                    gone.append(instance)
            for after in edits.values():
                if after is not None and after.routes:
                    new.append(after)
        if gone or new:
            self.routes = self.routes.changed(gone, new)


class ForkedCatalogue(Catalogue):
    """Stands in for the catalogue in a forked child: whatever is read from it, `PeerForked` is raised."""

    __slots__ = ("_message",)

    def __init__(self, message: str) -> None:
        # The slots of the real catalogue stay empty, so that reading them ends in __getattr__.
        self._message = message

    def __getattr__(self, name: str) -> object:
        raise PeerForked(self._message)


def _by_service(changes: Sequence[Changed]) -> Edits:
    """Service -> instance id -> the record after all changes (None: removed)."""
    edits: Edits = {}
    for change in changes:
        before, after = change.before, change.after
        if before is not None:
            edits.setdefault(before.service, {})[before.id] = None
        if after is not None:
            edits.setdefault(after.service, {})[after.id] = after
    return edits
