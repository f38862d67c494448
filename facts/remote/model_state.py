"""Judge a model's directory by its manifest and print one JSON line: DIRECTORY [full]

Hashes are read once: a stamp beside the manifest remembers size and time of each file that was found right, so that the
next look costs a stat a file. `full` reads everything again.
"""

import hashlib
import json
import sys
from pathlib import Path


def judge(directory, full):
    """Return (state, problems, bytes): state is missing, unknown, corrupt or whole."""
    manifest_path = directory / "manifest.json"
    if not directory.is_dir():
        return "missing", [], 0
    if not manifest_path.is_file():
        return "unknown", ["manifest.json is missing"], 0
    try:
        manifest = json.loads(manifest_path.read_text())["files"]
    except (ValueError, KeyError, TypeError) as error:
        return "corrupt", [f"manifest.json cannot be read: {error}"], 0
    stamp_path = directory / ".verified.json"
    try:
        stamp = {} if full else json.loads(stamp_path.read_text())
    except (OSError, ValueError):
        stamp = {}
    problems, seen, total = [], {}, 0
    for name, wanted in manifest.items():
        path = directory / name
        try:
            status = path.stat()
        except OSError:
            problems.append(f"{name} is missing")
            continue
        total += status.st_size
        mark = [status.st_size, status.st_mtime_ns, wanted["sha256"]]
        if status.st_size != wanted["bytes"]:
            problems.append(f"{name} has {status.st_size} bytes instead of {wanted['bytes']}")
            continue
        if stamp.get(name) != mark:
            with path.open("rb") as stream:
                digest = hashlib.sha256()
                while block := stream.read(1 << 22):
                    digest.update(block)
            if digest.hexdigest() != wanted["sha256"]:
                problems.append(f"{name} does not match its checksum")
                continue
        seen[name] = mark
    if seen and seen != stamp and not problems:
        try:
            stamp_path.write_text(json.dumps(seen))
        except OSError:
            pass  # a read-only directory is hashed every time
    return ("corrupt" if problems else "whole"), problems, total


state, problems, total = judge(Path(sys.argv[1]), sys.argv[2:] == ["full"])
print(json.dumps({"state": state, "problems": problems, "bytes": total}))
