"""A cluster like the laptop's, a model on each of two workers: SmolLM2 on vLLM, a tiny T5 made here on transformers.

It needs the laptop cluster to be down, as tests/laptop leaves it: Ray's control store takes its port on every address.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from inventories.composition.operator import cache_directory
from tests.laptop.conftest import Operator, operator_at

pytestmark = pytest.mark.cluster

# Weights are kept by name: one of this run's own, so that another run's are not taken for these.
SMOL, TINY = "smollm2-135m-instruct", f"local--t5-{uuid.uuid4().hex[:8]}"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]
INVENTORY = """
import getpass

from hardware.laptop import CLUSTER
from inventories.composition.compose import Serving, Site, compose

control, compute = compose(
    CLUSTER,
    name="two-models",
    addresses={{"head": "127.0.6.10", "worker1": "127.0.6.11", "worker2": "127.0.6.12"}},
    serving=(
        Serving(
            model="smollm2-135m-instruct",
            dtype="float32",
            enforce_eager=True,
            engine={{"kv_cache_memory_bytes": 96 * 1024**2, "max_num_seqs": 16}},
        ),
        Serving(model="{model}", dtype="float32"),
    ),
    site=Site(
        login_user=getpass.getuser(),
        service_user=getpass.getuser(),
        service_manager="supervisor",
        shared_files=True,
        connector="loopback",
        use_operator_package_sources=True,
        shared_processors=True,
    ),
)
"""


@dataclass(frozen=True)
class Two:
    """The cluster that is up: who types, its inventory, OpenAI's unmodified client, and the models' own answers."""

    operator: Operator
    inventory: Path
    client: openai.OpenAI
    expected: dict[str, Any]

    def cluster(self, *arguments: str, seconds: int = 900) -> Any:
        return self.operator.cluster("-c", str(self.inventory), *arguments, seconds=seconds)

    def engines(self) -> dict[str, dict[str, Any]]:
        return {row["node"]: row for row in self.cluster("status", "--json").json["nodes"] if row["role"] == "compute"}

    def ask_smol(self) -> tuple[str, str]:
        raw = self.client.chat.completions.with_raw_response.create(
            model=SMOL, messages=QUESTION, max_tokens=16, temperature=0
        )
        return raw.headers["x-cluster-node"], raw.parse().choices[0].message.content or ""

    def ask_tiny(self, prompt: str = "") -> tuple[str, bool]:
        prompt = prompt or next(iter(self.expected["t5"]))
        expected = self.expected["t5"][prompt]
        raw = self.client.completions.with_raw_response.create(
            model=TINY, prompt=prompt, max_tokens=expected["tokens"], temperature=0
        )
        return raw.headers["x-cluster-node"], raw.parse().choices[0].text == expected["text"]


@pytest.fixture(scope="module")
def two(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    home = tmp_path_factory.mktemp("two")
    shutil.copytree(tiny_models / "t5", home / TINY.removeprefix("local--"))
    inventory = home / "two.py"
    inventory.write_text(INVENTORY.format(model=home / TINY.removeprefix("local--")))
    operator = operator_at(home / "home")
    client = openai.OpenAI(base_url="http://127.0.6.10:8000/v1", api_key="none", max_retries=0, timeout=90)
    found = Two(operator, inventory, client, json.loads((tiny_models / "expected.json").read_text()))
    try:
        up = found.cluster("up", "--json", seconds=1500)
        assert up.status == 0, up.stderr
        yield found
    finally:
        found.cluster("down")
        shutil.rmtree(cache_directory() / "models" / TINY, ignore_errors=True)
        (cache_directory() / "models" / f"{TINY}.lock").unlink(missing_ok=True)


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def replica_on(node: str) -> int:
    """Process of Serve's replica on a node."""
    for entry in Path("/proc").iterdir():
        try:
            named = (entry / "cmdline").read_bytes().startswith(b"ray::ServeReplica")
            here = f"CLUSTER_NODE_NAME={node}".encode() in (entry / "environ").read_bytes().split(b"\0")
            ours = b"CLUSTER_NAME=two-models" in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if named and here and ours:
            return int(entry.name)
    raise AssertionError(f"no replica on {node}")


