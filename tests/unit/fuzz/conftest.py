"""Bad inputs, generated: documents that were good before one to three of their parts were spoiled, and plain noise.

Each test gives its parser a number of them and lets one kind of error through: the parser's own. CLUSTER_FUZZ_INPUTS
says how many inputs a test gets, times its share; they are new in every run, and their sum is printed at its end. Where
it is not said there are few, and always the same.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

INPUTS = int(os.environ.get("CLUSTER_FUZZ_INPUTS", "12"))
Test = TypeVar("Test", bound=Callable[..., Any])
given_inputs: Counter[str] = Counter()


def inputs(share: float = 1.0) -> Callable[[Test], Test]:
    """Settings of a test: so many inputs, none of which may take ten seconds."""
    return settings(
        max_examples=max(4, int(INPUTS * share)),
        deadline=timedelta(seconds=10),
        derandomize="CLUSTER_FUZZ_INPUTS" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def count(test: str) -> None:
    """One more input of a test."""
    given_inputs[test] += 1


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


ODD_TEXTS = (
    *("", " ", "\n", "-1", "0", "1e999", "0x10", "nan", "inf", "N/A", "[N/A]", "true", "null", "²", "١٢", "%s", "{}"),
    *(
        "\ud800",
        "\x00",
        "\x1b[31m",
        "a" * 5000,
        "..",
        "/",
        "../../etc/passwd",
        "-rf",
        "'; reboot",
        "é" * 300,
        "#",
        ":",
        "- a",
    ),
)
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 2**31, 2**63, 2**64 - 1, -(2**63), 10**400, 1.5, -0.0, 1e308, float("nan")),
    *(float("inf"), float("-inf"), [], {}, [[]], [None], {"": None}, [1, "a", {}], _nested(40), *ODD_TEXTS),
)
odd_texts = st.one_of(st.sampled_from(ODD_TEXTS), st.text(max_size=30))
odd = st.one_of(st.sampled_from(ODD_VALUES), st.text(max_size=20), st.integers(), st.floats())
noise = st.one_of(
    odd,
    st.recursive(
        odd, lambda part: st.lists(part, max_size=4) | st.dictionaries(odd_texts, part, max_size=4), max_leaves=9
    ),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for key, inner in value.items():
            found += _places(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value[:8]):
            found += _places(inner, (*path, index))
    return found


@st.composite
def spoiled(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """A plain document with one to three values replaced, taken away, or put under another name."""
    document = copy.deepcopy(draw(documents))
    for _ in range(draw(st.integers(1, 3))):
        places = _places(document)
        if not places:
            return copy.deepcopy(draw(odd))
        *way, last = draw(st.sampled_from(places))
        holder = document
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(("replace", "replace", "replace", "remove", "rename"))):
            case "remove":
                del holder[last]
            case "rename" if isinstance(holder, dict):
                holder[draw(odd_texts)] = holder.pop(last)
            case _:
                holder[last] = copy.deepcopy(draw(odd))
    return document


_TOKENS = re.compile(r'"[^"\n]*"|>[^<>\n]+<|-?\d+(?:\.\d+)?|\w+|[{}\[\]<>:,]')


@st.composite
def spoiled_text(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with one to four of its words replaced, or lines taken away, doubled or cut."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 4))):
        match draw(st.sampled_from(("word", "word", "word", "lose", "double", "cut", "insert"))):
            case "word":
                words = list(_TOKENS.finditer(text[:200_000]))
                if words:
                    found = draw(st.sampled_from(words))
                    text = text[: found.start()] + draw(odd_texts | st.sampled_from(_WORDS)) + text[found.end() :]
            case "cut":
                text = text[: draw(st.integers(0, len(text)))]
            case kind:
                lines = text.splitlines()
                if lines:
                    index = draw(st.integers(0, len(lines) - 1))
                    line = {"lose": [], "double": [lines[index]] * 2, "insert": [lines[index], draw(odd_texts)]}[kind]
                    text = "\n".join([*lines[:index], *line, *lines[index + 1 :]])
    return text


_WORDS = tuple(json.dumps(value) for value in ODD_VALUES if not isinstance(value, str))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many inputs there were, where that was asked for."""
    from tests.unit.fuzz.conftest import given_inputs as given  # the tests' module, which is not pytest's copy of it

    if given and "CLUSTER_FUZZ_INPUTS" in os.environ:
        said = ", ".join(f"{number} {name}" for name, number in given.most_common())
        terminalreporter.write_line(f"{sum(given.values())} inputs: {said}")
