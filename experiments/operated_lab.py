"""A lab used as its operator uses it: by commands, and by SSH to its hosts. Nothing is asked but what they can."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import ExperimentError
from facts.sources import REPOSITORY

_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Its standard output, parsed."""
        return json.loads(self.stdout)

    @property
    def complaint(self) -> str:
        """The one line that an operator reads."""
        lines = [line for line in self.stderr.splitlines() if line.startswith("cluster: ")]
        if len(lines) != 1:
            raise ExperimentError(f"not one line for the operator: {self.stderr}")
        return lines[0]


@dataclass(frozen=True)
class Lab:
    """A deployed lab, used as its operator would: by commands."""

    home: Path
    first_run: Any

    def run(self, *arguments: str, program: str = "cluster", seconds: int = 900) -> Done:
        """Run one of the environment's programs in the repository."""
        done = subprocess.run(
            [str(_BIN / program), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "CLUSTER_HOME": str(self.home), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """`cluster ...` under way, with its output to be read; ended with the block."""
        process = subprocess.Popen(
            [str(_BIN / "cluster"), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "CLUSTER_HOME": str(self.home), "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def cluster(self, *arguments: str, seconds: int = 900) -> Done:
        """`cluster -c lab ...`."""
        return self.run("-c", "lab", *arguments, seconds=seconds)

    def ssh(self, host: str, line: str, *, seconds: int = 120, stdin: str = "") -> Done:
        """A command on a host as root."""
        state = json.loads((self.home / "lab" / "lab.json").read_text())
        address = next(entry["address"] for entry in state["hosts"] if entry["name"] == host)
        return self.ssh_to(address, line, Path(state["known_hosts"]), seconds=seconds, stdin=stdin)

    def ssh_to(self, address: str, line: str, known_hosts: Path, *, seconds: int = 120, stdin: str = "") -> Done:
        """A command at an address as root; the key that answers there must be in `known_hosts`."""
        state = json.loads((self.home / "lab" / "lab.json").read_text())
        checked = ["-o", f"UserKnownHostsFile={known_hosts}", "-o", "StrictHostKeyChecking=yes"]
        options = ["-F", "/dev/null", "-i", state["ssh_key"], *checked, "-o", "BatchMode=yes", "-o", "ConnectTimeout=8"]
        done = subprocess.run(
            ["ssh", *options, f"{state['login_user']}@{address}", f"sudo sh -c {shlex.quote(line)}"],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def failures(self) -> tuple[int, list[str]]:
        """Exit status of verify, and the details of the checks that do not hold."""
        done = self.cluster("verify", "--json")
        checks = done.json["checks"] if done.stdout else []
        return done.status, [check["detail"] for check in checks if check["ok"] is False]

    def serving(self) -> set[str]:
        """Compute hosts whose engine serves and that Ray calls alive, as the control host knows them: one request."""
        done = self.cluster("status", "--json")
        rows = done.json["nodes"] if done.stdout else []
        return {
            row["node"] for row in rows if (row["role"], row["ray"], row["engine"]) == ("compute", "alive", "serving")
        }

    def wait_until_verified(self, *, seconds: float = 420) -> None:
        """Until verify holds again: a host that came back needs its engine to load and prove itself.

        Who serves is asked first, which costs little: a verification takes processor time from the engine that loads.
        """
        state = json.loads((self.home / "lab" / "lab.json").read_text())
        wanted = {host["name"] for host in state["hosts"] if host["role"] == "compute"}
        deadline = time.monotonic() + seconds
        while True:
            serving = self.serving()
            status, failures = self.failures() if serving == wanted else (1, [f"only {sorted(serving)} serve"])
            if status == 0:
                return
            if time.monotonic() > deadline:
                raise ExperimentError(f"verify still says {failures} after {seconds:.0f} s")
            time.sleep(1)
