"""A `Figure`: what was measured under one name, round by round, beside its anchor; and what may be said of it.

Invariant: nothing is quoted that the run itself contradicts. The first and the second half of the rounds are judged
apart; where they differ by more than `NOISE_MAX`, the figure is too noisy to quote.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

NOISE_MAX = 0.25
DIGITS = 4  # significant ones that are kept of a sample


@dataclass(slots=True)
class Figure:
    """Samples by round. `unit` is of one sample: `s`, `B`, `B/s`, `1/s`, `%`, or `1` for plain numbers.

    `anchor` names the figure of the same benchmark that it is measured beside. `more`: more is better.
    """

    name: str
    unit: str = "s"
    anchor: str | None = None
    more: bool = False
    rounds: list[list[float]] = field(default_factory=list)

    def add(self, samples: Iterable[float]) -> None:
        """One round."""
        self.rounds.append([shortened(sample) for sample in samples])

    @property
    def samples(self) -> list[float]:
        """All of them, in the order in which they were taken."""
        return [sample for one in self.rounds for sample in one]

    @property
    def median(self) -> float:
        """The middle one of all samples; nan if there are none."""
        return middle(self.samples)

    @property
    def spread(self) -> float:
        """How far the middle half of the samples reaches, as a share of the median."""
        samples = self.samples
        if len(samples) < 2 or not self.median:
            return 0.0
        return (quantile(samples, 0.75) - quantile(samples, 0.25)) / abs(self.median)

    def quantile(self, share: float) -> float:
        """The sample below which this share of them lies (nearest rank)."""
        return quantile(self.samples, share)

    def ratio(self, anchor: Figure) -> float:
        """The median over the rounds of my median by the anchor's; of all samples where the rounds do not match."""
        if len(self.rounds) == len(anchor.rounds):
            return middle([share(middle(a), middle(b)) for a, b in zip(self.rounds, anchor.rounds, strict=True) if a and b])
        return share(self.median, anchor.median)

    def halves(self) -> tuple[Figure, Figure]:
        """The first and the second half of the rounds; of the samples, where there is only one round."""
        rounds = self.rounds if len(self.rounds) > 1 else [[sample] for sample in self.samples]
        cut = len(rounds) // 2
        return tuple(Figure(self.name, self.unit, self.anchor, self.more, part) for part in (rounds[:cut], rounds[cut:]))  # type: ignore[return-value]

    def noise(self, anchor: Figure | None = None) -> float:
        """By how much the two halves of the run differ in what is quoted: the ratio to the anchor, or else the median."""
        if anchor is None or len(self.rounds) != len(anchor.rounds) or len(self.rounds) < 2:
            first, second = (half.median for half in self.halves())
        else:
            pairs = zip(self.halves(), anchor.halves(), strict=True)
            first, second = (mine.ratio(theirs) for mine, theirs in pairs)
        return difference(first, second)

    def as_json(self) -> dict[str, Any]:
        """Plain values; `figure_from` reads them."""
        return {"unit": self.unit, "anchor": self.anchor, "more": self.more, "rounds": self.rounds}


def figure_from(name: str, plain: dict[str, Any]) -> Figure:
    """What `as_json` wrote."""
    return Figure(name, plain["unit"], plain["anchor"], plain["more"], plain["rounds"])


def middle(samples: Sequence[float]) -> float:
    """The median; nan of nothing."""
    return statistics.median(samples) if samples else math.nan


def quantile(samples: Sequence[float], share: float) -> float:
    """Nearest rank; nan of nothing."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def share(part: float, whole: float) -> float:
    """part / whole; nan where there is no whole."""
    return part / whole if whole else math.nan


def difference(first: float, second: float) -> float:
    """By which share of the smaller one two positive numbers differ; 0 where one of them is missing."""
    if math.isnan(first) or math.isnan(second) or first == second:
        return 0.0
    low, high = sorted((abs(first), abs(second)))
    return high / low - 1 if low else math.inf


def shortened(sample: float) -> float:
    """A few significant digits: more would be noise, and weight."""
    return float(f"{sample:.{DIGITS}g}")


def shown(value: float, unit: str) -> str:
    """A value for people: 0.00123 s is `1.23 ms`."""
    if math.isnan(value):
        return "–"
    if unit == "s":
        for name, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
            if abs(value) >= size or size == 1e-9:
                return f"{digits(value / size)} {name}"
    if unit in ("B", "B/s"):
        for prefix, size in (("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1)):
            if abs(value) >= size or size == 1:
                return f"{digits(value / size)} {prefix}{unit}"
    return digits(value) if unit == "1" else f"{digits(value)} {unit.replace('1/s', '/s')}"


def digits(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
