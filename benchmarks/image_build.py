"""How long an image takes to build and how large it is: cold (nothing downloaded), warm, and found again; by phase.

`python -m benchmarks.image_build` builds the image without accelerators in a store of its own, as root; with `--cluster
NAME` that of a cluster's compute nodes. The operator's store is not touched. Also the root at other levels of
compression. Exit 0 measured, 1 two builds are not the same image, 2 could not measure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import images
from benchmarks import common
from benchmarks.smoke import add_argument, report_kept
from experiments import machine
from experiments.report import markdown, results
from experiments.report.progress import show
from facts.sources import REPOSITORY
from images import contents
from images.request import Request
from images.store import FILES, MANIFEST, PACKAGE_CACHE, Image
from operate.images import request_of

DEFAULT_LEVELS = [1, contents.COMPRESSION_LEVEL, 9, 15, 19]


def main(arguments: list[str] | None = None) -> int:
    """Build twice, pack at each level; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image_build", description=__doc__)
    parser.add_argument("--cluster", default="lab", help="whose image: lab has none's, v0_2 has amd's")
    parser.add_argument("--levels", type=int, nargs="*", default=DEFAULT_LEVELS, help="levels of zstd to pack at")
    add_argument(parser)
    options = parser.parse_args(arguments)
    if options.smoke:
        return smoke(options.cluster)
    path = common.result_path("image_build")
    result = results.begun("image_build")
    try:
        with tempfile.TemporaryDirectory(prefix="image-build-", dir=_parent()) as place:
            _measure(request_of(options.cluster, None), Path(place), options.levels, result)
    except (images.ImageError, subprocess.CalledProcessError) as error:
        print(f"image_build: {error}", file=sys.stderr)
        return 2
    result["load_after"] = machine.load_average()
    results.write(path, result, report(result))
    print(report(result))
    print(f"written: {path.relative_to(REPOSITORY)}")
    return 0 if result["same_manifest"] else 1


def _parent() -> Path:
    # Where images are built by the command: /tmp may be memory.
    parent = images.default_store().parent
    parent.mkdir(parents=True, exist_ok=True)
    return parent


def _measure(request: Request, store: Path, levels: list[int], result: dict[str, Any]) -> None:
    first, second = store / "cold", store / "warm"
    cold, result["cold"] = _timed(request, first)
    second.mkdir()
    (first / PACKAGE_CACHE).rename(second / PACKAGE_CACHE)
    warm, result["warm"] = _timed(request, second)
    result["same_manifest"] = (cold.directory / MANIFEST).read_bytes() == (warm.directory / MANIFEST).read_bytes()
    _, result["found"] = _timed(request, second)
    result["image"] = {
        "name": warm.name,
        "kernel": warm.manifest["kernel"],
        "packages": len(warm.manifest["packages"]),
        "bytes": {name: warm.manifest["files"][name]["bytes"] for name in FILES},
    }
    result["levels"] = _levels(warm, store, levels)


def _timed(request: Request, store: Path) -> tuple[Image, dict[str, Any]]:
    """A build, with the seconds of its phases."""
    started = time.monotonic()
    marks: list[tuple[str, float]] = []

    def hear(phase: str, _detail: str) -> None:
        if phase != "image":
            marks.append((phase, time.monotonic()))

    image = images.build(request, store, hear)
    ended = time.monotonic()
    ends = [*(at for _, at in marks[1:]), ended]
    phases = {phase: round(end - at, 1) for (phase, at), end in zip(marks, ends, strict=True)} if marks else {}
    return image, {"seconds": round(ended - started, 1), "phases": phases}


def _levels(image: Image, store: Path, levels: list[int]) -> list[dict[str, Any]]:
    """Seconds and bytes of the image's own root, packed again; read from a mount, so from the file cache."""
    found = []
    point, target = store / "point", store / "packed"
    point.mkdir()
    subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", str(image.root), str(point)], check=True)
    try:
        for level in sorted(set(levels)):
            started = time.monotonic()
            command = ["mksquashfs", str(point), str(target), "-comp", "zstd", "-Xcompression-level", str(level)]
            subprocess.run([*command, "-noappend", "-no-progress", "-quiet"], check=True, stdout=subprocess.DEVNULL)
            seconds = time.monotonic() - started
            found.append({"level": level, "seconds": round(seconds, 1), "bytes": target.stat().st_size})
    finally:
        subprocess.run(["umount", str(point)], check=True)
    return found


def report(result: dict[str, Any]) -> str:
    """The Markdown of a result."""
    image = result["image"]
    phases = list(result["cold"]["phases"])
    rows = [
        [
            name,
            *(markdown.shown(result[name]["phases"].get(phase)) for phase in phases),
            markdown.shown(result[name]["seconds"]),
        ]
        for name in ("cold", "warm", "found")
    ]
    sizes = [[name, f"{size / 1e6:.1f}"] for name, size in image["bytes"].items()]
    levels = [
        [str(entry["level"]), markdown.shown(entry["seconds"]), f"{entry['bytes'] / 1e6:.1f}"]
        for entry in result["levels"]
    ]
    same = "the same manifest" if result["same_manifest"] else "**another manifest**"
    return "\n\n".join(
        [
            "# Building an image",
            markdown.about(result["machine"], {"Linux in the image": image["kernel"]}, result["started"]),
            f"Load average before {result['load_before']}, after {result['load_after']} (a build alone makes about 1).",
            f"{image['name']}, {image['packages']} packages. Seconds; the second build gave {same} as the first.",
            markdown.table(["build", *phases, "all"], rows),
            markdown.table(["file", "MB"], sizes),
            "The root packed at other levels of zstd:",
            markdown.table(["level", "seconds", "MB"], levels),
        ]
    )


def smoke(cluster: str) -> int:
    """The cluster's nodes say which image it is, nothing is built; kept results are reported."""
    request = request_of(cluster, None)
    show("request", f"{cluster}: variant {request.variant}")
    return report_kept("image_build", report)


if __name__ == "__main__":
    sys.exit(main())
