"""What became of each request of a load, exactly: one row a request, as Parquet. Unix seconds of `client.clock`.

While a load runs its rows are lines of JSON beside the later Parquet file, each with the system before the next begins:
a process that dies, however it does, leaves all of them readable by `read`. `seal` makes the Parquet file of them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.answers import ANSWERED, GIVEN_UP, GOOD, RIGHT
from experiments.errors import ExperimentError

__all__ = ["ANSWERED", "RIGHT", "SCHEMA", "RecordWriter", "RequestRecord", "read", "seal", "write"]

JOURNAL = ".partial.jsonl"
ROW_GROUP = 5_000

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("step", pa.string()),
        ("warm_up", pa.bool_()),
        ("target_rate", pa.float64()),
        ("due", pa.float64()),
        ("sent", pa.float64()),
        ("first_byte", pa.float64()),
        ("first_token", pa.float64()),
        ("last_token", pa.float64()),
        ("ended", pa.float64()),
        ("token_times", pa.list_(pa.float64())),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
        ("finish_reason", pa.string()),
        ("status", pa.int64()),
        ("kind", pa.string()),
        ("detail", pa.string()),
        ("node", pa.string()),
        ("replica", pa.string()),
        ("attempts", pa.int64()),
        ("prefix_group", pa.int64()),
        ("turn", pa.int64()),
        ("trace", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class RequestRecord:
    """One request. `sent` is when its first byte was given to the socket; `due` when the schedule wanted that.

    `kind` is a name of experiments.answers. What never came is None (times), 0 (counts) or "" (words); `prefix_group`
    -1: shares no prefix. `token_times`: when each streamed piece with content came.
    """

    number: int
    step: str
    warm_up: bool = False
    target_rate: float | None = None
    due: float | None = None
    sent: float
    first_byte: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    ended: float
    token_times: tuple[float, ...] = ()
    prompt_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = ""
    status: int = 0
    kind: str
    detail: str = ""
    node: str = ""
    replica: str = ""
    attempts: int = 0
    prefix_group: int = -1
    turn: int = 0
    trace: str = ""

    @property
    def good(self) -> bool:
        """Whether the whole answer came, and nothing speaks against it."""
        return self.kind in GOOD

    @property
    def failed(self) -> bool:
        """Whether the server is to blame; a request that the client gave up is neither good nor failed."""
        return not self.good and self.kind != GIVEN_UP

    @property
    def ttft(self) -> float | None:
        """Seconds from the first byte sent to the first token."""
        return None if self.first_token is None else self.first_token - self.sent

    @property
    def ttft_from_due(self) -> float | None:
        """The same from when the request was due: what a user waits whom the client let queue."""
        begun = self.sent if self.due is None else self.due
        return None if self.first_token is None else self.first_token - begun

    @property
    def gaps(self) -> tuple[float, ...]:
        """Seconds between the pieces of the answer: the inter-token latencies."""
        return tuple(after - before for before, after in itertools.pairwise(self.token_times))

    @property
    def tpot(self) -> float | None:
        """Seconds a token after the first; None below two tokens."""
        if self.first_token is None or self.last_token is None or self.output_tokens < 2:
            return None
        return (self.last_token - self.first_token) / (self.output_tokens - 1)

    @property
    def seconds(self) -> float:
        """End to end: from the first byte sent to the end of the answer."""
        return self.ended - self.sent


_NAMES = [field.name for field in fields(RequestRecord)]


class RecordWriter:
    """Takes records while a load runs; `path` is the Parquet file that `close` makes.

    Records that an earlier run left at the same place stay, and new ones are added. ExperimentError when the Parquet
    file is there already, or when the disk takes no more: what was written until then is whole.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise ExperimentError(f"{path}: is there already; give another place, or remove it")
        self.path, self._journal, self.count = path, _journal(path), 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._journal, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._whole = _whole_bytes(self._journal)
            os.ftruncate(self._file, self._whole)
        except OSError as error:
            raise ExperimentError(f"{self._journal}: {error.strerror}; give a place that can be written") from None

    def write(self, record: RequestRecord) -> None:
        """Append one record; it is with the system when this returns."""
        line = msgspec.json.encode(record) + b"\n"
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(0, "only a part could be written")
        except OSError as error:
            os.ftruncate(self._file, self._whole)
            raise ExperimentError(
                f"{self._journal}: {error.strerror}; {self.count} records before it are whole; free space and run again"
            ) from None
        self._whole += len(line)
        self.count += 1

    def close(self) -> Path:
        """Make the Parquet file; the lines go when it is whole."""
        self.leave()
        return seal(self.path)

    def leave(self) -> None:
        """Close without making the Parquet file: the records stay readable, and a later run goes on after them."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, kind: Any, value: Any, trace: Any) -> None:
        if kind is None:
            self.close()
        else:
            self.leave()


def seal(path: Path) -> Path:
    """Make the Parquet file at `path` from what a run left there, unless it is made already; returns `path`."""
    journal = _journal(path)
    if path.exists() and not journal.exists():
        return path
    new = path.with_name(f".{path.name}.new")
    try:
        with pq.ParquetWriter(new, SCHEMA, compression="zstd") as writer:
            lines = _lines(journal)
            while group := list(itertools.islice(lines, ROW_GROUP)):
                writer.write_table(_table(group))
        new.replace(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ExperimentError(
            f"{path}: {error}; the records are whole in {journal}; free space and run again"
        ) from None
    journal.unlink()
    return path


def write(path: Path, records: Iterable[RequestRecord]) -> Path:
    """Records at once, to a Parquet file that is not there yet."""
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


def read(path: Path) -> list[RequestRecord]:
    """All records of a Parquet file, or of the lines that a run left that never made it.

    ExperimentError when there is neither, or when a column is missing or of another type.
    """
    if path.exists():
        try:
            table = pq.read_table(path, columns=_NAMES)
            return [_record(row, path) for row in table.to_pylist()]
        except (OSError, pa.ArrowException) as error:
            raise ExperimentError(f"{path}: no records of requests: {' '.join(str(error).split())[:200]}") from None
    return list(_lines(_journal(path)))


def _journal(path: Path) -> Path:
    return path.with_name(path.stem + JOURNAL)


def _lines(journal: Path) -> Iterator[RequestRecord]:
    """Whole lines; the last one may have been cut by the writer's death."""
    try:
        with journal.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield msgspec.json.decode(line, type=RequestRecord)
                except msgspec.MsgspecError as error:
                    raise ExperimentError(f"{journal} line {number}: no record: {error}") from None
    except FileNotFoundError:
        raise ExperimentError(f"{journal.parent}: no records of requests; was a load run?") from None


def _whole_bytes(journal: Path) -> int:
    """Length up to and with the last whole line."""
    with journal.open("rb") as stream:
        return sum(len(line) for line in stream if line.endswith(b"\n"))


def _record(row: dict[str, Any], path: Path) -> RequestRecord:
    try:
        return msgspec.convert(row, RequestRecord)
    except msgspec.ValidationError as error:
        raise ExperimentError(f"{path}: no record of a request: {error}") from None


def _table(records: list[RequestRecord]) -> pa.Table:
    return pa.Table.from_pylist([vars(record) for record in records], schema=SCHEMA)
