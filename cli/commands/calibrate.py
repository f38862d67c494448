"""`cluster calibrate`: measures the cluster's own hardware and engine, and keeps what `plan` and `explain` then use."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click

from cli import display
from hardware.planner import calibration as calibrations
from hardware.planner import fit, microbenchmarks, rates
from hardware.planner.calibration import Calibration, Outcome
from hardware.planner.errors import PlanError
from hardware.planner.placement import Hardware, hardware_of, link_name
from operate import clusters, measuring, planning
from operate.clusters import ClusterInventory
from operate.errors import HOLDS, OperatorError
from operate.planning import Declared


@click.command("calibrate")
@click.option("--no-service", is_flag=True, help="Leave out the running service; measure the hardware only.")
@click.option("--no-hardware", is_flag=True, help="Time the running service only; the rest as it was measured before.")
@click.option("--to", "target", type=click.Path(path_type=Path), help="Where to keep it; default: with the state.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as JSON.")
@click.pass_obj
def command(name: str, no_service: bool, no_hardware: bool, target: Path | None, as_json: bool) -> None:
    """Measure memory, matrices and collectives on the hosts, and steps of the service if one runs.

    The engine's overheads are fitted to one user's step and prompt; steps of more users and a longer prompt are
    predicted first and compared, so the calibration knows its own error. What the last calibration predicted is
    compared too, and the errors so far are kept. Takes about five minutes and changes nothing on the hosts.

    A running engine has its accelerator's memory: there, --no-service before `up`, --no-hardware after it.
    """
    if no_service and no_hardware:
        raise OperatorError("--no-service and --no-hardware leave nothing to measure; give one of them")
    cluster = clusters.load(name)
    found = planning.declared(name)
    try:
        hardware = hardware_of(found.cluster)
        kept = planning.load_calibration(None, hardware.device.name, found.engine_version)
        if no_hardware and kept is None:
            raise OperatorError(f"{name}: no hardware was measured before; leave out --no-hardware")
        serves = not no_service and measuring.serves(cluster)
        if no_hardware and not serves:
            raise OperatorError(f"{name}: no service answers; `cluster -c {name} up` first")
        with display.progress() as progress:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            made = replace(kept, made=now) if no_hardware and kept else _hardware(cluster, hardware, found, progress)
            if serves:
                progress.phase("timing steps of the running service")
                made = _service(cluster, hardware, found, made, kept)
            else:
                made = replace(made, outcomes=_history(kept))
                if not no_service:
                    display.words().print("no service answers: its overheads stay assumed; `cluster up`, then again")
    except PlanError as error:
        raise OperatorError(f"{name}: {error}") from None
    path = target or planning.calibration_path(made.hardware, made.engine)
    planning.keep_calibration(made, path)
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
            if record.get("name") == "load" and record["average"] > measuring.BUSY * record["processors"]:
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


def _service(
    cluster: ClusterInventory, hardware: Hardware, found: Declared, made: Calibration, kept: Calibration | None
) -> Calibration:
    """Fit the overheads to one user's step and prompt, then predict more users and a longer prompt, and compare.

    What the kept calibration says of the same steps was predicted before too, and is noted as well.
    """
    replicas = cluster.control.settings.serving.replicas
    loads = [(users, measuring.SHORT_WORDS) for users in (1, *(replicas * each for each in (2, 4, 8)))]
    measured = measuring.steps(cluster, loads, prompts=(measuring.PROMPT_WORDS, measuring.LONG_WORDS))
    model = planning.load_model(found.model_name)
    alone, *more, prompt, longer = measuring.points_of(measured, model, found, hardware, replicas)
    more.append(longer)
    precision = alone.point.model.dtype
    when = datetime.now(UTC).isoformat(timespec="seconds")
    before = (
        measuring.compare([alone, prompt, *more], kept, hardware, when)
        if kept and kept.step_seconds is not None
        else ()
    )
    prior = rates.rates(hardware.device, made, precision, "likely")
    held = microbenchmarks.measured_names(made, precision)
    beside = hardware.device.runtime_kind != "cpu"
    known = measuring.paths(hardware, made)
    fitted = fit.fit([alone.point, prompt.point], prior, held, known, made.curves, host_beside=beside)
    result = fit.calibrated(replace(made, outcomes=(*_history(kept), *before)), fitted, precision)
    return result.with_outcomes(measuring.compare(more, result, hardware, when))


def _history(kept: Calibration | None) -> tuple[Outcome, ...]:
    """What was predicted before it was measured, by earlier calibrations."""
    return tuple(outcome for outcome in kept.outcomes if not outcome.fitted) if kept else ()


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
    made_now = [outcome for outcome in made.outcomes if outcome.fitted or outcome.when >= made.made]
    for outcome in made_now:
        kind = "fitted" if outcome.fitted else f"{outcome.predicted / outcome.measured - 1:+.0%}"
        times = f"predicted {outcome.predicted * 1e3:.1f} ms, measured {outcome.measured * 1e3:.1f} ms"
        display.results().print(f"  {outcome.what}: {times} ({kind})", markup=False)
    if past := made.past_error():
        display.results().print(f"predictions so far: {past.sentence()}", markup=False)
    display.words().print(f"kept in {path}", markup=False)
