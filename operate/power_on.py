"""From a control node to compute nodes that answer: boot server, image, power, boot. The first phases of `cluster up`.

For clusters whose compute nodes boot from the control node; where none does, there is nothing to do here.
"""

from __future__ import annotations

from dataclasses import replace

import images
from lab.system import LabError
from operate import runner
from operate.clusters import ClusterInventory, Host
from operate.errors import OperatorError
from operate.images import request_of
from operate.netboot import ask, booted_hosts, change, machines, pin_host_keys, serve, wait_for_hosts
from operate.phases import Phases
from operate.preflight import refuse_unready_hosts
from operate.progress import phases


def power_on(cluster: ClusterInventory, run: Phases, *, boot_seconds: int) -> int:
    """Number of changes on the control node; afterwards every node that boots from it answers over SSH.

    OperatorError for a control node on bad ground, an image that can
    neither be built nor is there, and nodes that do not come up within `boot_seconds`, each with what it last said.
    """
    hosts = booted_hosts(cluster)
    only_control = replace(cluster, hosts=(cluster.control,))
    run.begin("look", f"looking at {cluster.control.name}")
    refuse_unready_hosts(only_control)
    run.begin("control", f"making {cluster.control.name} the boot server")
    changed = serve(cluster, run.progress.event)
    run.begin("image", "finding or building the image")
    changed += _image(cluster, run)
    run.begin("power", f"looking for {', '.join(host.name for host in hosts)}")
    pin_host_keys(cluster)
    away = _away(cluster, hosts)
    changed += _wake(cluster, away, run)
    run.begin("boot", f"waiting for {', '.join(host.name for host in away)}" if away else "all nodes answer")
    wait_for_hosts(cluster, hosts, boot_seconds, run.progress.event)
    run.end()
    return changed


def _image(cluster: ClusterInventory, run: Phases) -> int:
    """The image that the cluster's profile asks for, on the control node and chosen for every node."""
    try:
        built = images.build(request_of(cluster.given, None), images.default_store(), phases(run.progress))
    except (images.ImageError, LabError) as error:
        chosen = {node: entry["image"] for node, entry in ask(cluster)["nodes"].items()}
        if not chosen or not all(chosen.values()):
            raise OperatorError(str(error)) from None
        run.progress.note(f"{error}; the nodes boot what they have: {', '.join(sorted(set(chosen.values())))}")
        return 0
    run.progress.phase(f"bringing {built.name} to {cluster.control.name}")
    sent = change(cluster, "upload", run.progress.event, image=str(built.directory))
    return sent + change(cluster, "use", run.progress.event, image=built.name)


def _away(cluster: ClusterInventory, hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    seen = runner.observe(replace(cluster, hosts=(cluster.control, *hosts)), {})
    return tuple(host for host in hosts if not seen[host.name].connected)


def _wake(cluster: ClusterInventory, away: tuple[Host, ...], run: Phases) -> int:
    """Wake what can be woken; name what a person has to switch on."""
    known = machines(cluster)
    able = [host.name for host in away if known[host.name].wake_on_lan]
    by_hand = [host.name for host in away if host.name not in able]
    changed = 0
    if able:
        changed = change(cluster, "wake", run.progress.event, nodes=",".join(able))
        run.progress.note(f"woken: {', '.join(able)}; switch on by hand what stays off")
    if by_hand:
        named = ", ".join(f"{node} ({known[node].mac_address})" for node in by_hand)
        run.progress.note(f"switch on {named}: no Wake-on-LAN is declared for it")
    return changed
