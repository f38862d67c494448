"""Runs the measuring programs of facts/programs/ on a cluster's hosts, in the locked runtime; reads their records.

The programs go over standard input, so nothing is installed. OperatorError names the host and what it said.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from deploys import runtime_lock
from facts import sources
from hardware.planner import collectives as ways
from hardware.planner import fitting, rates
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration, Outcome
from hardware.planner.collectives import Path as Link
from hardware.planner.placement import Hardware, link_name, link_path, peer_path
from hardware.planner.points import Point
from hardware.planner.tensors import Sharding
from hardware.planner.work import Step
from operate import api, planning
from operate.api import reachable
from operate.clusters import ClusterInventory, Host
from operate.errors import OperatorError
from operate.planning import Declared
from operate.ssh import ssh_command

DEVICE_SECONDS = 180
COLLECTIVE_SECONDS = 240
# Above the port blocks of RAY_PORTS, below what Linux hands out to clients.
MEETING_PORT = 29400
# Load for each processor above which a measurement is not the hardware's.
BUSY = 0.3
# Words of a prompt when its length does not matter, and of one whose length is to be felt.
SHORT_WORDS, PROMPT_WORDS, LONG_WORDS = 64, 128, 256
# How often each step is timed; the median counts.
ROUNDS = 3


def device(hosts: Sequence[Host]) -> dict[str, list[dict[str, Any]]]:
    """Each host's records of memory and matrices, all hosts at the same time."""
    orders = [(host, {"what": "device"}) for host in hosts]
    return dict(zip((host.name for host in hosts), _all(orders, DEVICE_SECONDS), strict=True))


def collectives(hosts: Sequence[Host], path: str) -> list[dict[str, Any]]:
    """Records of collectives over all hosts, one rank each."""
    orders = []
    for rank, host in enumerate(hosts):
        order = {
            "what": "collectives",
            "rank": rank,
            "ranks": len(hosts),
            "address": hosts[0].settings.network.address,
            "port": MEETING_PORT,
            "path": path,
            "interface": host.settings.network.interface,
            "seconds": COLLECTIVE_SECONDS / 2,
        }
        orders.append((host, order))
    return _all(orders, COLLECTIVE_SECONDS)[0]


def steps(
    cluster: ClusterInventory, loads: Sequence[tuple[int, int]], prompts: Sequence[int] = (), rounds: int = ROUNDS
) -> list[Mapping[str, Any]]:
    """Decode steps of the running service under loads of (users, words of their prompts), then prompts of one user.

    The median of `rounds` counts. Asked from here or, where the API cannot be reached, on the control node.
    """
    settings = cluster.control.settings
    order = {
        "url": settings.endpoint,
        "key": api.api_key(cluster) or "",
        "model": settings.model.name,
        "loads": [list(load) for load in loads],
        "prompts": list(prompts),
        "short": 8,
        "long": 40,
        "rounds": rounds,
        "seconds": 300,
    }
    program = sources.text("facts.programs.steps")
    near = reachable(settings.head_address, settings.gateway.port)
    if near or "ssh_user" not in cluster.control.data:
        command = [sys.executable, "-c", program]
    else:
        command = [*ssh_command(cluster.control), shlex.join(["python3", "-c", program])]
    try:
        done = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, timeout=1200, check=False
        )
        answer = json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        raise OperatorError(f"{order['url']}: no answer that can be read; see `cluster status`") from None
    if "error" in answer:
        raise OperatorError(f"{order['url']}: {answer['error']}; see `cluster status`")
    return list(answer["points"])


@dataclass(frozen=True)
class Measured:
    """A point of one engine, and how many engines worked at the same time on its machine."""

    point: Point
    sharing: int


