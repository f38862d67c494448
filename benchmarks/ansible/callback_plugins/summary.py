"""Prints one JSON object when the playbook ends: what changed, what failed, how much was done.

Loaded by ansible-core as its standard output. It writes nothing while the playbook runs, so it costs less than the
default. ansible-core is untyped, and not installed where the project is type-checked.
"""

# mypy: disable-error-code="import-not-found,import-untyped,misc,unused-ignore"

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: summary
    type: stdout
    short_description: one JSON object at the end
    description:
      - changed and failed tasks by host, and the number of task results
"""


class CallbackModule(CallbackBase):
    """Collects what changed and what failed."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "summary"

    def __init__(self) -> None:
        super().__init__()
        self._changed: list[dict[str, str]] = []
        self._failed: list[dict[str, str]] = []
        self._results = 0

    def v2_runner_on_ok(self, result: Any) -> None:
        """A task came to its end on a host."""
        self._results += 1
        if result.result.get("changed"):
            self._changed.append({"host": result.host.get_name(), "task": result.task.get_name()})

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A task failed on a host."""
        self._results += 1
        if not ignore_errors:
            self._fail(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host could not be reached."""
        self._fail(result)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """A play without hosts is a broken inventory here."""
        self._failed.append({"host": "", "task": "", "message": "a play matched no hosts"})

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The end: print everything."""
        print(
            json.dumps(
                {
                    "hosts": sorted(stats.processed),
                    "task_results": self._results,
                    "changed": self._changed,
                    "failed": self._failed,
                }
            )
        )

    def _fail(self, result: Any) -> None:
        answer = result.result
        said = [str(answer.get(key, "")).strip() for key in ("msg", "stderr")]
        said += [str(item.get("msg", "")) for item in answer.get("results", []) if item.get("failed")]
        message = " ".join(part for part in said if part)[:600]
        self._failed.append({"host": result.host.get_name(), "task": result.task.get_name(), "message": message})
