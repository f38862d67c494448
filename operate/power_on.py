"""From a control node to compute nodes that answer: boot server, image, power, boot. The first phases of `cluster up`.

For clusters whose compute nodes boot from the control node; where none does, there is nothing to do here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import images
from deploys.pxe_server.settings import Machine
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
        run.progress.note(what_they_have(chosen, str(error)))
        return 0
    run.progress.phase(f"bringing {built.name} to {cluster.control.name}")
    sent = change(cluster, "upload", run.progress.event, image=str(built.directory))
    return sent + change(cluster, "use", run.progress.event, image=built.name)


def what_they_have(chosen: Mapping[str, str | None], why: str) -> str:
    """What the nodes boot where no image could be built; OperatorError with that reason for a node without one. Pure.

    `chosen`: node -> the image that it boots.
    """
    if not chosen or not all(chosen.values()):
        without = ", ".join(sorted(node for node, image in chosen.items() if not image)) or "no node"
        had = "has none before" if chosen else "has one before"
        raise OperatorError(f"{why}; and {without} {had}")
    return f"{why}; the nodes boot what they have: {', '.join(sorted({image for image in chosen.values() if image}))}"


def _away(cluster: ClusterInventory, hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    seen = runner.observe(replace(cluster, hosts=(cluster.control, *hosts)), {})
    return tuple(host for host in hosts if not seen[host.name].connected)


def _wake(cluster: ClusterInventory, away: tuple[Host, ...], run: Phases) -> int:
    """Wake what can be woken; name what a person has to switch on."""
    able, notes = to_switch_on([host.name for host in away], machines(cluster))
    changed = change(cluster, "wake", run.progress.event, nodes=",".join(able)) if able else 0
    for note in notes:
        run.progress.note(note)
    return changed


def to_switch_on(away: Sequence[str], known: Mapping[str, Machine]) -> tuple[list[str], list[str]]:
    """Those of the absent nodes that can be woken, and what to tell a person. Pure."""
    able = [node for node in away if known[node].wake_on_lan]
    by_hand = ", ".join(f"{node} ({known[node].mac_address})" for node in away if node not in able)
    notes = [f"woken: {', '.join(able)}; switch on by hand what stays off"] if able else []
    return able, notes + ([f"switch on {by_hand}: no Wake-on-LAN is declared for it"] if by_hand else [])
