"""What is true of vLLM on a host: its engine processes, their memory, and the model's directory. Reads only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from pyinfra.api.facts import FactBase

from facts import script, settings
from facts.base import fails_alone
from facts.parse.cluster_state import parse_json_line, parse_life, parse_model_directory
from facts.parse.processes import ProcessReport, parse_processes


class Processes(FactBase[ProcessReport]):
    """Processes of this cluster's node on the host, with their memory: which are engines, which are Ray's.

    Only processes that carry the node's name in their environment count, or descend from one that does: on a laptop
    several nodes share the process table. Memory is the proportional set size, which counts shared pages once.
    """

    def command(self, node: str = "", cluster: str = "") -> str:
        data = settings.of_host() if not (node and cluster) else {}
        return script.command("processes", node or data["node"], cluster or data["cluster"])

    @fails_alone
    def process(self, output: list[str]) -> ProcessReport:
        return parse_processes(parse_json_line(output, "processes"))


class ModelDirectory(FactBase[dict[str, Any]]):
    """{state, problems, bytes} of a model's directory: missing, unknown (no manifest), corrupt or whole."""

    def command(self, directory: str = "", full: bool = False) -> str:
        directory = directory or settings.model_directory()
        return script.command("model_state", directory, *(["full"] if full else []), seconds=3600)

    @fails_alone
    def process(self, output: list[str]) -> dict[str, Any]:
        return parse_model_directory(parse_json_line(output, "model directory"))


class Life(FactBase[list[dict[str, Any]]]):
    """What every engine says of its own life: state, since when, proofs, load. Ask it of the control node.

    `places` are (node, address, port) where an engine may listen; by default those that the inventory declares.
    """

    def command(self, places: Sequence[Sequence[str | int]] = (), seconds: int = 4) -> str:
        found = list(places) or settings.engine_places()
        ask = script.command("life", str(seconds), seconds=seconds + 6)
        return f"printf %s {shlex.quote(json.dumps(found))} | {ask}"

    @fails_alone
    def process(self, output: list[str]) -> list[dict[str, Any]]:
        return parse_life(parse_json_line(output, "life of the engines"))
