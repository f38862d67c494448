"""What clients of the laptop cluster see: OpenAI's own client, a wedged engine, nodes that leave and come back."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.laptop.conftest import ADDRESS, Operator, engines, serves, wait_until

pytestmark = pytest.mark.cluster

MODEL = "smollm2-135m-instruct"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
DETECTION_SECONDS = 15


@pytest.fixture
def client(laptop: Operator) -> openai.OpenAI:
    """The unmodified client; it tries nothing twice, so that every failure shows."""
    return openai.OpenAI(base_url=f"{ADDRESS}/v1", api_key="none is asked for on loopback", max_retries=0, timeout=60)


def test_a_forced_tool_call_parses_and_one_by_choice_is_told_what_to_do(client: openai.OpenAI) -> None:
    """The small model chooses no tools; what a request forces is written by a grammar, with any model."""
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "London"]}}, "required": ["city"]}
    tools: Any = [
        {"type": "function", "function": {"name": "weather", "description": "of a city", "parameters": schema}}
    ]
    asked: Any = {"model": MODEL, "messages": QUESTION, "tools": tools, "max_tokens": 64, "temperature": 0}
    named: Any = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named):
        (call, *_) = client.chat.completions.create(**asked, tool_choice=choice).choices[0].message.tool_calls or [None]
        assert call is not None and call.type == "function" and call.function.name == "weather"
        assert json.loads(call.function.arguments)["city"] in ("Paris", "London")
    with pytest.raises(openai.BadRequestError, match="does not choose tools by itself") as raised:
        client.chat.completions.create(**asked)
    assert (raised.value.param, raised.value.code) == ("tools", "tools_not_supported")


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", f"/v1/models/{MODEL}", None, 200),
        ("GET", "/v1/models/another", None, 404),
        ("GET", "/v1/nothing", None, 404),
        ("GET", "/v1/chat/completions", None, 405),
        ("PUT", "/ui/main.js", {}, 405),
        ("POST", "/v1/completions", {"model": MODEL, "prompt": "a", "n": 2000}, 400),
        ("POST", "/v1/chat/completions", {"model": MODEL, "messages": "France?"}, 400),
        ("POST", "/v1/chat/completions", {"model": MODEL, "messages": QUESTION, "temperature": 9}, 400),
        ("POST", "/v1/chat/completions", {"model": "another", "messages": QUESTION}, 404),
    ],
)
def test_every_error_has_one_shape(client: openai.OpenAI, method: str, path: str, body: Any, status: int) -> None:
    connection = http.client.HTTPConnection(ADDRESS.removeprefix("http://"), timeout=60)
    text = None if body is None else json.dumps(body)
    connection.request(method, path, text, {"content-type": "application/json"} if text else {})
    answer = connection.getresponse()
    said = json.loads(answer.read())
    assert (answer.status, answer.headers["content-type"].partition(";")[0]) == (status, "application/json")
    if status == 200:
        assert said["id"] == MODEL
        return
    assert set(said["error"]) == {"message", "type", "param", "code"}
    assert said["error"]["message"] and "{'" not in said["error"]["message"]
    assert status != 405 or answer.headers["allow"]


class Asking:
    """One client after the other, each with the golden question, until it is told to stop."""

    def __init__(self, client: openai.OpenAI) -> None:
        self.client, self.stopped = client, threading.Event()
        self.answers: list[tuple[float, str, str]] = []
        self.failures: list[str] = []
        self.threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for thread in self.threads:
            thread.start()

    def _ask(self) -> None:
        while not self.stopped.is_set():
            began = time.monotonic()
            try:
                raw = self.client.chat.completions.with_raw_response.create(
                    model=MODEL, messages=QUESTION, max_tokens=16, temperature=0
                )
                text = raw.parse().choices[0].message.content or ""
                self.answers.append((time.monotonic() - began, raw.headers["x-cluster-node"], text))
            except openai.APIError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            time.sleep(0.1)

    def stop(self) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(90)


@pytest.fixture
def asking(client: openai.OpenAI) -> Iterator[Asking]:
    found = Asking(client)
    yield found
    found.stop()


def processes_of(node: str, words: bytes) -> list[int]:
    """Processes of this user's laptop cluster on a node whose command line has these words."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            named = words in (entry / "cmdline").read_bytes()
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if named and f"CLUSTER_NODE_NAME={node}".encode() in variables and b"CLUSTER_NAME=laptop" in variables:
            found.append(int(entry.name))
    assert found, f"no {words.decode()} on {node}"
    return found


def test_openais_client_whole_and_streamed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, temperature=0)
    assert "Paris" in (whole.choices[0].message.content or "")
    stream = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=16, temperature=0, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert len(pieces) > 3 and "".join(pieces) == whole.choices[0].message.content
    assert client.completions.create(model=MODEL, prompt="1 2 3 4", max_tokens=4).choices[0].text


def test_errors_come_in_openais_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="another", messages=QUESTION)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=-1)
    with pytest.raises(openai.BadRequestError, match="2048"):
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 5000}])
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * 1_100_000}])
    assert refused.value.status_code == 413
    assert refused.value.response.json()["error"]["message"] == "the request is larger than 1000000 bytes"