def test_each_answers_under_its_own_name_on_its_own_node(two: Two) -> None:
    assert {model.id for model in two.client.models.list()} == {SMOL, TINY}
    node, text = two.ask_smol()
    assert node == "worker1" and "Paris" in text
    assert {two.ask_tiny(prompt) for prompt in two.expected["t5"]} == {("worker2", True)}, "as generate() says it"
    for arguments, expected in ((("--model", TINY), ("worker2", TINY)), ((), ("worker1", SMOL))):
        asked = two.cluster("ask", *arguments, "--max-tokens", "8", "--json", "what is the capital of france")
        assert asked.status == 0, asked.stderr
        assert (asked.json["node"], asked.json["model"]) == expected


def test_an_unknown_model_is_refused(two: Two) -> None:
    with pytest.raises(openai.NotFoundError, match="`another` does not exist") as refused:
        two.client.chat.completions.create(model="another", messages=QUESTION)
    assert refused.value.code == "model_not_found"
    asked = two.cluster("ask", "--model", "another", "hello")
    assert asked.status == 2 and f"it serves {SMOL}, {TINY}" in asked.complaint


def test_verify_holds_and_knows_who_serves_what(two: Two) -> None:
    verified = two.cluster("verify", "--json")
    assert verified.status == 0, verified.stdout
    answers = [check["detail"] for check in verified.json["checks"] if check["name"] == "answer"]
    assert any(said.startswith(f"worker1: {SMOL} answered") and "Paris" in said for said in answers)
    assert any(said.startswith(f"worker2: {TINY} answered") for said in answers)
    status = two.cluster("status", "--json").json
    assert status["models"] == {SMOL: "RUNNING", TINY: "RUNNING"}
    assert {row["node"]: row["model"] for row in status["nodes"]} == {"head": None, "worker1": SMOL, "worker2": TINY}
    proofs = [row["proofs"] for row in status["nodes"] if row["role"] == "compute"]
    assert all(proof["failed"] == 0 and proof["asked"] >= 1 for proof in proofs)


def test_a_killed_engine_leaves_the_other_model_undisturbed(two: Two) -> None:
    failures: list[str] = []
    right, stopped = 0, threading.Event()

    def ask() -> None:
        nonlocal right
        while not stopped.is_set():
            try:
                right += two.ask_tiny() == ("worker2", True)
            except openai.APIError as error:
                failures.append(f"{type(error).__name__}: {error}")
            time.sleep(0.1)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        os.kill(replica_on("worker1"), signal.SIGKILL)
        wait_until(lambda: {model.id for model in two.client.models.list()} == {TINY}, 30)
        with pytest.raises(openai.InternalServerError, match="no engine serves now"):
            two.client.chat.completions.create(model=SMOL, messages=QUESTION)
        before = right
        wait_until(lambda: {model.id for model in two.client.models.list()} == {SMOL, TINY}, 600)
        assert right > before
    finally:
        stopped.set()
        asking.join(90)
    assert not failures
    node, text = two.ask_smol()
    assert node == "worker1" and "Paris" in text
    assert two.cluster("verify").status == 0


def test_a_changed_model_leaves_the_other_ones_engine_running(two: Two) -> None:
    """Other options for the second model: its application is made anew, the first one's process stays."""
    kept, changed = replica_on("worker1"), replica_on("worker2")
    started = two.engines()["worker1"]["since"]
    text = two.inventory.read_text()
    text = text.replace('dtype="float32"),', 'dtype="float32", enforce_eager=True),')
    two.inventory.write_text(text)
    up = two.cluster("up", "--json")
    assert up.status == 0, up.stderr
    assert replica_on("worker1") == kept and replica_on("worker2") != changed
    assert two.engines()["worker1"]["since"] == started
    assert {model.id for model in two.client.models.list()} == {SMOL, TINY}
