"""Pictures of a run, as SVG in docs/pictures/: bars on a logarithmic axis, ours in colour. Needs matplotlib, of `bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .figures import shown
from .machine import ROOT
from .page import THREE
from .results import Results
from .run import Sheet
from .targets import figures_of

FOLDER = ROOT / "docs" / "pictures"
OURS, OTHERS = "#c1440e", "#8a97a6"
MINE = ("lookup", "pick", "route", "locate", "preference", "registry", "kill", "SIG", "leave", "synced", "changes taken", "one ")


def draw(results: Results) -> list[Path]:
    """One picture for the README and one for each benchmark's times; returns what was written. Without matplotlib nothing."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("no pictures: matplotlib is not installed (pip install 'gossip-registry[bench]')", file=sys.stderr)
        return []
    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "gossip", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    FOLDER.mkdir(parents=True, exist_ok=True)
    pictures = [_three(results), *(_bars(sheet) for sheet in results.sheets.values())]
    return [path for path in pictures if path is not None]


def _three(results: Results) -> Path | None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(THREE), figsize=(13, 2.6))
    drawn = 0
    for axis, (heading, benchmark, lines) in zip(axes, THREE, strict=True):
        figures = figures_of(results, benchmark)
        known = [(label, figures[name]) for label, name in lines if name in figures and figures[name].samples]
        drawn += len(known)
        bars = [(label, one.median, one.unit, at == 0) for at, (label, one) in enumerate(known)]
        _draw_bars(axis, heading, bars)
    return _saved(figure, "three") if drawn else None


def _bars(sheet: Sheet) -> Path | None:
    import matplotlib.pyplot as plt

    known = [one for one in sheet.figures.values() if one.unit == "s" and one.samples and "one observer" not in one.name]
    if not known:
        return None
    figure, axis = plt.subplots(figsize=(9, 0.6 + 0.22 * len(known)))
    _draw_bars(axis, sheet.name, [(one.name, one.median, one.unit, one.name.startswith(MINE)) for one in known])
    return _saved(figure, sheet.name)


def _draw_bars(axis: Any, heading: str, bars: list[tuple[str, float, str, bool]]) -> None:
    labels = [label for label, *_ in bars]
    values = [value for _, value, *_ in bars]
    drawn = axis.barh(range(len(bars)), values, color=[OURS if ours else OTHERS for *_, ours in bars])
    axis.bar_label(drawn, [f" {shown(value, unit)}" for _, value, unit, _ in bars])
    axis.set_yticks(range(len(bars)), labels)
    axis.invert_yaxis()
    if bars:
        axis.set_xscale("log")
        axis.set_xlim(min(values) / 3, max(values) * 12)
    axis.set_xticks([])
    axis.set_title(heading, loc="left")


def _saved(figure: Any, name: str) -> Path:
    import matplotlib.pyplot as plt

    path = FOLDER / f"{name}.svg"
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    return path
