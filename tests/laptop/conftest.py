"""The laptop cluster in a state directory of its own; runtime and weights come from the machine's cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.operated_lab import Done
from facts.sources import REPOSITORY


@dataclass(frozen=True)
class Operator:
    """Somebody who types `cluster`, with a home of their own."""

    home: Path
    environment: dict[str, str]

    def cluster(self, *arguments: str, seconds: int = 900, extra: Mapping[str, str] | None = None) -> Done:
        """Run the command; `extra` goes into its environment."""
        done = subprocess.run(
            [str(Path(sys.executable).parent / "cluster"), *arguments],
            cwd=REPOSITORY,
            env={**self.environment, **(extra or {})},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def files(self) -> dict[str, bytes]:
        """Everything in the home, but for the lock and whose it is: to see that nothing was changed."""
        return {
            str(path.relative_to(self.home)): path.read_bytes()
            for path in sorted(self.home.rglob("*"))
            if path.is_file() and path.name not in ("lock", "inventory")
        }


# A secret of the operator's shell, which no process of a cluster has any business with.
SHELL_SECRET = "CLUSTER_TEST_SHELL_SECRET"  # noqa: S105 (a name)


ADDRESS = "http://127.0.0.10:8000"
# Nobody listens there: whoever asks a proxy gets no answer.
_NOBODY = "http://127.0.0.1:9"
PROXIES = {name: _NOBODY for lower in ("http_proxy", "https_proxy", "all_proxy") for name in (lower, lower.upper())}


def state() -> dict[str, Any]:
    """What the laptop cluster's control node knows: one request, so that it takes no time from an engine that loads."""
    with urllib.request.urlopen(f"{ADDRESS}/cluster/state", timeout=10) as answer:  # noqa: S310 (http by design)
        found: dict[str, Any] = json.load(answer)
    return found


def engines() -> dict[str, tuple[str, str]]:
    """Node -> name and state of its engine's replica."""
    rows = state()["replicas"]
    return {row["node"]: (row["replica"], row["state"]) for row in rows if row["state"] != "gone"}


def serves(node: str) -> bool:
    """Whether a node's engine serves."""
    return engines().get(node, ("", ""))[1] == "serving"


def wait_until(holds: Callable[[], bool], seconds: float) -> float:
    """Seconds that it took until something held."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds
        time.sleep(0.2)
    return time.monotonic() - began


def operator_at(home: Path) -> Operator:
    """An operator whose state is in `home`."""
    mine = {"CLUSTER_HOME": str(home), "NO_COLOR": "1", "CLUSTER": "", SHELL_SECRET: "of the operator's"}
    return Operator(home, {**os.environ, **mine})


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    """An operator who has nothing yet."""
    return operator_at(tmp_path / "home")


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator whose laptop cluster is up; it is taken down at the end."""
    operator = operator_at(tmp_path_factory.mktemp("laptop"))
    up = operator.cluster("up", "--json", seconds=1800)
    try:
        assert up.status == 0, up.stderr
        yield operator
    finally:
        operator.cluster("down")
