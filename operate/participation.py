"""Who takes part: a node taken out while the rest serve, one put back, nodes added where the cluster can make them.

The operator's record is members.json beside the cluster's secrets; each step writes it before it acts, so that a run
that was interrupted goes on when it is run again.
"""

from __future__ import annotations

import time
from dataclasses import replace

import lab
from inventories.composition import members
from inventories.composition.members import Members
from operate import clusters, ownership, runner
from operate.clusters import ClusterInventory
from operate.errors import DOES_NOT_HOLD, NoHostsError, OperatorError
from operate.preflight import refuse_unready_hosts
from operate.progress import Progress
from operate.runner import FactRequest

DRAIN_SECONDS = 120


def remove(cluster: ClusterInventory, node: str, progress: Progress, *, drain_seconds: int = DRAIN_SECONDS) -> bool:
    """Take a node out: no new requests, running ones end, then its services stop. False when it was out already."""
    present = members.read(cluster.name)
    if node in present.out:
        return False
    refuse_to_remove(cluster, node)
    with ownership.exclusive(cluster, "nodes remove"):
        if node not in present.draining:
            present = replace(present, draining=(*present.draining, node))
            members.write(cluster.name, present)
        progress.phase(f"{node}: no new requests")
        runner.deploy(
            clusters.read(cluster.given), "deploys/gateway/alone.py", progress.event, limit=cluster.control.name
        )
        progress.phase(f"{node}: waiting for requests that run")
        left = _drain(cluster, node, drain_seconds)
        if left:
            progress.note(f"{left} requests still run after {drain_seconds} s and are cut")
        progress.phase(f"{node}: stopping its services")
        _stop(cluster, node, progress)
        draining = tuple(entry for entry in present.draining if entry != node)
        members.write(cluster.name, replace(present, draining=draining, out=(*present.out, node)))
        runner.deploy(clusters.read(cluster.given), "deploys/all.py", progress.event)
    return True


def add(cluster: ClusterInventory, what: str, progress: Progress) -> list[str]:
    """Put a node back, or add so many; deploy and wait for proof. Returns the nodes that are new.

    `what`: the name of a node, or a number where the inventory says how nodes are made.
    """
    present = members.read(cluster.name)
    before = {host.name for host in cluster.compute if host.name not in present.draining}
    with ownership.exclusive(cluster, "nodes add"):
        if what.isdigit():
            _grow(cluster, present, int(what), progress)
        elif what in (*present.out, *present.draining):
            out, draining = (
                tuple(entry for entry in entries if entry != what) for entries in (present.out, present.draining)
            )
            members.write(cluster.name, replace(present, out=out, draining=draining))
        elif any(host.name == what for host in cluster.hosts):
            progress.note(f"{what} is in already")
        else:
            raise OperatorError(
                f"{cluster.name}: no node {what!r} was taken out; "
                f"a new machine is added to its profile in hardware/ and to {cluster.path.name}, "
                f"then: {cluster.command} up"
            )
        after = clusters.read(cluster.given)
        progress.phase(f"looking at {len(after.hosts)} hosts")
        for unknown in refuse_unready_hosts(after):
            progress.note(unknown.detail)
        runner.deploy(after, "deploys/all.py", progress.event)
    return [host.name for host in after.compute if host.name not in before]


def refuse_to_remove(cluster: ClusterInventory, node: str) -> None:
    """OperatorError for a node that the cluster does not have, or cannot be without."""
    compute = [host.name for host in cluster.compute]
    if node == cluster.control.name:
        raise OperatorError(
            f"{node} is the control node; a cluster cannot be without it (`{cluster.command} down` stops all)"
        )
    if node not in compute:
        raise OperatorError(f"{cluster.name}: no compute node {node!r}; there are {', '.join(compute)}")
    settings = cluster.control.settings
    if len(compute) == 1:
        raise OperatorError(f"{node} is the last compute node; use `{cluster.command} down`")
    mine = settings.application_of(node)
    if mine and mine.serving.mode == "span":
        raise OperatorError(
            f"{cluster.name}: one engine spans all nodes of {mine.model.name}, none can leave it while it serves; "
            f"change `mode` in {cluster.path.name}"
        )
    spare = [host.name for host in cluster.compute if not host.settings.mine]
    if mine and mine.nodes == (node,) and not spare:
        raise OperatorError(
            f"{node} is the last node of {mine.model.name}, and every other one has a model of its own; take the model "
            f"out of {cluster.path.name} first"
        )


def _drain(cluster: ClusterInventory, node: str, seconds: int) -> int:
    """Wait until the engines of a node have no request; returns how many are left when the time is up."""
    host = next(host for host in cluster.compute if host.name == node)
    places = [
        (node, host.settings.network.address, port)
        for port in range(host.settings.ray.ports.engine_first, host.settings.ray.ports.engine_last + 1)
    ]
    asked = {cluster.control.name: [FactRequest("life", "facts.vllm.Life", {"places": places})]}
    deadline = time.monotonic() + seconds
    while True:
        found = runner.observe(replace(cluster, hosts=(cluster.control,)), asked)[cluster.control.name]
        if not found.connected:
            raise OperatorError(f"{cluster.control.name}: {found.error}", exit_code=DOES_NOT_HOLD)
        left: int = sum(
            report["requests"]["running"] + report["requests"]["waiting"]
            for report in found.facts.get("life") or []
            if report.get("requests")
        )
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.5)


def _stop(cluster: ClusterInventory, node: str, progress: Progress) -> None:
    """Stop a node's services; a host that is gone has none, and its leaving is no reason to keep it."""
    try:
        runner.deploy(cluster, "deploys/down.py", progress.event, limit=node)
    except OperatorError as error:
        progress.note(f"{node} could not be asked to stop: {error}; it is taken out all the same")


def _grow(cluster: ClusterInventory, present: Members, more: int, progress: Progress) -> None:
    if more < 1:
        raise OperatorError(f"{more} nodes cannot be added; give a number above 0, or the name of a node")
    system = cluster.control.settings.system
    wanted = len(cluster.compute) + len(present.out) + more
    if system.most_nodes and wanted > system.most_nodes:
        raise OperatorError(f"{cluster.name} has {wanted - more} compute nodes, and has room for {system.most_nodes}")
    if system.new_nodes == "processes":
        members.write(cluster.name, replace(present, count=wanted))
    elif system.new_nodes == "lab_hosts":
        _make_lab_hosts(wanted, progress)
    else:
        said = f"taken out are {', '.join(present.out)}" if present.out else "none was taken out"
        raise OperatorError(
            f"{cluster.name}: real machines cannot be made; name a node that was taken out ({said}), or add a machine "
            f"to its profile in hardware/ and to {cluster.path.name}, then: {cluster.command} up"
        )


def _make_lab_hosts(wanted: int, progress: Progress) -> None:
    """As many compute hosts in the lab that is up, from the image that it has."""
    try:
        state = lab.state()
        if state is None:
            raise NoHostsError("no lab is up; run `cluster lab up`")
        lab.up(wanted, lambda phase, detail: progress.note(f"{phase} {detail}"), state.image)
    except lab.LabError as error:
        raise OperatorError(str(error)) from None
