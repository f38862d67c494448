"""Figures and misses of a run of faults, from the requests and looks that it recorded. Pure; unix seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from experiments.answers import DELIVERED_WRONG, Outcome
from experiments.report import results
from experiments.telemetry import fault_times
from experiments.telemetry.fault_times import Look

NOT_READ_BACK = "unrecorded answers were not read back"


def finish(result: dict[str, Any], outcomes: Sequence[Outcome], looks: Sequence[Look], not_sent: int) -> None:
    """Compute all figures from the records, and add what hung, was wrong or was never answered to the misses."""
    control = result["control"]
    control.update(fault_times.summary(outcomes, control["from"], control["to"]))
    for entry in result["faults"]:
        if "inject_seconds" not in entry:
            continue
        seen = [look for look in looks if entry["marks"]["begin"] <= look.at < entry["marks"]["end"]]
        entry["figures"] = fault_times.fault_figures(outcomes, seen, entry["node"], entry["marks"])
    last = max((entry.ended for entry in outcomes), default=control["to"])
    result["requests"] = {**fault_times.summary(outcomes, control["from"], last), "not_sent": not_sent}
    result["misses"] += judged_misses(result)


def judged_misses(result: dict[str, Any]) -> list[str]:
    """What hung, was wrong or failed unclearly, by the figures of a result. Pure."""
    misses = []
    control = result["control"]
    if control["right"] < control["requests"]:
        misses.append(f"without a fault: {control['requests'] - control['right']} requests not answered rightly")
    measured = [entry for entry in result["faults"] if "figures" in entry]
    for entry in measured:
        figures, where = entry["figures"], f"{entry['name']} on {entry['node']}"
        if figures["hung"]:
            misses.append(f"{where}: {figures['hung']} requests hung beyond {result['options']['deadline']:g} s")
        if figures["failed_unclearly"]:
            misses.append(f"{where}: {figures['failed_unclearly']} errors not in OpenAI's shape")
        if figures["wrong"] and not entry["delivers_wrong"]:
            said = next((line["detail"] for line in figures["failures"] if line["kind"] in DELIVERED_WRONG), "not kept")
            misses.append(f"{where}: {figures['wrong']} wrong answers, such as: {said}")
    for what in ("hung", "wrong"):
        within = control[what] + sum(entry["figures"][what] for entry in measured)
        if result["requests"][what] > within:
            misses.append(f"between the faults: {result['requests'][what] - within} requests {what}")
    return misses


def judged_anew(result: dict[str, Any], outcomes: Sequence[Outcome], read_back: dict[str, Any]) -> None:
    """Put a later read-back's judgement into a result; what was looked at during the run stays as it is. Pure."""
    before = judged_misses(result)
    kept = [miss for miss in result["misses"] if miss not in before and not miss.startswith(NOT_READ_BACK)]
    control = result["control"]
    control.update(fault_times.summary(outcomes, control["from"], control["to"]))
    for entry in result["faults"]:
        if "figures" in entry:
            entry["figures"] |= fault_times.judged_figures(outcomes, entry["node"], entry["marks"])
    last = max((entry.ended for entry in outcomes), default=control["to"])
    result["requests"] |= fault_times.summary(outcomes, control["from"], last)
    result["read_back"] = {**read_back, "at": results.now()}
    result["misses"] = [*kept, *judged_misses(result)]
