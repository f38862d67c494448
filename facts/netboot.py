"""State of the control node's boot server, as its own program tells it. Reads only."""

from __future__ import annotations

from typing import Any

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument
from facts.parse.netboot import parse_answer

PROGRAM = "deploys.pxe_server.programs.cluster_netboot"


def _ask(library: str, data: str, words: str) -> str:
    there = argument(f"{library}/{PROGRAM.replace('.', '/')}.py")
    start = f"PYTHONPATH={argument(library)} PYTHONDONTWRITEBYTECODE=1 python3 -P -m {PROGRAM}"
    return f"[ ! -e {there} ] || [ ! -e {argument(data)} ] || {start} {argument(data)} {words}; true"


class BootServer(FactBase[dict[str, Any]]):
    """`images`, `nodes` (image, previous, host_key, last event) and `stale`; no node where no boot server is."""

    def command(self, library: str, data: str) -> str:
        return "echo netboot; " + _ask(library, data, "state")

    @fails_alone
    def process(self, output: list[str]) -> dict[str, Any]:
        return parse_answer(output, {"images": [], "nodes": {}, "stale": ["everything"]})


class NetbootImage(FactBase[dict[str, Any]]):
    """`state` of one image on the control node (whole, missing, corrupt) after reading all of it, and the `problem`.

    `manifest`: sha256 of its manifest when it is whole.
    """

    def command(self, library: str, data: str, image: str) -> str:
        return "echo image; " + _ask(library, data, f"look {argument(image)}")

    @fails_alone
    def process(self, output: list[str]) -> dict[str, Any]:
        return parse_answer(output, {"state": "missing", "problem": "", "manifest": ""})
