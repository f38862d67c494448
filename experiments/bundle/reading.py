"""A bundle as its reader sees it, whole or partial: what it is of, how far its run came, what it holds. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.bundle import journal, layout, manifest, writing
from experiments.bundle.errors import BundleError
from experiments.bundle.journal import Entry


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read. Unix seconds; `ended` is None of a run that is under way or died.

    `state` is `complete` or `partial`; a partial one stopped in the phase `stopped_in` (empty: before the first).
    `values` is the resolved configuration, `verdict` is VALID, INVALID or empty where none was given.
    """

    directory: Path
    state: str
    cluster: str
    started: float | None
    ended: float | None
    stopped_in: str
    why: str
    values: Mapping[str, Any]
    entries: tuple[Entry, ...]
    verdict: str
    origin: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The experiment's id."""
        return self.directory.name

    @property
    def phases_ended(self) -> frozenset[str]:
        """Phases that came to their end, in whichever of the run's sittings."""
        return frozenset(
            str(entry.data["phase"])
            for entry in self.entries
            if entry.kind == "phase" and entry.data.get("state") == "ended"
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data, without the journal."""
        return {
            "experiment_id": self.name,
            "directory": str(self.directory),
            "state": self.state,
            "cluster": self.cluster,
            "started": self.started,
            "ended": self.ended,
            "stopped_in": self.stopped_in,
            "why": self.why,
            "verdict": self.verdict,
            "parameters": dict(self.values),
            "files": {name: (self.directory / name).stat().st_size for name in sorted(manifest.files(self.directory))},
        }


def read(directory: Path) -> Bundle:
    """A bundle, from its manifest where it has one, else from its journal; BundleError where it is none."""
    if not directory.is_dir():
        raise BundleError(f"{directory}: no such bundle; `cluster experiment list` shows those that there are")
    if not layout.is_bundle(directory):
        raise BundleError(f"{directory}: neither {layout.MANIFEST} nor {layout.JOURNAL} in it; give a run's directory")
    entries = tuple(journal.read(directory))
    runs = [entry for entry in entries if entry.kind == "run"]
    has_manifest = (directory / layout.MANIFEST).is_file()
    made = manifest.read(directory) if has_manifest else {}
    stopped = next((entry for entry in reversed(entries) if entry.kind == "stopped"), None)
    complete = made.get("state") == "complete"
    return Bundle(
        directory=directory,
        state="complete" if complete else "partial",
        cluster=str(made.get("cluster") or (runs[0].data.get("cluster") if runs else "") or ""),
        started=made.get("started") or (runs[0].at if runs else None),
        ended=made.get("ended"),
        stopped_in="" if complete else _open_phase(entries),
        why="" if complete else str(stopped.data.get("why", "")) if stopped else "its run died, or is under way",
        values=_values(directory),
        entries=entries,
        verdict=_verdict(directory),
        origin=runs[0].data if runs else {},
    )


def find(given: str, fetched: Path) -> Path:
    """A bundle by its directory, its id, or `last` for the newest in `fetched`; BundleError where there is none."""
    there = layout.bundles(fetched)
    if given == "last":
        if not there:
            raise BundleError(f"{fetched}: no bundle yet; `cluster experiment run smoke` makes one")
        return there[-1]
    path = Path(given).expanduser()
    if path.is_dir():
        return path
    if (fetched / given).is_dir():
        return fetched / given
    begins = [entry for entry in there if layout.kind_of(entry.name) == given or entry.name.startswith(given)]
    if len(begins) == 1:
        return begins[0]
    if begins:
        raise BundleError(
            f"{given!r} is {len(begins)} bundles: {', '.join(entry.name for entry in begins[-5:])}; name one"
        )
    known = ", ".join(entry.name for entry in there[-5:]) or "none"
    raise BundleError(f"{given!r}: no such bundle; in {fetched} there are {known}")


def _open_phase(entries: tuple[Entry, ...]) -> str:
    """The first phase of the last sitting that has not come to its end; chaos runs beside benchmark."""
    open_phases: dict[str, None] = {}
    for entry in entries:
        name = str(entry.data.get("phase", ""))
        if entry.kind == "run":
            open_phases.clear()
        elif entry.kind == "phase" and entry.data.get("state") == "began":
            open_phases[name] = None
        elif entry.kind == "phase":
            open_phases.pop(name, None)
    return next(iter(open_phases), "")


def _values(directory: Path) -> Mapping[str, Any]:
    path = directory / layout.CONFIGURATION
    try:
        found = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BundleError(f"{path}: {' '.join(str(error).split())}; it cannot be read") from None
    return found if isinstance(found, dict) else {}


def _verdict(directory: Path) -> str:
    found = writing.read_json(directory, layout.VERDICT)
    return str(found.get("verdict", "")) if isinstance(found, dict) else ""
