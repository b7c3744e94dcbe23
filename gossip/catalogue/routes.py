"""The route table: path prefix -> the instances that serve it, of whatever service.

Immutable, and swapped whole: a reader tries the prefixes of its path one after another, and an instance that moves
from one prefix to another in the meantime must not slip through. So no path ever loses its answer to a move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..errors import ConfigError
from ..model import ROUTE_SEGMENTS_MAX, Instance, normal_route
from .view import BY_KEY, View

ROUTE_CHARS_MAX = 512  # no route can be registered that is longer
PATH_CHARS_MAX = 8192  # of a request path; what comes after cannot matter, empty segments aside

Key = tuple[str, str]


class Routes:
    """Immutable; read from any thread. `views`: normalised prefix -> view, sorted by service and id."""

    __slots__ = ("views",)

    def __init__(self, views: dict[str, View] | None = None) -> None:
        self.views: dict[str, View] = {} if views is None else views

    def along(self, path: str) -> Iterator[tuple[str, View]]:
        """The prefixes of `path` that have a view, longest first.

        At most `ROUTE_SEGMENTS_MAX` + 1 dict reads, however many routes and however long the path. Raises `ConfigError`.
        """
        views = self.views
        prefix = bounded(path)
        while prefix:
            if view := views.get(prefix):
                yield prefix, view
            prefix = prefix[: prefix.rfind("/")]
        if view := views.get("/"):
            yield "/", view

    def changed(self, gone: Iterable[Instance], new: Iterable[Instance]) -> Routes:
        """The table after the records `gone` were replaced by `new`. O(prefixes), or O(1) if none of them has routes."""
        edits: dict[str, dict[Key, Instance | None]] = {}
        for instance in gone:
            for prefix in instance.routes:
                edits.setdefault(prefix, {})[instance.service, instance.id] = None
        for instance in new:
            for prefix in instance.routes:
                edits.setdefault(prefix, {})[instance.service, instance.id] = instance
        if not edits:
            return self
        views = self.views.copy()
        for prefix, changes in edits.items():
            view, _ = (views.get(prefix) or View(order=BY_KEY)).changed(changes)
            if view.instances:
                views[prefix] = view
            else:
                views.pop(prefix, None)
        return Routes(views)


def bounded(path: str) -> str:
    """The path normalised and cut, between segments, to what a route can have; "" for the root. Raises `ConfigError`.

    O(length), of which no more than `PATH_CHARS_MAX` is looked at.
    """
    if not isinstance(path, str):
        raise ConfigError(f"the path {path!r} is not a str: pass the path of a request, such as '/orders/42'")
    if len(path) > PATH_CHARS_MAX:
        path = path[:PATH_CHARS_MAX]
        if "?" not in path and "#" not in path:
            path = path[: path.rfind("/") + 1]
    normal = normal_route(path)
    if len(normal) > ROUTE_CHARS_MAX:
        normal = normal[: normal.rfind("/", 0, ROUTE_CHARS_MAX + 1)]
    if normal.count("/") > ROUTE_SEGMENTS_MAX:
        normal = "/".join(normal.split("/", ROUTE_SEGMENTS_MAX + 1)[: ROUTE_SEGMENTS_MAX + 1])
    return normal if normal != "/" else ""
