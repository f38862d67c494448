"""Processor time, memory and states of a node's own processes, where several nodes share a machine or one has it alone.

Standard library only. Whose a process is, is found anew every half minute; in between it costs a read for each.
"""

import os
import time
from collections import defaultdict
from collections.abc import Iterator

from deploys.observability.programs.prometheus_text import Sample
from facts.programs.processes import belongs, found

SEARCH_SECONDS = 30.0
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
# What a process calls itself -> its kind.
_KINDS = (("VLLM::", "engine"), ("ray::ServeReplica", "replica"), ("raylet", "raylet"), ("gcs_server", "head"))


class NodeProcesses:
    """The processes of one node of one cluster."""

    def __init__(self, node: str, cluster: str) -> None:
        self._marks = node, cluster
        self._searched = -SEARCH_SECONDS
        self._mine: dict[int, str] = {}

    def samples(self) -> Iterator[Sample]:
        """Sums by kind. Processor seconds are those of processes that live, so they fall when one ends."""
        if time.monotonic() - self._searched >= SEARCH_SECONDS:
            parents, names, marked = found(*self._marks)
            self._mine = {pid: _kind(name) for pid, name in names.items() if name and belongs(pid, parents, marked)}
            self._searched = time.monotonic()
        sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        for pid, kind in self._mine.items():
            seen = _look(pid)
            if seen is not None:
                sums[kind] = [before + now for before, now in zip(sums[kind], seen, strict=True)]
        names_of = ("count", "cpu_seconds", "resident_bytes", "stopped")
        for kind, values in sorted(sums.items()):
            for name, value in zip(names_of, values, strict=True):
                yield f"cluster_processes_{name}", {"kind": kind}, value


def _kind(name: str) -> str:
    program = name.split(" ", 1)[0].rpartition("/")[2]
    return next((kind for begin, kind in _KINDS if name.startswith(begin) or program == begin), "other")


def _look(pid: int) -> list[float] | None:
    """One, processor seconds, resident bytes, and whether it is stopped; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            words = stream.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None
    stopped = words[0] in (b"T", b"t")
    return [1.0, (int(words[11]) + int(words[12])) / TICKS, int(words[21]) * PAGE, float(stopped)]
