"""A bundle's experiment again, on the cluster at hand: the same parameters, the same seed, the same trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from experiments.bundle import layout, manifest, reading, writing
from experiments.bundle.errors import BundleError
from experiments.configuration import resolving
from experiments.configuration.errors import Place
from experiments.configuration.resolving import Resolved
from experiments.runs import ground
from experiments.runs.order import TAGS, Order
from operate.clusters import ClusterInventory


def order(bundle: Path, cluster: ClusterInventory, fetched: Path) -> Order:
    """What was asked for then; BundleError for a bundle that is partial, or is not as it was written."""
    seen = reading.read(bundle)
    if seen.state != "complete":
        raise BundleError(
            f"{seen.name} is partial (stopped in {seen.stopped_in or 'no phase'}); run it to its end with --resume"
        )
    wrong = [check.detail for check in manifest.check(bundle) if check.ok is not True]
    if wrong:
        raise BundleError(
            f"{seen.name}: {'; '.join(wrong[:3])}; it is not as it was written, and would not be the same again"
        )
    made = manifest.read(bundle)
    tags = frozenset(made.get("tags") or TAGS)
    return Order(cluster.given, resolved(bundle), tags, fetched, origin={"replay_of": seen.name})


def resolved(bundle: Path) -> Resolved:
    """The bundle's configuration, with the trace that lies in it."""
    seen = reading.read(bundle)
    sources = writing.read_json(bundle, layout.SOURCES)
    where = str(bundle / layout.CONFIGURATION)
    found = resolving.again(seen.values, sources if isinstance(sources, Mapping) else {}, where)
    if (bundle / ground.TRACE_FILE).is_file():
        parameters = msgspec.structs.replace(found.parameters, llm_benchmark_trace=ground.TRACE_FILE)
        places = {**found.places, "llm_benchmark_trace": Place("bundle", where, 1)}
        return replace(found, parameters=parameters, places=places)
    return found


def differences(bundle: Path, cluster: ClusterInventory) -> list[str]:
    """What is another than it was: versions, profile, machine. Each says then and now."""
    then = writing.read_json(bundle, layout.VERSIONS)
    now = ground.versions(cluster, resolved(bundle).parameters)
    return list(_differences(then if isinstance(then, dict) else {}, now, ""))


def _differences(then: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, was in then.items():
        here = now.get(name)
        if isinstance(was, Mapping) and isinstance(here, Mapping):
            yield from _differences(was, here, f"{prefix}{name} ")
        elif was != here:
            yield f"{prefix}{name} was {was}, is {here}"
    for name in now.keys() - then.keys():
        yield f"{prefix}{name} was not there, is {now[name]}"
