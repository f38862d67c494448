"""A cluster like the laptop's whose model vLLM cannot run: an encoder-decoder, made here, on the transformers engine.

It needs the laptop cluster to be down, as tests/laptop leaves it: Ray's control store takes its port on every address.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inventories.composition.operator import cache_directory
from tests.laptop.conftest import Operator, operator_at
from tests.runtime.conftest import TINY_MODELS

pytestmark = pytest.mark.cluster

MODEL = f"local--t5-{uuid.uuid4().hex[:8]}"
INVENTORY = """
import getpass

from hardware.laptop import CLUSTER
from inventories.composition.compose import Serving, Site, compose

control, compute = compose(
    CLUSTER,
    name="encoder-decoder",
    addresses={{"head": "127.0.6.10", "worker1": "127.0.6.11", "worker2": "127.0.6.12"}},
    serving=Serving(model="{model}", replicas=1, dtype="float32"),
    site=Site(
        login_user=getpass.getuser(),
        service_user=getpass.getuser(),
        service_manager="supervisor",
        shared_files=True,
        connector="loopback",
        use_operator_package_sources=True,
    ),
)
"""


@pytest.fixture(scope="module")
def made(python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny T5 of random weights, as save_pretrained writes it, and what transformers' generate() says with it."""
    directory = tmp_path_factory.mktemp("models")
    subprocess.run([python, str(TINY_MODELS), str(directory)], check=True, capture_output=True, timeout=300)
    return directory


@pytest.fixture(scope="module")
def operator(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Operator, str]]:
    home = tmp_path_factory.mktemp("other")
    # A name of this run's own: weights that an earlier run left in the cache are another source's, and refused.
    (made / "t5").rename(home / MODEL.removeprefix("local--"))
    inventory = home / "other.py"
    inventory.write_text(INVENTORY.format(model=home / MODEL.removeprefix("local--")))
    operator = operator_at(home / "home")
    try:
        yield operator, str(inventory)
    finally:
        operator.cluster("-c", str(inventory), "down")
        shutil.rmtree(cache_directory() / "models" / MODEL, ignore_errors=True)
        (cache_directory() / "models" / f"{MODEL}.lock").unlink(missing_ok=True)


def test_it_is_brought_up_proven_and_answers_as_the_reference_does(operator: tuple[Operator, str], made: Path) -> None:
    person, inventory = operator
    up = person.cluster("-c", inventory, "up", "--json", seconds=900)
    assert up.status == 0, up.stderr
    assert up.json["node"] == "worker1"
    verified = person.cluster("-c", inventory, "verify", "--json")
    assert verified.status == 0, verified.stdout
    for prompt, expected in json.loads((made / "expected.json").read_text())["t5"].items():
        body = {"model": MODEL, "prompt": prompt, "max_tokens": expected["tokens"], "temperature": 0}
        asked = urllib.request.Request(
            "http://127.0.6.10:8000/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
            said: dict[str, Any] = json.load(answer)
            assert answer.headers["x-cluster-node"] == "worker1"
        assert said["choices"][0]["text"] == expected["text"]
    status = person.cluster("-c", inventory, "status", "--json").json
    (engine,) = [row for row in status["nodes"] if row["node"] == "worker1"]
    assert engine["engine"] == "serving"
    assert engine["proofs"]["failed"] == 0 and engine["proofs"]["asked"] >= 1
