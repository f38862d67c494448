"""What Ray says: its nodes, its version on a host, the state of the served application. Reads only."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pyinfra.api.facts import FactBase

from facts import script, settings
from facts.base import fails_alone
from facts.parse.cluster_state import (
    NodesReport,
    ProofsReport,
    ServeState,
    parse_json_line,
    parse_proofs,
    parse_ray_nodes,
    parse_serve,
)
from facts.parse.runtime import RuntimeReport, parse_runtime
from facts.programs.ray_rest import APPLICATIONS, NODES

REST_SECONDS = 15


class Nodes(FactBase[NodesReport]):
    """Every node that Ray knows, dead ones too. Ask it of the control node.

    `dashboard` is the dashboard's base URL, `token_file` the file with Ray's token on the host.
    """

    def command(self, dashboard: str = "", token_file: str = "") -> str:
        url = f"{dashboard or settings.dashboard()}{NODES}"
        return script.command("rest", url, token_file or settings.token_file(), str(REST_SECONDS))

    @fails_alone
    def process(self, output: list[str]) -> NodesReport:
        return parse_ray_nodes(parse_json_line(output, "Ray's state API"))


class Serve(FactBase[ServeState]):
    """Status and replicas of the served applications. Ask it of the control node."""

    def command(self, dashboard: str = "", token_file: str = "") -> str:
        url = f"{dashboard or settings.dashboard()}{APPLICATIONS}"
        return script.command("rest", url, token_file or settings.token_file(), str(REST_SECONDS))

    @fails_alone
    def process(self, output: list[str]) -> ServeState:
        return parse_serve(parse_json_line(output, "Ray Serve"))


class Proofs(FactBase[ProofsReport]):
    """The golden answer of every engine, each asked on its own. Ask it of the control node.

    `questions` are {model, directory, golden, places: (node, address, port) where its engines may listen}; by default
    those that the inventory declares. `seconds` is the deadline for one answer.
    """

    def command(self, questions: Sequence[Mapping[str, Any]] = (), seconds: int = 20) -> str:
        order = [dict(question) for question in questions] or settings.questions()
        ask = script.command("prove", str(seconds), seconds=seconds + 20)
        return f"printf %s {shlex.quote(json.dumps(order))} | {ask}"

    @fails_alone
    def process(self, output: list[str]) -> ProofsReport:
        return parse_proofs(parse_json_line(output, "proof of the replicas"))


class Runtime(FactBase[RuntimeReport]):
    """The locked runtime in `directory`: whether it is whole, and the versions that are really in it.

    Ray's version is read from the file that Ray itself compares when a node joins, not from what the build noted.
    """

    def command(self, directory: str) -> str:
        quoted = shlex.quote(directory)
        return (
            f"echo runtime {quoted}; cat {quoted}/complete.json 2>/dev/null; "
            f"grep -h '^version *=' {quoted}/lib/python3*/site-packages/ray/_version.py 2>/dev/null; true"
        )

    @fails_alone
    def process(self, output: list[str]) -> RuntimeReport:
        return parse_runtime(output)
