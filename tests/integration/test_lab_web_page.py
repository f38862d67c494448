"""The page's service on a real host: it knows the lab, follows a host that is cut off, and shows the last verify."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from experiments.operated_lab import Lab

pytestmark = pytest.mark.lab

Repair = Callable[[Callable[[], object]], None]

SECONDS = 60


# On the control host, around the gateway; prints the status and the body.
ASK = """
import json, sys, urllib.error, urllib.request
told = json.load(open("/etc/cluster/watch.json"))
headers = {"Authorization": "Bearer " + open(told["key_file"]).read().strip()} if sys.argv[1] == "key" else {}
call = urllib.request.Request(f"http://{told['address']}:{told['port']}/cluster/state", headers=headers)
try:
    with urllib.request.urlopen(call, timeout=10) as answer:
        print(answer.status, answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
"""


def ask(lab: Lab, key: str) -> tuple[int, dict[str, Any]]:
    done = lab.ssh("control", f"python3 - {key}", stdin=ASK)
    assert done.status == 0, done.stderr
    status, _, body = done.stdout.partition(" ")
    return int(status), json.loads(body)


def state(lab: Lab) -> dict[str, Any]:
    status, found = ask(lab, "key")
    assert status == 200, found
    return found


def until(lab: Lab, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + SECONDS
    while not holds(found := state(lab)):
        assert time.monotonic() < deadline, json.dumps(found)[:3000]
        time.sleep(1)
    return found


def test_it_knows_the_lab(lab: Lab) -> None:
    found = until(lab, lambda now: [node["state"] for node in now["nodes"]] == ["up"] * 3)
    assert [node["label"] for node in found["nodes"]] == ["Head Node", "Worker Node #1", "Worker Node #2"]
    assert {replica["node"] for replica in found["replicas"] if replica["state"] == "serving"} == {
        "compute0",
        "compute1",
    }


def test_without_the_key_it_tells_nothing(lab: Lab) -> None:
    status, found = ask(lab, "none")
    assert (status, list(found)) == (401, ["error"])


def test_a_file_edited_by_hand_is_named_by_verify_and_on_the_page(lab: Lab, healthy: Repair) -> None:
    before = until(lab, lambda now: now["verify"] is not None and now["verify"]["ok"] is True)
    owner = lab.ssh("control", "stat -c '%U %a' /var/lib/cluster/verify.json").stdout.split()
    assert owner == ["cluster", "644"]
    healthy(lambda: lab.cluster("up"))
    lab.ssh("control", 'sed -i \'s/"max_model_len": 2048/"max_model_len": 1024/\' /etc/cluster/serve.json')
    status, failures = lab.failures()
    assert status == 1
    assert any(failure.startswith("control: /etc/cluster/serve.json differs") for failure in failures), failures
    # Another verify may have held meanwhile: what counts is the one that does not.
    found = until(lab, lambda now: now["verify"]["ok"] is False)
    assert found["verify"]["at"] > before["verify"]["at"]
    shown = [entry["detail"] for entry in found["verify"]["failures"] if entry["ok"] is False]
    assert sorted(shown) == sorted(failures)
