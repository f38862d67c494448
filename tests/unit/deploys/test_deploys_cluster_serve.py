"""cluster_serve.py against a small dashboard: tells Serve what is declared, once, and again when it was forgotten."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploys.vllm.declared import serve_configuration
from deploys.vllm.programs import cluster_serve
from tests.conftest import MODEL

PROGRAM = "deploys.vllm.programs.cluster_serve"
Apply = Callable[..., str]


@pytest.fixture
def wanted(composed: Any) -> dict[str, Any]:
    """The declared application, as the deploys write it."""
    return serve_configuration(composed()["control"])


@pytest.fixture
def apply(monkeypatch: pytest.MonkeyPatch, token_file: Path) -> Apply:
    """The program's one step."""
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token_file))

    def once(base: str, wanted: dict[str, Any], *, retry_failed: bool = False) -> str:
        return cluster_serve.apply_once(base, wanted, retry_failed=retry_failed)

    return once


def test_applied_once_and_then_left_alone(apply: Apply, dashboard: Any, wanted: dict[str, Any]) -> None:
    assert apply(dashboard.url, wanted) == "applied"
    assert dashboard.calls == ["PUT /api/serve/applications/"]
    assert dashboard.bodies == [wanted]
    assert apply(dashboard.url, wanted) == ""
    assert len(dashboard.calls) == 1


def test_a_changed_application_is_taken_down_first(apply: Apply, dashboard: Any, wanted: dict[str, Any]) -> None:
    apply(dashboard.url, wanted)
    changed = json.loads(json.dumps(wanted))
    changed["applications"][0]["args"]["golden"]["max_tokens"] = 17
    assert apply(dashboard.url, changed) == "removed"
    # Serve is still at it: nothing is asked a second time, and nothing is put beside it.
    assert apply(dashboard.url, changed) == "removed"
    assert dashboard.calls[1:] == ["DELETE /api/serve/applications/"]
    dashboard.applications.clear()
    assert apply(dashboard.url, changed) == "applied"
    assert dashboard.calls[2:] == ["PUT /api/serve/applications/"]
    assert apply(dashboard.url, changed) == ""


def test_an_application_of_someone_else_is_taken_down(apply: Apply, dashboard: Any, wanted: dict[str, Any]) -> None:
    apply(dashboard.url, wanted)
    dashboard.applications["other"] = {"status": "RUNNING", "deployed_app_config": {"name": "other"}}
    assert apply(dashboard.url, wanted) == "removed"
    assert dashboard.bodies[-1] == wanted, "told of what is declared, Serve takes the rest down"
    assert dashboard.applications["other"]["status"] == "DELETING"


@pytest.fixture
def two(several: Any) -> dict[str, Any]:
    """Two declared applications."""
    return serve_configuration(several()["control"])


def changed(wanted: dict[str, Any], index: int) -> dict[str, Any]:
    other: dict[str, Any] = json.loads(json.dumps(wanted))
    other["applications"][index]["args"]["golden"]["max_tokens"] = 17
    return other


@pytest.mark.parametrize("index", [0, 1])
def test_a_changed_application_leaves_the_others_alone(
    apply: Apply, dashboard: Any, two: dict[str, Any], index: int
) -> None:
    names = [application["name"] for application in two["applications"]]
    assert apply(dashboard.url, two) == "applied"
    for state in dashboard.applications.values():
        state["status"] = "RUNNING"
    other = changed(two, index)
    assert apply(dashboard.url, other) == "removed"
    # Serve is told of the other one alone, as it runs; nothing is deleted at large.
    assert dashboard.calls[1:] == ["PUT /api/serve/applications/"]
    assert dashboard.bodies[1]["applications"] == [two["applications"][1 - index]]
    assert dashboard.applications[names[1 - index]]["status"] == "RUNNING"
    assert apply(dashboard.url, other) == "removed" and len(dashboard.calls) == 2
    del dashboard.applications[names[index]]
    assert apply(dashboard.url, other) == "applied"
    assert dashboard.bodies[2] == other and dashboard.applications[names[1 - index]]["status"] == "RUNNING"
    dashboard.applications[names[index]]["status"] = "RUNNING"
    assert apply(dashboard.url, other) == ""


def test_one_that_failed_is_begun_anew_alone(apply: Apply, dashboard: Any, two: dict[str, Any]) -> None:
    first, second = (application["name"] for application in two["applications"])
    apply(dashboard.url, two)
    dashboard.applications[first]["status"] = "RUNNING"
    dashboard.applications[second]["status"] = "DEPLOY_FAILED"
    assert apply(dashboard.url, two, retry_failed=True) == "removed"
    assert {name: state["status"] for name, state in dashboard.applications.items()} == {
        first: "RUNNING",
        second: "DELETING",
    }


