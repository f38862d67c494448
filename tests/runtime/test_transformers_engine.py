"""transformers_engine.py over HTTP, with the unmodified OpenAI client, on tiny random models made on the spot.

Each answer is compared with transformers' own generate() on the same weights (experiments/programs/tiny_models.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from deploys.vllm.programs import transformers_engine
from facts.sources import REPOSITORY
from inventories.models.anywhere import kind_of

HERE = Path(__file__).parent
TOKENS = 12  # as in tiny_models.py
CONCURRENCY = 2


@pytest.fixture(scope="module")
def expected(tiny_models: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((tiny_models / "expected.json").read_text())
    return found


@pytest.fixture(scope="module")
def ports(python: str, tiny_models: Path) -> Iterator[dict[str, int]]:
    """A served engine for each model."""
    wanted = [f"{name}={tiny_models / name}" for name in ("gpt2", "t5", "bert", "chat")]
    process = subprocess.Popen(
        [python, str(HERE / "serve_engine.py"), str(CONCURRENCY), *wanted],
        env={**quiet(), "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, "the engines did not start; see above"
        yield json.loads(line)
    finally:
        process.kill()
        process.communicate(timeout=30)


def quiet() -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def client(ports: dict[str, int], name: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{ports[name]}/v1", api_key="none", max_retries=0, timeout=60)


def post(ports: dict[str, int], name: str, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"http://127.0.0.1:{ports[name]}{path}", json=body, timeout=60)


def load(ports: dict[str, int], name: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{ports[name]}/test/load", timeout=60).json()
    return found


@pytest.mark.parametrize("name", ["gpt2", "t5"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_answer_is_that_of_generate(
    ports: dict[str, int], expected: dict[str, Any], name: str, stream: bool
) -> None:
    for prompt, wanted in expected[name].items():
        completions = client(ports, name).completions
        if stream:
            chunks = list(
                completions.create(
                    model=name,
                    prompt=prompt,
                    max_tokens=TOKENS,
                    temperature=0,
                    stream=True,
                    stream_options={"include_usage": True},
                )
            )
            text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
            usage, reason = chunks[-1].usage, chunks[-2].choices[0].finish_reason
            assert len(chunks) > 3, "it streams"
        else:
            whole = completions.create(model=name, prompt=prompt, max_tokens=TOKENS, temperature=0)
            text, usage, reason = whole.choices[0].text, whole.usage, whole.choices[0].finish_reason
        assert text == wanted["text"]
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens) == (wanted["prompt_tokens"], wanted["tokens"])
        assert reason == ("length" if wanted["tokens"] == TOKENS else "stop")


def test_several_prompts_and_token_ids(ports: dict[str, int], expected: dict[str, Any]) -> None:
    prompts = list(expected["t5"])
    both = client(ports, "t5").completions.create(model="t5", prompt=prompts, max_tokens=TOKENS, temperature=0)
    assert [choice.text for choice in both.choices] == [expected["t5"][prompt]["text"] for prompt in prompts]
    ids = client(ports, "gpt2").completions.create(
        model="gpt2", prompt=list(range(64, 67)), max_tokens=4, temperature=0
    )
    assert ids.usage is not None and ids.usage.prompt_tokens == 3


def test_masked_words_by_both_ways(ports: dict[str, int], expected: dict[str, Any]) -> None:
    for text, words in expected["bert"].items():
        found = post(ports, "bert", "/v1/fill-mask", {"model": "bert", "input": text, "top_k": 3}).json()
        masks = found["data"][0]["masks"]
        assert [mask[0]["token"] for mask in masks] == words
        assert all(len(mask) == 3 and mask[0]["score"] >= mask[1]["score"] >= mask[2]["score"] for mask in masks)
        whole = client(ports, "bert").completions.create(model="bert", prompt=text)
        assert whole.choices[0].text == " ".join(words) and whole.choices[0].finish_reason == "stop"


def test_chat_with_and_without_a_template(ports: dict[str, int], expected: dict[str, Any]) -> None:
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    asked: dict[str, Any] = {"messages": messages, "max_tokens": 6, "temperature": 0}
    whole = client(ports, "chat").chat.completions.create(model="chat", **asked)
    # The template of tiny_models.py, written out: the same prompt by the other path gives the same answer.
    plain = client(ports, "chat").completions.create(
        model="chat", prompt="user: hello\na:", max_tokens=6, temperature=0
    )
    assert whole.choices[0].message.content == plain.choices[0].text
    chunks = list(client(ports, "chat").chat.completions.create(model="chat", stream=True, **asked))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == plain.choices[0].text

    prompt, wanted = next(iter(expected["t5"].items()))
    parts: list[Any] = [{"role": "user", "content": [{"type": "text", "text": prompt}]}]
    text = client(ports, "t5").chat.completions.create(model="t5", messages=parts, max_tokens=TOKENS, temperature=0)
    assert text.choices[0].message.content == wanted["text"]

    with pytest.raises(openai.BadRequestError, match="gpt2 has no chat template; ask it at /v1/completions"):
        client(ports, "gpt2").chat.completions.create(model="gpt2", **asked)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_stop_words_end_the_answer_before_them(ports: dict[str, int], expected: dict[str, Any], stream: bool) -> None:
    prompt, wanted = next(iter(expected["t5"].items()))
    words = wanted["text"].split()
    stop = f"{words[2]} {words[3]}"
    assert stop in wanted["text"]
    asked: dict[str, Any] = {
        "model": "t5", "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stop": [stop]
    }  # fmt: skip
    if stream:
        chunks = list(client(ports, "t5").completions.create(**asked, stream=True))
        text, reason = "".join(chunk.choices[0].text for chunk in chunks), chunks[-1].choices[0].finish_reason
    else:
        choice = client(ports, "t5").completions.create(**asked).choices[0]
        text, reason = choice.text, choice.finish_reason
    assert text == wanted["text"].split(stop)[0] and reason == "stop"


def test_sampling_samples(ports: dict[str, int]) -> None:
    found = {
        client(ports, "gpt2")
        .completions.create(model="gpt2", prompt="abc", max_tokens=TOKENS, temperature=2)
        .choices[0]
        .text
        for _ in range(5)
    }
    assert len(found) > 1


COMPLETIONS, CHAT, FILL = "/v1/completions", "/v1/chat/completions", "/v1/fill-mask"
PICTURE = {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
REFUSED: dict[str, tuple[str, str, dict[str, Any], str, str | None]] = {
    "temperature": ("gpt2", COMPLETIONS, {"temperature": 3}, "temperature is 3; give a number from 0", "temperature"),
    "no number": ("gpt2", COMPLETIONS, {"temperature": "hot"}, "temperature is 'hot'", "temperature"),
    "top_p": ("gpt2", COMPLETIONS, {"top_p": 0}, "top_p is 0", "top_p"),
    "max_tokens": ("gpt2", COMPLETIONS, {"max_tokens": 0}, "a whole number of at least 1", "max_tokens"),
    "too many tokens": ("gpt2", COMPLETIONS, {"max_tokens": 62}, "there is room for 61", "max_tokens"),
    "prompt": ("gpt2", COMPLETIONS, {"prompt": {"a": 1}}, "prompt is a text", "prompt"),
    "prompt too long": ("gpt2", COMPLETIONS, {"prompt": "a" * 65}, "maximum context length is 64", "prompt"),
    "token outside": ("gpt2", COMPLETIONS, {"prompt": [9999]}, "a token id is outside 0 to 256", "prompt"),
    "n": ("gpt2", COMPLETIONS, {"n": 2}, "n is 2, which this engine does not have", "n"),
    "logprobs": ("gpt2", COMPLETIONS, {"logprobs": 3}, "logprobs is 3", "logprobs"),
    "stop": ("gpt2", COMPLETIONS, {"stop": [""]}, "stop is a text, or up to four", "stop"),
    "stream": ("gpt2", COMPLETIONS, {"stream": "yes"}, "stream is 'yes'; it is true or false", "stream"),
    "messages": ("chat", CHAT, {"messages": []}, "messages is a list", "messages"),
    "picture": ("chat", CHAT, PICTURE, "this engine reads text only", "messages"),
    "no mask": ("bert", COMPLETIONS, {"prompt": "the sky"}, "the text has no mask; put [MASK]", "prompt"),
    "fill-mask elsewhere": ("gpt2", FILL, {"input": "a"}, "gpt2 is no model of masked words", "model"),
    "fill-mask input": ("bert", FILL, {"input": [1]}, "input is a text with a mask", "input"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_wrong_parameters_are_a_400_in_openais_shape(ports: dict[str, int], case: str, stream: bool) -> None:
    name, path, change, said, parameter = REFUSED[case]
    answer = post(ports, name, path, {"model": name, "prompt": "abc", "stream": stream, **change})
    error = answer.json()["error"]
    assert answer.status_code == 400 and said in error["message"], error
    assert error["type"] == "invalid_request_error" and error["param"] == parameter
    assert set(error) == {"message", "type", "param", "code"}


def test_a_body_that_is_no_json(ports: dict[str, int]) -> None:
    answer = httpx.post(f"http://127.0.0.1:{ports['gpt2']}/v1/completions", content=b"{", timeout=60)
    assert answer.status_code == 400 and "the body is no JSON" in answer.json()["error"]["message"]


def test_an_unknown_model_is_a_404(ports: dict[str, int]) -> None:
    with pytest.raises(openai.NotFoundError, match="the model 'gpt-9' does not exist; served is 'gpt2'"):
        client(ports, "gpt2").completions.create(model="gpt-9", prompt="a")
    assert [card.id for card in client(ports, "gpt2").models.list()] == ["gpt2"]
    assert client(ports, "gpt2").models.retrieve("gpt2").id == "gpt2"
    with pytest.raises(openai.NotFoundError):
        client(ports, "gpt2").models.retrieve("gpt-9")


def test_the_golden_question(ports: dict[str, int], expected: dict[str, Any]) -> None:
    for name in ("gpt2", "t5"):
        prompt, wanted = next(iter(expected[name].items()))
        said = post(ports, name, "/test/answer", {"prompt": prompt, "max_tokens": TOKENS}).json()
        assert said["answer"] == wanted["text"]
    (text, words), *_ = expected["bert"].items()
    assert post(ports, "bert", "/test/answer", {"prompt": text, "max_tokens": 1}).json()["answer"] == words[0]
    said = post(ports, "chat", "/test/answer", {"question": "hello", "max_tokens": 6}).json()
    plain = client(ports, "chat").completions.create(
        model="chat", prompt="user: hello\na:", max_tokens=6, temperature=0
    )
    assert said["answer"] == plain.choices[0].text


def test_load_counts_what_runs_and_what_waits_and_a_proof_goes_in_front(ports: dict[str, int]) -> None:
    before = load(ports, "gpt2")
    asked = {"model": "gpt2", "prompt": "a", "max_tokens": 60, "temperature": 0, "ignore_eos": True}
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            assert post(ports, "gpt2", "/v1/completions", asked).status_code == 200

    threads = [threading.Thread(target=ask) for _ in range(CONCURRENCY + 3)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 60
        while True:
            seen = load(ports, "gpt2")
            assert seen["running"] <= CONCURRENCY
            if seen["running"] == CONCURRENCY and seen["waiting"] >= 1:
                break
            assert time.monotonic() < deadline, seen
        assert seen["idle"] < 5, "it gets on"
        proof = post(ports, "gpt2", "/test/answer", {"prompt": "abc", "max_tokens": 2})
        assert proof.status_code == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    after = load(ports, "gpt2")
    assert (after["running"], after["waiting"]) == (0, 0)
    done = after["finished"] - before["finished"] - 1
    assert done >= CONCURRENCY + 3
    assert after["generated_tokens"] - before["generated_tokens"] == 60 * done + 2
    assert after["prompt_tokens"] - before["prompt_tokens"] == done + 3


def test_a_client_that_goes_away_frees_its_place(ports: dict[str, int]) -> None:
    before = load(ports, "gpt2")["finished"]
    asked = {"model": "gpt2", "prompt": "a", "max_tokens": 60, "stream": True, "ignore_eos": True, "temperature": 0}
    for _ in range(CONCURRENCY + 1):
        with httpx.stream("POST", f"http://127.0.0.1:{ports['gpt2']}/v1/completions", json=asked, timeout=60) as answer:
            next(answer.iter_lines())
    deadline = time.monotonic() + 30
    while (seen := load(ports, "gpt2"))["running"] or seen["finished"] < before + CONCURRENCY + 1:
        assert time.monotonic() < deadline, seen
        time.sleep(0.02)


def test_the_engine_and_the_catalogue_know_architectures_by_one_rule() -> None:
    for architecture in ("T5ForConditionalGeneration", "BertForMaskedLM", "GPT2LMHeadModel", "LlamaForCausalLM", ""):
        for both in (True, False):
            config = {"architectures": [architecture], "is_encoder_decoder": both}
            assert transformers_engine.kind_of(config) == kind_of(config)
