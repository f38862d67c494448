"""The one writer of tables: columns where the terminal has room for them, else a block of `key: value` lines a row.

Where standard output is no terminal each row is one whole line, whatever that takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# A column is never narrower than its longest word, up to this: a cell of a few letters a line cannot be read.
READABLE = 16
_GAP = 2  # between columns


def show(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table. Cells are plain text: brackets in them are no markup."""
    widths = fitting(columns, rows, console.width if console.is_terminal else None)
    if widths is None:
        _blocks(console, title, columns, rows)
    else:
        _grid(console, title, columns, rows, widths)


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int | None) -> list[int] | None:
    """Width of each column, in cells of the terminal; None where there is no room to read them side by side.

    `room` None: as wide as it takes.
    """
    cells = [[name, *(row[index] for row in rows)] for index, name in enumerate(columns)]
    whole = [max(_width(line) for cell in column for line in cell.split("\n")) for column in cells]
    if room is None:
        return whole
    words = [max((_width(word) for cell in column for word in cell.split()), default=0) for column in cells]
    widths = [min(word, READABLE) for word in words]
    spare = room - sum(widths) - _GAP * (len(columns) - 1)
    if spare < 0:
        return None
    # The narrowest that still folds its cells is widened first: short columns are whole, and long ones share the rest.
    while spare and (folded := [index for index, width in enumerate(widths) if width < whole[index]]):
        widths[min(folded, key=lambda index: widths[index])] += 1
        spare -= 1
    return widths


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _grid(
    console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]
) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table(title=Text(title) if title else None, title_justify="left", box=None, pad_edge=False)
    for name, width in zip(columns, widths, strict=True):
        grid.add_column(Text(name), width=width, header_style="bold", overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    needed = sum(widths) + _GAP * (len(columns) - 1)
    if not console.is_terminal:
        console.width = max(console.width, needed, _width(title))
    console.print(grid, soft_wrap=False)


def _blocks(console: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.text import Text

    if title:
        console.print(Text(title, style="italic"), soft_wrap=False)
    for index, row in enumerate(rows):
        if index:
            console.print()
        for name, cell in zip(columns, row, strict=True):
            # A column without a name is what the row is called by.
            said = Text.assemble((f"{name.strip()}: ", "bold"), cell) if name.strip() else Text(cell, style="bold")
            console.print(said, soft_wrap=False)
