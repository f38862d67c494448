"""The requests of a bundle as columns, and the figures of them that a report shows. Pure but for reading; seconds.

Percentiles are of exact samples. Each has the range in which it lies with 95 %, from the order of the samples alone
(binomial): of few requests a P99 is hardly known, and its range says so. Warm-up counts nowhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from experiments.report.bundle_files import BundleFiles

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

REQUESTS = "results/requests.parquet"
COLUMNS = (
    "step", "warm_up", "target_rate", "due", "sent", "first_token", "last_token", "ended", "token_times",
    "output_tokens", "prompt_tokens", "kind", "node", "replica",
)  # fmt: skip
GOOD = ("right", "answered")
GIVEN_UP = "given up by the client"


@dataclass(frozen=True)
class Quantile:
    """A percentile of samples with its range; None in each place where there are too few."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StepFigures:
    """One load step without its warm-up. Rates are of requests a second; `in_flight` is the mean (Little)."""

    name: str
    target_rate: float | None
    requests: int
    good: int
    failed: int
    seconds: float
    in_flight: float
    ttft: dict[float, Quantile]
    itl: dict[float, Quantile]
    tpot: dict[float, Quantile]
    whole: dict[float, Quantile]
    output_tokens_per_second: float
    prompt_tokens: float
    output_tokens: float

    @property
    def rate(self) -> float:
        """Whole answers a second."""
        return self.good / self.seconds if self.seconds > 0 else 0.0


QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class Requests:
    """Columns of results/requests.parquet, by the order of `sent`. What never came is NaN."""

    table: pa.Table

    @cached_property
    def step(self) -> npt.NDArray[np.object_]:
        """Names of load steps."""
        return self._text("step")

    @cached_property
    def node(self) -> npt.NDArray[np.object_]:
        """Who answered; empty where nobody said."""
        return self._text("node")

    @cached_property
    def kind(self) -> npt.NDArray[np.object_]:
        """How it ended, in small letters."""
        return np.array([str(one).lower() for one in self._text("kind")], dtype=object)

    @cached_property
    def warm_up(self) -> Mask:
        """Whether it only warmed up."""
        return np.asarray(self.table["warm_up"].fill_null(False), dtype=np.bool_)

    @cached_property
    def good(self) -> Mask:
        """Whether the whole answer came."""
        return np.asarray(np.isin(self.kind, GOOD), dtype=np.bool_)

    @cached_property
    def failed(self) -> Mask:
        """Whether the server is to blame."""
        return np.asarray(~self.good & (self.kind != GIVEN_UP), dtype=np.bool_)

    def times(self, name: str) -> Floats:
        """A column of times or numbers."""
        column = self.table[name].cast(pa.float64()).fill_null(math.nan)
        return np.asarray(column, dtype=np.float64)

    @cached_property
    def sent(self) -> Floats:
        """When it was sent."""
        return self.times("sent")

    @cached_property
    def ended(self) -> Floats:
        """When it ended."""
        return self.times("ended")

    @cached_property
    def ttft(self) -> Floats:
        """From the first byte sent to the first token."""
        return self.times("first_token") - self.sent

    @cached_property
    def tpot(self) -> Floats:
        """Seconds a token after the first."""
        tokens = self.times("output_tokens")
        with np.errstate(divide="ignore", invalid="ignore"):
            made = (self.times("last_token") - self.times("first_token")) / (tokens - 1)
        return np.where(tokens >= 2, made, np.nan)

    def itl(self, chosen: Mask) -> Floats:
        """Gaps between the pieces of these requests' answers, all in one."""
        column = self.table["token_times"].combine_chunks()
        values = np.asarray(column.flatten(), dtype=np.float64)
        lengths = np.asarray(column.value_lengths().fill_null(0), dtype=np.int64)
        if values.size < 2:
            return np.empty(0)
        owner = np.repeat(np.arange(lengths.size), lengths)
        inside = (owner[1:] == owner[:-1]) & chosen[owner[1:]]
        return np.asarray(np.diff(values)[inside], dtype=np.float64)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Nodes that answered."""
        return tuple(sorted({str(one) for one in self.node if one}))

    @cached_property
    def steps(self) -> tuple[StepFigures, ...]:
        """Figures of each step, in the order in which they ran."""
        names = dict.fromkeys(str(one) for one in self.step)
        return tuple(self.figures(name, (self.step == name) & ~self.warm_up) for name in names)

    def figures(self, name: str, chosen: Mask) -> StepFigures:
        """Figures of some requests under a name."""
        good = chosen & self.good
        began, ended = self.sent[chosen], self.ended[chosen]
        span = float(np.nanmax(ended) - np.nanmin(began)) if began.size else 0.0
        rates = self.times("target_rate")[chosen]
        tokens = self.times("output_tokens")
        return StepFigures(
            name=name,
            target_rate=float(rates[0]) if rates.size and np.isfinite(rates[0]) else None,
            requests=int(chosen.sum()),
            good=int(good.sum()),
            failed=int((chosen & self.failed).sum()),
            seconds=span,
            in_flight=float(np.nansum(ended - began) / span) if span > 0 else 0.0,
            ttft=quantiles(self.ttft[good]),
            itl=quantiles(self.itl(good)),
            tpot=quantiles(self.tpot[good]),
            whole=quantiles((self.ended - self.sent)[good]),
            output_tokens_per_second=float(np.nansum(tokens[good]) / span) if span > 0 else 0.0,
            prompt_tokens=float(np.nanmean(self.times("prompt_tokens")[good])) if good.any() else 0.0,
            output_tokens=float(np.nanmean(tokens[good])) if good.any() else 0.0,
        )

    def _text(self, name: str) -> npt.NDArray[np.object_]:
        return np.array(self.table[name].fill_null("").to_pylist(), dtype=object)


def read(files: BundleFiles) -> Requests | None:
    """The requests of a bundle; None where there are none."""
    table = files.table(REQUESTS, COLUMNS)
    return Requests(table.sort_by("sent")) if table is not None and table.num_rows else None


def quantiles(values: Floats, shares: Sequence[float] = QUANTILES) -> dict[float, Quantile]:
    """Percentiles of what is finite."""
    ordered = np.sort(values[np.isfinite(values)])
    return {share: quantile(ordered, share) for share in shares}


def quantile(ordered: Floats, share: float) -> Quantile:
    """A percentile of ascending samples, linear between neighbours, with its range by the samples' order."""
    count = ordered.size
    if not count:
        return Quantile(None, None, None)
    reach = 1.96 * math.sqrt(count * share * (1 - share))
    low, high = math.floor(count * share - reach) - 1, math.ceil(count * share + reach)
    value = float(np.quantile(ordered, share))
    return Quantile(value, float(ordered[low]) if low >= 0 else None, float(ordered[high]) if high < count else None)


def binned(times: Floats, values: Floats, edges: Floats, share: float = 0.5) -> Floats:
    """The percentile of the values in each bin of time; NaN where a bin is empty."""
    place = np.digitize(times, edges) - 1
    found = np.full(edges.size - 1, np.nan)
    for index in range(found.size):
        inside = values[(place == index) & np.isfinite(values)]
        if inside.size:
            found[index] = np.quantile(inside, share)
    return found


def in_flight(began: Floats, ended: Floats, at: Floats) -> Floats:
    """How many were under way at each time."""
    started = np.searchsorted(np.sort(began), at, side="right")
    finished = np.searchsorted(np.sort(ended[np.isfinite(ended)]), at, side="right")
    return np.asarray(started - finished, dtype=np.float64)
