"""An image: what its manifest says, and whether its files are that. Standard library only.

The one reader of manifests: it runs on the control node, and on the operator's machine for the image store
(images/store.py) and before an image is sent. ImageError carries one line.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILES = ("vmlinuz", "initrd.img", "root.squashfs")
MANIFEST = "manifest.json"
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,80}$")
# What iPXE, GRUB and the kernel all read as one plain word.
ARGUMENT = re.compile(r"^[A-Za-z0-9_.,:=/@+%-]+$")
_BLOCK_BYTES = 1 << 20


class ImageError(Exception):
    """An image that must not be booted; the message says which and why, in one line."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of an image's directory; ImageError when it is none, or another image's."""
    name = directory.name
    if not NAME.match(name):
        raise ImageError(f"image {name!r}: letters, digits, '-', '_' and '.' only")
    if not directory.is_dir():
        raise ImageError(f"image {name}: {directory} is not there")
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        if manifest["name"] != name:
            raise ImageError(f"image {name}: its manifest is that of {manifest['name']!r}; build or send it again")
        files = manifest["files"]
        for file in FILES:
            size, digest = files[file]["bytes"], files[file]["sha256"]
            if not (isinstance(size, int) and size > 0 and re.fullmatch(r"[0-9a-f]{64}", digest)):
                raise ValueError(f"{file} has no size and sha256")
        arguments = manifest.get("kernel_arguments", [])
        wrong = [argument for argument in arguments if not ARGUMENT.match(argument)]
        if wrong:
            raise ValueError(f"kernel argument {wrong[0]!r} is no plain word")
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ImageError(f"image {name}: manifest.json cannot be used ({error}); build or send it again") from None
    found: dict[str, Any] = manifest
    return found


def verify(directory: Path) -> dict[str, Any]:
    """The manifest of an image whose files are all what it says, byte for byte; else ImageError names the first."""
    manifest = read_manifest(directory)
    for problem in problems(directory, manifest):
        raise ImageError(f"image {directory.name}: {problem}; send it again")
    return manifest


def problems(directory: Path, manifest: Mapping[str, Any], *, hashes: bool = True) -> Iterator[str]:
    """What is not as the manifest says, a line a file; hashes False compares sizes only."""
    for file in FILES:
        path, said = directory / file, manifest["files"][file]
        if not path.is_file():
            yield f"{file} is missing"
        elif (size := path.stat().st_size) != said["bytes"]:
            yield f"{file} has {size} bytes, its manifest says {said['bytes']}"
        elif hashes and (digest := sha256(path)) != said["sha256"]:
            yield f"{file} has sha256 {digest}, its manifest says {said['sha256']}"


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def refuse_unfit(manifest: dict[str, Any], node: str, machine: dict[str, Any]) -> None:
    """ImageError for an image that this machine's firmware cannot load, or that has a package that breaks its card."""
    load = sum(manifest["files"][file]["bytes"] for file in ("vmlinuz", "initrd.img"))
    largest = machine["largest_load_bytes"]
    if largest and load > largest:
        raise ImageError(
            f"{node}: kernel and initrd of image {manifest['name']} are {load} bytes, this machine's firmware loads "
            f"{largest}; list fewer network drivers in the profile and build again"
        )
    there = sorted(set(machine["refused_packages"]) & set(manifest.get("packages", ())))
    if there:
        raise ImageError(
            f"{node}: image {manifest['name']} has {', '.join(there)}, which the profile refuses for this machine; "
            "build the image without it"
        )
