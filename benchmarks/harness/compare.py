"""Two results of the same machine side by side: what changed, and what got worse beyond the noise of either run."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .figures import Figure, difference, shown
from .results import Results
from .run import Sheet

LEAST = 0.05  # less than this is no change, however calm both runs were


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both results. `quoted` is the ratio to the anchor where there is one: machines and days differ."""

    benchmark: str
    figure: str
    before: float
    after: float
    unit: str
    noise: float
    more: bool

    @property
    def factor(self) -> float:
        """after / before."""
        return self.after / self.before if self.before else math.nan

    @property
    def beyond_noise(self) -> bool:
        """Whether the change is greater than what either run differs in itself."""
        return difference(self.before, self.after) > max(self.noise, LEAST)

    @property
    def worse(self) -> bool:
        """Whether it is a change for the worse, beyond the noise."""
        return self.beyond_noise and (self.after < self.before if self.more else self.after > self.before)

    def __str__(self) -> str:
        mark = "  WORSE" if self.worse else "  better" if self.beyond_noise else ""
        was, now = (shown(value, self.unit) for value in (self.before, self.after))
        about = f"{self.benchmark}: {self.figure}"
        return f"{about:<64} {was:>10} -> {now:>10}  {self.factor:5.2f} ×, noise {100 * self.noise:3.0f} %{mark}"


def changes(before: Results, after: Results) -> list[Change]:
    """Every figure that both have, in the order of the later one."""
    found = []
    for name, sheet in after.sheets.items():
        former = before.sheets.get(name)
        for title, figure in sheet.figures.items():
            if former is not None and title in former.figures:
                found.append(_change(former, sheet, former.figures[title], figure))
    return found


def _change(before: Sheet, after: Sheet, was: Figure, now: Figure) -> Change:
    anchors = before.anchor_of(was), after.anchor_of(now)
    if None not in anchors:
        values, unit = (was.ratio(anchors[0]), now.ratio(anchors[1])), "×"  # type: ignore[arg-type]
    else:
        anchors, values, unit = (None, None), (was.median, now.median), now.unit
    noise = max(was.noise(anchors[0]), now.noise(anchors[1]))
    return Change(after.name, now.name, *values, unit, noise, now.more)
