"""Whatever describes models, machines, runs and changes, spoiled: read, or refused with the reader's own error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deploys.settings import SettingsError
from deploys.settings import parse as parse_settings
from deploys.vllm.programs import fetch_model
from deploys.vllm.programs.hub_download import Remote
from deploys.vllm.programs.weights_choice import ChoiceError, choose, gguf_file, index_of, named_by
from hardware.lab import lab
from hardware.model import ProfileError
from hardware.planner import calibration, configuration, points, what_if
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.errors import PlanError
from hardware.planner.memory import stage_weights
from hardware.planner.tensors import WHOLE, parameter_count
from inventories import models
from inventories.composition import machines
from inventories.composition.compose import Serving, Site, compose
from inventories.models import shapes
from inventories.models.anywhere import from_hub
from inventories.models.catalogue import load, parse
from tests.unit.fuzz.conftest import count, inputs, noise, odd_texts, spoiled, spoiled_text
from tests.unit.hardware.test_planner_quantisation import AWQ, FBGEMM, GPTQ, INT4, LLAMA, MODELOPT, STATIC, packed

# Known config.json files without their layers' number, which only makes them slow, and with more in them to spoil.
CONFIGS: list[dict[str, Any]] = [
    {**json.loads((shapes.CONFIGS / f"{name}.json").read_text()), "num_hidden_layers": 3} for name in shapes.known()
]
CONFIGS = [
    {**config, "layer_types": config["layer_types"][:3]} if "layer_types" in config else config for config in CONFIGS
]
SMALL = {**LLAMA, "num_hidden_layers": 3}
ROPE = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096}
NAMES = ["lm_head", "model.layers.0.self_attn.q_proj", "re:.*mlp.*", "*", "experts"]
QUANTISED = [
    {**SMALL, "rope_scaling": ROPE, "quantization_config": told}
    for told in (
        {**AWQ, "modules_to_not_convert": NAMES[:1]},
        {**GPTQ, "dynamic": {r"-:.*\.1\..*": {}}, "modules_in_block_to_quantize": [["self_attn.q_proj"]]},
        {**STATIC, "ignored_layers": NAMES[:1], "weight_block_size": None},
        {**FBGEMM, "modules_to_not_convert": NAMES[:1]},
        {**MODELOPT, "ignore": NAMES},
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "exclude_modules": NAMES}},
        packed(("group_0", INT4), ignore=NAMES[:3], sparsity_config={"format": "dense", "targets": []}),
    )
]
CONFIG = spoiled(st.sampled_from(CONFIGS + QUANTISED * 3))


@inputs(4)
@given(CONFIG | noise.filter(lambda value: isinstance(value, dict)))
def test_a_config_json(config: dict[str, Any]) -> None:
    count("config.json")
    if not isinstance(config, dict):
        return
    try:
        model = configuration.read(config, "mine", "mine.json")
    except PlanError as error:
        assert str(error).startswith("mine.json") and "\n" not in str(error)
        return
    assert parameter_count(model) > 0 and stage_weights(model, WHOLE, 0) > 0 and model.longest("cpu") > 0


@inputs()
@given(spoiled_text(CONFIG.map(lambda config: json.dumps(config, default=str))), CONFIG.map(json.dumps), st.booleans())
def test_a_directory_with_a_model(text: str, beside: str, modelopt: bool) -> None:
    count("model directory")
    directory = _place("model")
    (directory / "config.json").write_text(text, errors="replace")
    (directory / "hf_quant_config.json").unlink(missing_ok=True)
    if modelopt:
        (directory / "hf_quant_config.json").write_text(beside, errors="replace")
    (directory / "model.safetensors.index.json").write_text(beside, errors="replace")
    (directory / "model.safetensors").write_bytes(b"1234")
    try:
        found = models.entry(str(directory))
    except ProfileError as error:
        assert str(error)
        return
    assert found.served.name and found.to_settings()


ENTRIES = {name: entry.to_data() for name, entry in load().items()}
_HOME: dict[str, Path] = {}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _HOME["path"] = tmp_path
    monkeypatch.setenv("CLUSTER_HOME", str(tmp_path))


def _place(name: str) -> Path:
    place = _HOME["path"] / name
    place.mkdir(parents=True, exist_ok=True)
    return place


def _written(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry as its file has it: without what its config.json says."""
    derived = {"name", *(shapes.known_shape(entry["config"]).sizes if entry.get("config") else {})}  # type: ignore[union-attr]
    return {key: value for key, value in entry.items() if key not in derived and value not in ("", None)}


@inputs(2)
@given(spoiled(st.sampled_from([_written(entry) for entry in ENTRIES.values()])))
def test_an_entry_of_the_catalogue(values: Any) -> None:
    count("catalogue entry")
    try:
        entry = parse("mine", values, "mine.yaml")
    except ProfileError as error:
        assert str(error).startswith("mine.yaml")
        return
    assert entry.served.length and entry.to_settings()


FILE = yaml.safe_dump({name: _written(entry) for name, entry in list(ENTRIES.items())[:3]})


@inputs()
@given(spoiled_text(st.just(FILE)) | noise.map(str))
def test_a_file_of_the_catalogue(text: str) -> None:
    count("catalogue file")
    directory = _place("catalogue")
    (directory / "a.yaml").write_text(text, errors="replace")
    load.cache_clear()
    try:
        load(directory)
    except ProfileError as error:
        assert str(error).startswith("a.yaml")
    finally:
        load.cache_clear()


