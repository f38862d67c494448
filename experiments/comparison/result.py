"""A comparison: for each figure its noise, the smallest effect that could be shown, and the difference. Pure.

All intervals of a comparison hold at once with probability 1 - FAMILY: each is wider the more figures there are
(Bonferroni). A difference is called one when its interval leaves nought out and it is at least WORTH: two processes of
one program lie a few tenths of a percent apart for ever, which enough runs show, and which nobody wants to hear of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# With 0.02 for all figures of a comparison together, 40 comparisons of equals raise two alarms or fewer in 95 of 100
# such series even where nothing of it is given away by correlated figures.
FAMILY = 0.02
WORTH = 0.01
# Of these more is better; of all others less.
MORE_IS_BETTER = ("tokens_per_second", "requests_per_second", "goodput")


def is_better_higher(figure: str) -> bool:
    """Whether more of this figure is better."""
    return any(name in figure for name in MORE_IS_BETTER)


@dataclass(frozen=True)
class Difference:
    """One figure. `a` and `b` are geometric means of runs, in the figure's unit; the rest are ratios less one.

    `change` is b / a - 1 with its interval `low` to `high`; `noise` is by how much one run (or block) lies off another,
    one standard deviation; `smallest` is what would have been found with power 0.9. They are None where the noise
    between runs is not known. `differs` None: it could not be told.
    """

    figure: str
    a: float
    b: float
    change: float
    low: float | None
    high: float | None
    noise: float | None
    smallest: float | None
    differs: bool | None
    source: str

    @property
    def worse(self) -> bool | None:
        """Whether B is worse than A; None where no difference was shown."""
        if not self.differs:
            return None
        return (self.change < 0) == is_better_higher(self.figure)

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is beyond all bounds is None."""
        values = {name: _finite(value) for name, value in vars(self).items()}
        return {**values, "worse": self.worse}

    @property
    def said(self) -> str:
        """The judgement in words."""
        if self.differs is None:
            return "cannot tell: how much runs alike differ is not known"
        if self.differs:
            return f"B is {'worse' if self.worse else 'better'}"
        if self.smallest is None or not math.isfinite(self.smallest):
            return "no difference shown"
        return f"no difference shown; {percent(self.smallest)} would have been"


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to. `caveats` are what its figures do not cover, one line each."""

    a: str
    b: str
    way: str
    runs: int
    left_out: tuple[str, ...]
    differences: tuple[Difference, ...]
    caveats: tuple[str, ...]

    @property
    def differs(self) -> bool | None:
        """True when some figure differs, None when none does and some could not be told (or there is none)."""
        said = [entry.differs for entry in self.differences]
        if any(said):
            return True
        return None if not said or None in said else False

    def to_json(self) -> dict[str, Any]:
        """A stable shape."""
        return {
            **vars(self),
            "left_out": list(self.left_out),
            "caveats": list(self.caveats),
            "differs": self.differs,
            "differences": [entry.to_json() for entry in self.differences],
        }

    def lines(self) -> list[str]:
        """For a terminal of 120 columns: noise first, then the smallest effect, then the differences."""
        found = [f"A  {self.a}", f"B  {self.b}", f"{self.runs} runs, {self.way}"]
        found += [f"left out: {reason}" for reason in self.left_out]
        if self.differences:
            found += ["", *_table(self.differences)]
        known = {True: "B differs from A.", False: "No difference shown.", None: "Whether B differs cannot be told."}
        return [*found, "", known[self.differs], *(f"note: {caveat}" for caveat in self.caveats)]


def percent(value: float | None, sign: str = "") -> str:
    """A ratio less one, as percent; with `sign` "+" its sign is always said."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:{sign}.{2 if abs(value) < 0.1 else 1}f}%"


def _figure(value: float) -> str:
    return f"{value:.4g}"


def _table(differences: Sequence[Difference]) -> list[str]:
    head = ("figure", "A/A noise", "smallest", "A", "B", "difference", "interval", "")
    rows = [
        (
            entry.figure,
            percent(entry.noise),
            percent(entry.smallest),
            _figure(entry.a),
            _figure(entry.b),
            percent(entry.change, "+"),
            "-"
            if entry.low is None or entry.high is None
            else f"{percent(entry.low, '+')} to {percent(entry.high, '+')}",
            entry.said,
        )
        for entry in differences
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, len(head) - 1) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
