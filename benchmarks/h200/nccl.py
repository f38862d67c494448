"""What NCCL itself says of the way between ranks: its log at NCCL_DEBUG=INFO, read. Pure, but for `words`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

# Where NCCL writes, a file a process; %p is its process.
LOG = {"NCCL_DEBUG": "INFO", "NCCL_DEBUG_SUBSYS": "INIT,NET,P2P,SHM"}
_VERSION = re.compile(r"NCCL version (\S+)")
_INTERFACE = re.compile(r"NET/\w+ ?: Using (.+)")
_NETWORK = re.compile(r"Using network (\S+)")
_WAY = re.compile(r"Channel \d+(?:/\d+)? : .*? via (\S+)")
_RANKS = re.compile(r"ncclCommInitRank\w* comm \S+ rank \d+ nranks (\d+)")


def logging_to(directory: Path, name: str) -> dict[str, str]:
    """Environment of a process whose NCCL writes down what it does, in files of `directory` that begin with `name`."""
    return {**LOG, "NCCL_DEBUG_FILE": str(directory / f"{name}-%p.nccl")}


def words(directory: Path, name: str) -> dict[str, Any]:
    """What the processes of that name said together."""
    return parse("\n".join(file.read_text(errors="replace") for file in sorted(directory.glob(f"{name}-*.nccl"))))


def parse(text: str) -> dict[str, Any]:
    """Version, networks and interfaces named, ranks of each communicator, and how often which way was opened."""
    return {
        "versions": sorted(set(_VERSION.findall(text))),
        "networks": sorted(set(_NETWORK.findall(text))),
        "interfaces": sorted({found.strip() for found in _INTERFACE.findall(text)}),
        "ranks": dict(sorted(Counter(_RANKS.findall(text)).items())),
        "ways": dict(sorted(Counter(_WAY.findall(text)).items())),
    }
