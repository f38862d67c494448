"""The stand-in of NVIDIA's library: how it is built, the table that it answers from, and how it comes to a host.

A stand-in is labelled as one: its driver version says so, and a fault done to it proves nothing of a card.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deploys import shell
from deploys.faults.commands import Command

SOURCE = Path(__file__).with_name("nvml_stand_in") / "nvml.c"
DIRECTORY = "/run/cluster-nvml-stand-in"
TABLE = f"{DIRECTORY}/table"
LIBRARY = f"{DIRECTORY}/libnvidia-ml.so.1"
# Names the table to whoever loads the library elsewhere.
VARIABLE = "CLUSTER_NVML_STAND_IN"


@dataclass(frozen=True)
class Card:
    """A card of the table, idle or at work as its figures say. Bytes, milliwatts, megahertz, degrees Celsius."""

    name: str
    memory_total_bytes: int
    power_limit_milliwatts: int
    maximum_clock_megahertz: int
    memory_used_bytes: int = 0
    power_milliwatts: int = 60_000
    temperature_celsius: int = 40
    utilization_percent: int = 0


def table(cards: Sequence[Card]) -> str:
    """The text that the library answers from. Pure; ValueError for a name that would be a remark."""
    lines = [f"* count {len(cards)}", "* driver_version 0.0-STAND-IN"]
    for place, card in enumerate(cards):
        if " #" in card.name or "\n" in card.name:
            raise ValueError(f"{card.name!r} is no card's name; leave out ' #' and line ends")
        lines.append(f"{place} uuid GPU-57414e44-0000-0000-0000-{place:012d}")
        lines += [f"{place} {key} {value}" for key, value in vars(card).items()]
        lines.append(f"{place} default_power_limit_milliwatts {card.power_limit_milliwatts}")
        lines.append(f"{place} clock_megahertz {card.maximum_clock_megahertz}")
    return "\n".join(lines) + "\n"


def build(target: Path, compiler: str = "cc") -> Path:
    """Compile the library to `target`; RuntimeError with the compiler's words where it does not."""
    words = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(target), str(SOURCE)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    except OSError as error:
        raise RuntimeError(f"{compiler}: {error}; install a C compiler (Debian: gcc)") from None
    if done.returncode:
        raise RuntimeError(f"{compiler}: {done.stderr[-2000:]}")
    return target


def place(library: bytes, cards: Sequence[Card]) -> Command:
    """Bring library and table to a host; a reader finds it with LD_LIBRARY_PATH=DIRECTORY. Gone with a reboot."""
    line = "; ".join(
        [
            "set -eu",
            shell.line("mkdir", "-p", DIRECTORY),
            f"printf %s {shell.line(table(cards)).strip()} > {TABLE}",
            f"base64 -d > {LIBRARY}.new",
            shell.line("mv", "-f", f"{LIBRARY}.new", LIBRARY),
        ]
    )
    return Command(line, base64.b64encode(library).decode())


def remove() -> Command:
    """Take both from a host."""
    return Command(shell.line("rm", "-rf", DIRECTORY))
