"""Records of requests as columns, for judging and for figures. Pure; unix seconds, NaN for what did not happen.

From records (experiments.load.records) or from the table `results/requests.parquet`: the names are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments import answers

if TYPE_CHECKING:
    import pyarrow as pa

    from experiments.load.records import RequestRecord

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Words = npt.NDArray[np.object_]
Numbers = npt.NDArray[np.int64]

# What was answered wrongly was still answered, and its times count. What the client gave up says nothing of the server.
WHOLE = answers.GOOD | {answers.WRONG}
FAILED = frozenset(answers.KINDS) - WHOLE - {answers.GIVEN_UP}
_FLOATS = ("target_rate", "due", "sent", "first_byte", "first_token", "last_token", "ended")
_NUMBERS = ("number", "prompt_tokens", "output_tokens", "status", "attempts", "prefix_group", "turn")
_WORDS = ("step", "finish_reason", "kind", "detail", "node", "replica", "trace")
COLUMNS = ("warm_up", "token_times", *_FLOATS, *_NUMBERS, *_WORDS)


@dataclass(frozen=True)
class Requests:
    """One entry of each array a request, in the order in which they were sent; `token_times` is an array of each."""

    number: Numbers
    step: Words
    warm_up: Flags
    target_rate: Floats
    due: Floats
    sent: Floats
    first_byte: Floats
    first_token: Floats
    last_token: Floats
    ended: Floats
    token_times: Words
    prompt_tokens: Numbers
    output_tokens: Numbers
    finish_reason: Words
    status: Numbers
    kind: Words
    detail: Words
    node: Words
    replica: Words
    attempts: Numbers
    prefix_group: Numbers
    turn: Numbers
    trace: Words

    def __len__(self) -> int:
        return len(self.sent)

    def where(self, chosen: Flags) -> Requests:
        """Those that are chosen."""
        return Requests(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    @cached_property
    def whole(self) -> Flags:
        """Which were answered to the end, with a first token that was seen."""
        whole = np.fromiter((kind in WHOLE for kind in self.kind), bool, len(self))
        return whole & np.isfinite(self.first_token)

    @cached_property
    def failed(self) -> Flags:
        """Which the server owes an answer."""
        return np.fromiter((kind in FAILED for kind in self.kind), bool, len(self))

    @property
    def steps(self) -> list[str]:
        """Load steps, in their order."""
        return list(dict.fromkeys(self.step.tolist()))

    @property
    def ttft(self) -> Floats:
        """Seconds from sending to the first token."""
        return self.first_token - self.sent

    @property
    def ttft_from_due(self) -> Floats:
        """Seconds to the first token from when the schedule wanted it sent; from sending where no schedule did."""
        return self.first_token - np.where(np.isfinite(self.due), self.due, self.sent)

    @property
    def tpot(self) -> Floats:
        """Seconds a token after the first; NaN for answers of one token."""
        more = np.where(self.output_tokens > 1, self.output_tokens - 1, 1)
        return np.where(self.output_tokens > 1, (self.last_token - self.first_token) / more, np.nan)

    @property
    def gaps(self) -> Floats:
        """Seconds between tokens, of all streams together."""
        found = [np.diff(times) for times in self.token_times if len(times) > 1]
        return np.concatenate(found) if found else np.empty(0)

    def touched(self, began: float, ended: float) -> Flags:
        """Which were under way at some moment of that time, or should have been."""
        return (np.fmin(self.due, self.sent) <= ended) & (self.ended >= began)


def from_records(records: Iterable[RequestRecord]) -> Requests:
    """Columns of records."""
    listed = list(records)
    return _columns({name: [getattr(record, name) for record in listed] for name in COLUMNS})


def from_table(table: pa.Table) -> Requests:
    """Columns of a table as the bundle has it; KeyError names a column that is missing."""
    return _columns({name: table.column(name).to_pylist() for name in COLUMNS})


def _columns(values: dict[str, Sequence[Any]]) -> Requests:
    found: dict[str, Any] = {name: _floats(values[name]) for name in _FLOATS}
    found |= {name: np.asarray(values[name], dtype=np.int64) for name in _NUMBERS}
    found |= {name: _objects(values[name]) for name in _WORDS}
    found["warm_up"] = np.asarray(values["warm_up"], dtype=bool)
    found["token_times"] = _objects([np.asarray(times or (), dtype=float) for times in values["token_times"]])
    order = np.argsort(found["sent"], kind="stable")
    return Requests(**{name: column[order] for name, column in found.items()})


def _floats(values: Sequence[float | None]) -> Floats:
    return np.asarray([np.nan if value is None else value for value in values], dtype=float)


def _objects(values: Sequence[Any]) -> Words:
    found = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):
        found[place] = value
    return found