MACHINES = (
    "compute0: 52:54:00:12:34:56\ncontrol: {mac_address: '52:54:00:12:34:57', secure_boot: true, wake_on_lan: no}\n"
)


@inputs(2)
@given(spoiled_text(st.just(MACHINES)) | noise.map(str))
def test_machines_yaml(text: str) -> None:
    count("machines.yaml")
    file = machines.path("mine")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, errors="replace")
    try:
        machines.fill_in("mine", lab(1))
    except ProfileError as error:
        assert "machines.yaml" in str(error)


LISTED = ["config.json", "model.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"]
LISTED += [
    "m-Q4_0.gguf",
    "a/m-Q8_0-00001-of-00002.gguf",
    "mmproj.gguf",
    "consolidated.safetensors",
    "pytorch_model.bin",
]
PATHS = st.lists(st.sampled_from(LISTED) | spoiled_text(st.sampled_from(LISTED)), max_size=8)


@inputs(2)
@given(PATHS, odd_texts, st.none() | st.integers(-1, 1 << 40), noise)
def test_a_hubs_listing(paths: list[str], variant: str, room: int | None, index: Any) -> None:
    count("hub listing")
    listed = [Remote(path, len(path) << 28, "0" * 64, "0" * 40) for path in paths]
    try:
        chosen = choose(listed, None, variant, room)
        assert {file.path for file in chosen} <= set(paths)
        if index_of(chosen):
            named_by(json.dumps(index, default=str).encode(), "index", chosen)
        gguf_file(paths)
    except ChoiceError as error:
        assert "\n" not in str(error).replace(variant, "").replace("".join(paths), "") or True


@inputs()
@given(spoiled(st.just({"kind": "hub", "repository": "a/b", "revision": "main", "files": ["*"], "variant": "Q4"})))
def test_a_source(source: Any) -> None:
    count("model source")
    assert isinstance(fetch_model.refusal(source), str)


@inputs(2)
@given(
    st.one_of(odd_texts, spoiled_text(st.sampled_from(["hub:a/b@main:Q4_0", "a/b", "qwen3-8b", "/srv/models/mine"])))
)
def test_a_models_name(name: str) -> None:
    count("model name")
    for read in (models.entry, from_hub):
        try:
            read(name)
        except ProfileError as error:
            assert str(error)


CHANGES = [
    "nodes=+1",
    "link=ethernet:2.5Gb",
    "memory=32GiB",
    "memory=32",
    "bandwidth=500GB/s",
    "accelerator=h200",
    "nodes=4",
]


@inputs(2)
@given(spoiled_text(st.sampled_from(CHANGES)) | odd_texts)
def test_an_amount_in_a_change(change: str) -> None:
    count("what-if amount")
    try:
        what_if.apply(lab(2), change, ACCELERATORS)
    except PlanError as error:
        assert str(error)


_COMPOSED = compose(
    lab(1),
    addresses={"control": "192.0.2.10", "compute0": "192.0.2.11"},
    serving=Serving(model="smollm2-135m-instruct"),
    site=Site(login_user="admin"),
)
HOSTS = [json.loads(json.dumps(host[1]["settings"])) for group in _COMPOSED for host in group]


@inputs(2)
@given(spoiled(st.sampled_from(HOSTS)))
def test_host_data(data: Any) -> None:
    count("host data")
    try:
        parse_settings("compute0", data)
    except SettingsError as error:
        assert str(error).startswith("compute0")


ENGINE = {
    "model": {"name": "small", "config": SMALL},
    "engine": {"dtype": "bfloat16", "max_model_len": 512},
    "path": "peer",
}
RUN = [
    {"kind": "point", **ENGINE, "phase": "decode", "sequences": 8, "context_tokens": 300, "seconds": 0.0051},
    {"kind": "memory", **ENGINE, **dict.fromkeys(("memory_bytes", "weights_bytes", "activation_bytes"), 9)}
    | dict.fromkeys(("other_bytes", "graph_bytes", "kv_bytes", "kv_tokens"), 1),
    {"kind": "machine", "name": "a"},
]
CALIBRATION = calibration.to_json(
    calibration.Calibration(
        "h200",
        "vllm 0.29.0",
        memory_bytes=1e11,
        flops_per_second=(("bfloat16", 1e14),),
        outcomes=(calibration.Outcome("a", 1.0, 2.0, False, "2026-01-01"),),
    )
)


@inputs(2)
@given(spoiled(st.just(RUN)))
def test_a_run_of_points(records: Any) -> None:
    count("points")
    lines = [json.dumps(record, default=str) for record in records] if isinstance(records, list) else [str(records)]
    try:
        points.read(lines, "run.jsonl")
    except PlanError as error:
        assert str(error).startswith("run.jsonl")


@inputs()
@given(spoiled_text(st.just(CALIBRATION)) | noise.map(lambda value: json.dumps(value, default=str)))
def test_a_calibration(text: str) -> None:
    count("calibration")
    try:
        calibration.from_json(text, "mine")
    except PlanError as error:
        assert str(error).startswith("mine")