def points_of(
    measured: Sequence[Mapping[str, Any]], model: Model, found: Declared, hardware: Hardware, replicas: int
) -> list[Measured]:
    """A point for each measurement of the service."""
    options = planning.options(found, planning.load_model(found.model_name), None)
    served = replace(model, dtype=options.dtype or model.dtype)
    serving = found.serving
    sharding = Sharding(int(serving.get("tensor_parallel", 1)), int(serving.get("pipeline_parallel", 1)))
    required = [link for link in hardware.links if not link.optional] or list(hardware.links)
    path = "peer" if sharding.ranks <= hardware.devices_per_node or not required else link_name(required[0])
    result = []
    for entry in measured:
        engines = min(replicas, int(entry["users"]))
        each, prefill = max(1, round(int(entry["users"]) / engines)), bool(entry.get("prefill"))
        step = Step(each, float(entry["context_tokens"]), prefill=prefill)
        # Several engines on one machine: what is timed is one of them, and two numbers of them are two things.
        beside = f", one of {engines} engines" if hardware.one_machine and engines > 1 else ""
        point = Point(model.name + beside, served, sharding, options, step, path, float(entry["seconds"]))
        result.append(Measured(point, engines if hardware.one_machine else 1))
    return result


def compare(
    measured: Sequence[Measured], calibration: Calibration, hardware: Hardware, when: str
) -> tuple[Outcome, ...]:
    """What a calibration predicts for each point, beside what was measured."""
    known, found = paths(hardware, calibration), []
    for one in measured:
        reached = rates.rates(hardware.device, calibration, one.point.model.dtype, "likely").shared_by(one.sharing)
        beside = hardware.device.runtime_kind != "cpu"
        predicted = fitting.predict_point(one.point, reached, known, calibration.curves, host_beside=beside)
        found.append(Outcome(one.point.name, predicted, one.point.seconds, when=when))
    return tuple(found)


def paths(hardware: Hardware, calibration: Calibration | None) -> dict[str, Link]:
    """Paths by the names that points give: the profile's links, between cards of a node, and what was measured."""
    found = {link_name(link): link_path(link, "likely") for link in hardware.links}
    if hardware.device.peer_bytes_per_second is not None:
        found["peer"] = peer_path(hardware, calibration, "likely")
    return found | ways.measured_paths(calibration.curves if calibration else ())


def serves(cluster: ClusterInventory) -> bool:
    """Whether something listens where the API should be, seen from here."""
    settings = cluster.control.settings
    return reachable(settings.head_address, settings.gateway.port)


def _all(orders: Sequence[tuple[Host, Mapping[str, Any]]], seconds: float) -> list[list[dict[str, Any]]]:
    with ThreadPoolExecutor(max_workers=len(orders)) as pool:
        running = [pool.submit(_run, host, order, seconds) for host, order in orders]
        return [one.result() for one in running]


def _run(host: Host, order: Mapping[str, Any], seconds: float) -> list[dict[str, Any]]:
    settings = host.settings
    name = runtime_lock.load(settings.runtime).name
    python = f"{settings.directories.runtime}/{name}/bin/python"
    program = sources.text("facts.programs.measure")
    variables = [f"{key}={value}" for key, value in settings.accelerators.environment.items()]
    words = ["env", *variables, python, "-", json.dumps(order)]
    command = [*ssh_command(host), shlex.join(words)] if "ssh_user" in host.data else words
    try:
        done = subprocess.run(command, input=program, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise OperatorError(f"{host.name}: not measured within {seconds:.0f} s; is it busy?") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no output"])[-1]
        if done.returncode == 255 and "ssh_user" in host.data:
            said = f"cannot log in: {said}; see `cluster doctor`"
        elif "out of memory" in done.stderr.lower():
            said += "; a running engine has the memory: --no-hardware times it alone, with --no-service before `up`"
        elif "No such file" in done.stderr or done.returncode == 127:
            said = f"no runtime at {python}; `cluster up` builds it"
        raise OperatorError(f"{host.name}: {said}")
    records = []
    for line in done.stdout.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue  # a library's own words
    if not records and order.get("rank", 0) == 0:
        raise OperatorError(f"{host.name}: measured nothing: {done.stdout.strip()[-200:] or 'no output'}")
    return records
