"""`cluster models`: what can be served, and whether it fits this cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from cli import display
from hardware.model import ProfileError
from hardware.planner.architecture import DTYPE_BYTES
from hardware.planner.fit import fit_as, gib, smallest_accelerator_bytes
from hardware.planner.options import Options, declared
from hardware.planner.served import Place
from inventories import models
from inventories.models.catalogue import Entry
from operate import clusters
from operate.errors import OperatorError
from operate.places import place_for

_MARKS = {True: "fits", False: "no", None: "unknown"}


@click.command("models")
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known of the models as JSON.")
@click.pass_obj
def command(name: str, names: tuple[str, ...], as_json: bool) -> None:
    """Show the models that can be served, and whether they fit this cluster.

    MODEL is a name of the catalogue or of a known config.json, OWNER/NAME of a hub, hub:OWNER/NAME@REVISION, or a
    directory; without one the whole catalogue is shown.
    """
    cluster = clusters.read(name)
    place = place_for(cluster)
    try:
        entries = tuple(models.entry(wanted) for wanted in names) or models.entries()
    except ProfileError as error:
        raise OperatorError(str(error)) from None
    settings = cluster.control.settings
    served = {
        application.model.name: declared(
            application.serving.dtype, application.serving.enforce_eager, application.serving.engine
        )
        for application in settings.applications
    }
    found = [describe(entry, place, served) for entry in entries]
    if as_json:
        display.emit({"cluster": cluster.name, "place": place.to_json(), "models": found})
        return
    rows = [
        (
            ("* " if row["served"] else "  ") + row["name"],
            row["task"],
            row["engine_kind"],
            row["fit"]["dtype"] or "-",
            gib(row["weights_bytes"]) if row["weights_bytes"] else "-",
            row.get("parser", {}).get("tools", "-"),
            row["licence"],
            f"{_MARKS[row['fit']['ok']]}: {row['fit']['detail'].partition(';')[0]}",
        )
        for row in found
    ]
    display.table(
        f"Models for {cluster.name} ({place.kind}); * is served",
        ("  model", "task", "engine", "dtype", "weights", "tools", "licence", "fit"),
        rows,
    )


def describe(entry: Entry, place: Place, served: Mapping[str, Options]) -> dict[str, Any]:
    """A model as plain data: all of the catalogue's keys, its weights in memory, and how it fits.

    `served`: the models that the inventory serves, each with its engine's options there.
    """
    judged = fit_as(entry.served, place, served.get(entry.name, Options()))
    width = DTYPE_BYTES[judged.dtype or entry.dtypes[0]]
    return {
        **entry.to_data(),
        "served": entry.name in served,
        "weights_bytes": entry.weights_bytes_on_disk if entry.quantization else entry.parameters * width,
        "minimum_accelerator_bytes": smallest_accelerator_bytes(entry.served),
        "fit": judged.to_json(),
    }
