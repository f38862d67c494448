"""The manifest of a bundle: every file with SHA-256 and size, written last. Checked offline; one changed byte is found.

The manifest has a hash of itself and is compared with its one way to be written down, so that no byte of it is free.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.bundle import layout, writing
from experiments.bundle.errors import BundleError
from facts.health.result import CheckResult

State = Literal["complete", "partial"]
KEYS = ("format", "experiment_id", "cluster", "started", "ended", "state", "files", "sha256")
_BLOCK_BYTES = 1024**2
_AGAIN = "fetch the bundle again from where it was made, or run the experiment anew"


def write(
    directory: Path, *, cluster: str, started: float, ended: float | None, state: State, also: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """Hash every file and write the manifest, last and whole. `also`: keys beside the fixed ones. Returns it."""
    made = {
        "format": layout.FORMAT,
        "experiment_id": directory.name,
        "cluster": cluster,
        "started": started,
        "ended": ended,
        "state": state,
        **also,
        "files": {name: entry(directory / name) for name in sorted(files(directory)) if name != layout.MANIFEST},
    }
    return _keep(directory, made)


def renew(directory: Path, names: Sequence[str]) -> None:
    """Take files anew into a manifest that is there, such as a report that was written again; the others stay.

    BundleError where there is no manifest: then there is nothing to keep right.
    """
    made = {key: value for key, value in read(directory).items() if key != "sha256"}
    for name in names:
        if layout.inside(directory, name).is_file():
            made["files"][name] = entry(directory / name)
        else:
            made["files"].pop(name, None)
    made["files"] = dict(sorted(made["files"].items()))
    _keep(directory, made)


def remove(directory: Path) -> None:
    """The bundle is being written again: it is partial until a new manifest says otherwise."""
    (directory / layout.MANIFEST).unlink(missing_ok=True)


def read(directory: Path) -> dict[str, Any]:
    """The manifest; BundleError where there is none, or one of another shape."""
    found = writing.read_json(directory, layout.MANIFEST)
    if found is None:
        raise BundleError(
            f"{directory}: no {layout.MANIFEST}; its run did not come to its end, go on with "
            "`cluster experiment run ... --resume`"
        )
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict) or set(KEYS) - set(found):
        raise BundleError(f"{directory / layout.MANIFEST}: not a bundle's manifest; {_AGAIN}")
    if found["format"] != layout.FORMAT:
        raise BundleError(
            f"{directory}: format {found['format']!r}, and this version reads {layout.FORMAT}; "
            "use the version of `cluster` that its versions.json names"
        )
    return found


def check(directory: Path) -> list[CheckResult]:
    """Every file against the manifest, and the manifest against itself; nothing but the bundle is read.

    BundleError where there is no manifest to check by.
    """
    made = read(directory)
    found = [_itself(directory, made)]
    there = set(files(directory)) - {layout.MANIFEST}
    for name, said in made["files"].items():
        there.discard(name)
        found.append(_file(directory, name, said))
    found += [
        CheckResult(
            "unknown_file",
            False,
            f"{name} is not in the manifest",
            "it was put there later: move it out of the bundle",
        )
        for name in sorted(there)
    ]
    return found


def files(directory: Path) -> Iterator[str]:
    """Names of a bundle's files, from its directory on; files that are being written are none yet."""
    for place, folders, names in os.walk(directory):
        folders.sort()
        for name in names:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(directory).as_posix()


def entry(path: Path) -> dict[str, Any]:
    """SHA-256 and size (bytes) of a file; BundleError where it cannot be read, or is a link."""
    if path.is_symlink():
        raise BundleError(f"{path}: a link, which a bundle has none of; put the file itself there")
    hashed, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as content:
            while block := content.read(_BLOCK_BYTES):
                hashed.update(block)
                size += len(block)
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; it cannot be read") from None
    return {"sha256": hashed.hexdigest(), "bytes": size}


def _keep(directory: Path, made: dict[str, Any]) -> dict[str, Any]:
    writing.write_text(directory, layout.MANIFEST, _text(made))
    return {**made, "sha256": _hash(made)}


def _hash(made: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in made.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _text(made: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in made.items() if key != "sha256"}
    return json.dumps({**plain, "sha256": _hash(plain)}, indent=2) + "\n"


def _itself(directory: Path, made: Mapping[str, Any]) -> CheckResult:
    written = (directory / layout.MANIFEST).read_bytes()
    right = made["sha256"] == _hash(made) and written == _text(made).encode()
    detail = f"{layout.MANIFEST} is as it was written" if right else f"{layout.MANIFEST} was changed"
    return CheckResult("manifest", right, detail, "" if right else _AGAIN)


def _file(directory: Path, name: str, said: Any) -> CheckResult:
    try:
        path = layout.inside(directory, name)
        if not path.is_file():
            return CheckResult("file", False, f"{name} is missing", _AGAIN)
        now = entry(path)
    except BundleError as error:
        return CheckResult("file", False, str(error), _AGAIN)
    if now == said:
        return CheckResult("file", True, f"{name} is as it was written ({now['bytes']} bytes)")
    if not isinstance(said, dict) or now["bytes"] != said.get("bytes"):
        was = said.get("bytes") if isinstance(said, dict) else said
        return CheckResult("file", False, f"{name} has {now['bytes']} bytes, it had {was}", _AGAIN)
    return CheckResult("file", False, f"{name} was changed: its size is the same, its SHA-256 another", _AGAIN)
