"""The files of a bundle as a report reads them: what is missing or broken costs its section alone. Reads only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from experiments.errors import ExperimentError

NOT_COLLECTED = "not collected"


@dataclass
class BundleFiles:
    """A bundle's directory. `why` says of a path for which None came whether it is missing or cannot be read."""

    directory: Path
    _problems: dict[str, str] = field(default_factory=dict)
    _read: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.directory.is_dir():
            raise ExperimentError(f"{self.directory}: no such directory; give a bundle (fetched/EXPERIMENT-ID)")

    def why(self, *paths: str) -> str:
        """For people: why there is nothing of these files."""
        broken = [self._problems[path] for path in paths if path in self._problems]
        return "; ".join(broken) if broken else f"{NOT_COLLECTED}: {' and '.join(paths)}"

    def json(self, path: str) -> Any:
        """What a JSON file says; None where it is missing or broken."""
        return self._kept(path, lambda file: json.loads(file.read_text()))

    def yaml(self, path: str) -> Any:
        """The same of YAML."""
        return self._kept(path, lambda file: yaml.safe_load(file.read_text()))

    def table(self, path: str, columns: Sequence[str] = ()) -> pa.Table | None:
        """A Parquet file with at least these columns; None where it is missing, broken or empty of them."""

        def read(file: Path) -> pa.Table:
            table = pq.read_table(file)
            if missing := [name for name in columns if name not in table.column_names]:
                raise ValueError(f"no column {', '.join(missing)}")
            return table

        found: pa.Table | None = self._kept(path, read)
        return found

    def _kept(self, path: str, read: Any) -> Any:
        if path not in self._read:
            file, found = self.directory / path, None
            try:
                found = read(file)
            except FileNotFoundError:
                pass
            except (OSError, ValueError, yaml.YAMLError, RecursionError, pa.ArrowException) as error:
                said = " ".join(str(error).split())[:200]
                self._problems[path] = f"{path} cannot be read: {said}"
            self._read[path] = found
        return self._read[path]

    @cached_property
    def journal(self) -> tuple[Mapping[str, Any], ...]:
        """Every whole line of the journal; the last may have been cut by the end of its run."""
        return tuple(self._journal())

    def _journal(self) -> Iterator[Mapping[str, Any]]:
        try:
            text = (self.directory / "journal.jsonl").read_text(errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("at"), int | float):
                yield entry

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest; empty for a run that did not come to its end."""
        found = self.json("manifest.json")
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """The experiment's id: the manifest's, or the directory's name."""
        return str(self.manifest.get("experiment_id") or self.directory.resolve().name)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The resolved configuration; empty where there is none."""
        found = self.yaml("experiment.yaml")
        return found if isinstance(found, dict) else {}

    @cached_property
    def faults(self) -> tuple[Mapping[str, Any], ...] | None:
        """Fault windows, by when they began; None where some were wanted and nothing was written down about them."""
        said = self.json("results/faults.json")
        if said is None and "results/faults.json" not in self._problems:
            return () if self.parameters.get("chaos_experiment_scenario") == [] else None
        every = said.get("faults", said.get("windows", [])) if isinstance(said, dict) else said
        if not isinstance(every, list):
            return None
        kept = [one for one in every if isinstance(one, dict) and isinstance(one.get("began"), int | float)]
        return tuple(sorted(kept, key=lambda one: float(one["began"])))

    @cached_property
    def origin(self) -> float | None:
        """The moment from which a report counts: the first request, else the run's own begin; unix seconds."""
        table = self.table("results/requests.parquet", ["sent"])
        if table is not None and table.num_rows:
            sent = table["sent"].drop_null()
            if len(sent):
                return float(pc.min(sent).as_py())
        times = [float(entry["at"]) for entry in self.journal]
        started = self.manifest.get("started")
        return float(started) if isinstance(started, int | float) else min(times, default=None)
