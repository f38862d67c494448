"""The phases of `cluster up`: how long each took, kept for comparison, and where to go on after a failure.

One line of JSON for each run that began to change something, in `ups.jsonl` in the cluster's state directory.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploys.stages import LAST_STAGE, STAGES
from inventories.composition.operator import write_whole
from operate.clusters import ClusterInventory
from operate.progress import Progress

KEPT = 50
FILE = "ups.jsonl"

# What each phase is about, for people. The stages of the deploys are between `base` and `engines`.
SAYS = {
    "look": "look at the hosts",
    "control": "boot server on the control node",
    "image": "image built, sent, chosen",
    "power": "nodes switched on",
    "boot": "nodes boot and answer",
    "base": "packages, user, firewall, secrets",
    "depot": "runtime and weights on the control node",
    "runtime": "runtime and weights on every node",
    "head": "Ray head, web page",
    "workers": "Ray workers",
    "engines": "gateway, engines, golden answers",
    "token": "first token",
    "verify": "verify",
}


@dataclass
class Phases:
    """Phases of one run. Seconds are rounded to tenths; `failed` is the phase in which the run ended early.

    `only`: the part that was asked for, empty for the whole.
    """

    progress: Progress
    only: str = ""
    done: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    now: str = ""
    changes: bool = False
    _since: float = 0.0

    def begin(self, name: str, says: str = "") -> None:
        """The last phase is done; this one begins. `says` is shown as progress."""
        self.end()
        self.now, self._since = name, time.monotonic()
        # Before it nothing is changed, so a run that ends in it leaves no record.
        self.changes = self.changes or name != "look"
        if says:
            self.progress.phase(says)

    def end(self) -> None:
        """The phase under way is done, if there is one."""
        if self.now:
            spent = time.monotonic() - self._since
            self.done[self.now] = round(self.done.get(self.now, 0.0) + spent, 1)
        self.now = ""

    def stop(self) -> None:
        """The run ends early: in the phase under way."""
        self.failed = self.now
        self.end()

    def event(self, kind: str, text: str) -> None:
        """A listener for operate.runner.deploy of deploys/all.py: its meeting points end the phases."""
        self.progress.event(kind, text)
        if kind == "operation":
            ended = next((stage for stage, name in STAGES.items() if text.endswith(name)), None)
            if ended:
                order = [*STAGES, LAST_STAGE]
                self.begin(order[order.index(ended) + 1])

    def record(self, *, changed: int | None) -> dict[str, Any]:
        """This run as it is kept and as `--json` shows it."""
        return {
            "at": round(time.time()),
            "ok": not self.failed,
            "only": self.only or None,
            "failed": self.failed or None,
            "changed": changed,
            "seconds": round(sum(self.done.values()), 1),
            "phases": [{"phase": name, "seconds": seconds} for name, seconds in self.done.items()],
        }


def resume(command: str, phases: Phases) -> str:
    """What to do after a run of `command` that ended early; empty where nothing was begun."""
    if not phases.changes:
        return ""
    part = f" --only {phases.only}" if phases.only else ""
    return (
        f"stopped in phase {phases.failed!r} ({SAYS.get(phases.failed, phases.failed)}) after "
        f"{phases.done.get(phases.failed, 0.0):.0f} s; what was done stays, "
        f"`{command} up{part}` goes on from there"
    )


def keep(cluster: ClusterInventory, record: dict[str, Any]) -> str:
    """Add a run to the cluster's record; the oldest go. Returns why it could not be kept, which is no failure."""
    path = cluster.directory / FILE
    lines = [*_lines(path), json.dumps(record)][-KEPT:]
    try:
        write_whole(path, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        return f"this run was not kept for comparison: {path}: {error.strerror}"
    return ""


def last_run(cluster: ClusterInventory, only: str = "") -> dict[str, Any] | None:
    """The newest run of the same part (or of the whole) that is on record and came to its end."""
    for line in reversed(_lines(cluster.directory / FILE)):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        whole = isinstance(record, dict) and record.get("ok") and isinstance(record.get("phases"), list)
        if whole and (record.get("only") or "") == only:
            return dict(record)
    return None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return []


def rows(record: dict[str, Any], before: dict[str, Any] | None) -> list[list[str]]:
    """Table of a run beside an earlier one: phase, what it is about, seconds, seconds then. Pure."""
    then = {entry["phase"]: float(entry["seconds"]) for entry in (before or {}).get("phases", [])}
    found = [
        [
            entry["phase"],
            SAYS.get(entry["phase"], ""),
            f"{entry['seconds']:.1f}",
            f"{then[entry['phase']]:.1f}" if entry["phase"] in then else "-",
        ]
        for entry in record["phases"]
    ]
    return [*found, ["all", "", f"{record['seconds']:.1f}", f"{before['seconds']:.1f}" if before else "-"]]
