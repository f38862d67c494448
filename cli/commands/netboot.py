"""`cluster netboot`: nodes that boot from the control node, and which image each of them boots."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from cli import display
from operate import netboot, ownership
from operate.errors import DOES_NOT_HOLD
from operate.netboot import ask, booted_hosts, pin_host_keys, wait_for_hosts

_NODES = click.option("--node", "nodes", multiple=True, metavar="NODE", help="Only this node; may be given again.")


@click.group("netboot")
def command() -> None:
    """Nodes that boot from the control node: set up, images, choice, rollback, power."""


@command.command("serve")
@click.pass_obj
def serve(name: str) -> None:
    """Make the control node the boot server, and pin the nodes' host keys here. Twice changes nothing."""
    cluster = ownership.load(name)
    booted_hosts(cluster)
    with ownership.exclusive(cluster, "netboot serve"), display.progress() as progress:
        changed = netboot.serve(cluster, progress.event)
        pinned = pin_host_keys(cluster)
    display.words().print(f"{changed} changes on {cluster.control.name}, {pinned} host keys pinned here")


@command.command("push")
@click.argument("image")
@click.pass_obj
def push(name: str, image: str) -> None:
    """Send IMAGE (a name of `cluster image list`, or a directory) to the control node; resumed, and verified there."""
    cluster = ownership.load(name)
    with display.progress() as progress:
        sent, changed = netboot.push(cluster, image, progress)
    said = "sent and verified" if changed else "is there, whole"
    display.words().print(f"{sent}: {said}; next: {cluster.command} netboot use {sent}")


@command.command("use")
@click.argument("image")
@_NODES
@click.pass_obj
def use(name: str, image: str, nodes: tuple[str, ...]) -> None:
    """Boot IMAGE from the next boot on, on all nodes or on --node. The one before stays for `rollback`."""
    with display.progress() as progress:
        chosen, changed = netboot.use(ownership.load(name), image, nodes, progress)
    display.words().print(f"{', '.join(chosen)}: {'from the next boot on' if changed else 'already'} {image}")


@command.command("rollback")
@_NODES
@click.pass_obj
def rollback(name: str, nodes: tuple[str, ...]) -> None:
    """Boot the image before again, on all nodes or on --node."""
    with display.progress() as progress:
        found = netboot.roll_back(ownership.load(name), nodes, progress)
    for node, image in found.items():
        display.words().print(f"{node}: from the next boot on {image}")


@command.command("wake")
@_NODES
@click.pass_obj
def wake(name: str, nodes: tuple[str, ...]) -> None:
    """Switch nodes on by Wake-on-LAN, and say which have to be switched on by hand."""
    with display.progress() as progress:
        woken, by_hand = netboot.wake(ownership.load(name), nodes, progress)
    if woken:
        display.words().print(f"woken: {', '.join(woken)}")
    if by_hand:
        display.words().print(f"to be switched on by hand: {', '.join(by_hand)}")


@command.command("wait")
@_NODES
@click.option("--seconds", type=click.IntRange(1, 7200), default=600, show_default=True, help="Give up after.")
@click.pass_obj
def wait(name: str, nodes: tuple[str, ...], seconds: int) -> None:
    """Wait until the nodes answer over SSH with their pinned keys."""
    cluster = ownership.load(name)
    hosts = booted_hosts(cluster, nodes)
    pin_host_keys(cluster)
    with display.progress() as progress:
        progress.phase(f"waiting for {', '.join(host.name for host in hosts)}")
        up = wait_for_hosts(cluster, hosts, seconds, progress.event)
    display.words().print(", ".join(f"{node} {after:.0f} s" for node, after in up.items()))


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_obj
def status(name: str, as_json: bool) -> None:
    """Show each node's image, the one before, and what the node last said while it booted."""
    cluster = ownership.load(name)
    booted_hosts(cluster)
    found = ask(cluster)
    declared = cluster.control.settings.netboot
    without = list(declared.without_mac) if declared else []
    if as_json:
        display.emit({"cluster": cluster.name, **found, "without_mac": without})
    else:
        rows = [
            (
                node,
                entry["mac_address"],
                entry["image"] or "none chosen",
                entry["previous"] or "-",
                _last(entry["last"]),
            )
            for node, entry in found["nodes"].items()
        ]
        rows += [(node, "not in machines.yaml", "not booted from here", "-", "-") for node in without]
        display.table(f"{cluster.name}: network boot", ("node", "MAC address", "image", "before", "last said"), rows)
        if found["stale"]:
            display.words().print(f"{len(found['stale'])} parts are not as declared: {cluster.command} netboot serve")
    if found["stale"] or any(entry["image"] is None for entry in found["nodes"].values()):
        sys.exit(DOES_NOT_HOLD)


def _last(last: dict[str, Any] | None) -> str:
    return f"{last['event']} {last['image']}, {time.time() - last['time']:.0f} s ago" if last else "-"
