"""The fault matrix, all of it: many seeds, two processes at a time; `docs/faults.md` is written from what was measured.

    python -m tests.simulation.matrix                     as large, and with as many seeds, as the matrix asks for
    python -m tests.simulation.matrix --everything        the mutations and the experiments of the literature as well (`make sim`)
    python -m tests.simulation.matrix --seeds 3 --quick   as small as the tests run it
    python -m tests.simulation.matrix --only mix --seeds 100 --peers 100 --minutes 1
    python -m tests.simulation.matrix --merge OTHER.json  rows that were measured elsewhere, by this very command
    python -m tests.simulation.matrix --render            only write the page anew

What was measured before stays in `docs/faults.json` until the same scenario is run again. What real processes and real
networks showed stands in `docs/faults-real.json`, written by the tests of those rows.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from gossip.simulation.scenarios import SCENARIOS, play

from . import mutations, papers
from .mutations import MUTATIONS

DOCS = Path(__file__).parents[2] / "docs"
RESULTS = DOCS / "faults.json"
REAL = DOCS / "faults-real.json"

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
    seeds = {name: options.seeds or SCENARIOS[name].seeds for name in options.only or SCENARIOS}
    turns = ((name, seed) for seed in range(max(seeds.values())) for name in seeds if seed < seeds[name])
    jobs = [(name, seed, options.peers, options.minutes, options.quick) for name, seed in turns]
    context = multiprocessing.get_context("spawn")  # a new process for each: what a thousand peers leave behind goes with it
    with concurrent.futures.ProcessPoolExecutor(options.processes, mp_context=context, max_tasks_per_child=1) as pool:
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
        **stamp(),
    }


def stamp() -> dict[str, str]:
    """What was measured when: the day, and the commit that is checked out."""
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=DOCS, check=False)
    return {"date": time.strftime("%Y-%m-%d"), "commit": run.stdout.strip() or "?"}


def page(results: dict[str, Any], real: list[dict[str, Any]] | None = None) -> str:
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
        if row["minutes"] < scenario.minutes:
            held += f" (in {row['minutes']:g} min; as written: {scenario.minutes:g})"
        if row["peers"] < scenario.peers:
            held += f" (at {row['peers']:,} peers; asked for: {scenario.peers:,})"
        size = f"{row['peers']:,} · {row['minutes']:g} · {row['seeds']}"
        lines.append(f"| {scenario.row} | `{name}`: {scenario.what} | {scenario.asked} | {figures} | {size} | {held} |")
    lines += ["", f"Measured {_stamps(results['scenarios'].values())}."]
    lines += real_section(real) if real else []
    lines += mutations_section(results["mutations"])
    if results["papers"]:
        lines += papers.section({part: one["found"] for part, one in results["papers"].items()})
        lines += ["", f"Measured {_stamps(results['papers'].values())}."]
    return "\n".join([*lines, ""])


def mutations_section(found: dict[str, dict[str, Any]]) -> list[str]:
    """The table of broken rules."""
    lines = ["", "## The core broken on purpose", ""]
    lines += ["One rule at a time (`python -m tests.simulation.mutations`); the scenario must see it, and hold in the same run"]
    lines += ["when nothing is broken.", ""]
    lines += ["| rule | scenario | peers · minutes · seed | what saw it |", "|---|---|---|---|"]
    for name, mutation in MUTATIONS.items():
        one, size = found.get(name), f"{mutation.peers} · {mutation.minutes:g} · {mutation.seed}"
        seen = "not run" if one is None else one["evidence"] or "**not caught**"
        if one is not None and one["whole"]:
            seen += f" (**but the whole core falls short as well**: {one['whole']})"
        lines.append(f"| {mutation.what} | `{mutation.scenario}` | {size} | {seen} |")
    return [*lines, "", f"Run {_stamps(found.values())}."] if found else lines


def _stamps(rows: Iterable[dict[str, Any]]) -> str:
    return ", ".join(sorted({f"{row['date']} at {row['commit']}" for row in rows}))


def real_section(rows: list[dict[str, Any]]) -> list[str]:
    """The rows that were measured without the simulator."""
    lines = ["", "## On real processes and real networks", "", "N: hosts are network namespaces. Z: processes on loopback. "]
    lines[-1] += "Where the simulator has the same row, its figure stands beside."
    lines += ["", "| row | | fault | asked for | measured | in the simulator | held | test | when |", "|---" * 9 + "|"]
    for row in sorted(rows, key=_place):
        held = "yes" if row["held"] else "**falls short**"
        cells = (row["row"], row["kind"], row["what"], row["asked"], row["measured"], row["simulated"], held)
        lines.append(f"| {' | '.join(cells)} | `{row['test']}` | {row['date']} at {row['commit']} |")
    return lines


def _place(row: dict[str, Any]) -> tuple[int, str, str, str]:
    number = "".join(itertools.takewhile(str.isdigit, row["row"]))
    return int(number or 1000), row["row"], row["kind"], row["test"]


def _shown(figure: dict[str, Any]) -> str:
    value = "never" if figure["value"] == float("inf") else f"{figure['value']:.4g}"
    return f"{figure['name']} {value}{' ' + figure['unit'] if figure['unit'] else ''}{' (short)' if figure['short'] else ''}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, help="of each scenario; by default as many as each is to have")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few peers and minutes")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME")
    parser.add_argument("--peers", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--mutations", action="store_true", help="run the mutations as well")
    parser.add_argument("--everything", action="store_true", help="and the experiments of the literature")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    parser.add_argument("--merge", type=Path, metavar="FILE", help="take rows (of --only) from another faults.json, run nothing")
    parser.add_argument("--render", action="store_true", help="only write docs/faults.md anew")
    options = parser.parse_args()
    results = load()
    if options.merge:
        merge(results, json.loads(options.merge.read_text(encoding="utf-8")), options.only)
    if options.merge or options.render:
        save(results)
        return 0
    write = (lambda: None) if options.dry else (lambda: save(results))
    if options.mutations or options.everything:
        for one in mutations.run_all(list(MUTATIONS), processes=options.processes):
            results["mutations"][one["name"]] = {**one, **stamp()}
            write()
    found: dict[str, list[dict[str, Any]]] = {}
    for report in measure(options):
        reports = found.setdefault(report["scenario"], [])
        reports.append(report)
        results["scenarios"][report["scenario"]] = summary(reports)
        write()  # at once: a run of an hour may be interrupted
    if options.everything:
        papers.measure(papers.PARTS)
    return 0 if all(report["ok"] for reports in found.values() for report in reports) else 1


def load() -> dict[str, Any]:
    """All that was measured so far."""
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    return {"scenarios": {}, "mutations": {}, "papers": {}, **found}


def save(results: dict[str, Any]) -> None:
    """The results, and the page."""
    real = json.loads(REAL.read_text(encoding="utf-8"))["rows"] if REAL.exists() else []
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    (DOCS / "faults.md").write_text(page(results, real), encoding="utf-8")


def merge(results: dict[str, Any], other: dict[str, Any], names: list[str] | None) -> None:
    """Take rows that were measured elsewhere: these, or all that are there."""
    results["scenarios"].update({name: row for name, row in other["scenarios"].items() if not names or name in names})


if __name__ == "__main__":
    sys.exit(main())
