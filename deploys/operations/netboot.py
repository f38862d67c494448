"""Bring images to the control node, and decide which node boots which."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import RsyncCommand, StringCommand
from pyinfra.api.exceptions import OperationError

from deploys import shell
from deploys.library import search_path, start
from deploys.pxe_server.configuration import choosing_path, images_directory
from deploys.pxe_server.declared import PROGRAM
from deploys.pxe_server.programs.netboot_image import ImageError, sha256, verify
from deploys.settings import Settings
from facts.netboot import BootServer, NetbootImage

Commands = Generator[StringCommand | RsyncCommand, None, None]


def program(settings: Settings, command: str, *words: str) -> StringCommand:
    """The choosing program on the control node; words come from data and may not start with '-'."""
    search = [f"{key}={value}" for key, value in search_path(settings).items()]
    return shell.command("env", *search, *start("python3", PROGRAM), choosing_path(settings), command, values=words)


def asked(settings: Settings) -> dict[str, str]:
    """Arguments of the BootServer fact."""
    return {"library": settings.directories.library, "data": choosing_path(settings)}


@operation()
def apply(settings: Settings) -> Commands:
    """Scripts, links and identities of every node that boots; a host key is made once and kept."""
    if not host.get_fact(BootServer, **asked(settings))["stale"]:
        host.noop("scripts and identities are as declared")
        return
    yield program(settings, "apply")


@operation()
def upload(settings: Settings, directory: str) -> Commands:
    """Send an image and give it its name when every byte is what its manifest says.

    What an interrupted run sent stays beside it, and the next run goes on from there. OperationError for an image that
    is not whole on this machine.
    """
    source = Path(directory)
    try:
        manifest = verify(source)
    except ImageError as error:
        raise OperationError(str(error)) from None
    name = manifest["name"]
    found = host.get_fact(NetbootImage, **asked(settings), image=name)
    if found["state"] == "whole" and found["manifest"] == sha256(source / "manifest.json"):
        host.noop(f"image {name} is whole")
        return
    target = f"{images_directory(settings)}/{name}.partial"
    yield shell.command("mkdir", "-p", "--", values=(target,))
    flags = ["--recursive", "--times", "--partial", "--delete", "--chmod=D755,F644", "--timeout=60"]
    yield RsyncCommand(shlex.quote(f"{source}/"), f"{target}/", flags)
    yield program(settings, "settle", name)


@operation()
def use(settings: Settings, image: str, nodes: tuple[str, ...] = ()) -> Commands:
    """From its next boot on each of `nodes` (or all) boots `image`."""
    found = host.get_fact(BootServer, **asked(settings))["nodes"]
    if all(found.get(node, {}).get("image") == image for node in nodes or booted(settings)):
        host.noop(f"{', '.join(nodes) or 'every node'} boots {image}")
        return
    yield program(settings, "use", image, *nodes)


@operation(is_idempotent=False)
def rollback(settings: Settings, nodes: tuple[str, ...] = ()) -> Commands:
    """Back to the image that each of `nodes` (or all) had before; twice is where it began."""
    yield program(settings, "rollback", *nodes)


@operation(is_idempotent=False)
def wake(settings: Settings, nodes: tuple[str, ...] = ()) -> Commands:
    """Switch on those of `nodes` (or all) whose profile says that Wake-on-LAN works."""
    yield program(settings, "wake", *nodes)


def booted(settings: Settings) -> tuple[str, ...]:
    """Names of the nodes that boot from this control node."""
    return tuple(machine.node for machine in settings.netboot.machines) if settings.netboot else ()
