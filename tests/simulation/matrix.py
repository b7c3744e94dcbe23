"""The fault matrix, all of it: many seeds, two processes at a time; `docs/faults.md` is written from what was measured.

    python -m tests.simulation.matrix --seeds 10          as large as the matrix asks for (`make sim`)
    python -m tests.simulation.matrix --seeds 3 --quick   as small as the tests run it
    python -m tests.simulation.matrix --only mix --seeds 100 --peers 100 --minutes 1

What was measured before stays in `docs/faults.json` until the same scenario is run again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gossip.simulation.scenarios import SCENARIOS, play

from . import papers
from .mutations import MUTATIONS, run_all

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "faults.json"

HEAD = """\
# Faults: what was measured

Written by `make sim`; do not edit. Every scenario runs the real core on simulated peers: `gossip simulate NAME` runs one,
`gossip simulate --list` names them. Safety is judged with every event at every peer (no resurrection, no false death, no half
of a change, numbers that never go back, bounds), convergence when the faults are over, by checkers that know only what the
driver did. The worst of all seeds is shown. A row that falls short says so, and so does one that was measured with fewer peers
than were asked for.

"""


def _play(job: tuple[str, int, int | None, float | None, bool]) -> dict[str, Any]:
    name, seed, peers, minutes, quick = job
    scenario = SCENARIOS[name].quick() if quick else SCENARIOS[name]
    return {"minutes": minutes or scenario.minutes, **play(scenario, seed=seed, peers=peers, minutes=minutes).as_dict()}


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every report, as it comes."""
    names = options.only or list(SCENARIOS)
    jobs = [(name, seed, options.peers, options.minutes, options.quick) for seed in range(options.seeds) for name in names]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        runs = [pool.submit(_play, job) for job in jobs]
        for number, run in enumerate(concurrent.futures.as_completed(runs), 1):
            report = run.result()
            state = "ok" if report["ok"] else "BROKEN"
            told = f"{number}/{len(jobs)} {report['scenario']} seed {report['seed']}: {state}"
            print(f"{told}, {report['events_per_s']:,} events/s", file=sys.stderr, flush=True)
            yield report


def summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """One scenario's runs as one row: the worst of each figure, and what was broken."""
    figures: dict[str, dict[str, Any]] = {}
    for report in reports:
        for figure in report["figures"]:
            known = figures.setdefault(figure["name"], {**figure, "short": 0})
            known["value"] = max(known["value"], figure["value"])
            known["short"] += not figure["held"]
    broken = [report["broken"][0] for report in reports if report["broken"]]
    first = reports[0]
    return {
        "peers": first["peers"],
        "minutes": first["minutes"],
        "seeds": len(reports),
        "figures": list(figures.values()),
        "broken": [{key: one[key] for key in ("invariant", "what", "seed", "at", "peer")} for one in broken],
        "events_per_s": round(sum(report["events_per_s"] for report in reports) / len(reports)),
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
    }


def _commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=DOCS, check=False)
    return run.stdout.strip() or "?"


def page(results: dict[str, Any]) -> str:
    """`docs/faults.md`."""
    lines = [HEAD + "| row | scenario | asked for | measured | peers · minutes · seeds | held |", "|---|---|---|---|---|---|"]
    for name, scenario in SCENARIOS.items():
        row = results["scenarios"].get(name)
        if row is None:
            lines.append(f"| {scenario.row} | `{name}`: {scenario.what} | {scenario.asked} | not measured yet | | |")
            continue
        figures = "; ".join(_shown(figure) for figure in row["figures"])
        short = sum(figure["short"] for figure in row["figures"])
        held = "yes" if not short and not row["broken"] else "**falls short**"
        if row["broken"]:
            held += f": {len(row['broken'])} of {row['seeds']} seeds broke " + ", ".join(
                sorted({one["invariant"] for one in row["broken"]})
            )
        if row["peers"] < scenario.peers:
            held += f" (at {row['peers']} peers; asked for: {scenario.peers:,})"
        size = f"{row['peers']} · {row['minutes']:g} · {row['seeds']}"
        lines.append(f"| {scenario.row} | `{name}`: {scenario.what} | {scenario.asked} | {figures} | {size} | {held} |")
    stamps = sorted({f"{row['date']} at {row['commit']}" for row in results["scenarios"].values()})
    lines += ["", f"Measured {', '.join(stamps)}.", "", "## The core broken on purpose", ""]
    lines += ["One rule at a time (`python -m tests.simulation.mutations`); the scenario must see it.", ""]
    lines += ["| rule | scenario | what saw it |", "|---|---|---|"]
    for name, mutation in MUTATIONS.items():
        seen = results["mutations"].get(name)
        lines.append(f"| {mutation.what} | `{mutation.scenario}` | {'not run' if seen is None else seen or '**not caught**'} |")
    lines += papers.section(results["papers"]) if "papers" in results else []
    return "\n".join([*lines, ""])


def _shown(figure: dict[str, Any]) -> str:
    value = "never" if figure["value"] == float("inf") else f"{figure['value']:.4g}"
    return f"{figure['name']} {value}{' ' + figure['unit'] if figure['unit'] else ''}{' (short)' if figure['short'] else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few peers and minutes")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME")
    parser.add_argument("--peers", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--mutations", action="store_true", help="run the mutations as well")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    options = parser.parse_args()
    found: dict[str, list[dict[str, Any]]] = {}
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"scenarios": {}, "mutations": {}}
    if options.mutations:
        results["mutations"] = {one["name"]: one["evidence"] for one in run_all(list(MUTATIONS), processes=options.processes)}
        _write(results, options)
    for report in measure(options):
        reports = found.setdefault(report["scenario"], [])
        reports.append(report)
        results["scenarios"][report["scenario"]] = summary(reports)
        _write(results, options)
    return 0 if all(report["ok"] for reports in found.values() for report in reports) else 1


def _write(results: dict[str, Any], options: argparse.Namespace) -> None:
    """At once: a run of an hour may be interrupted."""
    if not options.dry:
        RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        (DOCS / "faults.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
