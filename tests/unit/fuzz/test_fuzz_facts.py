"""Every fact on spoiled output of its tool, on another tool's, and on noise: a report, or the fact's own error."""

from __future__ import annotations

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

import facts
from facts.together import Together
from tests.unit.fuzz.conftest import count, inputs, noise, spoiled, spoiled_text

_FIXTURES = Path(__file__).parents[2] / "facts" / "fixtures"
TEXTS = {path.name: path.read_text() for path in sorted(_FIXTURES.glob("*/*")) if path.stat().st_size < 60_000}


def _section(name: str, text: str, end: object = 0) -> list[str]:
    return [f"##begin {name}", *text.splitlines(), "", f"##end {name} {end}"]


# Sections of each tool, with a capture of it.
SECTIONS = {
    "nvidia-smi": "geforce-rtx-5070-q.xml",
    "nvidia-smi:compute-capability": "nvidia-smi-query.csv",
    "nvidia-smi:topology": "nvidia-smi-topo.txt",
    "amd-smi:static": "amd-smi-static-rx-7600-xt.json",
    "amd-smi:metric": "amd-smi-metric-rx-7600-xt.json",
    "rocm-smi": "rocm-smi-rx-7600-xt.json",
    "drm": "drm-strix-halo.txt",
    "kfd": "kfd-strix-halo.txt",
    "lscpu": "lscpu.json",
    "cpuinfo": "cpuinfo-raspberry-pi-5.txt",
    "meminfo": "meminfo.txt",
    "os-release": "os-release.txt",
    "uname": "uname.txt",
    "tcp": "proc-net-tcp.txt",
    "tcp6": "proc-net-tcp6.txt",
    "ss": "ss-ltnp.txt",
    "ip": "ip-address-two-links.json",
    "net": "net-two-links.txt",
    "accel": "npu-accel-strix-halo.txt",
}
REST = ("pci", "nodes", "machine", "python3", "systemd-detect-virt", "systemd", "timedatectl", "date", "name", "getent")
GOOD = {name: _section(name, TEXTS.get(file, "")) for name, file in SECTIONS.items()}
GOOD |= {name: _section(name, "yes 1") for name in REST}
RAY = {
    "result": {
        "data": {
            "result": {
                "result": [{"node_ip": "192.0.2.1", "state": "ALIVE", "node_name": "a", "resources_total": {"CPU": 1}}]
            }
        }
    }
}
ANSWERS: list[Any] = [
    RAY,
    {"state": "whole", "problems": [], "bytes": 1},
    {"complete": True, "python": "3.11.2", "versions": {"ray": "2.50.0"}},
    {"applications": {"m": {"status": "RUNNING", "deployments": {"d": {"replicas": [{"state": "RUNNING"}]}}}}},
    {"unreachable": "", "proofs": [{"state": "serving", "node": "a", "proofs": {"last": {"correct": True}}}]},
    [{"state": "serving", "node": "a", "address": "192.0.2.1", "port": 1, "proofs": {"last": None}}],
    {"engines": [{"process_id": 1, "memory_bytes": 2}], "ray": []},
]


def _every_fact() -> dict[str, type[FactBase[Any]]]:
    found: dict[str, type[FactBase[Any]]] = {}
    for module in pkgutil.iter_modules(facts.__path__):
        if module.ispkg:
            continue
        for value in vars(importlib.import_module(f"facts.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, FactBase) and "process" in vars(value):
                found[f"{module.name}.{value.__name__}"] = value
    return found


FACTS = _every_fact()


@st.composite
def outputs(draw: st.DrawFn) -> list[str]:
    """Lines as a host may give them: captures in their sections with something spoiled, an answer in JSON, noise."""
    match draw(st.sampled_from(("sections", "sections", "sections", "answer", "text"))):
        case "sections":
            lines = dict(GOOD)
            for name in draw(st.lists(st.sampled_from(sorted(GOOD)), min_size=1, max_size=3, unique=True)):
                text = draw(spoiled_text(st.just(TEXTS.get(SECTIONS.get(name, ""), "yes 1"))))
                lines[name] = _section(name, text, draw(st.sampled_from((0, 0, 0, 1, 14, 124, "missing", "", "x"))))
            return [line for section in lines.values() for line in section]
        case "answer":
            return [json.dumps(draw(spoiled(st.sampled_from(ANSWERS))), default=str)]
        case _:
            text = draw(spoiled_text(st.sampled_from(sorted(TEXTS.values()))) | noise.map(str))
            return str(text).splitlines() or [""]


@pytest.mark.parametrize("name", sorted(FACTS))
def test_a_fact_says_a_report_or_its_own_error(name: str) -> None:
    fact = FACTS[name]()
    if isinstance(fact, Together):  # it asks others, and what it was told to ask is what it reads
        fact.command([("cpu", "facts.cpu.Cpu", {}), ("host", "facts.host.Host", {})])

    @inputs(0.25)
    @given(outputs())
    def says(output: list[str]) -> None:
        count("facts")
        if isinstance(fact, Together):
            output = ["together", "##fact 0", *output, "##fact 0 ends", "##fact 1", *output[:5], "##fact 1 ends"]
        try:
            fact.process(output)
        except FactProcessError as error:
            assert "\n" not in str(error)[:200]

    says()
