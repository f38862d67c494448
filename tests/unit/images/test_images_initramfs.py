"""The initrd's boot script, run by the busybox that the initrd has, against a server that fails as real ones do.

tests/netboot has the whole boot; here is what a boot is too slow for: every way in which a fetch can end.
"""

from __future__ import annotations

import hashlib
import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "images" / "initramfs" / "scripts" / "cluster"
ROOT = bytes(range(256)) * 4096
Answer = Callable[[http.server.BaseHTTPRequestHandler, int], None]

pytestmark = pytest.mark.skipif(not shutil.which("busybox"), reason="no busybox on this machine (Debian: busybox)")


class Server:
    """Answers for the root, one after the other, the last one for ever; `ranges` is where each request began."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers, self.ranges, self.asked = answers, list[int](), list[str]()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.asked.append(self.path)
                if not self.path.endswith("root.squashfs"):
                    text = b"other-image\n" if self.path.startswith("/nodes/other/") else b"one\n"
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                    return
                first = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
                owner.ranges.append(first)
                owner.answers[min(len(owner.ranges), len(owner.answers)) - 1](self, first)

            def log_message(self, *arguments: object) -> None:
                """Nothing on the test's output."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server.server_port}"


def head(handler: http.server.BaseHTTPRequestHandler, first: int, total: int = len(ROOT)) -> None:
    handler.send_response(206 if first else 200)
    if first:
        handler.send_header("Content-Range", f"bytes {first}-{total - 1}/{total}")
    handler.send_header("Content-Length", str(total - first))
    handler.end_headers()


def whole(handler: http.server.BaseHTTPRequestHandler, first: int) -> None:
    head(handler, first)
    handler.wfile.write(ROOT[first:])


def cut(handler: http.server.BaseHTTPRequestHandler, first: int) -> None:
    head(handler, first)
    handler.wfile.write(ROOT[first : first + 300_000])


def stall(handler: http.server.BaseHTTPRequestHandler, first: int) -> None:
    cut(handler, first)
    handler.wfile.flush()
    time.sleep(30)


def corrupt(handler: http.server.BaseHTTPRequestHandler, first: int) -> None:
    head(handler, first)
    handler.wfile.write(ROOT[first:-1] + b"X")


def gone(handler: http.server.BaseHTTPRequestHandler, first: int) -> None:
    handler.send_error(404)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """busybox under the names that the script calls, and nothing else."""
    directory = tmp_path / "bin"
    directory.mkdir()
    subprocess.run(["busybox", "--install", "-s", str(directory)], check=True)
    return directory


@pytest.fixture
def fetch(tmp_path: Path, tools: Path) -> Iterator[Callable[..., tuple[list[str], Server]]]:
    """What the script says while it fetches the root from a server with these answers."""
    servers: list[Server] = []

    def run(*answers: Answer, node: str = "compute0") -> tuple[list[str], Server]:
        server = Server(list(answers))
        servers.append(server)
        target = tmp_path / "root.squashfs"
        script = f"""
        . {SCRIPT}
        RETRY_SECONDS=0 STALL_SECONDS=2
        say() {{ echo "$*"; }}
        reboot() {{ echo "reboot $*"; exit 0; }}
        control={server.url} node={node} image=one bytes={len(ROOT)} sha256={hashlib.sha256(ROOT).hexdigest()}
        cluster_root {target}
        echo whole
        """
        done = subprocess.run(
            [str(tools / "sh"), "-c", script],
            env={"PATH": str(tools)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stderr == ""
        if done.stdout.endswith("whole\n"):
            assert target.read_bytes() == ROOT
        return done.stdout.splitlines(), server

    yield run
    for server in servers:
        server.server.shutdown()


def test_whole_root_is_taken_at_once(fetch: Callable[..., tuple[list[str], Server]]) -> None:
    said, server = fetch(whole)
    assert said == ["whole"]
    assert server.ranges == [0]


def test_cut_transfer_goes_on_where_it_ended(fetch: Callable[..., tuple[list[str], Server]]) -> None:
    said, server = fetch(cut, cut, whole)
    assert server.ranges == [0, 300_000, 600_000]
    assert said[:2] == [
        f"image one: 300000 of {len(ROOT)} bytes after try 1; again in 0 s",
        f"image one: 600000 of {len(ROOT)} bytes after try 2; again in 0 s",
    ]
    assert "/report/compute0/interrupted/one" in server.asked


def test_stalled_transfer_is_given_up_and_goes_on(fetch: Callable[..., tuple[list[str], Server]]) -> None:
    said, server = fetch(stall, whole)
    assert server.ranges == [0, 300_000]
    assert said[-1] == "whole"


def test_server_that_is_away_costs_tries_only(fetch: Callable[..., tuple[list[str], Server]]) -> None:
    said, server = fetch(gone, gone, whole)
    assert [line.split(";")[0] for line in said[:2]] == [
        f"image one: 0 of {len(ROOT)} bytes after try {number}" for number in (1, 2)
    ]
    assert server.ranges == [0, 0, 0]


def test_corrupt_root_is_refused_told_and_fetched_anew(fetch: Callable[..., tuple[list[str], Server]]) -> None:
    said, server = fetch(corrupt, whole)
    assert server.ranges == [0, 0], "nothing of a corrupt file is kept"
    digest = hashlib.sha256(ROOT[:-1] + b"X").hexdigest()
    assert said[0].startswith(f"image one refused: root.squashfs has sha256 {digest}, its manifest says ")
    assert "not mounted" in said[0]
    assert "/report/compute0/refused/one" in server.asked
    assert said[-1] == "whole"


def test_another_choice_in_the_meantime_boots_anew(fetch: Callable[..., tuple[list[str], Server]]) -> None:
    said, server = fetch(corrupt, node="other")
    assert said[-2:] == ["the control node now has other-image for this node; booting anew", "reboot -f"]
    assert server.ranges == [0]


def test_tools_are_those_that_the_hook_asks_for(tools: Path) -> None:
    hook = (SCRIPT.parents[1] / "hooks" / "cluster").read_text()
    listed = next(line for line in hook.splitlines() if line.startswith("for tool in"))
    for tool in listed.removeprefix("for tool in ").removesuffix("; do").split():
        assert (tools / tool).exists(), tool
