"""`cluster models`: the table, the JSON and the refusals, as an operator starts it; nothing has to run for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from experiments.operated_lab import Done
from tests.conftest import Typed

Cluster = Callable[..., Done]


@pytest.fixture
def cluster(typed: Typed) -> Cluster:
    """cluster("models", ...) is what the command ends with."""
    return lambda *words: Done(*typed(*words))


def test_the_table_marks_what_is_served(cluster: Cluster) -> None:
    done = cluster("-c", "v0_1", "models")
    assert done.status == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "mistral-small" in line)
    assert row.startswith("* ") and "fits" in row and "no commercial use" in row
    row = next(line for line in done.stdout.splitlines() if "qwen3-30b-a3b" in line)
    assert not row.startswith("*") and "no: it needs" in row


def test_json_has_everything_that_is_known(cluster: Cluster) -> None:
    done = cluster("-c", "geforce_pair", "models", "flan-t5-small", "--json")
    assert done.status == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["place"]["kind"] == "cuda" and said["cluster"] == "geforce_pair"
    (model,) = said["models"]
    assert (model["engine_kind"], model["task"], model["licence"]) == ("transformers", "text-to-text", "Apache-2.0")
    assert model["fit"]["ok"] is True and model["fit"]["dtype"] == "float32"
    assert model["served"] is False and model["minimum_accelerator_bytes"] > model["weights_bytes"]


def test_this_machine_is_counted_where_the_nodes_are_this_machine(cluster: Cluster) -> None:
    said = json.loads(cluster("models", "smollm2-135m-instruct", "--json").stdout)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert (said["place"]["host_bytes"], said["place"]["sharing"]) == (memory, 2)


def test_an_unknown_model_is_bad_usage(cluster: Cluster) -> None:
    done = cluster("models", "gpt-9")
    assert done.status == 2 and done.stdout == ""
    assert "gpt-9" in done.stderr and "gpt2" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_hub_id_is_shown_without_asking_the_hub(cluster: Cluster) -> None:
    said = json.loads(cluster("models", "hub:google/flan-t5-large", "--json").stdout)
    assert said["models"][0]["fit"]["ok"] is None
    assert said["models"][0]["minimum_accelerator_bytes"] is None
