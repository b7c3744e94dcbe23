"""What the tests of faults measure, and what the simulator shows for the same fault."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from nodes.launch import Told, Worker, until

from ..faults_record import Record
from .conftest import DEADLINE_S

__all__ = ["Record", "after", "quantile", "rest_until", "simulated", "spread"]

FAULTS = Path(__file__).parents[2] / "docs" / "faults.json"


def quantile(values: Sequence[float], share: float) -> float:
    """The least of these that so large a share of them does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(waits: Sequence[float]) -> str:
    """Seconds, as p50, p99 and the longest."""
    p50, p99 = (quantile(waits, share) for share in (0.5, 0.99))
    return f"p50 {p50:.3g} s, p99 {p99:.3g} s, longest {max(waits):.3g} s ({len(waits)} waits)"


def rest_until(t: float) -> None:
    """So long the fault is to last, on CLOCK_MONOTONIC."""
    time.sleep(max(0.0, t - time.monotonic()))


def after(worker: Worker, at: float, wanted: Callable[[Told], bool], what: str) -> float:
    """How many seconds after a time of CLOCK_MONOTONIC a worker was told something; waits for it."""

    def first() -> float | None:
        return next((told["t"] - at for told in tuple(worker.events) if told["t"] >= at and wanted(told["event"])), None)

    return until(first, DEADLINE_S, f"{what} at {worker.name}")


def simulated(scenario: str, *figures: str) -> str:
    """What `docs/faults.md` says of the same fault on simulated peers; with names, of these figures only."""
    row = json.loads(FAULTS.read_text(encoding="utf-8"))["scenarios"].get(scenario)
    if row is None:
        return f"`{scenario}`: not measured yet"
    told = [one for one in row["figures"] if not figures or one["name"] in figures]
    shown = "; ".join(f"{one['name']} {one['value']:.3g}{one['unit'] and ' '}{one['unit']}" for one in told)
    return f"`{scenario}`, {row['peers']} peers: {shown}"
