"""cluster_wait.py against a small dashboard: ends when the state holds, says what is missing, gives up in time."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploys.compute_base.programs import cluster_wait

PROGRAM = "deploys.compute_base.programs.cluster_wait"
CAPTURED = Path(__file__).parents[1] / "facts" / "fixtures" / "ray-2.60.0"
NO_SERVICE = ("/nonexistent/supervisor", "cluster-none")
DECLARED = ("head=127.0.0.10", "worker1=127.0.0.11", "worker2=127.0.0.12")


@pytest.fixture
def cluster(dashboard: Any) -> Any:
    """A dashboard that says what Ray 2.60.0 said of a whole cluster."""
    dashboard.nodes = json.loads((CAPTURED / "nodes.json").read_text())["data"]["result"]["result"]
    dashboard.applications = json.loads((CAPTURED / "serve.json").read_text())["applications"]
    return dashboard


def ended(process: Any) -> tuple[int, str, str]:
    out, error = process.communicate(timeout=20)
    return process.returncode, out, error.strip()


def test_exactly_the_declared_nodes(start: Any, cluster: Any) -> None:
    assert ended(start(PROGRAM, *NO_SERVICE, cluster.url, "nodes", "10", *DECLARED)) == (0, "", "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"remove": "worker2"}, "worker2 has not joined"),
        ({"node": "worker2", "state": "DEAD"}, "worker2 has not joined"),
        ({"node": "worker2", "node_ip": "192.0.2.9"}, "worker2 joined as 192.0.2.9 instead of 127.0.0.12"),
        ({"add": "stranger"}, "stranger is not declared"),
        ({"node": "worker2", "node_name": "other"}, "worker2 has not joined, other is not declared"),
    ],
)
def test_other_nodes_than_the_declared(start: Any, cluster: Any, change: dict[str, str], said: str) -> None:
    if "remove" in change:
        cluster.nodes = [node for node in cluster.nodes if node["node_name"] != change["remove"]]
    elif "add" in change:
        cluster.nodes.append({**cluster.nodes[0], "node_name": change["add"], "node_ip": "192.0.2.9"})
    else:
        name = change.pop("node")
        next(node for node in cluster.nodes if node["node_name"] == name).update(change)
    assert ended(start(PROGRAM, *NO_SERVICE, cluster.url, "nodes", "0.2", *DECLARED)) == (
        1,
        f"{said}\n",
        f"gave up after 0.2 s: {said}",
    )


def test_one_node_that_has_joined(start: Any, cluster: Any) -> None:
    assert ended(start(PROGRAM, *NO_SERVICE, cluster.url, "joined", "10", DECLARED[1])) == (0, "", "")
    assert ended(start(PROGRAM, *NO_SERVICE, cluster.url, "joined", "0.2", "worker1=192.0.2.9"))[0] == 1


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Starts a supervisor of one program, `engine`; returns its directory."""
    started: list[subprocess.Popen[bytes]] = []

    def run(command: str) -> Path:
        (tmp_path / "supervisord.conf").write_text(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=daemon.pid\n"
            "[unix_http_server]\nfile=control.sock\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[program:engine]\ncommand={command}\nredirect_stderr=true\nstdout_logfile=engine.log\nstartsecs=3\n"
        )
        program = [str(Path(sys.executable).with_name("supervisord")), "-c", "supervisord.conf"]
        started.append(subprocess.Popen(program, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 10
        while not (tmp_path / "control.sock").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        return tmp_path

    yield run
    for process in started:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("sh -c 'echo bind: Address already in use; exit 1'", "bind: Address already in use"),
        ("/nonexistent/ray", "engine ended 3 times"),
    ],
)
def test_a_service_that_ends_again_and_again_is_given_up_with_its_words(
    start: Any, cluster: Any, supervisor: Callable[[str], Path], command: str, said: str
) -> None:
    cluster.nodes.clear()
    directory = supervisor(command)
    code, out, error = ended(start(PROGRAM, str(directory), "engine", cluster.url, "joined", "60", DECLARED[1]))
    assert code == 1
    assert "engine ended and begins anew" in out
    assert "engine ended 3 times" in error and said in error


