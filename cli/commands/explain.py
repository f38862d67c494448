"""`cluster explain`: what bound a measured run, how far it was from the limit, and what would prove it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli import display
from operate.errors import COULD_NOT_TELL, HOLDS
from operate.explaining import Explanation, explain
from operate.measuring import ROUNDS


@click.command("explain")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option("--accelerator", metavar="NAME", help="What it was measured on, when not on this cluster's parts.")
@click.option("--calibration", "file", type=click.Path(path_type=Path), help="A calibration; default: the kept one.")
@click.option("--only", default="", metavar="TEXT", help="Only points whose name has this in it.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=ROUNDS,
    show_default=True,
    help="How often each step of the service is timed; the median counts.",
)
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Write roofline and step times as SVG.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.pass_obj
def command(
    name: str,
    run: Path | None,
    accelerator: str | None,
    file: Path | None,
    only: str,
    rounds: int,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Explain RUN, a file of measured points (JSON lines): what bound each, and the counter-tests that would prove it.

    Without RUN, steps of the running service are timed and explained. Where the run itself has two points that differ
    in one thing, the predicted change is held against the measured one.

    Exit status 0: every point is explained. 2: the run cannot be read, or nothing can be said about it.
    """
    with display.progress() as progress:
        explained = explain(name, run, progress, accelerator=accelerator, file=file, only=only, rounds=rounds)
    for remark in explained.remarks:
        display.words().print(remark, style="yellow", markup=False)
    if picture is not None:
        explained.draw(picture)
        display.words().print(f"{picture} is written", markup=False)
    if as_json:
        display.emit(explained)
    else:
        _show(explained)
    sys.exit(HOLDS if explained.findings else COULD_NOT_TELL)


def _show(explained: Explanation) -> None:
    console = display.results()
    found, proved = explained.findings, explained.proofs
    if explained.calibration is None:
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
    past = explained.calibration.past_error() if explained.calibration else None
    if past:
        console.print(f"predictions so far on this hardware: {past.sentence()}", markup=False)
