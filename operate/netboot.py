"""The operator's side of the network boot: what the control node says, and the nodes' host keys in known_hosts.

OperatorError for a cluster that boots no node, and for a control node that cannot be asked.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploys.pxe_server.configuration import choosing_path
from deploys.pxe_server.programs.netboot_image import ImageError, verify
from deploys.pxe_server.settings import Machine
from images.clean import note_use
from images.store import default_store
from inventories.composition.machines import path as machines_path
from inventories.composition.operator import write_whole
from operate import ownership, runner
from operate.clusters import ClusterInventory, Host
from operate.errors import DOES_NOT_HOLD, OperatorError
from operate.progress import Progress
from operate.runner import FactRequest, Listener

_POLL_SECONDS = 3.0
_SERVE, _CHOOSE = "deploys/pxe_server/alone.py", "deploys/pxe_server/choose.py"


def booted_hosts(cluster: ClusterInventory, nodes: tuple[str, ...] = ()) -> tuple[Host, ...]:
    """The hosts that boot from the control node, or those of them that are named."""
    settings = cluster.control.settings
    if settings.netboot is None:
        raise OperatorError(f"{cluster.name} declares no network boot; give its Site `netboot=Netboot()`")
    if not settings.netboot.machines:
        raise OperatorError(
            f"{cluster.name}: no MAC address of any node is known, so none boots from {cluster.control.name}; write "
            f"them into {machines_path(settings.cluster)}, a line a node: {cluster.compute[0].name}: 52:54:00:12:34:56"
        )
    known = [machine.node for machine in settings.netboot.machines]
    strangers = sorted(set(nodes) - set(known))
    if strangers:
        raise OperatorError(
            f"{cluster.name}: {', '.join(strangers)} does not boot from {cluster.control.name}; "
            f"these do: {', '.join(known)}"
        )
    return tuple(host for host in cluster.compute if host.name in (nodes or known))


def serve(cluster: ClusterInventory, listener: Listener) -> int:
    """Make the control node the boot server; returns the number of changes."""
    return runner.deploy(cluster, _SERVE, listener, limit=cluster.control.name).changed


def change(cluster: ClusterInventory, action: str, listener: Listener, **data: str) -> int:
    """One of choose.py's actions on the control node; returns the number of changes."""
    given = {"action": action, **{key: value for key, value in data.items() if value}}
    return runner.deploy(cluster, _CHOOSE, listener, limit=cluster.control.name, data=given).changed


def machines(cluster: ClusterInventory) -> dict[str, Machine]:
    """The machines that boot from the control node, by the node's name."""
    netboot = cluster.control.settings.netboot
    return {machine.node: machine for machine in (netboot.machines if netboot else ())}


def ask(cluster: ClusterInventory) -> dict[str, Any]:
    """What the control node's boot server says: images, nodes, stale; `image clean` then keeps what the nodes need."""
    found = _ask(cluster, "facts.netboot.BootServer")
    needed = {
        node: [entry[key] for key in ("image", "previous") if entry[key]] for node, entry in found["nodes"].items()
    }
    note_use(cluster.control.settings.cluster, needed)
    return found


def push(cluster: ClusterInventory, image: str, progress: Progress) -> tuple[str, bool]:
    """Send an image, by its name or its directory, to the control node; its name, and whether it had to be sent.

    It is verified here before and there after; an interrupted sending is resumed.
    """
    booted_hosts(cluster)
    directory = Path(image).expanduser() if "/" in image else default_store() / image
    try:
        manifest = verify(directory.resolve())
    except ImageError as error:
        raise OperatorError(str(error)) from None
    return str(manifest["name"]), bool(_change_alone(cluster, "upload", progress, image=str(directory.resolve())))


def use(cluster: ClusterInventory, image: str, nodes: tuple[str, ...], progress: Progress) -> tuple[list[str], bool]:
    """Boot an image from the next boot on, on all nodes or on some: their names, and whether they booted another."""
    chosen = [host.name for host in booted_hosts(cluster, nodes)]
    refuse_unfit_image(cluster, image)
    changed = bool(_change_alone(cluster, "use", progress, image=image, nodes=",".join(nodes)))
    ask(cluster)  # and with it what `image clean` has to keep
    return chosen, changed


def roll_back(cluster: ClusterInventory, nodes: tuple[str, ...], progress: Progress) -> dict[str, str]:
    """Boot the image before again; node -> image from the next boot on. OperatorError where there is none before."""
    chosen = booted_hosts(cluster, nodes)
    before = ask(cluster)["nodes"]
    without = [host.name for host in chosen if not before.get(host.name, {}).get("previous")]
    if without:
        raise OperatorError(
            f"{', '.join(without)}: no image before this one; choose one: {cluster.command} netboot use NAME"
        )
    _change_alone(cluster, "rollback", progress, nodes=",".join(nodes))
    found = ask(cluster)["nodes"]
    return {host.name: str(found[host.name]["image"]) for host in chosen}


