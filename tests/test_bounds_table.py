"""The table of bounds in docs/security.md: each row is so in the code, and each bound of the code has a row."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gossip.config import Config

ROOT = Path(__file__).parent.parent
PARTS = {part.name for part in fields(Config)}


class Row(NamedTuple):
    what: str
    bound: str
    default: str
    counter: str
    then: str


def rows() -> list[Row]:
    text = (ROOT / "docs" / "security.md").read_text().partition("<!-- bounds:")[2]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    return [Row(*row) for row in cells if row[1] and row[0] != "what"]


def value_of(bound: str) -> Any:
    place, _, name = bound.rpartition(".")
    if place in PARTS:
        return getattr(getattr(Config(), place), name)
    return getattr(importlib.import_module(f"gossip.{place}"), name)


def shown(bound: str, value: float) -> str:
    if "bytes" in bound.lower() and value >= 1024:
        return f"{value / (1 << 20):g} MiB" if value >= 1 << 20 else f"{value / 1024:g} KiB"
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def sources() -> Iterator[ast.AST]:
    for path in sorted((ROOT / "gossip").rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text()))


def counters_of_bounds() -> set[str]:
    """Whatever is told where a bound is hit: the first argument of `bounds.hit` and `hush.full`."""
    calls = [node for node in sources() if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    told = [call.args[0] for call in calls if call.func.attr in ("hit", "full") and len(call.args) > 2]  # type: ignore[attr-defined]
    return {name.value for name in told if isinstance(name, ast.Constant)}


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.what)
def test_a_bound_is_what_the_table_says(row: Row) -> None:
    assert row.default == shown(row.bound, value_of(row.bound))


def test_every_counter_of_the_table_is_counted_in_the_code() -> None:
    literals = {node.value for node in sources() if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {row.counter for row in rows()} - {"—"}
    named |= set(re.findall(r"`([a-z_]+)`", "".join(row.then for row in rows()))) & {"asks_shunned"}
    assert named
    assert named <= literals


def test_every_bound_that_is_told_has_a_row() -> None:
    told = counters_of_bounds()
    assert len(told) > 30
    assert told <= {row.counter for row in rows()}


def test_every_limit_of_the_settings_has_a_row() -> None:
    limits = {f"limits.{field.name}" for field in fields(Config().limits)}
    assert limits <= {row.bound for row in rows()}
