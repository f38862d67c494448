"""The result of a verification as the web page shows it: a file on the control node, written the way files get there.

Nobody can write it over the network: it takes the operator's own access to the host. That it could not be left changes
nothing about the verdict.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploys import hosts
from deploys.watch.declared import verify_path
from facts.health.result import CheckResult
from inventories.composition.operator import write_whole
from operate.clusters import ClusterInventory
from operate.ssh import ssh_command

LEAVE_SECONDS = 20.0
FAILURES = 200
_TEXT = 1000


def record(checks: Sequence[CheckResult], *, ok: bool | None, seconds: float) -> dict[str, Any]:
    """{at, ok, checks, seconds, failures}; failures are what does not hold and what could not be told, clipped."""
    ordered = sorted((check for check in checks if check.ok is not True), key=lambda check: check.ok is None)
    return {
        "at": round(time.time(), 1),
        "ok": ok,
        "checks": len(checks),
        "seconds": seconds,
        "failures": [
            {
                "name": check.name,
                "ok": check.ok,
                "detail": check.detail[:_TEXT],
                "remedy": check.remedy[:_TEXT],
            }
            for check in ordered[:FAILURES]
        ],
    }


def leave(cluster: ClusterInventory, found: dict[str, Any]) -> str:
    """Put the record on the control node in one step; returns why it could not be, "" when it is there."""
    host = cluster.control
    path = verify_path(host.settings)
    text = json.dumps(found) + "\n"
    try:
        if "ssh_user" not in host.data:
            if not Path(path).parent.is_dir():  # nothing of the cluster was ever here, and nothing is made by looking
                return f"{path}: No such file or directory"
            write_whole(Path(path), text, 0o644)
            return ""
        staged = f"{path}.new"
        script = f"umask 022; cat > {shlex.quote(staged)} && mv -f {shlex.quote(staged)} {shlex.quote(path)}"
        # As the service user, whose directory it is: root follows no link that another user could have put there.
        become = ["sudo", "-n"] if host.data.get("_sudo") else []
        become += hosts.of(host.settings).as_service_user()
        line = shlex.join([*become, "sh", "-c", script])
        done = subprocess.run(
            [*ssh_command(host), line], input=text, capture_output=True, text=True, timeout=LEAVE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{host.name} did not take it within {LEAVE_SECONDS:.0f} s"
    except OSError as error:
        return f"{path}: {error.strerror}"
    if done.returncode:
        return f"{host.name}: {' '.join(done.stderr.split())[-200:] or f'exit {done.returncode}'}"
    return ""
