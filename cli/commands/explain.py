"""`cluster explain`: what bound a measured run, how far it was from the limit, and what would prove it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from cli import display, planning
from cli.errors import COULD_NOT_TELL, HOLDS, OperatorError
from hardware.model import Node
from hardware.planner import collectives, explain, plot, points, rates
from hardware.planner.calibration import Calibration
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.collectives import Path as Link
from hardware.planner.errors import PlanError
from hardware.planner.explain import Finding
from hardware.planner.placement import Hardware, hardware_of, link_name, link_path, peer_path
from hardware.planner.points import Run
from hardware.planner.rates import Device, Rates


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--accelerator", metavar="NAME", help="What it was measured on, when not on this cluster's parts.")
@click.option("--calibration", "file", type=click.Path(path_type=Path), help="A calibration; default: the kept one.")
@click.option("--only", default="", metavar="TEXT", help="Only points whose name has this in it.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write roofline and step times as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def command(
    name: str, run: Path, accelerator: str | None, file: Path | None, only: str, picture: Path | None, as_json: bool
) -> None:
    """Explain RUN, a file of measured points (JSON lines): what bound each, and the counter-tests that would prove it.

    Exit status 0: every point is explained. 2: the run cannot be read, or nothing can be said about it.
    """
    measured = _read(run)
    hardware, engine = _where(name, accelerator)
    device = hardware.device
    try:
        calibration = planning.load_calibration(file, device.name, engine)
        chosen = [point for point in measured.points if only in point.name]
        if not chosen:
            raise OperatorError(f"{run}: no points" + (f" with {only!r} in their names" if only else ""))
        known = paths(hardware, calibration)
        curves = calibration.curves if calibration else ()
        found = []
        for point in chosen:
            precision = point.options.dtype or point.model.dtype
            reached = rates.rates(device, calibration, precision, "likely")
            found.append(explain.explain(point, device, reached, known, curves, precision=precision))
    except PlanError as error:
        raise OperatorError(f"{run}: {error}") from None
    if picture is not None:
        _draw(picture, found, device, rates.rates(device, calibration, found[0].point.model.dtype, "likely"), run)
    if as_json:
        display.emit({"run": str(run), "device": device.name, "findings": [_plain(finding) for finding in found]})
    else:
        _show(found, calibration)
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


def paths(hardware: Hardware, calibration: Calibration | None) -> dict[str, Link]:
    """Paths by the names that points give: the profile's links, between cards of a node, and what was measured."""
    found = {link_name(link): link_path(link, "likely") for link in hardware.links}
    if hardware.device.peer_bytes_per_second is not None:
        found["peer"] = peer_path(hardware, calibration, "likely")
    return found | collectives.measured_paths(calibration.curves if calibration else ())


def _draw(picture: Path, found: list[Finding], device: Device, reached: Rates, run: Path) -> None:
    try:
        picture.write_text(plot.draw(found, device, reached, f"{run.name} on {device.name}"))
    except OSError as error:
        raise OperatorError(f"{picture}: {error.strerror}; give a place that can be written") from None
    display.words().print(f"{picture} is written", markup=False)


def _show(found: list[Finding], calibration: Calibration | None) -> None:
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
        for test in finding.tests:
            console.print(f"  {test.name}: {test.seconds * 1e3:.2f} ms ({test.change:+.0%}); {test.how}", markup=False)
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
