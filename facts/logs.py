"""What the services and the engine replicas on a host wrote last. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument, join, section, tool
from facts.parse.logs import REPLICAS, LogTail, parse_logs


class Logs(FactBase[list[LogTail]]):
    """The last `lines` lines of each service's log, and of the `replicas` Serve replicas that wrote last.

    `supervisor` is the directory of the supervisor's logs, or empty for systemd's journal. `ray` is Ray's directory, or
    empty where another node of this machine is asked for the same files.
    """

    def command(
        self, services: Sequence[str], lines: int = 20, supervisor: str = "", ray: str = "", replicas: int = 2
    ) -> str:
        count = str(int(lines))
        asked = []
        for name in services:
            journal = ["journalctl", "--no-pager", "-q", "-o", "short-iso", "-n", count, "-u", name]
            file = ["tail", "-n", count, "--", f"{supervisor}/{name}.log"]
            asked.append(tool(f"tail:{name}", file) if supervisor else tool(f"journalctl:{name}", journal))
        if ray:
            directory = argument(f"{ray}/session_latest/logs/serve")
            newest = f"ls -1t {directory}/replica_*.log 2>/dev/null | head -n {int(replicas)}"
            asked.append(section(REPLICAS, f"{newest} | tr '\\n' '\\0' | xargs -0 -r tail -v -n {count} --"))
        return join(*asked)

    @fails_alone
    def process(self, output: list[str]) -> list[LogTail]:
        return parse_logs(output)
