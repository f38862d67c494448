"""Decides on the control node which node boots which image. Standard library only; root.

    cluster_netboot.py DATA state                 print images, nodes with their last words, what is stale
    cluster_netboot.py DATA apply                 write every node's scripts and identity anew where they differ
    cluster_netboot.py DATA look IMAGE            whether an image is here and whole, as JSON
    cluster_netboot.py DATA settle IMAGE          verify an image that was sent (IMAGE.partial) and give it its name
    cluster_netboot.py DATA use IMAGE [NODE...]   from its next boot on a node boots IMAGE; without NODE all do
    cluster_netboot.py DATA rollback [NODE...]    back to the image before
    cluster_netboot.py DATA wake [NODE...]        send Wake-on-LAN's packet to those whose profile says that it works

A choice is a directory of scripts, nodes/NODE/choices/IMAGE; the link nodes/NODE/current names the one that holds and
is changed by a rename, so that a node that boots at that moment gets the one or the other, whole. Exit 0 done, 1
refused, with one line on stderr and nothing changed.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from deploys.pxe_server.programs.netboot_choice import (
    Server,
    choice_files,
    kernel_arguments,
    link,
    point,
    read,
    wanted_files,
    write,
)
from deploys.pxe_server.programs.netboot_image import ImageError, refuse_unfit, sha256, verify

_EVENTS_READ = 2000


def wanted_links(server: Server) -> dict[Path, str]:
    """Where signed GRUB looks: a card's address leads to the node's choice."""
    return {
        server.tftp / "by-mac" / machine["mac_address"]: f"../../http/nodes/{node}/current"
        for node, machine in server.machines.items()
    }


def stale(server: Server) -> list[str]:
    """What `apply` would change, for people."""
    found = [str(path) for path, text in wanted_files(server).items() if read(path) != text]
    found += [str(path) for path, target in wanted_links(server).items() if link(path) != target]
    known = {machine["mac_address"] for machine in server.machines.values()}
    found += [str(path) for path in (server.tftp / "by-mac").glob("*") if path.name not in known]
    for node in server.machines:
        place = server.http / "identity" / node
        if not (place / "ssh_host_ed25519_key.pub").is_file() or not (place / "ssh_host_ed25519_key").is_file():
            found.append(f"{place}/ssh_host_ed25519_key")
        if read(place / "authorized_keys") != authorized_keys(server):
            found.append(f"{place}/authorized_keys")
    return found


def apply(server: Server) -> None:
    """Bring scripts, links and identities to what they should be."""
    authorized = authorized_keys(server)
    for path, text in wanted_files(server).items():
        write(path, text)
    known = {machine["mac_address"] for machine in server.machines.values()}
    for path in (server.tftp / "by-mac").glob("*"):
        if path.name not in known:
            path.unlink()
    for path, target in wanted_links(server).items():
        point(path, target)
    for node in server.machines:
        keep_identity(server, node, authorized)


def keep_identity(server: Server, node: str, authorized: str) -> None:
    """The node's host key, made once, and who may log in; readable by root and the HTTP daemon."""
    group = server.data["identity_group"]
    place = server.http / "identity" / node
    place.mkdir(parents=True, exist_ok=True)
    for directory in (place.parent, place):
        directory.chmod(0o750)
        shutil.chown(directory, "root", group)
    key, public = place / "ssh_host_ed25519_key", place / "ssh_host_ed25519_key.pub"
    if not key.is_file() or not public.is_file():
        with tempfile.TemporaryDirectory(dir=place) as fresh:
            made = Path(fresh) / "key"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", node, "-f", str(made)], check=True)
            made.with_suffix(".pub").replace(public)
            made.replace(key)
    for file in (key, public):
        file.chmod(0o640)
        shutil.chown(file, "root", group)
    write(place / "authorized_keys", authorized)


def authorized_keys(server: Server) -> str:
    """Who may log in to the control node may log in to its nodes."""
    file = server.data["authorized_keys"]
    try:
        return Path(file).expanduser().read_text()
    except (RuntimeError, OSError) as error:
        raise ImageError(
            f"{file} on the control node cannot be read ({error}), and the nodes would let nobody in; add a public key "
            "there"
        ) from None


def look(server: Server, image: str) -> dict[str, str]:
    """`whole`, `missing` or `corrupt`, with the reason; and the sha256 of its manifest, which stands for all of it."""
    try:
        directory = server.image(image)
    except ImageError as error:
        return {"state": "corrupt", "problem": str(error), "manifest": ""}
    if not directory.is_dir():
        return {"state": "missing", "problem": "", "manifest": ""}
    try:
        verify(directory)
    except ImageError as error:
        return {"state": "corrupt", "problem": str(error), "manifest": ""}
    return {"state": "whole", "problem": "", "manifest": sha256(directory / "manifest.json")}


