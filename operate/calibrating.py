"""Measures a cluster's hardware and its running engine, and fits from that what `plan` and `explain` use."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hardware.planner import fitting, microbenchmarks, rates
from hardware.planner.calibration import Calibration, Outcome
from hardware.planner.errors import PlanError
from hardware.planner.placement import Hardware, hardware_of, link_name
from operate import measuring, ownership, planning
from operate.clusters import ClusterInventory
from operate.errors import OperatorError
from operate.planning import Declared
from operate.progress import Progress


def calibrate(
    name: str, progress: Progress, *, hardware: bool = True, service: bool = True, rounds: int = measuring.ROUNDS
) -> tuple[Calibration, tuple[str, ...]]:
    """A calibration from the hardware, the running service or both, and what the operator should hear of it.

    What is not measured is as it was measured before. OperatorError when nothing can be.
    """
    cluster = ownership.load(name)
    found = planning.declared(name)
    remarks: list[str] = []
    try:
        parts = hardware_of(found.cluster)
        kept = planning.load_calibration(None, parts.device.name, found.engine_version)
        if not hardware and kept is None:
            raise OperatorError(f"{name}: no hardware was measured before; leave out --no-hardware")
        serves = service and measuring.serves(cluster)
        if not hardware and not serves:
            raise OperatorError(f"{name}: no service answers; `{cluster.command} up` first")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        only_service = replace(kept, made=now) if kept and not hardware else None
        made = only_service or _hardware(cluster, parts, found, progress, remarks)
        if serves:
            progress.phase("timing steps of the running service")
            made = _service(cluster, parts, found, made, kept, rounds)
        else:
            made = replace(made, outcomes=_history(kept))
            if service:
                remarks.append(f"no service answers: its overheads stay assumed; `{cluster.command} up`, then again")
    except PlanError as error:
        raise OperatorError(f"{name}: {error}") from None
    return made, tuple(remarks)


def _hardware(
    cluster: ClusterInventory, hardware: Hardware, found: Declared, progress: Progress, remarks: list[str]
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
                remarks.append(f"{host} had other work ({load}): rates are too low; run it again when the host is idle")
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
    cluster: ClusterInventory,
    hardware: Hardware,
    found: Declared,
    made: Calibration,
    kept: Calibration | None,
    rounds: int,
) -> Calibration:
    """Fit the overheads to one user's step and prompt, then predict more users and a longer prompt, and compare.

    What the kept calibration says of the same steps was predicted before too, and is noted as well.
    """
    replicas = cluster.control.settings.serving.replicas
    loads = [(users, measuring.SHORT_WORDS) for users in (1, *(replicas * each for each in (2, 4, 8)))]
    measured = measuring.steps(cluster, loads, (measuring.PROMPT_WORDS, measuring.LONG_WORDS), rounds)
    model = planning.layers(found.model_name)
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
    fitted = fitting.fit_rates([alone.point, prompt.point], prior, held, known, made.curves, host_beside=beside)
    result = fitting.calibrated(replace(made, outcomes=(*_history(kept), *before)), fitted, precision)
    return result.with_outcomes(measuring.compare(more, result, hardware, when))


def _history(kept: Calibration | None) -> tuple[Outcome, ...]:
    """What was predicted before it was measured, by earlier calibrations."""
    return tuple(outcome for outcome in kept.outcomes if not outcome.fitted) if kept else ()
