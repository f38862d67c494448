"""What an experiment serves for a while: over the inventory's own, and gone when it is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from hardware.model import ProfileError
from inventories.composition import chosen
from inventories.composition.chosen import Chosen
from inventories.composition.serving import Gateway, Serving
from operate import clusters
from operate.errors import OperatorError


def test_a_choice_is_served_until_it_is_forgotten(home: Path) -> None:
    before = clusters.read("laptop").control.settings.applications
    chosen.write("laptop", Chosen("smollm2-135m-instruct-gguf", 1, "float16", False, {}))
    (now,) = clusters.read("laptop").control.settings.applications
    assert (now.model.name, len(now.nodes), now.serving.dtype) == ("smollm2-135m-instruct-gguf", 1, "float16")
    assert now.model.engine_kind == "llama.cpp"
    assert chosen.forget("laptop") and not chosen.forget("laptop")
    assert clusters.read("laptop").control.settings.applications == before


def test_what_was_not_chosen_is_the_inventory_s() -> None:
    gateway = Gateway(request_seconds=7)
    servings = [Serving("gpt2", replicas=2, dtype="float32", gateway=gateway, api_port=9), Serving("distilgpt2")]
    (found,) = chosen.apply(servings, Chosen(model="tiny-gpt2"))
    assert found == Serving("tiny-gpt2", replicas=2, dtype="float32", gateway=gateway, api_port=9)
    assert chosen.apply(servings, None) == tuple(servings)
    named = [Serving("gpt2", nodes=("worker1",))]
    assert chosen.apply(named, Chosen(replicas=1))[0].nodes == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"model": 3}', '{"other": 1}', '{"replicas": "two"}'])
def test_a_record_that_is_none_is_refused_with_its_file(home: Path, text: str) -> None:
    path = chosen.path("laptop")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ProfileError, match="not a record of a choice"):
        chosen.read("laptop")
    with pytest.raises(OperatorError, match=r"chosen\.json"):
        clusters.read("laptop")
