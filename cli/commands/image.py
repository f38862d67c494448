"""`cluster image`: the root file system that compute nodes boot; built, listed, verified, removed on this machine."""

from __future__ import annotations

import sys
from typing import Any

import click

import images
from cli import display
from cli.refusals import refusals
from images import clean as cleaning
from images import store as storing
from images.contents import VARIANTS
from operate.errors import COULD_NOT_TELL, DOES_NOT_HOLD, HOLDS, OperatorError
from operate.images import request_of
from operate.progress import phases


@click.group("image")
def command() -> None:
    """The one root file system that compute nodes boot over the network: kernel, initrd, squashfs, manifest."""


@command.command("build")
@click.option(
    "--variant",
    type=click.Choice(VARIANTS),
    help="Kind of accelerator.  [default: the cluster's; none where its machines are not managed]",
)
@click.option("--renew", is_flag=True, help="Build again with today's packages; an older image stays beside it.")
@click.option("--json", "as_json", is_flag=True, help="Print the image as JSON.")
@click.pass_obj
@refusals
def build(name: str, variant: str | None, renew: bool, as_json: bool) -> None:
    """Build the image of the cluster's compute nodes (root; minutes), or find the one that was built from the same."""
    request = request_of(name, variant)
    with display.progress() as progress:
        built = images.build(request, images.default_store(), phases(progress), renew=renew)
    if as_json:
        display.emit(_row(built, cleaning.in_use()))
    else:
        display.results().print(str(built.directory), markup=False)


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the images as JSON.")
@refusals
def list_images(as_json: bool) -> None:
    """Show the images on this machine, the newest first, and which nodes need them."""
    used = cleaning.in_use()
    rows = [_row(image, used) for image in storing.images(images.default_store())]
    if as_json:
        display.emit({"images": rows})
    elif rows:
        display.table(
            "images",
            ("image", "kernel", "packages", "size", "needed by"),
            [
                (
                    row["name"],
                    row["kernel"],
                    str(row["packages"]),
                    f"{row['bytes'] / 1e6:.0f} MB",
                    ", ".join(row["needed_by"]) or "-",
                )
                for row in rows
            ],
        )
    else:
        display.words().print("no image is built; run `cluster image build`")


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=lambda _c, _p, typed: _names(typed))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@refusals
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Read every file of the images (or of those NAMEd) again, compare with the manifest; exit 1 names what differs."""
    store = images.default_store()
    chosen = [storing.read(store / name) for name in names] if names else storing.images(store)
    if not chosen:
        raise OperatorError("no image is built; run `cluster image build`", exit_code=COULD_NOT_TELL)
    found = {image.name: storing.problems(image) for image in chosen}
    if as_json:
        display.emit({"images": [{"name": name, "ok": not said, "problems": said} for name, said in found.items()]})
    else:
        for name, said in found.items():
            remedy = "; remove its directory and build it again" if said else ""
            display.results().print(f"{name}: {'; '.join(said) or 'whole'}{remedy}", markup=False)
    sys.exit(DOES_NOT_HOLD if any(found.values()) else HOLDS)


@command.command("clean")
@click.option("--all", "everything", is_flag=True, help="Also the newest of each variant, and the downloaded packages.")
@click.option("--json", "as_json", is_flag=True, help="Print what was removed as JSON.")
@refusals
def clean(everything: bool, as_json: bool) -> None:
    """Remove images that no node needs, but for the newest of each variant, and what interrupted builds left."""
    with display.progress() as progress:
        removed = cleaning.clean(images.default_store(), phases(progress), everything=everything)
    freed = sum(entry.size_bytes for entry in removed)
    if as_json:
        display.emit(
            {"removed": [{"name": entry.name, "bytes": entry.size_bytes} for entry in removed], "bytes": freed}
        )
    elif removed:
        display.results().print(
            f"freed {freed / 1e6:.0f} MB: {', '.join(entry.name for entry in removed)}", markup=False
        )
    else:
        display.results().print("nothing to remove")


def _row(image: images.Image, used: dict[str, list[str]]) -> dict[str, Any]:
    manifest = image.manifest
    return {
        "name": image.name,
        "directory": str(image.directory),
        "variant": manifest["variant"],
        "kernel": manifest["kernel"],
        "packages": len(manifest["packages"]),
        "bytes": image.size_bytes,
        "needed_by": used.get(image.name, []),
    }


def _names(typed: str) -> list[str]:
    return [image.name for image in storing.images(images.default_store()) if image.name.startswith(typed)]
