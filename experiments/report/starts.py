"""The Markdown of `cold_starts`. Pure; seconds since the start."""

from __future__ import annotations

from typing import Any

from experiments.report import markdown
from experiments.report.markdown import shown


def report(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    found = result["total"]
    rows = [("first right answer through the gateway", found["first_answer"])]
    rows += [(f"{node} says that it is ready", found["ready"][node]) for node in found["ready"]]
    rows += [(f"{node} asked on its own gave the golden answer", found["proven"][node]) for node in found["proven"]]
    rows += [(f"`{result['options']['up']}` to its end", found["command"])]
    table = [
        [what, str(seconds["runs"]), *(shown(seconds[key], 1) for key in ("median", "least", "most"))]
        for what, seconds in rows
    ]
    asked = sum(start["asked_before_ready"] for start in result["starts"])
    stops = "".join(
        f" Stopped after start {stop['after']}, resumed {stop['at']}." for stop in result.get("resumed", [])
    )
    return "\n".join(
        [
            "# Cold starts\n",
            markdown.about(result["machine"], result["versions"], result["started"]),
            f"{found['starts']} starts, {found['correct']} correct, {found['false_ready']} false ready. Before each "
            "start no process of any node was left; runtime and weights were on the disk. The gateway was asked "
            f"{asked} times before its first right answer.{stops}\n",
            markdown.table(["what", "starts", "median s", "least s", "most s"], table),
            "",
            markdown.listed_misses(result["misses"]),
        ]
    )