def test_a_node_that_joins_late_is_waited_for(start: Any, cluster: Any) -> None:
    late = cluster.nodes.pop()
    process = start(PROGRAM, *NO_SERVICE, cluster.url, "nodes", "15", *DECLARED)
    assert process.stdout.readline() == "worker2 has not joined\n"
    cluster.nodes.append(late)
    assert ended(process) == (0, "", "")


def test_every_engine_answered(start: Any, cluster: Any) -> None:
    assert ended(start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "10", "llm=2")) == (0, "", "")


@pytest.mark.parametrize(
    ("status", "replica", "said"),
    [
        ("DEPLOYING", "STARTING", "1 of 2 engines of llm have answered, application DEPLOYING"),
        ("UNHEALTHY", "RUNNING", "2 of 2 engines of llm have answered, application UNHEALTHY"),
        ("RUNNING", "STOPPING", "1 of 2 engines of llm have answered, application RUNNING"),
    ],
)
def test_not_every_engine_answered(start: Any, cluster: Any, status: str, replica: str, said: str) -> None:
    application = cluster.applications["llm"]
    application["status"] = status
    application["deployments"]["ProvenLLMServer:smollm2-135m-instruct"]["replicas"][0]["state"] = replica
    code, out, error = ended(start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "0.2", "llm=2"))
    assert (code, out, error) == (1, f"{said}\n", f"gave up after 0.2 s: {said}")


def test_each_application_is_waited_for(start: Any, cluster: Any) -> None:
    cluster.applications["second"] = json.loads(json.dumps(cluster.applications["llm"]))
    assert ended(start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "10", "llm=2", "second=2")) == (0, "", "")
    cluster.applications["second"]["status"] = "DEPLOYING"
    code, out, _ = ended(start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "0.2", "llm=2", "second=2", "third=1"))
    said = "2 of 2 engines of second have answered, application DEPLOYING; application third is not deployed yet\n"
    assert (code, out) == (1, said)


def test_an_application_that_nobody_deployed(start: Any, cluster: Any) -> None:
    cluster.applications = {}
    code, _, error = ended(start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "0.2", "llm=2"))
    assert (code, error) == (1, "gave up after 0.2 s: application llm is not deployed yet")


def test_a_failed_application_is_not_waited_for(
    cluster: Any, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The grace for a failure from before this run is 20 s, and the patience for engines much more.
    assert 0 < cluster_wait.FAILED_SECONDS <= 60
    monkeypatch.setattr(cluster_wait, "FAILED_SECONDS", 0.2)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token_file))
    monkeypatch.setattr(sys, "argv", [PROGRAM, *NO_SERVICE, cluster.url, "engines", "600", "llm=2"])
    cluster.applications["llm"].update(status="DEPLOY_FAILED", message="worker1:\n  GoldenAnswerError: garbage ")
    with pytest.raises(SystemExit, match="application llm failed: worker1: GoldenAnswerError: garbage"):
        cluster_wait.main()


def test_a_failure_from_before_may_still_go_away(start: Any, cluster: Any) -> None:
    cluster.applications["llm"].update(status="DEPLOY_FAILED", message="an old failure")
    process = start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "15", "llm=2")
    assert process.stdout.readline() == "application llm failed: an old failure\n"
    cluster.applications["llm"]["status"] = "RUNNING"
    assert ended(process) == (0, "", "")


def test_a_dashboard_that_refuses(start: Any, cluster: Any) -> None:
    cluster.fail = 503
    code, out, error = ended(start(PROGRAM, *NO_SERVICE, cluster.url, "engines", "0.2", "llm=2"))
    assert code == 1
    assert f"{cluster.url} does not answer" in out and "503" in error


def test_the_heads_control_store(start: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert ended(start(PROGRAM, *NO_SERVICE, "http://unused", "head", "10", address)) == (0, "", "")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        code, _, error = ended(start(PROGRAM, *NO_SERVICE, "http://unused", "head", "0.2", address))
    assert code == 1
    assert error.startswith("gave up after 0.2 s: http://unused does not answer")
