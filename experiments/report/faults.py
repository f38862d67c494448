"""The Markdown of `faults_under_load`. Pure."""

from __future__ import annotations

from typing import Any

from experiments.report import markdown
from experiments.report.markdown import shown

_COST = ("requests", "right", "wrong", "failed_clearly", "failed_unclearly", "hung")
_TIMES = (
    "not_ready_after_seconds",
    "last_given_after_seconds",
    "last_failure_began_after_seconds",
    "serves_again_after_seconds",
    "serves_again_after_repair_seconds",
    "answers_again_after_seconds",
)


def report(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    options = result["options"]
    how = f"{options['rate']:g} requests a second" if options["rate"] else "one after the other"
    rows = [["none", "-", *_cost(result["control"]), shown(result["control"]["right_a_second"], 1)]]
    times, under_way, said = [], [], []
    for entry in result["faults"]:
        figures = entry.get("figures")
        if not figures:
            rows.append([entry["name"], entry["node"], *("-" for _ in range(len(_COST) + 1))])
            continue
        rows.append([entry["name"], entry["node"], *_cost(figures), shown(figures["right_a_second"], 1)])
        times.append([entry["name"], *(shown(figures[key], 1) for key in _TIMES)])
        for where, kinds in figures["under_way"].items():
            if kinds:
                ended = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
                under_way.append([entry["name"], where, ended])
        said += [[entry["name"], error, str(count)] for error, count in figures["errors"].items()]
    parts = [
        "# Faults under load\n",
        markdown.about(result["machine"], result["versions"], result["started"]),
        f"{len(result['nodes'])} engines, {options['concurrent']} requests under way at once ({how}), half of them "
        f"streamed; deadline of a request {options['deadline']:g} s. {result['requests']['requests']} requests in all, "
        f"{result['requests']['hung']} hung.\n",
        markdown.table(
            ["fault", "node", "requests", "right", "wrong", "clear error", "unclear error", "hung", "right/s"], rows
        ),
        "",
        "Seconds after the fault:\n",
        markdown.table(
            [
                "fault",
                "seen not ready",
                "last request given to it",
                "last failed request began",
                "serves again",
                "of which after the repair",
                "first right answer again",
            ],
            times,
        ),
        "",
    ]
    for entry in result["faults"]:
        if (seen := entry["marks"].get("verified")) and "fault" in entry["marks"]:
            parts.append(
                f"{entry['name']}: `cluster verify` held again after {shown(seen - entry['marks']['fault'], 1)} s.\n"
            )
    if back := result.get("read_back"):
        parts += [
            f"{back['unrecorded_answers']} answers had not been recorded in health and were read back to a healthy "
            f"engine: {back['accepted']} of them ({back['requests']} requests) are nowhere more than "
            f"{back['rounding_nats']:g} nats below the likeliest token, a rounding of the dtype, and count as right "
            f"(the farthest {shown(back['largest_accepted_nats'], 3)}).\n"
        ]
    if under_way:
        parts += [
            "How the requests ended that were under way at the fault:\n",
            markdown.table(["fault", "where", "ended"], under_way),
            "",
        ]
    if said:
        parts += ["Errors that clients got:\n", markdown.table(["fault", "error", "times"], said), ""]
    kinds = [f"- {entry['name']}: {entry['says']}" for entry in result["faults"]]
    parts += ["Faults:\n", *kinds, "", markdown.listed_misses(result["misses"])]
    return "\n".join(parts)


def _cost(figures: dict[str, Any]) -> list[str]:
    return [str(figures[key]) for key in _COST]
