"""Judge a model's directory by its manifest and print one JSON line: DIRECTORY [full]

Hashes are read once: a stamp beside the manifest remembers size and time of each file that was found right, so that the
next look costs a stat a file. `full` reads everything again. Where something is wrong the stamp goes.
"""

import contextlib
import hashlib
import json
import sys
from pathlib import Path
from typing import Any


def unfit(manifest: Any) -> list[str]:
    """What is wrong with a manifest's `files`: it has to give size and SHA-256 of at least one file."""
    if not isinstance(manifest, dict) or not manifest:
        return ["manifest.json names no file"]
    return [
        f"manifest.json has no {key} for {name}"
        for name, wanted in manifest.items()
        for key, kind in (("bytes", int), ("sha256", str))
        if not isinstance(wanted, dict) or not isinstance(wanted.get(key), kind)
    ]


def judge(directory: Path, full: bool) -> tuple[str, list[str], int]:
    """Return (state, problems, bytes): state is missing, unknown, corrupt or whole."""
    manifest_path = directory / "manifest.json"
    if not directory.is_dir():
        return "missing", [], 0
    if not manifest_path.is_file():
        return "unknown", ["manifest.json is missing"], 0
    try:
        manifest = json.loads(manifest_path.read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return "corrupt", [f"manifest.json cannot be read: {error}"], 0
    if wrong := unfit(manifest):
        return "corrupt", wrong, 0
    stamp_path = directory / ".verified.json"
    try:
        stamp = {} if full else json.loads(stamp_path.read_text())
    except (OSError, ValueError, RecursionError):
        stamp = {}
    if not isinstance(stamp, dict):
        stamp = {}
    problems: list[str] = []
    seen: dict[str, list[Any]] = {}
    total = 0
    for name, wanted in manifest.items():
        path = directory / name
        try:
            status = path.stat()
        except (OSError, ValueError):
            problems.append(f"{name} is missing")
            continue
        total += status.st_size
        mark = [status.st_size, status.st_mtime_ns, wanted["sha256"]]
        if status.st_size != wanted["bytes"]:
            problems.append(f"{name} has {status.st_size} bytes instead of {wanted['bytes']}")
            continue
        if stamp.get(name) != mark:
            digest = hashlib.sha256()
            try:
                with path.open("rb") as stream:
                    while block := stream.read(1 << 22):
                        digest.update(block)
            except OSError as error:
                problems.append(f"{name} cannot be read: {error.strerror}")
                continue
            if digest.hexdigest() != wanted["sha256"]:
                problems.append(f"{name} does not match its checksum")
                continue
        seen[name] = mark
    if problems:
        with contextlib.suppress(OSError):  # nobody goes by what was right once: the next look reads it all
            stamp_path.unlink(missing_ok=True)
    if seen and seen != stamp and not problems:
        with contextlib.suppress(OSError):  # a read-only directory is hashed every time
            stamp_path.write_text(json.dumps(seen))
    return ("corrupt" if problems else "whole"), problems, total


def main() -> None:
    """One line, whatever the directory is like."""
    try:
        state, problems, total = judge(Path(sys.argv[1]), sys.argv[2:] == ["full"])
    except OSError as error:
        state, problems, total = "unknown", [f"the directory cannot be read: {error.strerror}"], 0
    print(json.dumps({"state": state, "problems": problems, "bytes": total}))


if __name__ == "__main__":
    main()
