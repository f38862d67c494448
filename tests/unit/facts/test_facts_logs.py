"""The fact of the logs: its command is run by this machine's shell on files made here, its output is parsed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError, FactValueError

from facts.logs import Logs
from facts.parse.logs import LogTail, parse_logs


def read(**arguments: Any) -> list[LogTail]:
    command = Logs().command(**arguments)
    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=60, check=True)
    assert done.stderr == b""
    return Logs().process(done.stdout.decode().split("\n")[:-1])


def write(path: Path, lines: int, *, age: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{path.stem} {number}\n" for number in range(lines)))
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))


def test_services_of_a_supervisor(tmp_path: Path) -> None:
    write(tmp_path / "cluster-ray-head.log", 5)
    head, serve = read(services=["cluster-ray-head", "cluster-serve"], lines=2, supervisor=str(tmp_path))
    assert head == LogTail("cluster-ray-head", ("cluster-ray-head 3", "cluster-ray-head 4"))
    assert serve.source == "cluster-serve"
    assert "No such file" in serve.lines[0]


def test_the_newest_replicas(tmp_path: Path) -> None:
    """File names as Ray 2.x writes them."""
    serve = tmp_path / "with space" / "session_latest" / "logs" / "serve"
    for age, name in enumerate(("replica_llm_Engine_new1", "replica_llm_Engine_new2", "replica_llm_Engine_old")):
        write(serve / f"{name}.log", 30, age=age)
    write(serve / "controller_1.log", 3)
    found = read(services=[], lines=2, ray=str(tmp_path / "with space"), replicas=2)
    assert [tail.source for tail in found] == ["replica_llm_Engine_new1", "replica_llm_Engine_new2"]
    assert found[1].lines == ("replica_llm_Engine_new2 28", "replica_llm_Engine_new2 29")


def test_one_replica_has_a_title_too(tmp_path: Path) -> None:
    write(tmp_path / "session_latest" / "logs" / "serve" / "replica_a.log", 1)
    assert read(services=[], ray=str(tmp_path)) == [LogTail("replica_a", ("replica_a 0",))]


def test_no_replica_yet(tmp_path: Path) -> None:
    assert read(services=[], ray=str(tmp_path)) == []


def test_a_host_without_a_journal() -> None:
    """journalctl may be there or not on the machine of the test; either way it is one source with words in it."""
    (told,) = read(services=["cluster-no-such-service"], lines=3)
    assert told.source == "cluster-no-such-service"


def test_a_directory_that_looks_like_an_option() -> None:
    with pytest.raises(FactValueError):
        Logs().command(services=[], ray="-rf")


def test_output_that_is_cut_off() -> None:
    with pytest.raises(ValueError, match="truncated"):
        parse_logs(["##begin tail:replicas", "==> /x/replica_a.log <=="])
    with pytest.raises(FactProcessError):
        Logs().process(["##begin tail:replicas"])


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[36m(ServeController pid=7)\x1b[0m \x1b[1;31mERROR\x1b[m gone", "(ServeController pid=7) ERROR gone"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("Loading: 10%\rLoading: 90%\rLoading: 100%", "Loading: 100%"),
        ("ends as Windows has it\r", "ends as Windows has it"),
        ("\x1b(Bplain [0m 5;3 text", "plain [0m 5;3 text"),
    ],
)
def test_what_was_written_for_a_terminal(tmp_path: Path, written: str, shown: str) -> None:
    serve = tmp_path / "session_latest" / "logs" / "serve"
    serve.mkdir(parents=True)
    (tmp_path / "cluster-serve.log").write_bytes(written.encode() + b"\n")
    (serve / "replica_a.log").write_bytes(written.encode() + b"\n")
    found = read(services=["cluster-serve"], supervisor=str(tmp_path), ray=str(tmp_path))
    assert [tail.lines for tail in found] == [(shown,), (shown,)]
