"""The loop of `gossip top`: on a terminal a screen and keys, elsewhere a snapshot now and then."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace

from ... import Observer, PeerClosed
from ..arguments import steps
from ..extra import need
from ..printing import put, table
from .gather import Gatherer
from .layout import LISTINGS, clean, lines, listed, name_at_cursor, page_of
from .scene import Scene
from .view import Pane, View, press

TICK_S = 0.1  # how soon a key, an event or another size of the terminal shows
REDRAW_S = 1.0  # at least so often, for the clock and the rates
EVENTS_PRINTED = 10
JUDGED_WITHIN_S = 3.0  # so long the first print waits until the view equals its source's: three heartbeats


def run(observer: Observer, options: argparse.Namespace) -> int:
    """Show the cluster until a key, a signal, or the number of prints ends it; returns the exit code."""
    printed = options.once or options.output == "json" or not _is_terminal()
    if printed:
        _let_agree(observer, options)
    watch = options.stop.ends(observer.watch())
    gatherer = Gatherer(observer, observer.status().cluster, watch)
    if printed:
        return _print(gatherer, options)
    need("rich")
    return _show(gatherer, options)


def _is_terminal() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _print(gatherer: Gatherer, options: argparse.Namespace) -> int:
    wanted, told = 1 if options.once else options.count, 0
    while True:
        try:
            gatherer.take()
        except PeerClosed:  # a signal, since it was looked for
            return 0
        scene = gatherer.scene()
        put(json.dumps(scene.as_dict()) if options.output == "json" else in_words(scene))
        told += 1
        if told == wanted:
            return 0
        for _ in steps(options.every, TICK_S):
            if options.stop.asked:
                return 0


def _let_agree(observer: Observer, options: argparse.Namespace) -> None:
    """Else what is printed first would be the "no" of one who was not told yet: a heartbeat comes a second after the view."""
    if observer.status().agreement < 1.0:
        for _ in steps(min(JUDGED_WITHIN_S, options.timeout), TICK_S):
            if observer.status().agreement >= 1.0 or options.stop.asked:
                return


def in_words(scene: Scene) -> str:
    """A scene as plain text: what the screen would show, whole."""
    view, made = View(), []
    head, counts = ["".join(text for text, _ in line) for line in lines(scene, view, 1000, 12)[:2]]
    made += [clean(head), clean(counts)]
    for pane in (Pane.SERVICES, Pane.MEMBERS):
        listing = LISTINGS[pane]
        rows = [tuple(map(clean, listing.cells(row, scene))) for row in listed(scene, replace(view, pane=pane))]
        made += ["", table(listing.heads, rows)]
    latest = [LISTINGS[Pane.EVENTS].cells(event, scene) for event in scene.events[-EVENTS_PRINTED:]]
    made += ["", *(clean(" ".join(cells)) for cells in latest)] if latest else []
    return "\n".join(made)


def _show(gatherer: Gatherer, options: argparse.Namespace) -> int:
    from .screen import Screen

    view, scene, drawn_at, size = View(), gatherer.scene(), 0.0, (0, 0)
    with Screen() as screen:
        while not view.done and not options.stop.asked:
            before = view, gatherer.answer, size
            for key in screen.keys(TICK_S):
                view = _pressed(view, key, scene, size[1], gatherer, options.timeout)
            try:
                news = gatherer.take()
            except PeerClosed:
                break
            size, now = screen.size, time.monotonic()
            if news or before != (view, gatherer.answer, size) or now - drawn_at >= REDRAW_S:
                scene = replace(scene, answer=gatherer.answer) if view.paused else gatherer.scene()
                screen.draw(lines(scene, view, *size))
                drawn_at = now
            if screen.gone:
                break
    return 0


def _pressed(view: View, key: str, scene: Scene, height: int, gatherer: Gatherer, timeout_s: float) -> View:
    after = press(view, key, len(listed(scene, view)), page_of(height))
    if after.why and not view.why:
        name = name_at_cursor(scene, after)
        if not name:
            return view
        gatherer.ask(name, timeout_s)
    return after
