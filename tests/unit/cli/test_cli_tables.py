"""Tables at every width: readable columns where there is room, else a block of lines a row."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from cli import tables

COLUMNS = ("", "node", "role", "address", "engine", "golden answers", "model")
ROWS = [
    ("Head Node", "head", "control", "127.0.0.10", "-", "-", "-"),
    (
        "Worker Node #1",
        "worker1",
        "compute",
        "127.0.0.11",
        "serving",
        "120 of 120 right, last 3 min ago; a reason of several words",
        "mistral-small-instruct-2409-awq",
    ),
]


def shown(width: int, columns: tuple[str, ...] = COLUMNS, rows: Sequence[tuple[str, ...]] = ROWS) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True, highlight=False)
    tables.show(console, "laptop: what is there", columns, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().replace("\x1b[1m", "").replace("\x1b[3m", "").replace("\x1b[0m", "")


@pytest.mark.parametrize("width", [1, 5, 12, 20, 39, 40, 60, 79, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_short_word_is_cut(width: int) -> None:
    text = shown(width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    if width >= 12:
        for word in ("worker1", "127.0.0.11", "compute", "serving", "answers", "several"):
            assert word in text.replace("-\n", "-"), f"{word} is cut at {width} columns:\n{text}"


def test_a_narrow_terminal_gets_a_block_a_row() -> None:
    blocks = shown(38).split("\n\n")
    assert blocks[0].splitlines()[:4] == ["laptop: what is there", "Head Node", "node: head", "role: control"]
    assert "golden answers: 120 of 120 right, last" in blocks[1]
    assert blocks[1].splitlines()[0] == "Worker Node #1"


def test_a_wide_terminal_gets_columns() -> None:
    lines = shown(200).splitlines()
    assert len(lines) == 4 and lines[1].split() == ["node", "role", "address", "engine", "golden", "answers", "model"]


def test_short_columns_stay_whole_and_long_ones_share_the_rest() -> None:
    widths = tables.fitting(COLUMNS, ROWS, 100)
    assert widths is not None and sum(widths) + 2 * (len(widths) - 1) == 100
    assert widths[1:5] == [7, 7, 10, 7]


def test_brackets_in_a_cell_are_text() -> None:
    assert "[/bold] [red]" in shown(80, ("a",), [("[/bold] [red]",)])


def test_in_a_pipe_a_row_is_one_line() -> None:
    console = Console(file=io.StringIO(), width=20, no_color=True)
    tables.show(console, "", COLUMNS, ROWS)
    assert isinstance(console.file, io.StringIO)
    assert len(console.file.getvalue().splitlines()) == 3
