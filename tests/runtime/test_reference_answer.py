"""The golden answer that the reference implementation gives when a model is fetched, on tiny random models."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facts import sources
from tests.runtime.conftest import FETCH_MODEL

HERE = Path(__file__).parent
Start = Callable[..., subprocess.Popen[str]]


def fetch(start: Start, model: Path, target: Path, **options: Any) -> tuple[int, str]:
    source = {"kind": "directory", "path": str(model)}
    process = start(FETCH_MODEL, str(target), json.dumps(source), json.dumps(options))
    _, error = process.communicate(timeout=120)
    return process.returncode, error


@pytest.mark.parametrize(
    ("name", "prompt"), [("gpt2", "abc"), ("t5", "one two three"), ("bert", "paris is the [MASK] of france")]
)
def test_it_is_what_generate_says(start: Start, tiny_models: Path, tmp_path: Path, name: str, prompt: str) -> None:
    golden = {"prompt": prompt, "reference": "transformers", "max_tokens": 12}
    status, error = fetch(start, tiny_models / name, tmp_path / name, golden=golden, dtypes=["float32"])
    assert (status, error) == (0, "")
    found = json.loads((tmp_path / name / "golden.json").read_text())
    wanted = json.loads((tiny_models / "expected.json").read_text())[name][prompt]
    text = wanted[0] if name == "bert" else wanted["text"]
    assert found["expected"] and found["prompt"] == prompt
    assert text.strip().startswith(found["expected"])
    assert found["made_by"].startswith("transformers ") and found["made_by"].endswith(" in float32")
    manifest = json.loads((tmp_path / name / "manifest.json").read_text())
    assert "golden.json" in manifest["files"], "a copy of the weights brings its answer, and a changed one is noticed"


def test_only_what_all_data_types_agree_on_counts(start: Start, tiny_models: Path, tmp_path: Path) -> None:
    golden = {"prompt": "abc", "reference": "transformers", "max_tokens": 12}
    both, one = tmp_path / "both", tmp_path / "one"
    assert fetch(start, tiny_models / "gpt2", both, golden=golden) == (0, "")
    assert fetch(start, tiny_models / "gpt2", one, golden=golden, dtypes=["float32"]) == (0, "")
    agreed, alone = (json.loads((place / "golden.json").read_text()) for place in (both, one))
    assert agreed["made_by"].endswith("float32 and bfloat16")
    if agreed["prompt"] == alone["prompt"]:
        assert alone["expected"].startswith(agreed["expected"])
    assert agreed["expected"].strip()


def test_other_weights_give_another_answer(python: str, start: Start, tiny_models: Path, tmp_path: Path) -> None:
    # What the check is for: weights that are not those of the fetch do not give the answer of the fetch.
    other = tmp_path / "other"
    shutil.copytree(tiny_models / "gpt2", other)
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-40_000:-20_000] = weights[-20_000:]
    (other / "model.safetensors").write_bytes(weights)
    golden = {"prompt": "abc", "reference": "transformers", "max_tokens": 12}
    for name, model in (("right", tiny_models / "gpt2"), ("wrong", other)):
        assert fetch(start, model, tmp_path / name, golden=golden, dtypes=["float32"])[0] == 0
    right, wrong = (json.loads((tmp_path / name / "golden.json").read_text()) for name in ("right", "wrong"))
    assert right["expected"] not in wrong["expected"]


def test_a_golden_answer_that_is_known_is_left_alone(start: Start, tiny_models: Path, tmp_path: Path) -> None:
    golden = {"prompt": "abc", "expected": "d", "max_tokens": 12}
    assert fetch(start, tiny_models / "gpt2", tmp_path / "gpt2", golden=golden) == (0, "")
    assert not (tmp_path / "gpt2" / "golden.json").exists()


def test_quantised_weights_have_no_reference(start: Start, tiny_models: Path, tmp_path: Path) -> None:
    quantised = tmp_path / "quantised"
    shutil.copytree(tiny_models / "gpt2", quantised)
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))
    golden = {"prompt": "abc", "reference": "transformers", "max_tokens": 12}
    status, error = fetch(start, quantised, tmp_path / "served", golden=golden)
    assert status == 1 and not (tmp_path / "served").exists()
    assert "its weights are quantised (awq)" in error and "write an entry with a question" in error


def test_the_directory_is_whole_for_the_fact_that_judges_it(
    python: str, start: Start, tiny_models: Path, tmp_path: Path
) -> None:
    golden = {"prompt": "abc", "reference": "transformers", "max_tokens": 4}
    assert fetch(start, tiny_models / "gpt2", tmp_path / "gpt2", golden=golden) == (0, "")
    judge = sources.text("facts.programs.model_state")
    done = subprocess.run([python, "-c", judge, str(tmp_path / "gpt2")], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["state"] == "whole"
