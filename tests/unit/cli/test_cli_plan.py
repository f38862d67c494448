"""`cluster plan`, `cluster explain` and `cluster calibrate` as they are typed; bad input gets one line and exit 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli import main
from cli.commands import calibrate
from hardware.model import GIB
from hardware.planner import calibration
from hardware.planner.calibration import Calibration, Outcome, PastError
from hardware.planner.errors import PlanError
from operate import measuring, planning
from tests.conftest import Typed

CONFIGS = Path(__file__).parents[3] / "inventories" / "models" / "configs"


def config(**changes: Any) -> dict[str, Any]:
    return {**json.loads((CONFIGS / "llama-3.1-8b.json").read_text()), **changes}


def test_the_plan_of_the_first_cluster(typed: Typed) -> None:
    status, out, err = typed("-c", "v0_1", "plan", "--concurrency", "1", "--concurrency", "8")
    assert (status, err) == (0, "")
    for said in (
        "22.25 B parameters",
        "expert parallelism has nothing to place",
        "ethernet 1 Gb/s (not in the profile)",
        "ethernet 2.5 Gb/s",
        "usb4 10 Gb/s",
        "enforce_eager=True",
        "why not the others",
        "intervals: from datasheets",
    ):
        assert said in out
    assert "\x1b" not in out


def test_the_same_as_json(typed: Typed) -> None:
    status, out, _ = typed("-c", "v0_1", "plan", "--json", "--concurrency", "2")
    plan = json.loads(out)
    assert status == 0
    assert plan["parameters"] == 22_247_282_688
    assert plan["recommended"] in [entry["name"] for entry in plan["placements"]]
    (entry,) = [entry for entry in plan["placements"] if entry["name"] == plan["recommended"]]
    assert entry["fits"]
    assert entry["predictions"][0]["concurrency"] == 2
    assert entry["engine_arguments"]["max_model_len"] == 8192
    speed = entry["predictions"][0]["tokens_per_second"]
    assert speed["low"] <= speed["likely"] <= speed["high"]


def test_a_directory_and_a_file_are_a_model(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(config(num_hidden_layers=2)))
    for given in (tmp_path / "mine", tmp_path / "mine" / "config.json"):
        status, out, _ = typed("-c", "geforce_pair", "plan", "--model", str(given), "--json")
        assert (status, json.loads(out)["model"]) == (0, "mine")


def test_a_hubs_name_is_a_model_and_the_line_can_be_pasted(typed: Typed) -> None:
    words = ("plan", "--model", "AMead10/Mistral-Small-Instruct-2409-awq", "--context", "10000")
    status, out, _ = typed("-c", "v0_1", *words)
    line = 'Serving(model="mistral-small-instruct-2409-awq", mode="replicas", replicas=2, dtype="float16", '
    assert status == 0
    assert f'{line}enforce_eager=True, engine={{"max_model_len": 10000}})' in out
    status, out, _ = typed("-c", "v0_1", "plan", "--model", "hub:Qwen/Qwen2.5-0.5B", "--json")
    assert json.loads(out)["serving"].startswith('Serving(model="hub:Qwen/Qwen2.5-0.5B", ')
    status, _, err = typed("-c", "v0_1", "plan", "--model", "somebody/something")
    assert (status, err.count("\n")) == (2, 1) and "nobody knows its size before it is fetched" in err


@pytest.mark.parametrize("name", ["flan-t5-small", "distilbert-base-uncased", "smollm2-135m-instruct-gguf"])
def test_a_model_of_another_engine_fits_and_is_not_timed(typed: Typed, name: str) -> None:
    status, out, _ = typed("-c", "v0_1", "plan", "--model", name)
    assert status == 0
    assert "fits; its speed is not told" in out and f'inventory: Serving(model="{name}", mode="replicas"' in out
    _, out, _ = typed("-c", "v0_1", "plan", "--model", name, "--json")
    (entry,) = json.loads(out)["placements"]
    assert entry["fits"] and not entry["predictions"] and not entry["engine_arguments"]


def test_a_profile_without_an_inventory_that_can_be_read(typed: Typed) -> None:
    """The lab's inventory exists when the lab is up; its profile can be planned for before."""
    status, _, err = typed("-c", "lab", "plan", "--model", "smollm2-135m-instruct")
    assert status == 2
    assert "no figure for the memory size" in err


