"""Runs benchmarks, each in a process of its own, and writes what they found; see the package."""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import subprocess
import sys
import tempfile
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path

from .harness.compare import changes
from .harness.figures import NOISE_MAX
from .harness.machine import commit, machine, versions
from .harness.page import summary, write_page
from .harness.pictures import draw
from .harness.results import Results, read
from .harness.run import Run, Sheet, WrongAnswerError

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
ALONE_MAX_S = 1200.0  # longer than any of them takes: one that hangs is to fail
EXAMPLE = "example: python -m benchmarks visibility --quick --compare benchmarks/results/2026-11-25.json"


def known() -> list[str]:
    """The names of all benchmarks: the modules beside this one that define `measure`."""
    return [path.stem for path in sorted(FOLDER.glob("[a-z]*.py")) if "measure" in _functions(path)]


def _functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def run_here(name: str, quick: bool) -> Sheet:
    """One benchmark, in this process. What goes wrong is in the sheet."""
    run = Run(name, quick)
    began = time.monotonic()
    try:
        importlib.import_module(f"benchmarks.{name}").measure(run)
    except WrongAnswerError as error:
        run.sheet.failure = f"wrong answer: {error}"
    except KeyboardInterrupt:
        run.sheet.failure = "interrupted"
    except Exception as error:  # noqa: BLE001 - what was measured so far is still worth telling
        traceback.print_exc()
        run.sheet.failure = f"{type(error).__name__}: {error}"
    run.sheet.took_s = time.monotonic() - began
    return run.sheet


def run_apart(name: str, quick: bool) -> Sheet:
    """One benchmark in a new process: no sockets, threads or memory of another are in its way."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        told = Path(folder) / "sheet.json"
        command = [sys.executable, "-m", "benchmarks", name, "--here", str(told), *(["--quick"] if quick else [])]
        process = subprocess.Popen(command, cwd=FOLDER.parent)
        try:
            code = process.wait(ALONE_MAX_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            code = process.wait()
        except KeyboardInterrupt:
            process.wait()  # Ctrl-C reached it as well
            raise
        if not told.exists():
            return Sheet(name, failure=f"its process ended with code {code} and told nothing; see what it printed above")
        return read(told).sheets[name]


def measure_all(names: list[str], quick: bool) -> Results:
    """All of these, one after the other."""
    results = new_results(quick)
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results.sheets[name] = run_apart(name, quick)
        if (failure := results.sheets[name].failure) is not None:
            print(f"FAILED: {name}: {failure}", file=sys.stderr, flush=True)
    return results


def new_results(quick: bool) -> Results:
    """Empty ones, of now and here."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Results(now, commit(), quick, machine(), versions())


def put_into(whole: Results, anew: Results) -> Results:
    """A whole run, in which some benchmarks were measured anew: each says when, and of which commit it tells."""
    for name, sheet in anew.sheets.items():
        sheet.notes.insert(0, f"Measured apart from the rest: {anew.date}, commit `{anew.commit or 'unknown'}`.")
        whole.sheets[name] = sheet
    return whole


def path_of(results: Results, folder: Path = RESULTS) -> Path:
    """`<date>.json`; what is quick or partial does not take the name of a whole run."""
    marks = ("-quick" if results.quick else "") + ("" if list(results.sheets) == known() else "-" + "-".join(results.sheets))
    return folder / f"{results.date[:10]}{marks}.json"


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if an answer was wrong or a benchmark did not end well."""
    options = _parser().parse_args(arguments)
    names = options.names or known()
    if unknown := [name for name in names if name not in known()]:
        print(f"there is no benchmark {', '.join(unknown)}: known are {', '.join(known())}", file=sys.stderr)
        return 2
    if options.into and options.quick:
        print("--into: a quick run has no place in the results of a whole one. Leave out --quick, or --into", file=sys.stderr)
        return 2
    if options.here:
        results = new_results(options.quick)
        results.sheets[names[0]] = run_here(names[0], options.quick)
        results.write(options.here)
        return 1 if results.failures else 0
    try:  # now, before an hour is spent, and before that file may be written anew
        before, whole, shown = (read(path) if path else None for path in (options.compare, options.into, options.page))
    except (OSError, ValueError) as error:
        print(f"cannot use these results: {error}. Name a file that python -m benchmarks wrote", file=sys.stderr)
        return 2
    if shown is not None:
        results = shown
    else:
        results = measure_all(names, options.quick)
        path = options.into or path_of(results)
        if whole is not None:
            results = put_into(whole, results)
        results.write(path)
        print(f"written: {os.path.relpath(path)}", file=sys.stderr)
    print(summary(results))
    if before is not None:
        print("\n".join(f"{change}" for change in changes(before, results)))
    if options.page or options.into or (not options.quick and names == known()):
        written = [*draw(results), *write_page(results)]
        print(f"written: {' '.join(os.path.relpath(path) for path in written)}", file=sys.stderr)
    for name, failure in results.failures.items():
        print(f"FAILED: {name}: {failure}", file=sys.stderr)
    return 1 if results.failures else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure this registry beside its anchors, in one run. A figure whose two halves of the run differ by "
        f"more than {100 * NOISE_MAX:g} % is called too noisy to quote; a wrong answer fails the run.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help=f"which; default: all of {', '.join(known())}")
    add("--quick", action="store_true", help="small clusters and few rounds: shows that it works, not how fast")
    add("--compare", type=Path, metavar="OLD.json", help="show what changed since, and mark what got worse beyond the noise")
    add("--into", type=Path, metavar="RESULTS.json", help="put what is measured into these results, and write the page anew")
    add("--page", type=Path, metavar="RESULTS.json", help="measure nothing: write docs/benchmarks.md and pictures from this")
    add("--here", type=Path, help=argparse.SUPPRESS)  # how this program calls itself
    return parser


if __name__ == "__main__":
    sys.exit(main())
