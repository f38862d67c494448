"""rejoin.py, run for real: each start of a worker gets the next port of its range."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploys import library
from deploys.compute_base.declared import REJOIN

REPOSITORY = Path(__file__).parents[3]


def start(state: Path, first: int = 6400, last: int = 6402) -> str:
    options = ("echo", "start", "--block")
    command = [*library.start(sys.executable, REJOIN), str(first), str(last), str(state), *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]},
    )
    return done.stdout.strip()


def port(said: str) -> int:
    return int(said.removeprefix("start --block --node-manager-port="))


def test_the_range_is_gone_through_and_begins_anew(tmp_path: Path) -> None:
    state = tmp_path / "port"
    state.write_text("6402")
    assert [start(state) for _ in range(4)] == [
        f"start --block --node-manager-port={port}" for port in (6400, 6401, 6402, 6400)
    ]


@pytest.mark.parametrize("text", ["", "no number", "99999", "-1"])
def test_an_unusable_record_means_any_port_of_the_range(tmp_path: Path, text: str) -> None:
    state = tmp_path / "port"
    state.write_text(text)
    assert 6400 <= port(start(state)) <= 6402
    assert 6400 <= int(state.read_text()) <= 6402


def test_the_first_start_of_a_node_makes_the_records_directory(tmp_path: Path) -> None:
    state = tmp_path / "ray" / "port"
    first, second = port(start(state)), port(start(state))
    assert second == (first + 1 if first < 6402 else 6400)


def test_a_record_that_cannot_be_kept_stops_nothing_and_is_no_reason_to_take_the_same_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    taken = {port(start(tmp_path / "file" / "port", 6400, 6499)) for _ in range(5)}
    assert all(6400 <= each <= 6499 for each in taken)
    assert len(taken) > 1, "five times the same of a hundred"
