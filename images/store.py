"""The image store: a directory of images, each named by its key, with what its manifest says of it.

Reading needs no root. Bytes. ImageError carries one line for the person at the keyboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploys.pxe_server.programs import netboot_image
from deploys.pxe_server.programs.netboot_image import FILES, MANIFEST, ImageError
from inventories.composition.operator import cache_directory

__all__ = ["FILES", "MANIFEST", "Image", "ImageError", "default_store", "file_entry", "images", "made_from", "read"]

BUILD_PREFIX = ".build-"
# Archives that builds downloaded, for the next one.
PACKAGE_CACHE = ".packages"


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
    return {"bytes": path.stat().st_size, "sha256": netboot_image.sha256(path)}


def read(directory: Path) -> Image:
    """The image in that directory; ImageError when it is none."""
    if not directory.is_dir():
        raise ImageError(
            f"no image {directory.name} in {directory.parent}; `cluster image list` shows those that are there"
        )
    manifest = netboot_image.read_manifest(directory)
    if not manifest.get("inputs") or not manifest.get("packages"):
        raise ImageError(f"image {directory.name}: its manifest does not say what it was made from; build it again")
    return Image(directory, manifest)


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
    found = netboot_image.problems(image.directory, image.manifest, hashes=hashes)
    strangers = sorted({path.name for path in image.directory.iterdir()} - {*FILES, MANIFEST})
    return [*found, *(f"{name} does not belong to it" for name in strangers)]
