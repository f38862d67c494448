"""Parsers of what the control node says about the network boot. Pure; ValueError for another shape."""

from __future__ import annotations

import json
from typing import Any

from facts.parse.shape import mapping


def parse_answer(output: list[str], default: dict[str, Any]) -> dict[str, Any]:
    """The program's one line of JSON; `default` where there is no boot server yet."""
    lines = [line for line in output if line.startswith("{")]
    return mapping(json.loads(lines[-1]), "network boot") if lines else default
