"""The results of one run of several benchmarks, as they lie in `benchmarks/results/`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .run import Sheet, sheet_from

FORMAT = 1


@dataclass(slots=True)
class Results:
    """Sheets by the benchmark's name, and where they were made. `date` is ISO 8601, UTC."""

    date: str
    commit: str = ""
    quick: bool = False
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    sheets: dict[str, Sheet] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, str]:
        """What was wrong, by benchmark."""
        return {name: sheet.failure for name, sheet in self.sheets.items() if sheet.failure is not None}

    def write(self, path: Path) -> None:
        """As JSON, one line a figure."""
        plain = {
            "format": FORMAT,
            "date": self.date,
            "commit": self.commit,
            "quick": self.quick,
            "machine": self.machine,
            "versions": self.versions,
            "benchmarks": {name: sheet.as_json() for name, sheet in self.sheets.items()},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_laid_out(plain) + "\n", encoding="utf-8")


def read(path: Path) -> Results:
    """What `write` wrote. Raises `ValueError` for anything else, `OSError`."""
    plain = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ValueError(f"{path} holds no results of format {FORMAT}: make new ones with python -m benchmarks")
    sheets = {name: sheet_from(name, told) for name, told in plain["benchmarks"].items()}
    return Results(plain["date"], plain["commit"], plain["quick"], plain["machine"], plain["versions"], sheets)


def _laid_out(value: Any, depth: int = 0) -> str:
    """JSON in which a dict of dicts takes a line for each, and anything deeper lies on one line: small, and fit for a diff."""
    if depth == 4 or not isinstance(value, dict) or not value:
        return json.dumps(value, ensure_ascii=False)
    pad = " " * (depth + 1)
    lines = [f"{pad}{json.dumps(key, ensure_ascii=False)}: {_laid_out(inner, depth + 1)}" for key, inner in value.items()]
    return "{\n" + ",\n".join(lines) + "\n" + " " * depth + "}"
