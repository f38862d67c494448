"""The programs that run on the lab's hosts, run here as they run there: from standard input, with plain Python."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploys.faults import commands
from deploys.programs.private_names import ENGINE_PROCESS
from experiments.lab_cluster import LOOK_PROGRAM
from experiments.telemetry.fault_times import Look
from facts import sources

ADDRESS = "127.0.0.70"


def _replica(status: int, state: str, port: int = 0) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"state": state, "reason": "a test says so"}).encode()
            self.send_response(status if self.path == "/cluster/ready" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return ThreadingHTTPServer((ADDRESS, port), Handler)


@contextlib.contextmanager
def _neighbours(first: tuple[int, str], second: tuple[int, str]) -> Iterator[int]:
    """Two replicas on two ports in a row; gives the first port."""
    while True:
        one = _replica(*first)
        try:
            two = _replica(*second, port=one.server_port + 1)
            break
        except (OSError, OverflowError):
            one.server_close()
    for server in (one, two):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield one.server_port
    for server in (one, two):
        server.shutdown()
        server.server_close()


def _first_look(port: int, address: str = ADDRESS) -> Look:
    program = sources.text(LOOK_PROGRAM)
    command = [sys.executable, "-u", "-", "/no/key", str(port), str(port + 1), "0.1", "20", f"compute0={address}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        process.stdin.write(program)
        process.stdin.close()
        line = process.stdout.readline()
        process.kill()
    return Look(**json.loads(line))


@pytest.mark.parametrize(
    ("first", "second", "status", "state"),
    [
        ((503, "wedged"), (200, "serving"), 200, "serving"),
        ((200, "serving"), (503, "starting"), 200, "serving"),
        ((404, "draining"), (503, "starting"), 503, "starting"),
    ],
)
def test_the_port_that_serves_speaks_for_the_node(
    first: tuple[int, str], second: tuple[int, str], status: int, state: str
) -> None:
    with _neighbours(first, second) as port:
        look = _first_look(port)
    assert (look.node, look.status, look.state, look.serves) == ("compute0", status, state, status == 200)


def test_nobody_listens() -> None:
    with _neighbours((200, "serving"), (200, "serving")) as port:
        pass
    look = _first_look(port)
    assert (look.status, look.serves) == (0, False)


def test_a_signal_goes_to_the_processes_of_that_name_only() -> None:
    name = f"{ENGINE_PROCESS}-of-a-test"

    def send(number: str, node: str = "worker1") -> subprocess.CompletedProcess[str]:
        command = commands.signal(name, number, node)
        return subprocess.run(
            ["sh", "-c", command.line], input=command.stdin, capture_output=True, text=True, timeout=60, check=False
        )

    # The name is argument 0 of one and another argument of the other, as in the shell that brought the order.
    with (
        subprocess.Popen([name, "60"], executable="sleep", env={"CLUSTER_NODE_NAME": "worker1"}) as wanted,
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", name]) as other,
    ):
        assert send("SIGKILL", "worker11").returncode == 1, "another node's"
        done = send("SIGKILL")
        assert wanted.wait(20) == -signal.SIGKILL
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in json.loads(done.stdout)["processes"]] == [str(wanted.pid)]
        assert other.poll() is None
        other.kill()
    assert send("SIGKILL").returncode == 1
