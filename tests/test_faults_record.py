"""What was measured is written down: the last that each test showed, and whether it failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from . import faults_record
from .faults_record import Record, keep, rows

FIGURE = {"row": "17", "kind": "N", "what": "w", "asked": "≤ 5 s", "measured": "4 s", "simulated": None, "held": True}


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults_record, "RESULTS", tmp_path / "faults-real.json")


def shown(*names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows()]


def test_a_test_s_rows_replace_what_it_showed_before_and_no_other_test_s() -> None:
    keep("a", [FIGURE, {**FIGURE, "row": "5"}], None)
    keep("b", [FIGURE], None)
    keep("a", [{**FIGURE, "measured": "3 s"}], None)
    assert shown("row", "test", "measured") == [("17", "a", "3 s"), ("17", "b", "4 s")]
    assert all(row["date"] and row["commit"] for row in rows())


def test_a_test_that_failed_holds_nothing_whether_it_had_measured_or_not() -> None:
    keep("a", [FIGURE], None)
    keep("a", [], "failed: TimeoutError")
    assert shown("measured", "held") == [("failed: TimeoutError", False)]
    keep("a", [FIGURE], "failed: AssertionError")
    assert shown("measured", "held") == [("4 s", False)]


def test_nothing_is_written_unless_asked_for(record: Record) -> None:
    record(17, "N", what="w", asked="≤ 5 s", measured="4 s", held=True)
    assert rows() == []
