"""Explains measured points: what bound each, how far it was from the limit, and what would prove it.

The points are a run's, from a file, or those of the running service, which are timed first.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hardware.model import Node
from hardware.planner import explain as explaining
from hardware.planner import plot, points, proofs, rates
from hardware.planner.calibration import Calibration
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.errors import PlanError
from hardware.planner.explain import Finding
from hardware.planner.placement import Hardware, hardware_of
from hardware.planner.points import Run
from hardware.planner.proofs import Proof
from hardware.planner.rates import Device
from operate import measuring, ownership, planning
from operate.errors import OperatorError
from operate.measuring import Measured
from operate.progress import Progress


@dataclass(frozen=True)
class Explanation:
    """Findings of one run and the counter-tests that it has made itself; `remarks` are what weakens them."""

    run: str
    device: Device
    findings: tuple[Finding, ...]
    proofs: tuple[Proof, ...]
    calibration: Calibration | None
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        past = self.calibration.past_error() if self.calibration else None
        return {
            "run": self.run,
            "device": self.device.name,
            "findings": [_plain(finding) for finding in self.findings],
            "past_error": asdict(past) if past else None,
            "proofs": [{**asdict(proof), "held": proof.held} for proof in self.proofs],
        }

    def draw(self, picture: Path) -> None:
        """Write roofline and step times as SVG; OperatorError where that cannot be."""
        dtype = self.findings[0].point.model.dtype
        reached = rates.rates(self.device, self.calibration, dtype, "likely")
        drawn = plot.draw(list(self.findings), self.device, reached, f"{self.run} on {self.device.name}")
        try:
            picture.write_text(drawn)
        except OSError as error:
            raise OperatorError(f"{picture}: {error.strerror}; give a place that can be written") from None


def explain(
    name: str,
    run: Path | None,
    progress: Progress,
    *,
    accelerator: str | None = None,
    file: Path | None = None,
    only: str = "",
    rounds: int = measuring.ROUNDS,
) -> Explanation:
    """Explain the points of a run, or of the running service; those whose name has `only` in it.

    `accelerator` is what a run was measured on where that is not the cluster's, `file` a calibration instead of the
    kept one. Points of the service are compared with what the calibration predicts, and the kept one remembers it.
    """
    hardware, engine = _where(name, accelerator)
    device = hardware.device
    where = str(run) if run is not None else f"{name}'s service"
    remarks: list[str] = []
    live = () if run is not None else _live(name, hardware, progress, remarks, rounds)
    points_found = _read(run).points if run is not None else tuple(one.point for one in live)
    sharing = {one.point: one.sharing for one in live}
    try:
        calibration = planning.load_calibration(file, device.name, engine)
        chosen = [point for point in points_found if only in point.name]
        if not chosen:
            raise OperatorError(f"{where}: no points" + (f" with {only!r} in their names" if only else ""))
        known = measuring.paths(hardware, calibration)
        curves = calibration.curves if calibration else ()
        found = []
        for point in chosen:
            precision = point.options.dtype or point.model.dtype
            reached = rates.rates(device, calibration, precision, "likely").shared_by(sharing.get(point, 1))
            found.append(explaining.explain(point, device, reached, known, curves, precision=precision))
    except PlanError as error:
        raise OperatorError(f"{where}: {error}") from None
    proved = proofs.prove(found)
    if live and calibration is not None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        calibration = calibration.with_outcomes(measuring.compare(live, calibration, hardware, when))
        if file is None:
            planning.keep_calibration(calibration, planning.calibration_path(device.name, engine))
    return Explanation(where, device, tuple(found), tuple(proved), calibration, tuple(remarks))


def _read(run: Path) -> Run:
    try:
        return points.read(run.read_text().splitlines(keepends=True), str(run))
    except OSError as error:
        raise OperatorError(f"{run}: {error.strerror}; give a file of measured points") from None
    except UnicodeDecodeError:
        raise OperatorError(f"{run}: not text; give a file of measured points, one JSON object a line") from None
    except PlanError as error:
        raise OperatorError(str(error)) from None


def _live(name: str, hardware: Hardware, progress: Progress, remarks: list[str], rounds: int) -> tuple[Measured, ...]:
    """Points of the running service: pairs that differ in the batch, the context or the prompt are counter-tests."""
    cluster = ownership.load(name)
    if not measuring.serves(cluster):
        raise OperatorError(f"{name}: no service answers; give a RUN, or `{cluster.command} up` first")
    replicas = cluster.control.settings.serving.replicas
    average = os.getloadavg()[0]
    if hardware.one_machine and average > measuring.BUSY * len(os.sched_getaffinity(0)):
        remarks.append(f"this machine has other work (load {average:.1f}): what it takes away is not explained")
    progress.phase("timing steps of the running service")
    short, long = measuring.SHORT_WORDS, measuring.LONG_WORDS
    loads = [(1, short), (replicas * 4, short), (replicas * 8, short), (replicas * 4, long)]
    measured = measuring.steps(cluster, loads, (measuring.PROMPT_WORDS, long), rounds)
    found = planning.declared(name)
    return tuple(measuring.points_of(measured, planning.layers(found.model_name), found, hardware, replicas))


def _where(name: str, accelerator: str | None) -> tuple[Hardware, str]:
    """The hardware of a run: the cluster's, or one node with a part of the catalogue."""
    found = planning.declared(name)
    try:
        hardware = hardware_of(found.cluster)
    except PlanError as error:
        raise OperatorError(f"{name}: {error}") from None
    if accelerator is None:
        return hardware, found.engine_version
    wanted = [part for title, part in ACCELERATORS.items() if accelerator.lower() in title.lower()]
    if len(wanted) != 1:
        raise OperatorError(f"accelerator {accelerator!r} is not one of {', '.join(sorted(ACCELERATORS))}")
    node = Node("node", "compute", "any", "any", accelerators=(wanted[0],))
    kind = replace(found.cluster, compute=(node,), links=())
    return replace(hardware, device=rates.device_of(node, wanted[0]), links=()), planning.engine_version(kind)


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "point": finding.point.name,
        "seconds": finding.point.seconds,
        "predicted_seconds": finding.timing.seconds,
        "limit": finding.limit,
        "limit_share": finding.timing.binding[1],
        "ideal_seconds": finding.ideal_seconds,
        "ideal_source": finding.ideal_source,
        "distance": finding.distance,
        "unexplained_seconds": finding.unexplained_seconds,
        "intensity_flops_per_byte": finding.intensity_flops_per_byte,
        "achieved_flops_per_second": finding.achieved_flops_per_second,
        "achieved_bytes_per_second": finding.achieved_bytes_per_second,
        "parts": [{"name": part.name, "seconds": part.seconds, "limit": part.limit} for part in finding.timing.parts],
        "counter_tests": [
            {"name": test.name, "how": test.how, "seconds": test.seconds, "change": test.change}
            for test in finding.tests
        ],
    }
