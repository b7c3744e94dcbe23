"""What the person at the keys chose: pane, order, filter, cursor; and what each key makes of that. Pure.

    press(view, key, rows, page) -> view        the same key does the same in every pane

While a filter is typed, keys are its letters. Invariant: a view is a value; whoever drops a key loses nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

FILTER_MAX = 64


class Pane(Enum):
    """What the large part of the screen lists."""

    SERVICES = "services"
    INSTANCES = "instances"
    MEMBERS = "members"
    EVENTS = "events"


ORDERS: Mapping[Pane, tuple[str, ...]] = MappingProxyType(
    {  # what each pane may be sorted by, the first by default
        Pane.SERVICES: ("service", "up", "instances", "weight"),
        Pane.INSTANCES: ("service", "id", "address", "state", "weight", "zone", "origin"),
        Pane.MEMBERS: ("id", "state", "instances", "zone", "address"),
        Pane.EVENTS: ("time", "kind"),
    }
)
PANES = tuple(Pane)


@dataclass(frozen=True, slots=True)
class View:
    """One choice of what is shown. `cursor` is a row of the pane, counted from 0 after filtering."""

    pane: Pane = Pane.SERVICES
    order: Mapping[Pane, int] = field(default_factory=lambda: MappingProxyType(dict.fromkeys(Pane, 0)))
    backwards: frozenset[Pane] = frozenset({Pane.EVENTS})  # the newest first
    filter: str = ""
    typing: bool = False
    paused: bool = False
    help: bool = False
    why: bool = False  # whether the row at the cursor is asked about
    cursor: int = 0
    done: bool = False

    @property
    def sorted_by(self) -> str:
        """The name of the order of this pane."""
        return ORDERS[self.pane][self.order[self.pane]]


def press(view: View, key: str, rows: int, page: int) -> View:
    """The view after this key; `rows` are listed, `page` of them fit the screen. Unknown keys change nothing."""
    if view.typing:
        return _type(view, key)
    if view.help or view.why:
        closes = key in ("escape", "q", "enter", "?", "h", "w", "backspace")
        return replace(view, help=False, why=False) if closes else view
    if key in _MOVES:
        return replace(view, cursor=max(0, min(rows - 1, _MOVES[key](min(view.cursor, max(rows - 1, 0)), rows, page))))
    act = _ACTS.get(key)
    return act(view) if act is not None else view


def _type(view: View, key: str) -> View:
    if key == "enter":
        return replace(view, typing=False)
    if key == "escape":
        return replace(view, typing=False, filter="", cursor=0)
    if key == "backspace":
        return replace(view, filter=view.filter[:-1], cursor=0)
    if len(key) == 1 and key.isprintable() and len(view.filter) < FILTER_MAX:
        return replace(view, filter=view.filter + key, cursor=0)
    return view


def _turn(view: View, step: int) -> View:
    return _show(view, PANES[(PANES.index(view.pane) + step) % len(PANES)])


def _show(view: View, pane: Pane) -> View:
    return view if pane is view.pane else replace(view, pane=pane, cursor=0)


def _sort(view: View) -> View:
    order = {**view.order, view.pane: (view.order[view.pane] + 1) % len(ORDERS[view.pane])}
    return replace(view, order=MappingProxyType(order), cursor=0)


_MOVES: dict[str, Callable[[int, int, int], int]] = {
    "up": lambda at, rows, page: at - 1,
    "k": lambda at, rows, page: at - 1,
    "down": lambda at, rows, page: at + 1,
    "j": lambda at, rows, page: at + 1,
    "pageup": lambda at, rows, page: at - page,
    "pagedown": lambda at, rows, page: at + page,
    "home": lambda at, rows, page: 0,
    "end": lambda at, rows, page: rows - 1,
}
_ACTS: dict[str, Callable[[View], View]] = {
    **{str(number): (lambda view, pane=pane: _show(view, pane)) for number, pane in enumerate(PANES, 1)},  # type: ignore[misc]
    "tab": lambda view: _turn(view, 1),
    "right": lambda view: _turn(view, 1),
    "backtab": lambda view: _turn(view, -1),
    "left": lambda view: _turn(view, -1),
    "s": _sort,
    "r": lambda view: replace(view, backwards=view.backwards ^ {view.pane}, cursor=0),
    "/": lambda view: replace(view, typing=True),
    "escape": lambda view: replace(view, filter="", cursor=0),
    "p": lambda view: replace(view, paused=not view.paused),
    " ": lambda view: replace(view, paused=not view.paused),
    "?": lambda view: replace(view, help=True),
    "h": lambda view: replace(view, help=True),
    "enter": lambda view: replace(view, why=True),
    "w": lambda view: replace(view, why=True),
    "q": lambda view: replace(view, done=True),
}
HELP = """\
1 2 3 4     services, instances, members, events; Tab and arrows turn
↑ ↓ j k     move the cursor; PgUp PgDn Home End
Enter, w    why: what happened to the row at the cursor, by whose word
s, r        sort by the next column; turn the order round
/           filter: type, Enter keeps it, Esc drops it
p, Space    pause, and go on
?, h        this help
q, Ctrl-C   quit

agreement   whether what is shown equals what its source holds, as of its
            last heartbeat
links       how many members each listens to, as the rings of ids give them
"""
