"""What people read of a run: the table on the terminal, docs/benchmarks.md, and the small table in the README."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from .figures import NOISE_MAX, Figure, shown
from .machine import ROOT
from .results import Results
from .run import Sheet
from .targets import TARGETS, Target, figures_of

PAGE = ROOT / "docs" / "benchmarks.md"
README = ROOT / "README.md"
MARKS = "<!-- benchmarks -->", "<!-- /benchmarks -->"
OURS = "this registry"
NOISY = "too noisy to quote"

# What the README shows: heading, benchmark, (label, figure). The first one is ours.
THREE = (
    (
        "one lookup",
        "lookup",
        (
            (OURS, "lookup, 10 instances"),
            ("dict.get in a method (the limit)", "dict.get, in a method"),
            ("Redis GET", "redis GET"),
            ("serf RPC", "serf RPC members"),
            ("etcd", "etcd get"),
            ("Flask + Redis", "Flask + Redis /discover"),
        ),
    ),
    (
        "a change visible at all of 30",
        "visibility",
        (
            (OURS, "registry, N = 30"),
            ("raw ZeroMQ (the limit)", "raw ZeroMQ, N = 30"),
            ("Redis pub/sub", "Redis pub/sub, N = 30"),
            ("pyre SHOUT", "pyre SHOUT, N = 30"),
            ("serf tags", "serf tags, N = 30"),
        ),
    ),
    (
        "kill -9 → gone at all of 10",
        "detection",
        (
            (OURS, "kill -9, N = 10"),
            ("the kernel closes the link (the limit)", "raw disconnect, N = 10"),
            ("etcd, lease of 5 s", "etcd, lease of 5 s"),
            ("serf", "serf, N = 10"),
            ("swim-p2p", "swim-p2p, N = 10"),
            ("pyre, N = 3", "pyre, N = 3"),
        ),
    ),
)


def verdict(figure: Figure, anchor: Figure | None) -> str:
    """Empty, or that the figure is too noisy to quote, and by how much the halves of the run differ."""
    noise = figure.noise(anchor)
    return f"{NOISY} (halves differ by {100 * noise:.0f} %)" if noise > NOISE_MAX else ""


def rows_of(sheet: Sheet) -> list[tuple[str, ...]]:
    """A benchmark's figures as cells."""
    rows = []
    for figure in sheet.figures.values():
        anchor = sheet.anchor_of(figure)
        ratio = f"{figure.ratio(anchor):.2f} × {anchor.name}" if anchor else ""
        p99 = shown(figure.quantile(0.99), figure.unit) if len(figure.samples) >= 20 else ""
        count = f"{len(figure.samples)} in {len(figure.rounds)}"
        cells = figure.name, shown(figure.median, figure.unit), p99, f"± {50 * figure.spread:.0f} %", count
        rows.append((*cells, ratio, verdict(figure, anchor)))
    rows += [(name, "absent", "", "", "", "", why) for name, why in sheet.absent.items()]
    return rows


HEAD = ("figure", "median", "p99", "spread", "samples in rounds", "ratio", "")


def summary(results: Results) -> str:
    """All figures, for the terminal."""
    lines = []
    for name, sheet in results.sheets.items():
        rows = rows_of(sheet)
        lines.append(f"\n{name} ({sheet.took_s:.0f} s)")
        widths = [max(len(row[at]) for row in [HEAD, *rows]) for at in range(len(HEAD))]
        for row in [HEAD, *rows]:
            lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        lines += [f"  {note}" for note in sheet.notes]
    return "\n".join(lines)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def page(results: Results) -> str:
    """docs/benchmarks.md."""
    parts = [
        "# Benchmarks",
        ("Written by `python -m benchmarks`; edit `benchmarks/`, not this page. Each figure is measured beside its anchors in "
        "one run, in turns; the ratio is what lasts, absolute times move with the machine. A figure whose two halves of the "
        f"run differ by more than {100 * NOISE_MAX:.0f} % is not to be quoted. A wrong answer fails the run."),
        ("```\nmake bench-setup   # the anchors: Debian packages redis-server etcd-server serf\n"
        "make bench         # everything, under 30 minutes; QUICK=1: under 3\n"
        "python -m benchmarks NAME --compare benchmarks/results/OLD.json\n```"),
        _made(results),
        "## What we aim for",
        table(("job", "target", "measured", "verdict"), (_aimed(target, results) for target in TARGETS)),
    ]
    short = [target for target in TARGETS if target.verdict(results) == "shortfall" and target.excuse]
    if short:
        parts += ["## Shortfalls", *(f"**{target.job}.** {target.excuse}" for target in short)]
    for name, sheet in results.sheets.items():
        picture = f"![{name}](pictures/{name}.svg)" if (ROOT / "docs" / "pictures" / f"{name}.svg").exists() else ""
        parts += [f"## {name}", picture, f"**Failed:** {sheet.failure}" if sheet.failure else "", table(HEAD, rows_of(sheet))]
        parts += [f"- {note}" for note in sheet.notes]
    return "\n\n".join(part for part in parts if part) + "\n"


def _made(results: Results) -> str:
    machine, versions = results.machine, ", ".join(f"{name} {version}" for name, version in results.versions.items())
    how = "A quick run, which shows that it works and not how fast. " if results.quick else ""
    where = f"{machine.get('cores', '?')} cores of {machine.get('cpu', '?')}, {machine.get('system', '?')}"
    load = f"load at the start {machine['load'][0]}" if machine.get("load") else ""
    return f"{how}{results.date}, commit `{results.commit or 'unknown'}`, {where}, {load}. {versions}."


def _aimed(target: Target, results: Results) -> tuple[str, ...]:
    figures = figures_of(results, target.benchmark)
    said = "<br>".join(bound.said(figures) for bound in target.bounds) or "not measured"
    mark = target.verdict(results)
    return target.job, target.aim, said, f"**{mark}**" if mark != "met" else mark


def readme_table(results: Results) -> str:
    """The three figures that matter, beside their anchors."""
    rows = []
    for heading, benchmark, lines in THREE:
        figures = figures_of(results, benchmark)
        said = [
            (label, shown(figures[name].median, figures[name].unit))
            for label, name in lines
            if name in figures and figures[name].samples
        ]
        if said and said[0][0] == OURS:
            others = " · ".join(f"{label} {value}" for label, value in said[1:])
            rows.append((heading, f"**{said[0][1]}**", others))
    return table(("", "this registry", "others in the same run"), rows)


def write_page(results: Results) -> list[Path]:
    """Write docs/benchmarks.md and what stands between the marks of the README; returns what was written."""
    PAGE.write_text(page(results), encoding="utf-8")
    readme = README.read_text(encoding="utf-8")
    begin, end = MARKS
    shows = f"{begin}\n{readme_table(results)}\n{end}"
    README.write_text(re.sub(f"{begin}.*?{end}", lambda _: shows, readme, flags=re.DOTALL), encoding="utf-8")
    return [PAGE, README]