def settle(server: Server, image: str) -> None:
    """Give an image that was sent its name, when it is whole; one of that name is replaced."""
    final = server.image(image)
    sent = final.with_name(f"{image}.partial")
    with tempfile.TemporaryDirectory(dir=server.images) as place:
        # Under its own name, which its manifest is compared with.
        as_final = Path(place) / image
        as_final.symlink_to(sent)
        verify(as_final)
    if final.exists():
        shutil.rmtree(final)
    sent.replace(final)


def use(server: Server, image: str, nodes: list[str]) -> None:
    """Choose an image for nodes: all are checked before the first is changed."""
    chosen = server.select(nodes)
    directory = server.image(image)
    if not directory.is_dir():
        there = ", ".join(images(server)) or "none"
        raise ImageError(f"image {image} is not on the control node ({there}); send it: cluster netboot push {image}")
    manifest = verify(directory)
    for node in chosen:
        refuse_unfit(manifest, node, server.machines[node])
        kernel_arguments(server, node, manifest)
    for node in chosen:
        for file, text in choice_files(server, node, manifest).items():
            write(server.node(node) / "choices" / image / file, text)
    for node in chosen:
        _choose(server, node, image)


def rollback(server: Server, nodes: list[str]) -> None:
    """Back to each node's previous image, which must be whole; what was current is then the previous one."""
    chosen = server.select(nodes)
    before = {node: server.chosen(node, "previous") for node in chosen}
    without = [node for node, image in before.items() if image is None]
    if without:
        raise ImageError(f"{', '.join(without)}: no image before this one; choose one: cluster netboot use NAME")
    for image in sorted({image for image in before.values() if image}):
        verify(server.image(image))
    for node, wanted in before.items():
        if wanted:
            _choose(server, node, wanted)


def _choose(server: Server, node: str, image: str) -> None:
    now = server.chosen(node, "current")
    if now == image:
        return
    point(server.node(node) / "current", f"choices/{image}")
    if now:
        point(server.node(node) / "previous", f"choices/{now}")
    kept = {image, now}
    for old in (server.node(node) / "choices").iterdir():
        if old.name not in kept:
            shutil.rmtree(old)


def wake(server: Server, nodes: list[str]) -> list[str]:
    """Send the magic packet (AMD's white paper 20213: six times ff, sixteen times the card's address) to port 9."""
    woken = [node for node in server.select(nodes) if server.machines[node]["wake_on_lan"]]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for node in woken:
            card = bytes.fromhex(server.machines[node]["mac_address"].replace(":", ""))
            sender.sendto(b"\xff" * 6 + card * 16, (server.data["broadcast"], 9))
    return woken


def images(server: Server) -> list[str]:
    """Names of the images that are here."""
    if not server.images.is_dir():
        return []
    there = (path for path in server.images.iterdir() if (path / "manifest.json").is_file())
    return sorted(path.name for path in there if path.suffix != ".partial")


def state(server: Server) -> dict[str, Any]:
    """What is here, what is chosen, and what `apply` would change."""
    events = last_events(server)
    nodes = {
        node: {
            "mac_address": machine["mac_address"],
            "image": server.chosen(node, "current"),
            "previous": server.chosen(node, "previous"),
            "host_key": read(server.http / "identity" / node / "ssh_host_ed25519_key.pub"),
            "last": events.get(node),
        }
        for node, machine in server.machines.items()
    }
    try:
        differs = stale(server)
    except ImageError as error:
        differs = [str(error)]
    return {"images": images(server), "nodes": nodes, "stale": differs}


def last_events(server: Server) -> dict[str, dict[str, Any]]:
    """What each node last told: event, image, seconds since 1970; from the HTTP daemon's log."""
    done = subprocess.run(
        ["journalctl", "-q", "--no-pager", "-t", server.data["log_tag"], "-n", str(_EVENTS_READ), "-o", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, dict[str, Any]] = {}
    for line in done.stdout.splitlines():
        entry = json.loads(line)
        words = str(entry.get("MESSAGE", "")).split()
        path = words[2].split("/") if len(words) > 2 else []
        if path[:2] == ["", "report"] and len(path) == 5:
            when = int(entry["__REALTIME_TIMESTAMP"]) // 1_000_000
            found[path[2]] = {"event": path[3], "image": path[4], "address": words[0], "time": when}
    return found


def main(arguments: list[str]) -> int:
    """Run one command; exit status."""
    data, command, *words = arguments
    os.umask(0o022)
    server = Server(json.loads(Path(data).read_text()))
    try:
        if command == "state":
            print(json.dumps(state(server)))
        elif command == "apply":
            apply(server)
        elif command == "settle":
            settle(server, *words)
        elif command == "use":
            use(server, words[0], words[1:])
        elif command == "rollback":
            rollback(server, words)
        elif command == "look":
            print(json.dumps(look(server, *words)))
        elif command == "wake":
            print(json.dumps(wake(server, words)))
        else:
            raise ImageError(f"no command {command!r}")
    except ImageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
