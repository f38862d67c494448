"""What a measurement says while it goes on."""

from __future__ import annotations


def show(phase: str, detail: str) -> None:
    """One line at once, whoever reads it."""
    print(f"{phase:8} {detail}", flush=True)
