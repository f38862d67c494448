"""Remove images that nobody needs. Bytes.

Needed are: what a node boots (the record below), what the lab's hosts have below their disks, and the newest image of
each variant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from images.builder import alone
from images.mounts import remove
from images.store import BUILD_PREFIX, PACKAGE_CACHE, Image, images
from inventories.composition.operator import cluster_directory, home_directory
from lab.system import Progress, read_json, write_whole

RECORD = "images.json"


@dataclass(frozen=True)
class Removed:
    """What clean removed: a name and the bytes that it took."""

    name: str
    size_bytes: int


def note_use(cluster: str, nodes: Mapping[str, Iterable[str]]) -> None:
    """Record which images the nodes of a cluster boot or can go back to, so that clean keeps them.

    Called by whoever hears it from the control node; what was recorded before is replaced.
    """
    path = cluster_directory(cluster) / RECORD
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, json.dumps({node: sorted(set(names)) for node, names in nodes.items()}, indent=1) + "\n")


def recorded(path: Path) -> dict[str, list[str]]:
    """Node -> images in a record; empty without one."""
    found = (read_json(path) or {}).items()
    return {node: [str(name) for name in names] for node, names in found if isinstance(names, list)}


def in_use() -> dict[str, list[str]]:
    """Image name -> who needs it, over all clusters of this machine; the lab's hosts are a cluster like others."""
    found: dict[str, list[str]] = {}
    home = home_directory()
    for path in sorted(home.glob(f"*/{RECORD}")):
        for node, names in recorded(path).items():
            for name in names:
                found.setdefault(name, []).append(f"{path.parent.name}/{node}")
    for path in sorted(home.glob("lab/hosts/*/host.json")):
        image = str((read_json(path) or {}).get("image", ""))
        found.setdefault(Path(image).name, []).append(f"lab/{path.parent.name}")
    return found


def superfluous(found: Iterable[Image], used: Iterable[str], *, everything: bool) -> list[Image]:
    """Which images can go; `found` has the newest first. everything: also the newest of a variant. Pure."""
    kept_variants: set[str] = set()
    needed = set(used)
    gone = []
    for image in found:
        newest = image.manifest["variant"] not in kept_variants
        kept_variants.add(image.manifest["variant"])
        if image.name not in needed and (everything or not newest):
            gone.append(image)
    return gone


def clean(store: Path, progress: Progress, *, everything: bool = False) -> list[Removed]:
    """Remove superfluous images and what interrupted builds left; with everything the downloaded packages too."""
    if not store.is_dir():
        return []
    removed = []
    with alone(store, "clean", progress):
        places = [image.directory for image in superfluous(images(store), in_use(), everything=everything)]
        places += sorted(store.glob(f"{BUILD_PREFIX}*"))
        places += [store / PACKAGE_CACHE] if everything and (store / PACKAGE_CACHE).exists() else []
        for place in places:
            size = size_of(place)
            progress("clean", f"removing {place.name}")
            remove(place)
            removed.append(Removed(place.name, size))
    return removed


def size_of(directory: Path) -> int:
    """Bytes on the disk of a directory's files; one that has several names in it counts once."""
    seen: dict[tuple[int, int], int] = {}
    for path in directory.rglob("*"):
        state = path.lstat()
        seen[state.st_dev, state.st_ino] = state.st_blocks * 512
    return sum(seen.values())
