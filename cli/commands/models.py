"""`cluster models`: what can be served, and whether it fits this cluster."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from typing import Any

import click

from cli import display
from hardware.model import Cluster, ProfileError
from inventories import models
from inventories.models.catalogue import Entry
from inventories.models.fit import Place, fit, gib, minimum_accelerator_bytes, place_of
from operate import clusters
from operate.clusters import ClusterInventory
from operate.errors import OperatorError

_MARKS = {True: "fits", False: "no", None: "unknown"}


@click.command("models")
@click.argument("names", nargs=-1, metavar="[MODEL]...")
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known of the models as JSON.")
@click.pass_obj
def command(name: str, names: tuple[str, ...], as_json: bool) -> None:
    """Show the models that can be served, and whether they fit this cluster.

    MODEL is a name of the catalogue, hub:OWNER/NAME@REVISION, or a directory; without one the whole catalogue is shown.
    """
    cluster = clusters.read(name)
    place = place_for(cluster)
    try:
        entries = tuple(models.entry(wanted) for wanted in names) or models.entries()
    except ProfileError as error:
        raise OperatorError(str(error)) from None
    settings = cluster.control.settings
    dtypes = {application.model.name: application.serving.dtype for application in settings.applications}
    found = [describe(entry, place, dtypes) for entry in entries]
    if as_json:
        display.emit({"cluster": cluster.name, "place": vars(place), "models": found})
        return
    rows = [
        (
            ("* " if row["served"] else "  ") + row["name"],
            row["task"],
            row["engine_kind"],
            row["fit"]["dtype"] or "-",
            gib(row["weights_bytes"]) if row["weights_bytes"] else "-",
            row["licence"],
            f"{_MARKS[row['fit']['ok']]}: {row['fit']['detail']}",
        )
        for row in found
    ]
    display.table(
        f"Models for {cluster.name} ({place.kind}); * is served",
        ("  model", "task", "engine", "dtype", "weights", "licence", "fit"),
        rows,
    )


def describe(entry: Entry, place: Place, served: Mapping[str, str]) -> dict[str, Any]:
    """A model as plain data: all of the catalogue's keys, its weights in memory, and how it fits.

    `served`: the models that the inventory serves, each with the data type that it chose.
    """
    judged = fit(entry, place, served.get(entry.name, ""))
    known = bool(entry.parameters)
    return {
        **entry.to_data(),
        "served": entry.name in served,
        "weights_bytes": entry.weights_bytes(judged.dtype or entry.dtypes[0]),
        "minimum_accelerator_bytes": minimum_accelerator_bytes(entry) if known else None,
        "fit": judged.to_json(),
    }


def place_for(cluster: ClusterInventory) -> Place:
    """Where this cluster's engines run: its profile's memory, or this machine's where its nodes are this machine."""
    settings = cluster.control.settings
    here, engines = None, 1
    if settings.system.shared_machine:
        here, engines = _this_machine(), max(sum(host.settings.runs_engine for host in cluster.hosts), 1)
    profile = _profile(settings.profile.partition(" ")[0])
    if profile is not None:
        return place_of(profile, host_bytes=here, sharing=engines)
    compute = [host.settings for host in cluster.compute]
    accelerators = min(len(host.accelerators.names) for host in compute)
    return Place(settings.runtime.kind, len(compute), accelerators, host_bytes=here, sharing=engines)


def _profile(name: str) -> Cluster | None:
    """The hardware profile of that name; None for one that is in no module of this project."""
    try:
        found = getattr(importlib.import_module(f"hardware.{name}"), "CLUSTER", None)
    except ImportError:
        return None
    return found if isinstance(found, Cluster) else None


def _this_machine() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
