"""One lab for the whole session: real Debian hosts, deployed once by the real pyinfra command line. Fixtures.

With CLUSTER_TEST_HOME set, that state is used and left up, which makes repeated runs quick.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
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
        assert len(lines) == 1, self.stderr
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
            ["ssh", *options, f"{state['login_user']}@{address}", f"sudo sh -c {_quote(line)}"],
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

    def wait_until_verified(self, *, seconds: float = 300) -> None:
        """Until verify holds again: a host that came back needs its engine to load and prove itself."""
        deadline = time.monotonic() + seconds
        status, failures = self.failures()
        while status != 0:
            assert time.monotonic() < deadline, f"verify still says {failures} after {seconds:.0f} s"
            status, failures = self.failures()


def _quote(text: str) -> str:
    import shlex

    return shlex.quote(text)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of one control and two compute hosts, converged."""
    if os.geteuid() != 0:
        pytest.skip("a lab of real hosts needs root")
    given = os.environ.get("CLUSTER_TEST_HOME")
    home = Path(given) if given else tmp_path_factory.mktemp("home")
    bare = Lab(home, None)
    up = bare.run("lab", "up", "--nodes", "2", seconds=1200)
    if up.status:
        pytest.fail(f"cluster lab up: {up.stderr}")
    try:
        deploy = bare.run("-y", "--json", "inventories/lab.py", "deploys/all.py", program="pyinfra", seconds=2400)
        assert deploy.status == 0, deploy.stderr[-3000:]
        yield Lab(home, deploy.json)
    finally:
        if not given:
            bare.run("lab", "down", seconds=300)


@pytest.fixture
def healthy(lab: Lab) -> Iterator[Callable[[Callable[[], object]], None]]:
    """The lab is verified before a test breaks it; what the test gives to `healthy` mends it afterwards."""
    lab.wait_until_verified()
    repairs: list[Callable[[], object]] = []
    yield repairs.append
    for repair in repairs:
        repair()
    lab.wait_until_verified()
