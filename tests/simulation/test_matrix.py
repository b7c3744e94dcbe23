"""The page of the fault matrix: what is measured is shown, and what fell short, or was smaller than asked, says so."""

from __future__ import annotations

from typing import Any

from .matrix import page, real_section
from .mutations import MUTATIONS

STAMP = {"date": "2026-11-25", "commit": "abc1234"}
FIGURE = {"name": "gone", "value": 4.0, "most": 7.0, "unit": "s", "short": 0}


def row(**changed: Any) -> dict[str, Any]:
    return {"peers": 2, "minutes": 0.5, "seeds": 10, "figures": [FIGURE], "broken": [], **STAMP, **changed}


def shown(row: dict[str, Any]) -> str:
    text = page({"scenarios": {"other-of-two-hangs": row}, "mutations": {}, "papers": {}})
    return next(line for line in text.splitlines() if "`other-of-two-hangs`" in line)


def real(**changed: Any) -> dict[str, Any]:
    return {
        "row": "5", "kind": "N", "test": "tests/network/test_x.py::test_y", "what": "a split", "asked": "≤ 15 s",
        "measured": "3 s", "simulated": "2 s", "held": True, **STAMP, **changed,
    }  # fmt: skip


def test_a_row_shows_its_figures_and_whether_they_held() -> None:
    assert "gone 4 s | 2 · 0.5 · 10 | yes |" in shown(row())
    assert "**falls short**" in shown(row(figures=[{**FIGURE, "short": 1}]))
    assert "1 of 10 seeds broke I4" in shown(row(broken=[{"invariant": "I4"}]))


def test_a_row_that_was_smaller_than_asked_says_so() -> None:
    assert "asked for: 2" in shown(row(peers=1))
    assert "as written: 0.5" in shown(row(minutes=0.2))


def test_a_mutation_nobody_saw_is_told_and_so_is_one_whose_whole_core_fell_short() -> None:
    name = next(iter(MUTATIONS))
    told = {"evidence": "", "whole": "", **STAMP}
    assert "**not caught**" in page({"scenarios": {}, "mutations": {name: told}, "papers": {}})
    told = {"evidence": "I1: lost", "whole": "I3: two digests", **STAMP}
    assert "but the whole core falls short as well" in page({"scenarios": {}, "mutations": {name: told}, "papers": {}})


def test_real_rows_come_in_the_order_of_the_matrix() -> None:
    text = "\n".join(real_section([real(row="17"), real(row="5", kind="Z"), real(row="5"), real(row="2", held=False)]))
    cells = [line.split(" | ")[:2] for line in text.splitlines() if line.startswith("| ") and not line.startswith("| row")]
    assert cells == [["| 2", "N"], ["| 5", "N"], ["| 5", "Z"], ["| 17", "N"]]
    assert text.count("**falls short**") == 1


def test_without_real_rows_there_is_no_section_of_them() -> None:
    nothing: dict[str, Any] = {"scenarios": {}, "mutations": {}, "papers": {}}
    assert "On real processes" not in page(nothing, [])
    assert "On real processes" in page(nothing, [real()])