def wake(cluster: ClusterInventory, nodes: tuple[str, ...], progress: Progress) -> tuple[list[str], list[str]]:
    """Switch nodes on by Wake-on-LAN: those that were woken, and those that a person has to switch on."""
    chosen = {host.name for host in booted_hosts(cluster, nodes)}
    able = {node for node, machine in machines(cluster).items() if machine.wake_on_lan} & chosen
    if able:
        _change_alone(cluster, "wake", progress, nodes=",".join(sorted(able)))
    return sorted(able), sorted(chosen - able)


def _change_alone(cluster: ClusterInventory, action: str, progress: Progress, **data: str) -> int:
    with ownership.exclusive(cluster, f"netboot {action}"):
        return change(cluster, action, progress.event, **data)


def refuse_unfit_image(cluster: ClusterInventory, image: str) -> None:
    """OperatorError (exit 2) unless the control node has the image, whole to the last byte."""
    found = _ask(cluster, "facts.netboot.NetbootImage", image=image)
    if found["state"] == "missing":
        there = ", ".join(ask(cluster)["images"]) or "none"
        raise OperatorError(
            f"image {image} is not on {cluster.control.name} ({there}); send it: {cluster.command} netboot push {image}"
        )
    if found["state"] != "whole":
        raise OperatorError(str(found["problem"]))


def _ask(cluster: ClusterInventory, fact: str, **more: str) -> dict[str, Any]:
    settings = cluster.control.settings
    arguments = {"library": settings.directories.library, "data": choosing_path(settings), **more}
    requests = {cluster.control.name: [FactRequest("netboot", fact, arguments)]}
    seen = runner.observe(replace(cluster, hosts=(cluster.control,)), requests)[cluster.control.name]
    if not seen.connected:
        raise OperatorError(f"{cluster.control.name} cannot be reached: {seen.error}")
    if "netboot" not in seen.facts:
        raise OperatorError(f"{cluster.control.name}: {seen.errors.get('netboot', 'no answer of the boot server')}")
    found: dict[str, Any] = seen.facts["netboot"]
    return found


def pin_host_keys(cluster: ClusterInventory) -> int:
    """Write the nodes' host keys, which the control node keeps, where ssh and pyinfra look; returns how many changed.

    They came over the connection to the control node, whose own key is checked: a node is checked from its first boot.
    """
    keys = {node: entry["host_key"] for node, entry in ask(cluster)["nodes"].items() if entry["host_key"]}
    changed = 0
    for host in booted_hosts(cluster):
        known = host.data.get("ssh_known_hosts_file")
        if known and host.name in keys:
            reached = str(host.data.get("ssh_hostname", host.name))
            names = list(dict.fromkeys((host.settings.network.address, host.name, reached)))
            changed += _pin(Path(str(known)), names, " ".join(keys[host.name].split()[:2]))
    return changed


def _pin(file: Path, names: list[str], key: str) -> bool:
    wanted = f"{','.join(names)} {key}"
    lines = file.read_text().splitlines() if file.is_file() else []
    if wanted in lines:
        return False
    kept = [line for line in lines if not set(line.split(" ", 1)[0].split(",")) & set(names)]
    write_whole(file, "\n".join([*kept, wanted]) + "\n")
    return True


def wait_for_hosts(cluster: ClusterInventory, hosts: tuple[Host, ...], seconds: float, note: Any) -> dict[str, float]:
    """Seconds until each host answered over SSH, its key checked; OperatorError names those that did not, and why."""
    started = time.monotonic()
    waiting, up = {host.name: host for host in hosts}, dict[str, float]()
    why: dict[str, str] = {}
    while waiting:
        requests = {name: [FactRequest("host", "facts.host.Host")] for name in waiting}
        looked = replace(cluster, hosts=(cluster.control, *waiting.values()))
        for name, seen in runner.observe(looked, {cluster.control.name: [], **requests}).items():
            if name in waiting and seen.connected:
                up[name] = round(time.monotonic() - started, 1)
                del waiting[name]
                note("note", f"{name} is up after {up[name]:.0f} s")
            elif name in waiting:
                why[name] = seen.error
        if waiting and time.monotonic() - started > seconds:
            last = ask(cluster)["nodes"]
            said = "; ".join(f"{name}: {_last_words(last.get(name, {}), why.get(name, ''))}" for name in waiting)
            raise OperatorError(
                f"not up after {seconds:.0f} s: {said}; look at the console, and docs/netboot.md",
                exit_code=DOES_NOT_HOLD,
            )
        if waiting:
            time.sleep(_POLL_SECONDS)
    return up


def _last_words(node: dict[str, Any], error: str) -> str:
    last = node.get("last")
    if not last:
        return "never asked for its root: is it on, is its MAC address right, does its firmware boot from the network?"
    return f"last said `{last['event']}` of {last['image']}, and ssh says {error}"
