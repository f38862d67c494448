"""`cluster models`: the table, the JSON and the refusals, as an operator starts it; nothing has to run for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "CLUSTER_HOME": str(home), "CLUSTER_CACHE": str(home)}


def cluster(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "cluster"
    return subprocess.run(
        [str(program), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_table_marks_what_is_served(environment: dict[str, str]) -> None:
    done = cluster(environment, "-c", "v0_1", "models")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "mistral-small" in line)
    assert row.startswith("* ") and "fits" in row and "no commercial use" in row
    row = next(line for line in done.stdout.splitlines() if "qwen3-30b-a3b" in line)
    assert not row.startswith("*") and "no: it needs" in row


def test_json_has_everything_that_is_known(environment: dict[str, str]) -> None:
    done = cluster(environment, "-c", "geforce_pair", "models", "flan-t5-small", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["place"]["kind"] == "cuda" and said["cluster"] == "geforce_pair"
    (model,) = said["models"]
    assert (model["engine_kind"], model["task"], model["licence"]) == ("transformers", "text-to-text", "Apache-2.0")
    assert model["fit"]["ok"] is True and model["fit"]["dtype"] == "float32"
    assert model["served"] is False and model["minimum_accelerator_bytes"] > model["weights_bytes"]


def test_this_machine_is_counted_where_the_nodes_are_this_machine(environment: dict[str, str]) -> None:
    said = json.loads(cluster(environment, "models", "smollm2-135m-instruct", "--json").stdout)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (said["place"]["host_bytes"], said["place"]["sharing"]) == (memory, 2)


def test_an_unknown_model_is_bad_usage(environment: dict[str, str]) -> None:
    done = cluster(environment, "models", "gpt-9")
    assert done.returncode == 2 and done.stdout == ""
    assert "gpt-9" in done.stderr and "gpt2" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_hub_id_is_shown_without_asking_the_hub(environment: dict[str, str]) -> None:
    said = json.loads(cluster(environment, "models", "hub:google/flan-t5-large", "--json").stdout)
    assert said["models"][0]["fit"]["ok"] is None
    assert said["models"][0]["minimum_accelerator_bytes"] is None