def test_a_streamed_answer_says_who_gives_it(laptop: Operator) -> None:
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 4, "stream": True}
    request = urllib.request.Request(  # noqa: S310 (http by design)
        f"{ADDRESS}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert answer.headers["x-cluster-node"] in ("worker1", "worker2")
        assert answer.headers["x-cluster-address"] in ("127.0.0.11", "127.0.0.12")
        assert answer.headers["x-cluster-replica"]
        assert answer.read().rstrip().endswith(b"data: [DONE]")


def test_a_wedged_engine_is_out_in_time_and_its_node_comes_back_after_a_kill(laptop: Operator, asking: Asking) -> None:
    """The engine core is stopped: the API is alive, the engine silent. Requests in it are answered by the other one.

    Then the node's raylet is killed: verify names the node, its supervisor starts it again, the engine proves itself.
    """
    wait_until(lambda: {node for _, node, _ in asking.answers} == {"worker1", "worker2"}, 60)
    before, _ = engines()["worker1"]
    (wedged,) = processes_of("worker1", b"VLLM::EngineCore")
    os.kill(wedged, signal.SIGSTOP)
    try:
        detected = wait_until(lambda: not serves("worker1"), 60)
        rows = laptop.cluster("status", "--json").json["nodes"]
        assert [row["engine"] != "serving" for row in rows if row["node"] == "worker1"] == [True]
        count = len(asking.answers)
        wait_until(lambda: len(asking.answers) > count + 20, 90)
        assert {node for _, node, _ in asking.answers[count + 6 :]} == {"worker2"}
    finally:
        asking.stop()
        for process in processes_of("worker1", b"/raylet/raylet"):
            os.kill(process, signal.SIGKILL)
    # What the client saw: the slowest answer waited for the detection, and was then given by the other engine.
    assert not asking.failures
    assert all("Paris" in text for _, _, text in asking.answers)
    assert max(seconds for seconds, _, _ in asking.answers) < detected + DETECTION_SECONDS
    done = laptop.cluster("verify", "--json")
    assert done.status == 1
    assert any(check["ok"] is False and check["detail"].startswith("worker1") for check in done.json["checks"])
    wait_until(lambda: serves("worker1") and engines()["worker1"][0] != before, 300)
    assert not Path(f"/proc/{wedged}").exists(), "the stopped engine went with its node"
    assert laptop.cluster("verify").status == 0


def test_the_control_store_is_killed_and_no_engine_begins_anew(laptop: Operator, asking: Asking) -> None:
    """Ray's head ends with it and is started again; nobody who asks sees anything of it."""
    wait_until(lambda: {node for _, node, _ in asking.answers} == {"worker1", "worker2"}, 60)
    before = engines()
    (killed,) = processes_of("head", b"/gcs/gcs_server")
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: laptop.cluster("verify").status == 0, 120)
    asking.stop()
    assert not asking.failures
    assert killed not in processes_of("head", b"/gcs/gcs_server")
    assert engines() == before


def test_a_node_leaves_and_comes_back_under_load(laptop: Operator, asking: Asking) -> None:
    wait_until(lambda: {node for _, node, _ in asking.answers} == {"worker1", "worker2"}, 60)
    left = laptop.cluster("nodes", "remove", "worker2")
    assert left.status == 0, left.stderr
    members = {row["node"]: row["member"] for row in laptop.cluster("nodes", "--json").json["nodes"]}
    assert members == {"head": "in", "worker1": "in", "worker2": "out"}
    assert laptop.cluster("verify").status == 0
    before = len(asking.answers)
    wait_until(lambda: len(asking.answers) > before + 10, 60)
    assert {node for _, node, _ in asking.answers[before + 3 :]} == {"worker1"}
    back = laptop.cluster("nodes", "add", "worker2")
    assert back.status == 0, back.stderr
    wait_until(lambda: asking.answers[-1][1] == "worker2", 60)
    asking.stop()
    assert not asking.failures
    assert all("Paris" in text for _, _, text in asking.answers)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("remove", "worker9"), "no compute node 'worker9'; there are worker1, worker2"),
        (("remove", "head"), "head is the control node"),
        (("add", "worker9"), "no node 'worker9' was taken out"),
        (("add", "0"), "give a number above 0"),
        (("add", "99"), "has room for 8"),
    ],
)
def test_nodes_that_cannot_be(laptop: Operator, arguments: tuple[str, ...], said: str) -> None:
    done = laptop.cluster("nodes", *arguments)
    assert done.status == 2
    assert said in done.complaint


@pytest.mark.parametrize("command", ["down", "up", "status"])
def test_a_copy_of_the_inventory_touches_nothing(
    laptop: Operator, client: openai.OpenAI, tmp_path: Path, repository: Path, command: str
) -> None:
    copy = tmp_path / "dup.py"
    shutil.copy(repository / "inventories" / "laptop.py", copy)
    done = laptop.cluster("-c", str(copy), command)
    assert done.status == 2
    assert f"{copy}: cluster laptop is {repository}/inventories/laptop.py's, and runs on head" in done.complaint
    assert client.models.list().data[0].id == MODEL
