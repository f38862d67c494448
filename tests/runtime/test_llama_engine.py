"""llama_engine.py over HTTP, with the unmodified OpenAI client: a real model, SmolLM2-135M-Instruct as a GGUF file.

xllamacpp is not in the runtime's lock, so it is laid beside it here, from the package index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deploys import library
from facts.sources import REPOSITORY
from inventories import models
from inventories.composition.operator import package_sources
from tests.runtime.conftest import FETCH_MODEL

HERE = Path(__file__).parent
UV = Path(sys.executable).parent / "uv"
PACKAGE = "xllamacpp==2026.10.11549"
ENTRY = models.entry("smollm2-135m-instruct-gguf")
QUESTION = "The capital of France is"


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return {**kept, **package_sources(), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture(scope="module")
def weights(python: str, variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue's GGUF model, fetched by the program that fetches it on a control node."""
    directory = tmp_path_factory.mktemp("models") / ENTRY.name
    done = subprocess.run(
        [*library.start(python, FETCH_MODEL), str(directory), json.dumps(dict(ENTRY.source))],
        env={**variables, "PYTHONPATH": str(REPOSITORY), "CLUSTER_UV": str(UV)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the model's package cannot be had here: {done.stderr[-200:]}")
    return directory


@pytest.fixture(scope="module")
def port(
    python: str, variables: dict[str, str], weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    beside = tmp_path_factory.mktemp("beside")
    done = subprocess.run(
        [str(UV), "pip", "install", "--quiet", "--python", python, "--no-deps", "--target", str(beside), PACKAGE],
        env=variables, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"{PACKAGE} cannot be had here: {done.stderr[-200:]}")
    process = subprocess.Popen(
        [python, str(HERE / "serve_engine.py"), "2", f"{ENTRY.name}={weights}"],
        env={**variables, "PYTHONPATH": f"{beside}:{REPOSITORY}", "ENGINE": "llama"},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the engine did not start"
        yield json.loads(line)[ENTRY.name]
    finally:
        process.kill()
        process.communicate(timeout=30)


def client(port: int) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0, timeout=120)


def load(port: int) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/test/load", timeout=60).json()
    return found


def test_the_file_is_kept_as_it_is(weights: Path) -> None:
    (file,) = weights.glob("*.gguf")
    assert file.stat().st_size == ENTRY.weights_bytes_on_disk
    assert {path.name for path in weights.iterdir()} == {file.name, "manifest.json"}


def test_the_golden_answer_of_the_catalogue(port: int) -> None:
    said = httpx.post(f"http://127.0.0.1:{port}/test/answer", json=dict(ENTRY.golden), timeout=120).json()
    assert ENTRY.golden["expected"] in said["answer"]


def test_completions_and_chat_streamed_and_whole(port: int) -> None:
    asked: dict[str, Any] = {"model": ENTRY.name, "prompt": QUESTION, "max_tokens": 8, "temperature": 0}
    whole = client(port).completions.create(**asked)
    chunks = list(client(port).completions.create(**asked, stream=True))
    assert "Paris" in whole.choices[0].text and whole.model == ENTRY.name
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert len(chunks) > 3
    messages: list[Any] = [{"role": "user", "content": "Say hello."}]
    chat = client(port).chat.completions.create(model=ENTRY.name, messages=messages, max_tokens=8, temperature=0)
    assert chat.choices[0].message.content
    assert [card.id for card in client(port).models.list()] == [ENTRY.name]


def test_errors_have_openais_shape(port: int) -> None:
    with pytest.raises(openai.NotFoundError, match=r"'gpt-9' does not exist; served is 'smollm2-135m-instruct-gguf'"):
        client(port).completions.create(model="gpt-9", prompt="a")
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json={"model": ENTRY.name}, timeout=60)
    assert answer.status_code in (400, 500) and answer.json()["error"]["message"], "llama.cpp's own"
    answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", content=b"[", timeout=60)
    assert answer.status_code == 400 and "no JSON object" in answer.json()["error"]["message"]


def test_busy_is_not_wedged_and_a_client_that_goes_away_frees_its_place(port: int) -> None:
    before = load(port)
    asked = {"model": ENTRY.name, "prompt": "Once", "max_tokens": 1500, "stream": True, "ignore_eos": True}
    url = f"http://127.0.0.1:{port}/v1/completions"
    stop = threading.Event()

    def ask() -> None:
        with httpx.stream("POST", url, json=asked, timeout=120) as answer:
            for _ in answer.iter_lines():
                if stop.is_set():
                    return

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 60
        while (seen := load(port))["running"] < 2 or seen["waiting"] < 1 or seen["idle"] > 4:
            assert time.monotonic() < deadline, seen
        proof = httpx.post(f"http://127.0.0.1:{port}/test/answer", json=dict(ENTRY.golden), timeout=60)
        assert proof.status_code == 200 and "Paris" in proof.json()["answer"]
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    deadline = time.monotonic() + 60
    while (after := load(port))["running"] or after["waiting"]:
        assert time.monotonic() < deadline, after
        time.sleep(0.05)
    assert after["finished"] >= before["finished"] + 2


def test_without_the_package_it_refuses_and_says_what_to_do(
    python: str, variables: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "import asyncio, sys; from deploys.vllm.programs.llama_engine import LlamaEngine\n"
        "asyncio.run(LlamaEngine(sys.argv[1], 'm', 'chat', 'auto', 1).start())"
    )
    done = subprocess.run(
        [python, "-c", code, str(tmp_path)],
        env={**variables, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "EngineMissingError: llama.cpp's server is not in this runtime" in done.stderr and "0014" in done.stderr
