"""`cluster plan`: what a model would do on the cluster, before anything runs. Touches no machine."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from cli import display, plan_view
from hardware.model import ProfileError
from hardware.planner import links, plan, what_if
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.errors import PlanError
from hardware.planner.placement import hardware_of
from hardware.planner.plan import Plan
from hardware.planner.prediction import Workload
from operate import plan_json, planning
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS, OperatorError


@click.command("plan")
@click.option("--model", "given", metavar="MODEL", help="Any name that `cluster models` takes, or a config.json.")
@click.option("--context", type=int, metavar="TOKENS", help="Longest request (max_model_len).")
@click.option("--prompt", type=int, default=512, show_default=True, metavar="TOKENS", help="Length of the prompts.")
@click.option("--output", type=int, default=128, show_default=True, metavar="TOKENS", help="Length of the answers.")
@click.option("--concurrency", "users", type=int, multiple=True, metavar="N", help="Users at once; several times.")
@click.option("--what-if", "changes", multiple=True, metavar="CHANGE", help=f"{what_if.FORMS}; several times.")
@click.option("--calibration", "file", type=click.Path(path_type=Path), help="A calibration; default: the kept one.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.pass_obj
def command(
    name: str,
    given: str | None,
    context: int | None,
    prompt: int,
    output: int,
    users: tuple[int, ...],
    changes: tuple[str, ...],
    file: Path | None,
    as_json: bool,
) -> None:
    """Say where a model fits on the cluster, how fast it would be, what would bind, and which placement to take.

    Exit status 0: something fits. 1: nothing does. 2: it could not be told, or bad usage.
    """
    found = planning.declared(name)
    model_name = found.model_name if given is None else given
    if not model_name:
        said = f"{name} declares no model" if given is None else "--model is empty"
        raise OperatorError(f"{said}; give a name of `cluster models`, a directory or a config.json with --model")
    model = planning.load_model(model_name)
    cluster = found.cluster
    try:
        for change in changes:
            cluster = what_if.apply(cluster, change, ACCELERATORS)
        workload = Workload(prompt, output, tuple(sorted(set(users or (1, 4, 16)))))
        options = planning.options(found, model, context)
        if any(change.startswith("accelerator=") for change in changes):
            # What the inventory declares is for the cards that it has.
            options = replace(options, dtype=None, enforce_eager=False)
        device = hardware_of(cluster).device
        engine = planning.engine_version(cluster)
        calibration = planning.load_calibration(file, device.name, engine)
        if calibration is not None and calibration.engine != engine:
            said = f"calibrated with {calibration.engine}, planned for {engine}: the engine's overheads may differ"
            display.words().print(said, style="yellow", markup=False)
        made = plan.make(cluster, model, workload, options, calibration)
        over = (
            links.compare(cluster, made.timed, workload, options, calibration) if made.timed and cluster.links else ()
        )
    except (PlanError, ProfileError) as error:
        raise OperatorError(f"{name}: {error}") from None
    if as_json:
        display.emit({**plan_json.to_json(made, over), "changes": list(changes), "engine": engine})
    else:
        plan_view.show(made, over, changes, engine)
    if made.recommended is None:
        display.words().print(f"cluster: {name}: {made.refusal}", style="red", markup=False)
    sys.exit(_status(made))


def _status(made: Plan) -> int:
    if made.recommended is not None:
        return HOLDS
    # Whatever fits but cannot be predicted is a matter of missing figures, not of the cluster.
    untold = made.support.ok and any(c.judgement.ok is not False for c in made.candidates)
    return COULD_NOT_TELL if untold else DOES_NOT_HOLD
