"""Ranks tables with methods of RCAEval, in an environment of its own: PYTHON causes_others.py < lines > lines

Standard library and that environment's packages only. A line of JSON asks: {"table": a CSV file, "inject_time": unix
seconds, "methods": [...]}; a line of JSON answers for each method. A method of theirs that fails returns the order of
the columns as its ranking. So each is asked twice, the second time with the columns in another order: whoever gives
back the order of the columns both times has failed, whatever it says.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import random
import sys
import time
from typing import Any

DATASET = "cluster"  # any name: with None the methods keep constant columns and the time


def function(name: str) -> Any:
    """A method; of Python versions for which the package names it nowhere, from its own module."""
    package = importlib.import_module("RCAEval.e2e")
    found = getattr(package, name, None)
    if callable(found):
        return found
    return getattr(importlib.import_module(f"RCAEval.e2e.{name}"), name)


def ranked(method: Any, data: Any, inject_time: float) -> tuple[list[str], str]:
    """(columns, the best first; what it said)."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        found = method(data.copy(), inject_time, dataset=DATASET)
    return [str(one) for one in found["ranks"]], said.getvalue()


def subsequence(ranking: list[str], columns: list[str]) -> bool:
    """Whether a ranking is the columns' own order, less some of them."""
    rest = iter(columns)
    return len(ranking) > 2 and all(one in rest for one in ranking)


def answer(name: str, data: Any, inject_time: float) -> dict[str, Any]:
    """One method on one table."""
    began = time.perf_counter()
    try:
        method = function(name)
        columns = [str(one) for one in data.columns if one != "time"]
        first, said = ranked(method, data, inject_time)
        seconds = time.perf_counter() - began
        other = columns.copy()
        random.Random(1).shuffle(other)  # noqa: S311 (another order, no secret)
        second, _ = ranked(method, data[["time", *other]], inject_time)
    except Exception as error:  # a method of somebody else may raise anything
        return {"method": name, "ranks": [], "failed": f"{type(error).__name__}: {error}"[:300], "seconds": None}
    same = subsequence(first, columns) and subsequence(second, other)
    failed = f"gave back the order of the columns; it said: {said.strip()[-200:] or 'nothing'}" if same else ""
    return {"method": name, "ranks": [] if failed else first, "failed": failed, "seconds": round(seconds, 3)}


def main() -> int:
    """Until the end of the lines."""
    pandas = importlib.import_module("pandas")
    out = sys.stdout
    for line in sys.stdin:
        asked = json.loads(line)
        data = pandas.read_csv(asked["table"])
        for name in asked["methods"]:
            print(json.dumps(answer(name, data, float(asked["inject_time"]))), file=out, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