def test_another_number_of_replicas_of_one_is_applied_in_place(
    apply: Apply, dashboard: Any, two: dict[str, Any]
) -> None:
    apply(dashboard.url, two)
    more: dict[str, Any] = json.loads(json.dumps(two))
    more["applications"][1]["deployments"][0]["num_replicas"] = 3
    assert apply(dashboard.url, more) == "scaled"
    assert dashboard.bodies[1] == more and apply(dashboard.url, more) == ""


def test_a_model_more_is_applied_beside_the_first(apply: Apply, dashboard: Any, two: dict[str, Any]) -> None:
    apply(dashboard.url, {**two, "applications": two["applications"][:1]})
    dashboard.applications[MODEL]["status"] = "RUNNING"
    assert apply(dashboard.url, two) == "applied"
    assert dashboard.applications[MODEL]["status"] == "RUNNING"


def test_an_imperative_application_is_not_the_declared_one(
    apply: Apply, dashboard: Any, wanted: dict[str, Any]
) -> None:
    dashboard.applications[MODEL] = {"status": "RUNNING", "deployed_app_config": None}
    assert apply(dashboard.url, wanted) == "removed"


def test_the_declared_application_is_recognised_in_rays_own_answer(
    apply: Apply, dashboard: Any, repository: Path
) -> None:
    captured = repository / "tests" / "unit" / "facts" / "fixtures" / "ray-2.60.0" / "serve.json"
    dashboard.applications.update(json.loads(captured.read_text())["applications"])
    declared = {"applications": [dashboard.applications["llm"]["deployed_app_config"]]}
    assert apply(dashboard.url, declared) == ""
    assert dashboard.calls == []


def test_an_application_that_serve_gave_up_is_begun_anew_only_when_asked(
    apply: Apply, dashboard: Any, wanted: dict[str, Any]
) -> None:
    apply(dashboard.url, wanted)
    dashboard.applications[MODEL]["status"] = "DEPLOY_FAILED"
    assert apply(dashboard.url, wanted) == ""
    assert apply(dashboard.url, wanted, retry_failed=True) == "removed"
    dashboard.applications.clear()
    assert apply(dashboard.url, wanted, retry_failed=True) == "applied"


def test_without_the_token_nothing_is_told(
    apply: Apply, dashboard: Any, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    with pytest.raises(OSError, match="401"):
        apply(dashboard.url, wanted)


def test_it_keeps_at_it_and_ends_when_asked(start: Any, dashboard: Any, wanted: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    path.write_text(json.dumps(wanted))
    process = start(PROGRAM, dashboard.url, str(path))
    assert process.stdout.readline() == "applied\n"
    assert dashboard.bodies == [wanted]
    # The head was restarted and knows nothing any more.
    with dashboard.changed:
        dashboard.applications.clear()
    dashboard.wait_until(lambda: len(dashboard.calls) == 2)
    process.terminate()
    assert process.wait(10) == 0


def test_a_head_that_is_down_is_waited_for(start: Any, wanted: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    path.write_text(json.dumps(wanted))
    with socket.socket() as listener:
        # Bound and not listening: connections are refused, and nobody else gets the port.
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = start(PROGRAM, url, str(path))
        assert process.stdout.readline().startswith(f"waiting for {url}: ")
        assert process.poll() is None
        process.terminate()
        assert process.wait(10) == 0


def test_a_refusal_of_serve_is_told(start: Any, dashboard: Any, wanted: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "serve.json"
    path.write_text(json.dumps(wanted))
    dashboard.fail = 400
    process = start(PROGRAM, dashboard.url, str(path))
    line = process.stdout.readline()
    assert line.startswith(f"400 from {dashboard.url}: ") and "told to fail" in line
    assert process.poll() is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 50\r\n\r\n{", "waiting for {url}: IncompleteRead"),
        (b"a line that is no HTTP\r\n\r\n", "waiting for {url}: "),
        (b"HTTP/1.0 500 Broken\r\nContent-Length: 50\r\n\r\n{", "500 from {url}: Broken"),
        (b"HTTP/1.0 200 OK\r\n\r\n[1]", "{url} answers with JSON of another shape"),
        (b'HTTP/1.0 200 OK\r\n\r\n{"applications": {"llm": null}}', "{url} answers with JSON of another shape"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "waiting for {url}: "),
    ],
)
def test_an_answer_that_is_none_is_told_and_survived(
    start: Any, wanted: dict[str, Any], tmp_path: Path, answer: bytes, said: str
) -> None:
    path = tmp_path / "serve.json"
    path.write_text(json.dumps(wanted))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(15)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        process = start(PROGRAM, url, str(path))
        for _ in range(2):  # the second one is asked for after the first was survived
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)
        process.terminate()
        assert process.wait(10) == 0
    assert process.stdout.readline().startswith(said.format(url=url))
