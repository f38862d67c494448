"""`cluster calibrate`: measures the cluster's own hardware and engine, and keeps what `plan` and `explain` then use."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from cli import clusters, display, measuring, planning
from cli.clusters import ClusterInventory
from cli.commands.explain import paths
from cli.errors import HOLDS, OperatorError
from cli.planning import Declared
from hardware.planner import calibration as calibrations
from hardware.planner import fit, microbenchmarks, rates
from hardware.planner.calibration import Calibration, Outcome
from hardware.planner.errors import PlanError
from hardware.planner.placement import Hardware, hardware_of, link_name

# Load for each processor above which a measurement is not the hardware's.
_BUSY = 0.3


@click.command("calibrate")
@click.option("--no-service", is_flag=True, help="Leave out the running service; measure the hardware only.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Where to keep it; default: with the state.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as JSON.")
@click.pass_obj
def command(name: str, no_service: bool, target: Path | None, as_json: bool) -> None:
    """Measure memory, matrices and collectives on the hosts, and decode steps of the service if one runs.

    The engine's overheads are fitted to the step of one user alone; steps of more users are predicted first and
    compared, so the calibration knows its own error. Takes about five minutes and changes nothing on the hosts.
    """
    cluster = clusters.load(name)
    found = planning.declared(name)
    try:
        hardware = hardware_of(found.cluster)
        with display.progress() as progress:
            made = _hardware(cluster, hardware, found, progress)
            if not no_service and measuring.serves(cluster):
                progress.phase("timing steps of the running service")
                made = _service(cluster, hardware, found, made)
            elif not no_service:
                display.words().print("no service answers: its overheads stay assumed; `cluster up`, then again")
    except PlanError as error:
        raise OperatorError(f"{name}: {error}") from None
    path = target or planning.calibration_path(made.hardware, made.engine)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(calibrations.to_json(made))
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}; give another place with --to") from None
    if as_json:
        sys.stdout.write(calibrations.to_json(made))
    else:
        _show(made, path)
    sys.exit(HOLDS)


def _hardware(
    cluster: ClusterInventory, hardware: Hardware, found: Declared, progress: display.Progress
) -> Calibration:
    """From microbenchmarks: the slowest host's rates, since ranks wait for each other."""
    hosts = [host for host in cluster.compute if host.settings.runs_engine] or list(cluster.compute)
    if hardware.one_machine:
        hosts = hosts[:1]
    progress.phase(f"measuring memory and matrices of {len(hosts)} hosts")
    made = datetime.now(UTC).isoformat(timespec="seconds")
    measured = measuring.device(hosts)
    for host, records in measured.items():
        for record in records:
            if record.get("name") == "load" and record["average"] > _BUSY * record["processors"]:
                load = f"load {record['average']:.1f} on {record['processors']} processors"
                said = f"{host} had other work ({load}): rates are too low; run it again when the host is idle"
                display.words().print(said, style="yellow", markup=False)
    each = [
        microbenchmarks.calibration(records, hardware.device.name, found.engine_version, made)
        for records in measured.values()
    ]
    slowest = min(each, key=lambda entry: entry.memory_bytes_per_second or 0.0)
    if len(hosts) < 2 or not hardware.links or hardware.device.runtime_kind == "cpu":
        return slowest
    path = link_name(next((link for link in hardware.links if not link.optional), hardware.links[0]))
    progress.phase(f"measuring collectives over {path}")
    records = measuring.collectives(hosts, path)
    network = microbenchmarks.calibration(records, hardware.device.name, found.engine_version)
    return replace(slowest, curves=network.curves)


def _service(cluster: ClusterInventory, hardware: Hardware, found: Declared, made: Calibration) -> Calibration:
    """Fit the overheads to one user's step, then predict steps of more users and note how that went."""
    serving = cluster.control.settings.serving
    replicas = serving.replicas
    users = [1, *(replicas * each for each in (2, 4, 8))]
    measured = measuring.steps(cluster, users)
    model = planning.load_model(found.model_name)
    alone, *more = measuring.points_of(measured, model, found, hardware, replicas)
    precision = alone[0].model.dtype
    beside = hardware.device.runtime_kind != "cpu"
    known = paths(hardware, made)
    prior = rates.rates(hardware.device, made, precision, "likely")
    held = microbenchmarks.measured_names(made, precision)
    fitted = fit.fit([alone[0]], prior, held, known, made.curves, host_beside=beside)
    outcomes = []
    for point, engines in more:
        reached = fitted.rates.shared_by(engines if hardware.one_machine else 1)
        predicted = fit.predict_point(point, reached, known, made.curves, host_beside=beside)
        outcomes.append(Outcome(f"{point.name}, {engines} engines", predicted, point.seconds))
    return fit.calibrated(made, fitted, precision).with_outcomes(tuple(outcomes))


def _show(made: Calibration, path: Path) -> None:
    rows = []
    for label, value, scale, unit in (
        ("memory", made.memory_bytes, 2**30, "GiB"),
        ("memory bandwidth", made.memory_bytes_per_second, 1e9, "GB/s"),
        *((f"matrices, {dtype}", flops, 1e9, "GFLOP/s") for dtype, flops in made.flops_per_second),
        *((f"matrices of few rows, {dtype}", flops, 1e9, "GFLOP/s") for dtype, flops in made.few_rows_flops_per_second),
        ("a kernel", made.kernel_seconds, 1e-6, "µs"),
        ("a step beside the model", made.step_seconds, 1e-3, "ms"),
        ("the host's part of a step", made.host_seconds, 1e-3, "ms"),
    ):
        if value is not None:
            rows.append((label, f"{value / scale:.4g} {unit}"))
    for curve in made.curves:
        small, large = curve.seconds[0] * 1e6, curve.sizes_bytes[-1] / curve.seconds[-1] / 1e9
        rows.append((f"{curve.operation} of {curve.ranks} over {curve.path}", f"{small:.0f} µs, {large:.2f} GB/s"))
    display.table(f"{made.hardware}, {made.engine}", ("what", "reached"), rows)
    for outcome in made.outcomes:
        kind = "fitted" if outcome.fitted else f"{outcome.predicted / outcome.measured - 1:+.0%}"
        times = f"predicted {outcome.predicted * 1e3:.1f} ms, measured {outcome.measured * 1e3:.1f} ms"
        display.results().print(f"  {outcome.what}: {times} ({kind})", markup=False)
    display.words().print(f"kept in {path}", markup=False)
