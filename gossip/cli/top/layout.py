"""A scene and a view as the lines of a screen: pieces of text, each with the name of a style. Pure, no terminal.

Of a long list only the rows that fit are formatted; the others are counted, filtered and sorted by their fields. Invariant:
`lines` returns exactly `height` lines, none wider than `width` cells, and no character that could move a cursor.
"""

from __future__ import annotations

import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ... import Event, Instance, Member
from ..printing import line_of
from .scene import Scene
from .view import HELP, ORDERS, PANES, Pane, View

Piece = tuple[str, str]  # text, style
Line = list[Piece]

WIDTH_MIN, HEIGHT_MIN = 40, 10
EVENTS_BELOW = 5  # lines under a pane, where the screen is high enough: the newest events, or the one at the cursor in full
GAP = 2
STYLES = {  # of a state or a kind of event
    "UP": "good",
    "ALIVE": "good",
    "ADDED": "good",
    "MEMBER_JOINED": "good",
    "MEMBER_REFUTED": "good",
    "DRAINING": "doubt",
    "CHANGED": "doubt",
    "STALE": "doubt",
    "SUSPECTED": "doubt",
    "MEMBER_SUSPECTED": "doubt",
    "RESYNC": "doubt",
    "CRITICAL": "bad",
    "DEAD": "bad",
    "REMOVED": "bad",
    "MEMBER_DEAD": "bad",
    "LEFT": "dim",
    "MEMBER_LEFT": "dim",
}
_SEVERITY = {"CRITICAL": 0, "DEAD": 0, "SUSPECTED": 1, "STALE": 1, "DRAINING": 2, "LEFT": 3, "ALIVE": 4, "UP": 4}


@dataclass(frozen=True, slots=True)
class Service:
    """A row of the pane of services."""

    name: str
    known: tuple[Instance, ...]

    @property
    def up(self) -> int:
        return sum(one.state == "UP" for one in self.known)

    @property
    def weight(self) -> int:
        return sum(one.weight for one in self.known if one.state == "UP")


@dataclass(frozen=True, slots=True)
class Listing:
    """What one pane lists: its heads, how a row is found, ordered and shown."""

    heads: tuple[str, ...]
    rows: Callable[[Scene], Iterable[Any]]
    cells: Callable[[Any, Scene], tuple[str, ...]]  # as many as there are heads
    text: Callable[[Any], str]  # what a filter looks into
    keys: dict[str, Callable[[Any], Any]]  # by the names of `ORDERS`
    name: Callable[[Any], str]  # what `why` is asked about
    numbers: frozenset[int] = frozenset()  # columns that stand to the right


def listed(scene: Scene, view: View) -> list[Any]:
    """The rows of the pane, filtered and sorted. O(rows log rows)."""
    listing = LISTINGS[view.pane]
    wanted = view.filter.lower()
    rows = [row for row in listing.rows(scene) if wanted in listing.text(row).lower()] if wanted else list(listing.rows(scene))
    rows.sort(key=listing.keys[view.sorted_by], reverse=view.pane in view.backwards)
    return rows


def name_at_cursor(scene: Scene, view: View) -> str:
    """What `why` would be asked about; "" where no row is."""
    rows = listed(scene, view)
    return LISTINGS[view.pane].name(rows[min(view.cursor, len(rows) - 1)]) if rows else ""


def page_of(height: int) -> int:
    """How many rows of a pane a screen of this height shows."""
    return max(1, height - 5 - _below(height))


def lines(scene: Scene, view: View, width: int, height: int) -> list[Line]:
    """The whole screen."""
    if width < WIDTH_MIN or height < HEIGHT_MIN:
        made: list[Line] = [[(f"{width}x{height} is too small: {WIDTH_MIN}x{HEIGHT_MIN}, please. q quits", "bad")]]
    else:
        made = [*_head(scene), _tabs(view), *_body(scene, view, width, height)]
        made = [*made[: height - 1], *([[]] * (height - 1 - len(made))), _foot(view)]
    return [_cut(line, width) for line in [*made, *([[]] * height)][:height]]


# parts of the screen --------------------------------------------------------------------------------------------------


def _head(scene: Scene) -> list[Line]:
    status = scene.status
    first: Line = [("gossip top ", "title"), (f"{_clock(scene.at)}  ", "")]
    if scene.alone_since is not None:
        first.append((f"NOBODY ANSWERS: as of {_clock(scene.alone_since)}; looking on", "bad"))
    else:
        agrees = ("agreement yes", "good") if status.agreement >= 1.0 else ("agreement no", "doubt")
        first += [agrees, (f"  links {sum(scene.links.values())}  as {scene.source} sees it", "")]
    first.append((f"  cluster {scene.cluster}", ""))
    living = scene.living
    second: Line = [(f"members {living}", ""), *([(f" ({status.suspects} suspected)", "doubt")] if status.suspects else [])]
    second.append((f"  services {len(scene.services)}  instances {scene.instances}  ", ""))
    second.append((f"events {_rate(scene.events_per_s)}  changes {_rate(scene.changes_per_s)}", ""))
    return [first, second]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _rate(per_s: float | None) -> str:
    return "-/s" if per_s is None else f"{per_s:.1f}/s" if per_s < 1000 else f"{per_s:,.0f}/s"


