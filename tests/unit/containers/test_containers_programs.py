"""The programs inside a container, run as they are: the entry point, and the health checks against Ray's REST shapes.

The shapes are those captured in tests/unit/facts/fixtures/ray-2.60.0.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[3]
TOKEN = "a-token-of-a-test"  # noqa: S105 (no secret)
Done = subprocess.CompletedProcess[str]
Check = Callable[..., Done]


class Dashboard:
    """A server that answers in the shapes of Ray's dashboard; anything but the token gets 401."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []
        self.applications: Any = {}
        self.status = 200
        self.url = ""


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    state = Dashboard()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            answer: Any = {"applications": state.applications}
            if self.path.startswith("/api/v0/nodes"):
                answer = {"result": True, "msg": "", "data": {"result": {"result": state.nodes}}}
            text = json.dumps(answer).encode() if known else b""
            self.send_response(state.status if known else 401)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield state
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs healthy.py with the token in a file, as in a container."""
    token = tmp_path / "ray-token"
    token.write_text(TOKEN)

    def run(*arguments: str, **environment: str) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "containers.programs.healthy", *arguments],
            env={"RAY_AUTH_TOKEN_PATH": str(token), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    return run


def row(name: str, state: str = "ALIVE", address: str = "192.0.2.11") -> dict[str, Any]:
    return {"node_name": name, "state": state, "node_ip": address}


def replicas(count: int, state: str = "RUNNING") -> dict[str, Any]:
    return {
        "llm": {
            "status": "RUNNING",
            "message": "",
            "deployments": {
                "ProvenLLMServer:model": {"replicas": [{"state": state}] * count},
                "OpenAiIngress": {"replicas": [{"state": "RUNNING"}]},
            },
        }
    }


def test_a_node_is_healthy_when_ray_lists_it_alive_at_its_address(dashboard: Dashboard, check: Check) -> None:
    # A node that came back is there twice.
    dashboard.nodes = [row("worker1", "DEAD"), row("worker1"), row("head", address="192.0.2.10")]
    done = check("node", dashboard.url, "worker1", "192.0.2.11")
    assert (done.returncode, done.stdout) == (0, "worker1 is alive at 192.0.2.11\n")


def test_an_image_without_a_compose_file_asks_by_its_environment(dashboard: Dashboard, check: Check) -> None:
    dashboard.nodes = [row("worker1")]
    found = {"CLUSTER_DASHBOARD": dashboard.url, "CLUSTER_NODE_NAME": "worker1", "VLLM_HOST_IP": "192.0.2.11"}
    assert check("node", **found).returncode == 0
    assert check("node").returncode == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("head")], "Ray has no node worker1; it has head"),
        ([row("worker1", "DEAD")], "Ray says that worker1 is DEAD"),
        ([row("worker1", address="192.0.2.99")], "Ray has worker1 at 192.0.2.99 instead of 192.0.2.11"),
    ],
)
def test_a_node_that_is_not(dashboard: Dashboard, check: Check, rows: list[dict[str, Any]], said: str) -> None:
    dashboard.nodes = rows
    done = check("node", dashboard.url, "worker1", "192.0.2.11")
    assert (done.returncode, done.stdout) == (1, f"{said}\n")


@pytest.mark.parametrize(
    ("applications", "status", "said"),
    [
        (replicas(2), 0, "2 engines have answered"),
        (replicas(1), 1, "1 of 2 engines have answered"),
        (replicas(2, "STARTING"), 1, "0 of 2 engines have answered"),
        ({}, 1, "the application is not deployed"),
        (
            {"llm": {"status": "DEPLOYING", "message": "soon", "deployments": {}}},
            1,
            "application llm is DEPLOYING: soon",
        ),
    ],
)
def test_the_application(dashboard: Dashboard, check: Check, applications: Any, status: int, said: str) -> None:
    dashboard.applications = applications
    done = check("application", dashboard.url, "2")
    assert (done.returncode, done.stdout) == (status, f"{said}\n")


def test_what_is_broken_is_said_in_one_line(dashboard: Dashboard, check: Check) -> None:
    dashboard.nodes = [row("worker1")]
    asked = ("node", dashboard.url, "worker1", "192.0.2.11")
    wrong = check(*asked, RAY_AUTH_TOKEN_PATH=os.devnull)
    gone = check("node", "http://127.0.0.1:1", "worker1", "192.0.2.11")
    dashboard.applications = "of another shape"
    shape = check("application", dashboard.url, "2")
    for done, word in ((wrong, "401"), (gone, "refused"), (shape, "AttributeError")):
        assert done.returncode == 1 and word in done.stdout and len(done.stdout.splitlines()) == 1
        assert done.stderr == ""


def test_who_answers_without_a_key_is_there(dashboard: Dashboard, check: Check) -> None:
    done = check("http", f"{dashboard.url}/v1/models")
    assert (done.returncode, done.stdout) == (0, f"{dashboard.url}/v1/models answers 401\n")
    assert check("http", "http://127.0.0.1:1/").returncode == 1


def test_an_unknown_question_is_bad_usage(check: Check) -> None:
    assert check("nod", "x").returncode == 2


def enter(*command: str, **environment: str) -> Done:
    return subprocess.run(
        [str(REPOSITORY / "containers" / "programs" / "entrypoint.sh"), *command],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_entry_point_becomes_its_command(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    # `exec`: the process that a signal reaches is the command, and its arguments are as they were.
    program = "import os, sys; print(os.getppid() == int(sys.argv[1]), sys.argv[2:])"
    done = enter(sys.executable, "-c", program, str(os.getpid()), "a b", "$c", "", RAY_AUTH_TOKEN_PATH=str(token))
    assert (done.returncode, done.stdout, done.stderr) == (0, "True ['a b', '$c', '']\n", "")
    assert enter("sh", "-c", "exit 7").returncode == 7


def test_the_entry_point_refuses_a_secret_that_it_cannot_use(tmp_path: Path) -> None:
    missing = enter("true", RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"), CLUSTER_NODE_NAME="worker1")
    assert missing.returncode == 1 and missing.stderr.startswith(f"worker1: {tmp_path}/token is missing")
    (tmp_path / "key").touch()
    empty = enter("true", CLUSTER_API_KEY_FILE=str(tmp_path / "key"))
    assert empty.returncode == 1 and "key is empty" in empty.stderr


def test_the_entry_point_measures_shared_memory_and_makes_directories(tmp_path: Path) -> None:
    state = tmp_path / "ray" / "worker1.node-manager-port"
    assert enter("true", "--object-store-memory=1024", f"--temp-dir={tmp_path}/head", str(state)).returncode == 0
    assert (tmp_path / "head").is_dir() and (tmp_path / "ray").is_dir() and not state.exists()
    done = enter("true", f"--object-store-memory={2**50}")
    assert done.returncode == 1 and "set shm_size" in done.stderr
