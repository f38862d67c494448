"""`cluster calibrate`: measures the cluster's own hardware and engine, and keeps what `plan` and `explain` then use."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli import display
from hardware.planner import calibration as calibrations
from hardware.planner.calibration import Calibration
from operate import planning
from operate.calibrating import calibrate
from operate.errors import HOLDS, OperatorError
from operate.measuring import ROUNDS


@click.command("calibrate")
@click.option("--no-service", is_flag=True, help="Leave out the running service; measure the hardware only.")
@click.option("--no-hardware", is_flag=True, help="Time the running service only; the rest as it was measured before.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=ROUNDS,
    show_default=True,
    help="How often each step of the service is timed; the median counts.",
)
@click.option("--to", "target", type=click.Path(path_type=Path), help="Where to keep it; default: with the state.")
@click.option("--json", "as_json", is_flag=True, help="Print the calibration as JSON.")
@click.pass_obj
def command(name: str, no_service: bool, no_hardware: bool, rounds: int, target: Path | None, as_json: bool) -> None:
    """Measure memory, matrices and collectives on the hosts, and steps of the service if one runs.

    The engine's overheads are fitted to one user's step and prompt; steps of more users and a longer prompt are
    predicted first and compared, so the calibration knows its own error. What the last calibration predicted is
    compared too, and the errors so far are kept. Takes about five minutes and changes nothing on the hosts.

    A running engine has its accelerator's memory: there, --no-service before `up`, --no-hardware after it.
    """
    if no_service and no_hardware:
        raise OperatorError("--no-service and --no-hardware leave nothing to measure; give one of them")
    with display.progress() as progress:
        made, remarks = calibrate(name, progress, hardware=not no_hardware, service=not no_service, rounds=rounds)
    for remark in remarks:
        display.words().print(remark, style="yellow", markup=False)
    path = target or planning.calibration_path(made.hardware, made.engine)
    planning.keep_calibration(made, path)
    if as_json:
        sys.stdout.write(calibrations.to_json(made))
    else:
        _show(made, path)
    sys.exit(HOLDS)


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
