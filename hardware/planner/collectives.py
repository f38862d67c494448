"""How long ranks take to exchange a message. Pure; bytes and seconds.

Cost model: a message of S bytes over a link takes `latency + S / bandwidth` (Hockney 1994). Of the algorithms that a
library has, the fastest for the size is taken, as NCCL's tuner does. Sources of the formulas: Thakur, Rabenseifner and
Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), sections 4.1 to 4.5; for the one-shot
all-reduce over peer memory, vLLM's csrc/custom_all_reduce.cuh: every rank reads all others' buffers at once.

A curve that was measured replaces the formulas for its operation, ranks and path.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Operation = Literal["all_reduce", "all_gather", "all_to_all", "send"]
PathKind = Literal["peer", "network"]


@dataclass(frozen=True)
class Path:
    """What joins the ranks: one message's latency, and bytes a second each way for each rank.

    `peer` is memory that cards read from each other directly; `network` goes through sockets or RDMA.
    """

    name: str
    kind: PathKind
    latency_seconds: float
    bytes_per_second: float


@dataclass(frozen=True)
class Curve:
    """Measured times of one operation: `seconds[i]` for a message of `sizes_bytes[i]`, sizes ascending."""

    operation: Operation
    ranks: int
    path: str
    sizes_bytes: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.sizes_bytes or len(self.sizes_bytes) != len(self.seconds):
            counted = f"{len(self.sizes_bytes)} sizes, {len(self.seconds)} times"
            raise ValueError(f"{self.operation} over {self.path}: {counted}")
        if any(later <= earlier for earlier, later in zip(self.sizes_bytes, self.sizes_bytes[1:], strict=False)):
            raise ValueError(f"{self.operation} over {self.path}: sizes have to ascend")
        if min(self.seconds) <= 0:
            raise ValueError(f"{self.operation} over {self.path}: times have to be above zero")

    def at(self, size_bytes: float) -> float:
        """Time of a message: straight lines between the points; the last slope goes on beyond the last size.

        A bigger message is never predicted to be quicker than a smaller one, whatever noise the points have.
        """
        times = [max(self.seconds[: index + 1]) for index in range(len(self.seconds))]
        if size_bytes <= self.sizes_bytes[0]:
            return times[0]
        if size_bytes >= self.sizes_bytes[-1]:
            return times[-1] * size_bytes / self.sizes_bytes[-1]
        right = bisect_right(self.sizes_bytes, size_bytes)
        low, high = self.sizes_bytes[right - 1], self.sizes_bytes[right]
        share = (size_bytes - low) / (high - low)
        return times[right - 1] + share * (times[right] - times[right - 1])


def ring_all_reduce(size_bytes: float, ranks: int, path: Path) -> float:
    """2 (n - 1) messages of S / n bytes: reduce-scatter, then all-gather."""
    return 2 * (ranks - 1) * (path.latency_seconds + size_bytes / ranks / path.bytes_per_second)


def tree_all_reduce(size_bytes: float, ranks: int, path: Path) -> float:
    """Up and down a binary tree: 2 log2(n) latencies; pipelined, so the whole message passes twice."""
    return 2 * math.ceil(math.log2(ranks)) * path.latency_seconds + 2 * size_bytes / path.bytes_per_second


def one_shot_all_reduce(size_bytes: float, ranks: int, path: Path) -> float:
    """One barrier, then each rank reads the n - 1 others' messages and adds."""
    return 2 * path.latency_seconds + (ranks - 1) * size_bytes / path.bytes_per_second


def all_reduce(size_bytes: float, ranks: int, path: Path) -> float:
    """The fastest of the algorithms that the path has."""
    if ranks == 1 or size_bytes <= 0:
        return 0.0
    times = [ring_all_reduce(size_bytes, ranks, path), tree_all_reduce(size_bytes, ranks, path)]
    if path.kind == "peer":
        times.append(one_shot_all_reduce(size_bytes, ranks, path))
    return min(times)


def all_gather(size_bytes: float, ranks: int, path: Path) -> float:
    """Ring: n - 1 messages of S / n, where S is the gathered size."""
    if ranks == 1 or size_bytes <= 0:
        return 0.0
    return (ranks - 1) * (path.latency_seconds + size_bytes / ranks / path.bytes_per_second)


def all_to_all(size_bytes: float, ranks: int, path: Path) -> float:
    """Pairwise: n - 1 messages of S / n, where S is what one rank sends in all."""
    return all_gather(size_bytes, ranks, path)


def send(size_bytes: float, path: Path) -> float:
    """One message from one rank to the next, as between pipeline stages."""
    return path.latency_seconds + size_bytes / path.bytes_per_second if size_bytes > 0 else 0.0


def measured_paths(curves: Sequence[Curve]) -> dict[str, Path]:
    """A path for each name among the curves, for what its curves leave out.

    Latency is half of the smallest all-reduce of two ranks (a message there and one back), or the smallest message
    itself; the rate is that of the largest.
    """
    found: dict[str, Path] = {}
    for curve in sorted(curves, key=lambda entry: -entry.ranks):
        messages = {"all_reduce": 2 * (curve.ranks - 1), "send": 1}.get(curve.operation, curve.ranks - 1)
        rate = curve.sizes_bytes[-1] / curve.seconds[-1]
        kind: PathKind = "peer" if curve.path == "peer" else "network"
        found[curve.path] = Path(curve.path, kind, curve.seconds[0] / messages, rate)
    return found


def seconds(operation: Operation, size_bytes: float, ranks: int, path: Path, curves: Sequence[Curve] = ()) -> float:
    """Time of an operation, from the measured curve for exactly these ranks and this path if there is one."""
    if operation != "send" and ranks == 1:
        return 0.0
    if size_bytes <= 0:
        return 0.0
    for curve in curves:
        if (curve.operation, curve.ranks, curve.path) == (operation, 2 if operation == "send" else ranks, path.name):
            return curve.at(size_bytes)
    if operation == "all_reduce":
        return all_reduce(size_bytes, ranks, path)
    if operation == "all_gather":
        return all_gather(size_bytes, ranks, path)
    if operation == "all_to_all":
        return all_to_all(size_bytes, ranks, path)
    return send(size_bytes, path)
