"""The report of a bundle as one HTML file that opens without a network."""

from __future__ import annotations

from experiments.report.html.page import write

__all__ = ["write"]
