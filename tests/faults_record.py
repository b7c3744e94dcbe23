"""What tests with real processes and networks measured of the fault matrix, kept in docs/faults-real.json.

Each such test says its figures with the fixture `record`; they are written down only with `--record-faults` (`make faults`
gives it). Invariant: a row is what its test showed when it last ran to be recorded; a test that failed says so in its rows.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "faults-real.json"
KINDS = ("N", "Z")

FAILED = pytest.StashKey[str]()  # of an item: how its call failed

Record = Callable[..., None]
Row = dict[str, Any]


def rows() -> list[Row]:
    """All that was recorded so far."""
    if not RESULTS.exists():
        return []
    found: list[Row] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    return found


def keep(test: str, fresh: list[Row], failure: str | None) -> None:
    """These rows replace what this test showed before. One that failed early keeps its former rows, which then did not hold."""
    known = rows()
    mine = fresh or [{**row, "measured": failure, "held": False} for row in known if row["test"] == test]
    if failure is not None:
        mine = [{**row, "held": False} for row in mine]
    stamp = {"test": test, "date": time.strftime("%Y-%m-%d"), "commit": _commit()}
    merged = [row for row in known if row["test"] != test] + [{**row, **stamp} for row in mine]
    merged.sort(key=lambda row: (int(row["row"]), row["kind"], row["test"], row["what"]))
    RESULTS.write_text(json.dumps({"rows": merged}, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _commit() -> str:
    run = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT, check=False)
    return run.stdout.strip() or "?"


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    """`record(row, kind, what=, asked=, measured=, simulated=, held=)`: what this test measured of a row of the fault matrix.

    `measured` and `simulated`, the same figures from the simulator, are short texts with units; `held`: whether `measured` is
    what is `asked`. A test calls it before it asserts, so that a shortfall is written down as well.
    """
    made: list[Row] = []

    def note(
        row: int | str, kind: str, *, what: str, asked: str, measured: str, simulated: str | None = None, held: bool
    ) -> None:
        assert kind in KINDS, f"kind={kind!r}: N is a network of namespaces, Z are processes on loopback"
        told = {"what": what, "asked": asked, "measured": measured, "simulated": simulated, "held": held}
        made.append({"row": str(int(row)), "kind": kind, **told})
        print(f"row {row} {kind}, {what}: {measured}, asked {asked}, simulated {simulated}, {'held' if held else 'FALLS SHORT'}")

    yield note
    failure = request.node.stash.get(FAILED, None)
    if request.config.option.record_faults and (made or failure):  # a skipped test showed nothing
        keep(request.node.nodeid, made, failure)