def _tabs(view: View) -> Line:
    line: Line = []
    for number, pane in enumerate(PANES, 1):
        line += [(f" {number} {pane.value} ", "chosen" if pane is view.pane else "dim"), (" ", "")]
    line.append((f"by {view.sorted_by}{' ↓' if view.pane in view.backwards else ' ↑'}", "dim"))
    if view.typing or view.filter:
        line.append((f"  /{view.filter}{'▏' if view.typing else ''}", "mark"))
    if view.paused:
        line.append(("  PAUSED", "bad"))
    return line


def _body(scene: Scene, view: View, width: int, height: int) -> list[Line]:
    if view.help:
        return [[], *([(line, "")] for line in HELP.splitlines())]
    if view.why:
        return _why(scene, view, width)
    rows, page = listed(scene, view), page_of(height)
    cursor = min(view.cursor, max(len(rows) - 1, 0))
    top = max(0, min(cursor - page // 2, len(rows) - page))
    listing = LISTINGS[view.pane]
    made = _table(listing, rows[top : top + page], cursor - top, scene, width)
    if not rows:
        made = [[("nothing here" + (f" that has {view.filter!r}" if view.filter else ""), "dim")]]
    made += [[]] * (page + 1 - len(made))
    if below := _below(height):
        in_full = view.pane is Pane.EVENTS
        what, more = "in full" if in_full else "newest events", f"{cursor + 1} of {len(rows)}" if rows else ""
        made.append([(f"─ {more} {'─' * max(0, width - len(more) - len(what) - 6)} {what} ─", "dim")])
        made += _in_full(rows[cursor] if rows else None, width) if in_full else _newest(scene, below - 1)
    return made


def _below(height: int) -> int:
    return EVENTS_BELOW + 1 if height >= 18 else 0


def _foot(view: View) -> Line:
    if view.typing:
        return [("type to filter  Enter keep  Esc drop", "dim")]
    if view.help or view.why:
        return [("Esc back  q back  Ctrl-C quit", "dim")]
    return [("q quit  ? help  1-4 panes  ↑↓ move  Enter why  s sort  r turn  / filter  p pause", "dim")]


def _why(scene: Scene, view: View, width: int) -> list[Line]:
    answer = scene.answer
    if answer is None or (answer.events is None and not answer.fault):
        return [[], [("asking ...", "dim")]]
    if answer.fault:
        return [[], *([(line, "bad")] for line in textwrap.wrap(clean(answer.fault), width))]
    if not answer.events:
        return [[], [(f"{scene.source} remembers nothing about {answer.name}", "dim")]]
    made: list[Line] = [[(f"{answer.name}, as {scene.source} remembers it, the newest first", "title")]]
    for event in reversed(answer.events):
        first, *rest = textwrap.wrap(clean(line_of(event)), width, subsequent_indent=" " * 13) or [""]
        made += [[(first, STYLES.get(str(event.kind), ""))], *([(line, "")] for line in rest)]
    return made


def _newest(scene: Scene, count: int) -> list[Line]:
    cells = [_event_cells(event, scene) for event in scene.events[-count:]]
    return [[(f"{at} ", "dim"), (f"{kind:<16} ", STYLES.get(kind, "")), (what, "")] for at, kind, what in cells]


def _in_full(event: Event | None, width: int) -> list[Line]:
    return [] if event is None else [[(line, "")] for line in textwrap.wrap(clean(line_of(event)), width)]


# tables ---------------------------------------------------------------------------------------------------------------


def _table(listing: Listing, rows: Sequence[Any], cursor: int, scene: Scene, width: int) -> list[Line]:
    every = [tuple(map(clean, listing.cells(row, scene))) for row in rows]
    kept = [at for at in range(len(listing.heads)) if at == 0 or any(cells[at] for cells in every)]
    heads, *shown = [tuple(cells[at] for at in kept) for cells in (listing.heads, *every)]
    numbers = frozenset(place for place, at in enumerate(kept) if at in listing.numbers)
    widths = _widths(heads, shown, width)
    made: list[Line] = [_row(heads, widths, numbers, "head")]
    for place, cells in enumerate(shown):
        made.append(_row(cells, widths, numbers, "cursor" if place == cursor else ""))
    return made


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The widths of the columns: as wide as they need, the widest give first where that is too much."""
    room = width - GAP * (len(heads) - 1)
    widths = [min(room, max(cells_of(line[at]) for line in (heads, *rows))) for at in range(len(heads))]
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    return widths


def _row(cells: Sequence[str], widths: Sequence[int], numbers: frozenset[int], style: str) -> Line:
    made: Line = []
    for at, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        text = shortened(cell, width)
        blank = " " * (width - cells_of(text))
        made.append((blank + text if at in numbers else text + blank, style or STYLES.get(cell, "")))
        made.append((" " * GAP, "cursor" if style == "cursor" else ""))
    return made


def clean(text: str) -> str:
    """Without what a terminal would take for a command: labels and reasons are others' words."""
    return text if text.isascii() and text.isprintable() else "".join(c if c.isprintable() else "�" for c in text)


def cells_of(text: str) -> int:
    """How many cells of a terminal a printable text takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, width: int) -> str:
    """At most so many cells of it, with an ellipsis where something is missing."""
    if cells_of(text) <= width:
        return text
    kept, used = [], 0
    for character in text:
        used += _cells(character)
        if used > width - 1:
            break
        kept.append(character)
    return "".join(kept) + "…" if width > 0 else ""


def _cut(line: Line, width: int) -> Line:
    made, left = [], width
    for text, style in line:
        if left <= 0:
            break
        piece = shortened(clean(text), left)
        made.append((piece, style))
        left -= cells_of(piece)
    return made


# what each pane lists -------------------------------------------------------------------------------------------------


def _service_cells(one: Service, scene: Scene) -> tuple[str, ...]:
    states = [str(instance.state) for instance in one.known]
    amiss = [f"{states.count(state)} {state}" for state in ("DRAINING", "CRITICAL", "STALE") if state in states]
    routes = sorted({route for instance in one.known for route in instance.routes})
    return one.name, str(one.up), str(len(one.known)), str(one.weight), ", ".join(amiss) or "UP", " ".join(routes)


def _instance_cells(one: Instance, scene: Scene) -> tuple[str, ...]:
    labels = " ".join(f"{key}={value}" for key, value in one.labels.items())
    return one.service, one.id, one.address, str(one.state), str(one.weight), one.zone, one.origin, labels


def _member_cells(one: Member, scene: Scene) -> tuple[str, ...]:
    event = scene.told.get(one.id)
    told = "" if event is None else f"{_clock(event.at)} {event.reason.removeprefix(one.id).strip()}"
    return one.id, one.address, str(one.state), str(one.instances), str(scene.links.get(one.id, "-")), one.zone, told


def _event_cells(event: Event, scene: Scene) -> tuple[str, ...]:
    """The reason of a member's event names the member; where it is reached matters less than why."""
    about = _subject(event) if isinstance(event.after or event.before, Instance) else ""
    what = f"{about}: {event.reason}" if about and event.reason else about or event.reason
    return _clock(event.at), str(event.kind), what


def _state(one: Instance | Member) -> tuple[int, str]:
    return _SEVERITY[str(one.state)], one.id


def _subject(event: Event) -> str:
    known = event.after or event.before
    return f"{known.service}/{known.id}" if isinstance(known, Instance) else known.id if known is not None else ""


LISTINGS: dict[Pane, Listing] = {
    Pane.SERVICES: Listing(
        ("SERVICE", "UP", "ALL", "WEIGHT", "STATE", "ROUTES"),
        lambda scene: [Service(name, known) for name, known in scene.services.items()],
        _service_cells,
        lambda one: one.name,
        {
            "service": lambda one: one.name,
            "up": lambda one: (one.up, one.name),
            "instances": lambda one: (len(one.known), one.name),
            "weight": lambda one: (one.weight, one.name),
        },
        lambda one: one.name,
        frozenset({1, 2, 3}),
    ),
    Pane.INSTANCES: Listing(
        ("SERVICE", "ID", "ADDRESS", "STATE", "WEIGHT", "ZONE", "ORIGIN", "LABELS"),
        lambda scene: [one for known in scene.services.values() for one in known],
        _instance_cells,
        lambda one: " ".join((one.service, one.id, one.address, str(one.state), one.zone, one.origin)),
        {
            "service": lambda one: one.key,
            "id": lambda one: (one.id, one.service),
            "address": lambda one: (one.host, one.port),
            "state": _state,
            "weight": lambda one: (one.weight, one.key),
            "zone": lambda one: (one.zone, one.key),
            "origin": lambda one: (one.origin, one.key),
        },
        lambda one: f"{one.service}/{one.id}",
        frozenset({4}),
    ),
    Pane.MEMBERS: Listing(
        ("ID", "ADDRESS", "STATE", "INST", "LINKS", "ZONE", "LAST TOLD"),
        lambda scene: scene.members,
        _member_cells,
        lambda one: " ".join((one.id, one.address, str(one.state), one.zone)),
        {
            "id": lambda one: one.id,
            "state": _state,
            "instances": lambda one: (one.instances, one.id),
            "zone": lambda one: (one.zone, one.id),
            "address": lambda one: one.address,
        },
        lambda one: one.id,
        frozenset({3, 4}),
    ),
    Pane.EVENTS: Listing(
        ("TIME", "KIND", "WHAT, AND WHY"),
        lambda scene: scene.events,
        _event_cells,
        lambda event: f"{event.kind} {_subject(event)} {event.reason}",
        {"time": lambda event: event.seq, "kind": lambda event: (str(event.kind), event.seq)},
        _subject,
    ),
}
assert all(set(ORDERS[pane]) == set(LISTINGS[pane].keys) for pane in Pane)
