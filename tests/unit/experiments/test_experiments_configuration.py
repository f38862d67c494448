"""Configuration in layers: which value wins, where it is from, and what is said of one that cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from experiments.configuration import parameters, resolving, suites
from experiments.configuration.errors import ConfigurationError
from experiments.configuration.resolving import LAYERS, Resolved

MODEL = "smollm2-135m-instruct"
SCHEMA = Path(parameters.__file__).parent / "experiment.schema.json"


def resolved(path: Path, *extra: str, position: int = 0) -> Resolved:
    return resolving.resolve(suites.load(str(path)), position, resolving.command_line(extra), MODEL)


def problems(path: Path, *extra: str) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        resolved(path, *extra)
    return list(raised.value.problems)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An experiment of somebody's own."""
    path = tmp_path / "mine.yaml"
    path.write_text("# mine\nexp_type_identifier: mine\nllm_benchmark_duration: 20\n")
    return path


def test_the_base_has_a_value_for_every_parameter() -> None:
    base = yaml.safe_load((LAYERS / "base.yaml").read_text())
    assert set(base) == set(parameters.NAMES)
    assert all(parameters.says(name) for name in parameters.NAMES)


def test_the_later_layer_wins_and_each_value_says_where_it_is_from(file: Path) -> None:
    configs = file.parent / "configs"
    configs.mkdir()
    (configs / "config_base.yaml").write_text("llm_benchmark_duration: 1\nllm_benchmark_seed: 2\n")
    (configs / "config_vllm.yaml").write_text("llm_benchmark_seed: 3\nllm_benchmark_warm_up: 4\n")
    (configs / f"config_{MODEL}.yaml").write_text("\nllm_benchmark_warm_up: 5\nllm_benchmark_turns: 6\n")
    found = resolved(file, "llm_benchmark_turns=7")
    values = found.values()
    assert [values[f"llm_benchmark_{name}"] for name in ("duration", "seed", "warm_up", "turns")] == [20, 3, 5, 7]
    places = {name: (place.layer, Path(place.file).name, place.line) for name, place in found.places.items()}
    assert places["llm_benchmark_duration"] == ("experiment", "mine.yaml", 3)
    assert places["llm_benchmark_seed"] == ("engine", "config_vllm.yaml", 1)
    assert places["llm_benchmark_warm_up"] == ("model", f"config_{MODEL}.yaml", 2)
    assert places["llm_benchmark_turns"][0] == "command line"
    assert places["model_id"] == ("cluster", "the cluster's inventory", 0) and values["model_id"] == MODEL
    line = (LAYERS / "base.yaml").read_text().splitlines()[places["custom"][2] - 1]
    assert places["custom"][:2] == ("base", "base.yaml") and line.startswith("custom:")


def test_the_project_s_layer_of_the_model_is_read(file: Path) -> None:
    found = resolved(file)
    assert found.places["llm_benchmark_output_tokens"].file.endswith(f"model_{MODEL}.yaml")
    other = resolved(file, "model_id=gpt2")
    assert other.places["llm_benchmark_output_tokens"].file.endswith("base.yaml")


def test_a_bundle_s_configuration_is_the_same_experiment_again(file: Path) -> None:
    first = resolved(file, "custom={owner: me}")
    again = resolving.again(yaml.safe_load(first.text()), json.loads(json.dumps(first.sources())), "bundle")
    assert again == first


