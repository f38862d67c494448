"""What a section of the report is made of: sentences, tables, charts. Plain data; `page` makes HTML of it.

A colour in a chart is a name with `@` before it, which the page's own style sheet resolves for light and dark. A
formatter is a name with `~` before it, one of those in report.js. A chart always has its figures in a table beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Tone = Literal["good", "bad", "busy", "idle"]


@dataclass(frozen=True)
class Text:
    """A sentence, with a sign before it where it judges."""

    text: str
    tone: Tone | None = None
    small: str = ""


@dataclass(frozen=True)
class Table:
    """`text_columns` are left-aligned; the others are figures. `folded`: behind a line that opens it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str
    text_columns: frozenset[int] = frozenset({0})
    folded: bool = False
    tones: Mapping[int, Tone] = field(default_factory=dict)


@dataclass(frozen=True)
class Chart:
    """An option of ECharts. `said` is what who cannot see it is told; `group` couples the time axes of several."""

    name: str
    title: str
    option: Mapping[str, Any]
    said: str
    height: int = 300
    group: str = ""
    choices: Sequence[tuple[str, Mapping[str, Any]]] = ()


@dataclass(frozen=True)
class Tile:
    """A figure that is read first."""

    label: str
    value: str
    note: str = ""
    tone: Tone | None = None


@dataclass(frozen=True)
class Tiles:
    """Some of them in a row."""

    tiles: Sequence[Tile]


Block = Text | Table | Chart | Tiles


@dataclass(frozen=True)
class Section:
    """One subject. `missing` is why there is nothing in it; then there are no blocks."""

    name: str
    title: str
    blocks: Sequence[Block] = ()
    missing: str = ""
    lead: str = ""


SERIES = ("@series1", "@series2", "@series3", "@series4", "@series5", "@series6", "@series7", "@series8")
# Lines are told apart without colour: a form of the points, and of the line.
SYMBOLS = ("circle", "rect", "triangle", "diamond", "roundRect", "pin", "arrow", "circle")
LINES = ("solid", "dashed", "dotted", "solid", "dashed", "dotted", "solid", "dashed")


def look(index: int) -> dict[str, Any]:
    """Colour, form and line of the series with this number."""
    place = index % len(SERIES)
    return {
        "color": SERIES[place],
        "symbol": SYMBOLS[place],
        "symbolSize": 5,
        "lineStyle": {"type": LINES[place], "width": 2},
        "itemStyle": {"color": SERIES[place]},
    }


def base(**more: Any) -> dict[str, Any]:
    """What every chart has."""
    option: dict[str, Any] = {
        "animation": False,
        "textStyle": {"fontFamily": "inherit", "color": "@text"},
        "grid": {"left": 12, "right": 20, "top": 40, "bottom": 34, "containLabel": True},
        "legend": {
            "type": "scroll", "top": 0, "left": 0, "textStyle": {"color": "@text"}, "itemWidth": 26,
            "pageTextStyle": {"color": "@text"}, "pageIconColor": "@text", "pageIconInactiveColor": "@edge",
        },
        "tooltip": {
            "trigger": "axis", "confine": True, "backgroundColor": "@card", "borderColor": "@edge",
            "textStyle": {"color": "@text", "fontSize": 13},
        },
    }  # fmt: skip
    return option | more


def axis(name: str, formatter: str = "~number", **more: Any) -> dict[str, Any]:
    """A value axis with its unit in its name."""
    option: dict[str, Any] = {
        "type": "value",
        "name": name,
        "nameTextStyle": {"color": "@faint", "align": "left"},
        "axisLabel": {"color": "@faint", "formatter": formatter, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": "@edge"}},
        "splitLine": {"lineStyle": {"color": "@edge"}},
        "minorSplitLine": {"show": False},
    }
    return option | more


def across(name: str, formatter: str = "~number", **more: Any) -> dict[str, Any]:
    """The same for the axis below, whose name stands in the middle."""
    below = {"nameLocation": "middle", "nameGap": 26, "nameTextStyle": {"color": "@faint"}}
    return axis(name, formatter, splitLine={"show": False}, **below) | more


def rounded(values: Sequence[float | None], digits: int = 5) -> list[float | None]:
    """For the page: no digits that nobody sees, and none for what is not a number."""
    return [None if one is None or one != one else float(f"{one:.{digits}g}") for one in values]
