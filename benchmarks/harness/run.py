"""What a benchmark is handed: how thorough to be, where to put figures, and how to say that something is wrong.

    def measure(run: Run) -> None:
        run.interleave([Case("dict.get", take), Case("lookup", take_mine, anchor="dict.get")], rounds=run.pick(25, 3))

A wrong answer ends the benchmark and fails the run: a time that was measured on wrong answers is worth nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .figures import Figure, figure_from, shown

T = TypeVar("T")


class WrongAnswerError(AssertionError):
    """What was to be measured did not do its job."""


class AbsentError(RuntimeError):
    """An anchor is not installed here, or did not come up: the message says which and why."""


@dataclass(slots=True)
class Case:
    """One thing to measure: `take()` returns the samples of one round, after it has checked them."""

    name: str
    take: Callable[[], Iterable[float]]
    anchor: str | None = None
    unit: str = "s"
    more: bool = False


@dataclass(slots=True)
class Sheet:
    """What one benchmark found."""

    name: str
    figures: dict[str, Figure] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # anchor -> why
    notes: list[str] = field(default_factory=list)
    took_s: float = 0.0
    failure: str | None = None

    def anchor_of(self, figure: Figure) -> Figure | None:
        """What it was measured beside, if that was there."""
        return self.figures.get(figure.anchor) if figure.anchor else None

    def as_json(self) -> dict[str, Any]:
        """Plain values; `sheet_from` reads them."""
        return {
            "took_s": round(self.took_s, 1),
            "failure": self.failure,
            "absent": self.absent,
            "notes": self.notes,
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
        }


def sheet_from(name: str, plain: dict[str, Any]) -> Sheet:
    """What `as_json` wrote."""
    figures = {title: figure_from(title, told) for title, told in plain["figures"].items()}
    return Sheet(name, figures, plain["absent"], plain["notes"], plain["took_s"], plain["failure"])


class Run:
    """One run of one benchmark. `quick`: few rounds, small clusters; shows that it works, not how fast it is."""

    def __init__(self, name: str, quick: bool = False, tell: Callable[[str], None] | None = None) -> None:
        self.quick = quick
        self.sheet = Sheet(name)
        self._tell = tell
        self._began = time.monotonic()

    def pick(self, thorough: T, quick: T) -> T:
        """The one that fits."""
        return quick if self.quick else thorough

    def tell(self, text: str) -> None:
        """One line of progress."""
        line = f"  {time.monotonic() - self._began:6.1f} s  {self.sheet.name}: {text}"
        if self._tell is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._tell(line)

    def figure(self, name: str, unit: str = "s", anchor: str | None = None, more: bool = False) -> Figure:
        """The figure of this name; made when it is first asked for."""
        if name not in self.sheet.figures:
            self.sheet.figures[name] = Figure(name, unit, anchor, more)
        return self.sheet.figures[name]

    def record(self, name: str, samples: Iterable[float], unit: str = "s", anchor: str | None = None, more: bool = False) -> None:
        """One round of a figure."""
        figure = self.figure(name, unit, anchor, more)
        figure.add(samples)
        if figure.rounds[-1]:
            self.tell(f"{name}: {shown(figure.median, unit)}")

    def interleave(self, cases: Sequence[Case], rounds: int, warm: int = 1) -> None:
        """So many rounds, each of all cases in turn, so that a slow moment of the machine meets all; first warm ones.

        A case whose anchor is absent is taken out and shown as absent.
        """
        left = list(cases)
        for number in range(-warm, rounds):
            for case in tuple(left):
                try:
                    samples = list(case.take())
                except AbsentError as error:
                    self.absent(case.name, error)
                    left.remove(case)
                    continue
                if number >= 0:
                    self.figure(case.name, case.unit, case.anchor, case.more).add(samples)
            self.tell(f"round {number + 1} of {rounds}" if number >= 0 else "warm")
        for case in left:
            self.tell(f"{case.name}: {shown(self.sheet.figures[case.name].median, case.unit)}")

    def absent(self, anchor: str, why: object) -> None:
        """An anchor that cannot be measured here."""
        self.sheet.absent[anchor] = str(why)
        self.tell(f"{anchor}: absent: {why}")

    def attempt(self, anchor: str, do: Callable[..., T], *arguments: Any) -> T | None:
        """What `do` returns; None if the anchor turns out to be absent, which is noted once and then taken for granted."""
        if anchor in self.sheet.absent:
            return None
        try:
            return do(*arguments)
        except AbsentError as error:
            self.absent(anchor, error)
            return None

    def note(self, text: str) -> None:
        """A sentence that belongs beside the figures."""
        if text not in self.sheet.notes:
            self.sheet.notes.append(text)

    def check(self, right: bool, what: str) -> None:
        """Raises `WrongAnswerError` unless this is right."""
        if not right:
            raise WrongAnswerError(f"{self.sheet.name}: {what}")
