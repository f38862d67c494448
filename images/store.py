"""The image store: a directory of images, each named by its key, with what its manifest says of it.

Reading needs no root. Bytes. ImageError carries one line for the person at the keyboard.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inventories.composition.operator import cache_directory

FILES = ("vmlinuz", "initrd.img", "root.squashfs")
MANIFEST = "manifest.json"
BUILD_PREFIX = ".build-"
# Archives that builds downloaded, for the next one.
PACKAGE_CACHE = ".packages"


class ImageError(Exception):
    """Something of an image that the operator can mend, in one line."""


@dataclass(frozen=True)
class Image:
    """One image of a store, as its manifest describes it."""

    directory: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its name, which is its directory's."""
        return self.directory.name

    @property
    def size_bytes(self) -> int:
        """What its files take together."""
        return sum(int(entry["bytes"]) for entry in self.manifest["files"].values())

    @property
    def root(self) -> Path:
        """The packed root file system."""
        return self.directory / "root.squashfs"


def default_store() -> Path:
    """Where images are on this machine."""
    return cache_directory().absolute() / "images"


def file_entry(path: Path) -> dict[str, Any]:
    """What a manifest says of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def read(directory: Path) -> Image:
    """The image in that directory; ImageError when it is none."""
    if not directory.is_dir():
        raise ImageError(
            f"no image {directory.name} in {directory.parent}; `cluster image list` shows those that are there"
        )
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
        whole = manifest["name"] == directory.name and set(manifest["files"]) == set(FILES)
        if whole and manifest["inputs"] and manifest["packages"]:
            return Image(directory, manifest)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ImageError(
            f"{directory}: no image ({type(error).__name__}: {error}); remove it and build again"
        ) from None
    raise ImageError(f"{directory}: its manifest is of another image; remove it and build again")


def images(store: Path) -> list[Image]:
    """The images of a store, the newest first; what is no image is left out."""
    found = []
    for directory in store.iterdir() if store.is_dir() else ():
        if directory.is_dir() and not directory.name.startswith("."):
            try:
                found.append(read(directory))
            except ImageError:
                continue
    return sorted(found, key=lambda image: ((image.directory / MANIFEST).stat().st_mtime, image.name), reverse=True)


def made_from(store: Path, inputs: Mapping[str, Any]) -> Image | None:
    """The newest image of exactly these inputs whose files have the sizes that they should have."""
    for image in images(store):
        if image.manifest["inputs"] == inputs and not problems(image, hashes=False):
            return image
    return None


def problems(image: Image, *, hashes: bool = True) -> list[str]:
    """What is not as the manifest says, a line a file; hashes False compares sizes only."""
    found = []
    for name, entry in image.manifest["files"].items():
        path = image.directory / name
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != entry["bytes"]:
            found.append(f"{name} has {path.stat().st_size} bytes, the manifest says {entry['bytes']}")
        elif hashes and file_entry(path)["sha256"] != entry["sha256"]:
            found.append(f"{name} has another content than the manifest says (sha256 differs)")
    strangers = sorted({path.name for path in image.directory.iterdir()} - {*FILES, MANIFEST})
    return [*found, *(f"{name} does not belong to it" for name in strangers)]
