"""`cluster explain`: what bound a measured run, how far it was from the limit, and what would prove it."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli import display
from hardware.model import Node
from hardware.planner import explain, plot, points, proofs, rates
from hardware.planner.calibration import Calibration
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.errors import PlanError
from hardware.planner.explain import Finding
from hardware.planner.placement import Hardware, hardware_of
from hardware.planner.points import Run
from hardware.planner.proofs import Proof
from hardware.planner.rates import Device, Rates
from operate import clusters, measuring, planning
from operate.errors import COULD_NOT_TELL, HOLDS, OperatorError
from operate.measuring import Measured


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--accelerator", metavar="NAME", help="What it was measured on, when not on this cluster's parts.")
@click.option("--calibration", "file", type=click.Path(path_type=Path), help="A calibration; default: the kept one.")
@click.option("--only", default="", metavar="TEXT", help="Only points whose name has this in it.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write roofline and step times as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def command(
    name: str,
    run: Path | None,
    accelerator: str | None,
    file: Path | None,
    only: str,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Explain RUN, a file of measured points (JSON lines): what bound each, and the counter-tests that would prove it.

    Without RUN, steps of the running service are timed and explained. Where the run itself has two points that differ
    in one thing, the predicted change is held against the measured one.

    Exit status 0: every point is explained. 2: the run cannot be read, or nothing can be said about it.
    """
    hardware, engine = _where(name, accelerator)
    device = hardware.device
    where = str(run) if run is not None else f"{name}'s service"
    live = () if run is not None else _live(name, hardware)
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
            found.append(explain.explain(point, device, reached, known, curves, precision=precision))
    except PlanError as error:
        raise OperatorError(f"{where}: {error}") from None
    proved = proofs.prove(found)
    if live and calibration is not None:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        calibration = calibration.with_outcomes(measuring.compare(live, calibration, hardware, when))
        if file is None:
            planning.keep_calibration(calibration, planning.calibration_path(device.name, engine))
    past = calibration.past_error() if calibration else None
    if picture is not None:
        _draw(picture, found, device, rates.rates(device, calibration, found[0].point.model.dtype, "likely"), where)
    if as_json:
        display.emit(
            {
                "run": where,
                "device": device.name,
                "findings": [_plain(finding) for finding in found],
                "past_error": asdict(past) if past else None,
                "proofs": [{**asdict(proof), "held": proof.held} for proof in proved],
            }
        )
    else:
        _show(found, calibration, proved)
        if past:
            display.results().print(f"predictions so far on this hardware: {past.sentence()}", markup=False)
    sys.exit(HOLDS if found else COULD_NOT_TELL)


def _read(run: Path) -> Run:
    try:
        return points.read(run.read_text().splitlines(keepends=True), str(run))
    except OSError as error:
        raise OperatorError(f"{run}: {error.strerror}; give a file of measured points") from None
    except UnicodeDecodeError:
        raise OperatorError(f"{run}: not text; give a file of measured points, one JSON object a line") from None
    except PlanError as error:
        raise OperatorError(str(error)) from None


def _live(name: str, hardware: Hardware) -> tuple[Measured, ...]:
    """Points of the running service: pairs that differ in the batch, the context or the prompt are counter-tests."""
    cluster = clusters.load(name)
    if not measuring.serves(cluster):
        raise OperatorError(f"{name}: no service answers; give a RUN, or `cluster -c {name} up` first")
    replicas = cluster.control.settings.serving.replicas
    average = os.getloadavg()[0]
    if hardware.one_machine and average > measuring.BUSY * len(os.sched_getaffinity(0)):
        said = f"this machine has other work (load {average:.1f}): what it takes away is not explained"
        display.words().print(said, style="yellow", markup=False)
    with display.progress() as progress:
        progress.phase("timing steps of the running service")
        short, long = measuring.SHORT_WORDS, measuring.LONG_WORDS
        loads = [(1, short), (replicas * 4, short), (replicas * 8, short), (replicas * 4, long)]
        measured = measuring.steps(cluster, loads, prompts=(measuring.PROMPT_WORDS, long))
    found = planning.declared(name)
    return tuple(measuring.points_of(measured, planning.load_model(found.model_name), found, hardware, replicas))


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


def _draw(picture: Path, found: list[Finding], device: Device, reached: Rates, where: str) -> None:
    try:
        picture.write_text(plot.draw(found, device, reached, f"{where} on {device.name}"))
    except OSError as error:
        raise OperatorError(f"{picture}: {error.strerror}; give a place that can be written") from None
    display.words().print(f"{picture} is written", markup=False)


def _show(found: list[Finding], calibration: Calibration | None, proved: tuple[Proof, ...]) -> None:
    console = display.results()
    if calibration is None:
        console.print("not calibrated: times are split by datasheets and assumptions", style="yellow")
    for finding in found:
        console.print(finding.sentence(), markup=False)
        shares = ", ".join(
            f"{part.name} {part.seconds * 1e3:.2f} ms ({part.limit})"
            for part in sorted(finding.timing.parts, key=lambda part: -part.seconds)
        )
        console.print(f"  split: {shares}", markup=False)
        console.print("  if that is right, then with", markup=False)
        for test in finding.tests:
            console.print(
                f"    {test.name}: {test.seconds * 1e3:.2f} ms ({test.change:+.0%}); {test.how}", markup=False
            )
    if proved:
        console.print("counter-tests that this run has made:")
    for proof in proved:
        said = "as predicted" if proof.held else "NOT as predicted"
        factors = f"predicted x {proof.predicted_factor:.2f}, measured x {proof.measured_factor:.2f}"
        console.print(f"  {proof.start}; {proof.what}: {factors}: {said}", markup=False)
    if proved:
        console.print(f"{sum(proof.held for proof in proved)} of {len(proved)} changes were as predicted", markup=False)
    if not all(proof.held for proof in proved):
        console.print("what moved otherwise is not explained: calibrate when nothing else runs, then explain again")
    limits: dict[str, int] = {}
    for finding in found:
        limits[finding.limit] = limits.get(finding.limit, 0) + 1
    counted = ", ".join(f"{limit} in {count}" for limit, count in sorted(limits.items(), key=lambda entry: -entry[1]))
    console.print(f"{len(found)} points; bound by {counted}", markup=False)


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
