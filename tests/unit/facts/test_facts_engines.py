"""When an application counts as running, from what Serve's REST interface says of it."""

from __future__ import annotations

from typing import Any

import pytest

from facts.programs.engines import standing


def application(status: str, *states: str, of: str = "DOWNSCALING", wanted: int = 1) -> dict[str, Any]:
    replicas = [{"state": state, "replica_id": str(at)} for at, state in enumerate(states)]
    engines = {"status": of, "target_num_replicas": wanted, "replicas": replicas}
    return {"status": status, "deployments": {"ProvenLLMServer:small": engines}}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (application("RUNNING", "RUNNING", of="HEALTHY"), "RUNNING"),
        # A replacement that never got a place is stopped, for as long as its grace.
        (application("DEPLOYING", "RUNNING", "STOPPING"), "RUNNING"),
        (application("DEPLOYING", "RUNNING", "STOPPING", of="HEALTHY"), "RUNNING"),
        # One that is wanted is missing, or another is still to come.
        (application("DEPLOYING", "STOPPING"), "DEPLOYING"),
        (application("DEPLOYING", "RUNNING", of="HEALTHY"), "DEPLOYING"),
        (application("DEPLOYING", "RUNNING", "STOPPING", wanted=2), "DEPLOYING"),
        (application("DEPLOYING", "RUNNING", "STARTING"), "DEPLOYING"),
        (application("DEPLOYING", "RUNNING", "STOPPING", of="UPDATING"), "DEPLOYING"),
        # As Ray 2.60 told it for 40 s after a node of two had left; before that it still wanted two.
        (application("UNHEALTHY", "RUNNING", "STOPPING", of="UNHEALTHY"), "RUNNING"),
        (application("UNHEALTHY", "RUNNING", "STARTING", of="UNHEALTHY"), "UNHEALTHY"),
        (application("UNHEALTHY", "RUNNING", "STARTING", of="UNHEALTHY", wanted=2), "UNHEALTHY"),
        (application("UNHEALTHY", "RUNNING", "STOPPING", of="UNHEALTHY", wanted=2), "UNHEALTHY"),
        (application("DEPLOY_FAILED", "RUNNING"), "DEPLOY_FAILED"),
        # Shapes that Serve does not give.
        ({"status": "DEPLOYING"}, "DEPLOYING"),
        ({"status": "DEPLOYING", "deployments": {}}, "DEPLOYING"),
        ({"status": "DEPLOYING", "deployments": {"a": None}}, "DEPLOYING"),
        ({"status": "DEPLOYING", "deployments": {"a": {"status": "HEALTHY", "replicas": "x"}}}, "DEPLOYING"),
        ({}, ""),
    ],
)
def test_what_is_being_stopped_keeps_nobody_waiting(found: dict[str, Any], said: str) -> None:
    assert standing(found) == said
