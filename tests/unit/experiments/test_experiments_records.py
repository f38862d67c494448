"""Records of requests are kept exactly, and stay readable however their writer ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from experiments import answers
from experiments.errors import ExperimentError
from experiments.load.records import SCHEMA, RecordWriter, RequestRecord, read, seal, write


def record(number: int, **more: object) -> RequestRecord:
    """A whole answer of four tokens, each 20 ms after the last one."""
    sent = 1_700_000_000.0 + number
    given: dict[str, object] = {
        "number": number,
        "step": "rate=4",
        "due": sent - 0.001,
        "sent": sent,
        "first_byte": sent + 0.1,
        "first_token": sent + 0.1,
        "last_token": sent + 0.16,
        "ended": sent + 0.161,
        "token_times": tuple(sent + 0.1 + place * 0.02 for place in range(4)),
        "prompt_tokens": 9,
        "output_tokens": 4,
        "finish_reason": "stop",
        "status": 200,
        "kind": answers.RIGHT,
        "node": "compute1",
        **more,
    }
    return RequestRecord(**given)  # type: ignore[arg-type]  # the fields are those above


RECORDS = [
    record(0),
    record(1, kind=answers.CUT, detail="ended within the answer", token_times=(), first_token=None, target_rate=4.0),
    record(2, kind=answers.ANSWERED, due=None, prefix_group=3, turn=2, trace="ab" * 16, warm_up=True),
]


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    path = write(tmp_path / "results" / "requests.parquet", RECORDS)
    assert read(path) == RECORDS
    assert pq.read_schema(path).equals(SCHEMA)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["requests.parquet"]


def test_the_columns_are_the_records_fields() -> None:
    assert SCHEMA.names == list(RequestRecord.__dataclass_fields__)


def test_times_of_a_request() -> None:
    one = record(0)
    assert one.ttft == pytest.approx(0.1, abs=1e-6)
    assert one.ttft_from_due == pytest.approx(0.101, abs=1e-6)
    assert one.gaps == pytest.approx((0.02,) * 3, abs=1e-6)
    assert one.tpot == pytest.approx(0.02, abs=1e-6)
    assert record(0, output_tokens=1).tpot is None
    assert (one.good, one.failed) == (True, False)
    assert (record(0, kind=answers.GIVEN_UP).good, record(0, kind=answers.GIVEN_UP).failed) == (False, False)
    assert record(0, kind=answers.TRUNCATED).failed


WRITES_AND_DIES = """
import os, signal, sys
from pathlib import Path
from experiments.load.records import RecordWriter, RequestRecord
writer = RecordWriter(Path(sys.argv[1]))
for number in range(3):
    writer.write(RequestRecord(number=number, step="s", sent=1.0, ended=2.0, kind="right"))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_dies_leaves_its_records_and_the_next_goes_on_after_them(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    done = subprocess.run([sys.executable, "-c", WRITES_AND_DIES, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [entry.number for entry in read(path)] == [0, 1, 2]
    # Cut in the middle of a line, as a full disk or a power cut leaves it.
    with (tmp_path / "requests.partial.jsonl").open("ab") as stream:
        stream.write(b'{"number":3,"step":"s","se')
    assert [entry.number for entry in read(path)] == [0, 1, 2]
    with RecordWriter(path) as writer:
        writer.write(record(4))
    assert [entry.number for entry in read(path)] == [0, 1, 2, 4]
    assert path.exists() and not (tmp_path / "requests.partial.jsonl").exists()


def test_an_exception_leaves_them_to_be_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "requests.parquet"
    with pytest.raises(KeyboardInterrupt), RecordWriter(path) as writer:
        writer.write(record(0))
        raise KeyboardInterrupt
    assert not path.exists()
    assert seal(path) == path and seal(path) == path
    assert read(path) == [record(0)]


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "requests.parquet", RECORDS)
    with pytest.raises(ExperimentError, match="is there already"):
        RecordWriter(path)


def test_a_full_disk_is_said_and_what_was_written_is_whole(tmp_path: Path) -> None:
    path, before = tmp_path / "requests.parquet", signal.getsignal(signal.SIGXFSZ)
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = RecordWriter(path)
    try:
        # A limit on the size of files stops a write in its middle, as a full disk does.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
        with pytest.raises(ExperimentError, match="records before it are whole; free space"):
            for number in range(100):
                writer.write(record(number))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    whole = writer.count
    assert 0 < whole < 100
    assert len(read(path)) == whole
    writer.write(record(whole))
    assert len(read(writer.close())) == whole + 1


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no records of requests; was a load run"):
        read(tmp_path / "requests.parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"at": [1.0]}), other)
    with pytest.raises(ExperimentError, match="no records of requests"):
        read(other)
    (tmp_path / "bad.partial.jsonl").write_text('{"number": "one"}\n')
    with pytest.raises(ExperimentError, match="line 1: no record"):
        read(tmp_path / "bad.parquet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ExperimentError, match="give a place that can be written"):
        RecordWriter(tmp_path / "requests.parquet")