def test_everything_that_is_wrong_is_said_at_once_with_its_line(file: Path) -> None:
    file.write_text(
        "exp_type_identifier: Not A Label\n"
        "llm_benchmark_durations: 3\n"
        "llm_benchmark_iterations: 0\n"
        "llm_benchmark_target_qps_values: [1, fast]\n"
        "ray_service_memory_per_pod: 8Gi\n"
        "wholly_different: 1\n"
    )
    found = problems(file)
    assert len(found) == 6 and all(str(file) in problem for problem in found)
    said = {problem.removeprefix(str(file)).split(":")[1]: problem for problem in found}
    assert "exp_type_identifier is 'Not A Label'" in said["1"]
    assert said["2"].endswith("unknown key llm_benchmark_durations; did you mean llm_benchmark_duration?")
    assert "llm_benchmark_iterations is 0" in said["3"] and ">= 1" in said["3"]
    assert "$[1]" in said["4"]
    assert "for Kubernetes alone; on hosts an engine's memory is planned" in said["5"]
    assert "did you mean" not in said["6"] and "`custom`" in said["6"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n", ":1: no mapping"),
        ("a: [1\nb: 2\n", ":2: no YAML"),
        ("\tb: 2\n", ":1: no YAML"),
        ("exp_description: a\nexp_description: b\n", ":2: exp_description stands in line 1 too"),
        ("model_id: no-such-model\n", ":1: model 'no-such-model' is not known"),
        ("[a, b]: 1\n", ":1: a key that is no word"),
        ("experiments: []\n", ":1: experiments is no list"),
        ("llm_benchmark_seed: 1\nexperiments: [{}]\n", ":1: llm_benchmark_seed beside `experiments`"),
        ("experiments: [{for_each: {model_id: gpt2}}]\n", ":1: for_each of model_id is 'gpt2'"),
        ("a: " + "[" * 3000 + "\n", "nested too deep"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_its_line(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    (found,) = problems(file)
    assert said in found and "\n" not in found


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    assert "no text" in problems(file)[0]
    assert "neither a file nor a suite; the suites are baselines" in problems(file.with_name("away"))[0]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("llm_benchmark_target_qps_values=1,2.5,4", [1, 2.5, 4]),
        ("llm_benchmark_target_qps_values=[1, 2]", [1, 2]),
        ("llm_benchmark_target_qps_values=3", [3]),
        ("chaos_experiment_scenario=none", []),
        ("chaos_experiment_scenario=cpu-pressure,network-loss", ["cpu-pressure", "network-loss"]),
        ("custom={a: b=c}", {"a": "b=c"}),
        ("llm_benchmark_prompt_tokens=uniform:8-64", "uniform:8-64"),
    ],
)
def test_the_command_line_is_the_last_layer(file: Path, word: str, value: object) -> None:
    name = word.partition("=")[0]
    assert resolved(file, word).values()[name] == value


@pytest.mark.parametrize("word", ["llm_benchmark_duration", "=3", "llm_benchmark_duration=[1"])
def test_a_word_of_the_command_line_that_says_nothing_is_refused(word: str) -> None:
    with pytest.raises(ConfigurationError, match="-e"):
        resolving.command_line([word])


def test_a_suite_is_spread_out_over_its_values(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        "parameters: {llm_benchmark_duration: 9}\n"
        "experiments:\n"
        "  - exp_type_identifier: fault-{chaos_experiment_scenario}\n"
        "    for_each:\n"
        "      chaos_experiment_scenario: [cpu-pressure, [cpu-pressure, network-loss]]\n"
        "      llm_benchmark_seed: [1, 2]\n"
        "  - exp_type_identifier: plain\n"
        "    llm_benchmark_duration: 8\n"
    )
    found = [resolved(path, position=index) for index in range(5)]
    assert [each.parameters.exp_type_identifier for each in found] == [
        "fault-cpu-pressure",
        "fault-cpu-pressure",
        "fault-cpu-pressure-and-network-loss",
        "fault-cpu-pressure-and-network-loss",
        "plain",
    ]
    assert [each.parameters.llm_benchmark_seed for each in found] == [1, 2, 1, 2, 1]
    assert [each.places["llm_benchmark_duration"].layer for each in (found[0], found[4])] == ["suite", "experiment"]
    assert found[0].places["llm_benchmark_seed"].line == 6


@pytest.mark.parametrize("name", suites.names())
def test_suites_of_the_project_resolve_and_keep_to_the_schema(name: str) -> None:
    suite = suites.load(name)
    assert suite.description
    identifiers = [
        resolving.resolve(suite, index, {}, MODEL).parameters.exp_type_identifier
        for index in range(len(suite.experiments))
    ]
    assert len(set(identifiers)) == len(identifiers)
    jsonschema.validate(yaml.safe_load(suite.file.read_text()), json.loads(SCHEMA.read_text()))


def test_the_schema_that_editors_read_is_the_one_of_the_parameters() -> None:
    """Made again with: .venv/bin/cluster experiment schema > experiments/configuration/experiment.schema.json"""
    made = parameters.schema()
    assert json.loads(SCHEMA.read_text()) == made
    jsonschema.Draft202012Validator.check_schema(made)
    check = jsonschema.Draft202012Validator(made)
    assert check.is_valid({"llm_benchmark_duration": 5, "llm_benchmark_target_qps_values": 2})
    assert not check.is_valid({"llm_benchmark_durations": 5})
    assert not check.is_valid({"experiments": [{"llm_benchmark_iterations": 0}]})
    assert check.is_valid({"experiments": [{"for_each": {"model_id": ["a", "b"]}}]})