def test_nothing_fits_is_exit_1(typed: Typed) -> None:
    status, out, err = typed("-c", "geforce_pair", "plan", "--model", "llama-3.1-405b")
    assert status == 1
    assert "GiB too little" in out
    assert err.count("\n") == 1
    assert "nothing fits" in err


def test_what_if_there_were_other_cards(typed: Typed) -> None:
    status, out, _ = typed(
        "-c",
        "geforce_pair",
        "plan",
        "--model",
        "qwen3-30b-a3b",
        "--what-if",
        "accelerator=h200",
        "--what-if",
        "nodes=+2",
    )
    assert status == 0
    assert "4 nodes with 1 x NVIDIA H200 each" in out
    assert "EP 4" in out


def test_a_calibration_changes_the_plan_and_says_so(typed: Typed, tmp_path: Path) -> None:
    made = Calibration(
        "AMD Radeon RX 7600 XT", "vllm", memory_bytes_per_second=100e9, flops_per_second=(("float16", 1e13),)
    )
    (tmp_path / "slow.json").write_text(calibration.to_json(made))
    _, fast, _ = typed("-c", "v0_1", "plan", "--json")
    _, slow, _ = typed("-c", "v0_1", "plan", "--json", "--calibration", str(tmp_path / "slow.json"))
    first, second = (json.loads(text)["placements"][0]["predictions"][0] for text in (fast, slow))
    assert second["itl_seconds"]["likely"] > 2 * first["itl_seconds"]["likely"]
    assert json.loads(slow)["interval_source"].startswith("calibrated")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("plan", "--model", "none-such"), "model 'none-such' is not known; known are"),
        (("plan", "--model", "/no/such/config.json"), "no such file or directory"),
        (("plan", "--model", ""), "--model is empty"),
        (("plan", "--concurrency", "999999999"), "at most 100000 users"),
        (("plan", "--what-if", "link=99999Tb"), "more than the 160Tb"),
        (("plan", "--what-if", "memory=24GB"), "write it as in 24GiB"),
        (("plan", "--what-if", "memory=99999999GiB"), "more than the 65536GiB"),
        (("plan", "--what-if", "bandwidth=99999x"), "more than the 1000x"),
        (("plan", "--what-if", "nodes=0"), "that makes 0 compute nodes"),
        (("plan", "--what-if", "link"), "is no change; write one of"),
        (("plan", "--model", "/proc"), "no config.json in this directory"),
        (("plan", "--context", "0"), "max_model_len is 0"),
        (("plan", "--context", "100000"), "more than the 32768 tokens"),
        (("plan", "--context", "100"), "more than the context of 100"),
        (("plan", "--prompt", "0"), "prompt is 0 tokens"),
        (("plan", "--concurrency", "0"), "concurrency is [0]"),
        (("plan", "--what-if", "colour=red"), "'colour' cannot be changed"),
        (("plan", "--what-if", "link=fast"), "link rate 'fast' is no rate"),
        (("plan", "--calibration", "/no/such/file"), "No such file"),
        (("explain", "/no/such/run"), "No such file"),
        (("explain", "/bin/sh"), "give a file of measured points"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(typed: Typed, words: tuple[str, ...], said: str) -> None:
    status, out, err = typed("-c", "v0_1", *words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1, err
    assert err.startswith("cluster: ")
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "field architectures is missing"),
        (json.dumps(config(architectures=["FutureForCausalLM"])), "'FutureForCausalLM' is not known"),
        (json.dumps(config(hidden_size=10**9)), "hidden_size is 1000000000, outside"),
        (json.dumps(config(intermediate_size=None)), "field intermediate_size is missing"),
    ],
)
def test_a_config_that_cannot_be_planned_with(typed: Typed, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.json").write_text(text)
    status, out, err = typed("-c", "v0_1", "plan", "--model", str(tmp_path / "config.json"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert "config.json" in err


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 1}', '{"format": 1, "hardware": "a", "engine": "b", "memory_bytes": "many"}']
)
def test_a_calibration_that_cannot_be_read(typed: Typed, tmp_path: Path, text: str) -> None:
    (tmp_path / "made.json").write_text(text)
    status, _, err = typed("-c", "v0_1", "plan", "--calibration", str(tmp_path / "made.json"))
    assert (status, err.count("\n")) == (2, 1)
    assert "cluster calibrate" in err


def test_a_calibration_of_other_hardware_is_refused(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text(calibration.to_json(Calibration("NVIDIA H200", "vllm")))
    status, out, err = typed("-c", "v0_1", "plan", "--calibration", str(tmp_path / "made.json"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "measured on NVIDIA H200, not on AMD Radeon RX 7600 XT" in err


def run_of(seconds: float) -> str:
    record = {
        "kind": "point",
        "phase": "decode",
        "model": {"name": "llama", "config": config()},
        "engine": {},
        "sequences": 8,
        "context_tokens": 500,
        "seconds": seconds,
    }
    return json.dumps(record) + "\n"


def test_a_run_is_explained_and_drawn(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text(run_of(0.005))
    words = ("explain", str(tmp_path / "run.jsonl"), "--accelerator", "h200", "--plot", str(tmp_path / "run.svg"))
    status, out, err = typed("-c", "v0_1", *words)
    assert status == 0
    assert "memory bandwidth" in out
    assert "half the batch" in out
    assert "run.svg is written" in err
    assert (tmp_path / "run.svg").read_text().startswith("<svg")
    _, out, _ = typed("-c", "v0_1", *words[:4], "--json")
    (finding,) = json.loads(out)["findings"]
    assert sum(part["seconds"] for part in finding["parts"]) == pytest.approx(finding["predicted_seconds"])
    # 15.0 GB of weights less the embedding, at 4.8 TB/s: below 3.2 ms is not possible.
    assert 2.9e-3 < finding["ideal_seconds"] < 3.6e-3


def test_the_laptop_is_calibrated_and_predicted(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both programs' answers are given: figures of a machine with two cores, and SmolLM2's measured speeds on it."""
    records = [
        {"name": "load", "average": 0.1, "processors": 2},
        {"name": "memory size", "bytes": 24 * GIB},
        {"name": "memory copy", "bytes_per_second": 31.4e9},
        *({"name": "matrices", "dtype": kind, "flops_per_second": 195e9} for kind in ("float32", "bfloat16")),
        *(
            {"name": "matrices of few rows", "dtype": kind, "flops_per_second": 64e9}
            for kind in ("float32", "bfloat16")
        ),
    ]
    monkeypatch.setattr(measuring, "device", lambda hosts: {hosts[0].name: records})
    monkeypatch.setattr(measuring, "serves", lambda cluster: True)
    monkeypatch.setattr(
        measuring,
        "steps",
        lambda cluster, loads, prompts, rounds: [
            *(
                {"users": count, "context_tokens": 36.0 + words, "seconds": 0.105 + 0.01 * count}
                for count, words in loads
            ),
            *(
                {"users": 1, "context_tokens": 5.0 + words, "seconds": 0.04 + 0.002 * words, "prefill": True}
                for words in prompts
            ),
        ],
    )
    status, out, err = typed("calibrate")
    assert status == 0, err
    assert "memory bandwidth" in out
    assert "a step beside the model" in out
    found = planning.declared("laptop")
    kept = planning.load_calibration(None, "processor of this machine", found.engine_version)
    assert kept is not None
    assert [outcome.fitted for outcome in kept.outcomes] == [True, True, False, False, False, False]
    assert kept.outcomes[0].ratio == pytest.approx(1.0, abs=0.1)
    assert kept.outcomes[1].what.endswith("prefill of 1 x 133 tokens")
    assert kept.outcomes[1].ratio == pytest.approx(1.0, abs=0.1)
    status, out, _ = typed("plan", "--prompt", "64", "--output", "64")
    assert status == 0
    assert "compared with 4 measurements only" in out
    assert "predictions so far on this hardware: median error" in out
    assert "in 4 comparisons" in out

    # The next calibration compares what the first one predicted, and forgets nothing.
    status, out, _ = typed("calibrate", "--no-hardware")
    assert status == 0
    assert "predictions so far: median error" in out
    kept = planning.load_calibration(None, "processor of this machine", found.engine_version)
    assert kept is not None
    assert [outcome.fitted for outcome in kept.outcomes].count(False) == 4 + 6 + 4
    # So does an explanation of the running service.
    status, out, _ = typed("explain", "--json")
    assert status == 0
    assert json.loads(out)["past_error"]["comparisons"] == 14 + 6
    status, out, _ = typed("plan", "--prompt", "64", "--output", "64", "--json")
    assert json.loads(out)["past_error"]["comparisons"] == 14 + 6
    assert json.loads(out)["interval_source"].startswith("calibrated: measured over predicted was")


def test_only_half_of_a_calibration(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "serves", lambda cluster: False)
    for words, said in (
        (("--no-hardware",), "no hardware was measured before"),
        (("--no-hardware", "--no-service"), "leave nothing to measure"),
    ):
        status, out, err = typed("calibrate", *words)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert said in err


def test_past_errors_are_in_the_plan_and_the_oldest_make_room() -> None:
    made = Calibration("card", "engine", outcomes=(Outcome("fitted", 1.0, 1.0, fitted=True),))
    assert made.past_error() is None
    assert made.with_outcomes((Outcome("a", 1.25, 1.0), Outcome("b", 1.0, 1.0))).past_error() == PastError(
        2, 0.125, 0.25
    )
    many = made.with_outcomes(tuple(Outcome(str(number), 1.0, 1.0) for number in range(100)))
    assert len(many.outcomes) == calibration.KEPT
    assert many.outcomes[-1].what == "99"
    with pytest.raises(PlanError, match="measure again"):
        Outcome("never measured", 1.0, 0.0)


def test_a_live_service_is_explained(typed: Typed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = Calibration(
        "processor of this machine",
        "vllm",
        memory_bytes=24.0 * GIB,
        memory_bytes_per_second=31e9,
        flops_per_second=(("bfloat16", 2e11),),
    )
    both = Calibration(**{**vars(made), "flops_per_second": (("bfloat16", 2e11), ("float32", 2e11))})
    (tmp_path / "made.json").write_text(calibration.to_json(both))
    monkeypatch.setattr(measuring, "serves", lambda cluster: True)
    monkeypatch.setattr(
        measuring,
        "steps",
        lambda cluster, loads, prompts, rounds: [
            {"users": count, "context_tokens": 36.0 + words, "seconds": 0.1 + 0.01 * count} for count, words in loads
        ],
    )
    status, out, err = typed("explain", "--calibration", str(tmp_path / "made.json"))
    assert status == 0, err
    assert "changes were as predicted" in out


def test_no_service_and_no_run(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "serves", lambda cluster: False)
    status, _, err = typed("explain")
    assert (status, err.count("\n")) == (2, 1)
    assert "no service answers" in err


def test_a_busy_host_is_named(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [
        {"name": "load", "average": 5.0, "processors": 2},
        {"name": "memory size", "bytes": 24 * GIB},
        {"name": "memory copy", "bytes_per_second": 3e9},
    ]
    monkeypatch.setattr(measuring, "device", lambda hosts: {hosts[0].name: records})
    status, _, err = typed("calibrate", "--no-service")
    assert status == 0
    assert "worker1 had other work" in err


def test_the_commands_are_listed() -> None:
    assert {"plan", "explain", "calibrate"} <= set(main.COMMANDS)
    assert calibrate.command.help
