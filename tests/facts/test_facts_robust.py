"""Parsers against output that is not what it should be: every capture and fixture, changed in many places by chance.

A parser may say with a ValueError that there is no report; any other error, or a GPU that costs its neighbours their
readings, is a fault. The chances are the same in every run.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from facts.parse import amd, clock, cluster_state, cpu, host, listening, memory, network, npu, nvidia, topology

ROUNDS = 60
ODD = (
    "",
    "N/A",
    "-1",
    "65535",
    "4294967295",
    "18446744073709551615",
    "nan",
    "1e400",
    "9" * 5000,
    "ERR!",
    "\x1b[31m",
    "٣",
)
ODD_JSON: tuple[Any, ...] = (
    None,
    True,
    -1,
    65535,
    2**64,
    1e308,
    "",
    "N/A",
    [],
    {},
    [[]],
    {"value": []},
    {"value": None, "unit": 3},
    "x" * 500,
)
S = "synthesised/"
PARSERS: dict[str, tuple[Callable[[list[str]], Any], tuple[tuple[str, str], ...]]] = {
    "nvidia": (
        nvidia.parse_gpus,
        (("nvidia-smi", S + "geforce-rtx-5070-q.xml"), ("nvidia-smi:compute-capability", ""), ("pci", "")),
    ),
    "amd": (
        amd.parse_gpus,
        (
            ("amd-smi:static", S + "amd-smi-static-rx-7600-xt.json"),
            ("amd-smi:metric", S + "amd-smi-metric-rx-7600-xt.json"),
            ("rocm-smi", S + "rocm-smi-rx-7600-xt.json"),
            ("drm", S + "drm-rx-7600-xt.txt"),
            ("kfd", S + "kfd-rx-7600-xt.txt"),
            ("pci", ""),
        ),
    ),
    "npu": (npu.parse_npus, (("nodes", ""), ("accel", S + "npu-accel-strix-halo.txt"), ("pci", ""))),
    "cpu": (cpu.parse_cpu, (("lscpu", "field/lscpu-two-kinds-of-core.json"), ("cpuinfo", ""), ("machine", ""))),
    "cpuinfo": (cpu.parse_cpu, (("lscpu", ""), ("cpuinfo", S + "cpuinfo-raspberry-pi-5.txt"), ("machine", ""))),
    "interfaces": (
        network.parse_interfaces,
        (("ip", S + "ip-address-two-links.json"), ("net", S + "net-two-links.txt")),
    ),
    "resolution": (network.parse_resolution, (("name", ""), ("getent", S + "ss-ltnp.txt"))),
    "listening": (
        listening.parse_listening,
        (("tcp", S + "proc-net-tcp.txt"), ("tcp6", S + "proc-net-tcp6.txt"), ("ss", S + "ss-ltnp.txt")),
    ),
    "memory": (memory.parse_memory, (("meminfo", "nvidia-h200-x4/meminfo.txt"),)),
    "topology": (topology.parse_topology, (("nvidia-smi:topology", "nvidia-h200-x4/nvidia-smi-topo.txt"),)),
    "clock": (clock.parse_clock, (("timedatectl", ""), ("date", "nvidia-h200-x4/uname.txt"))),
    "host": (
        host.parse_host,
        (
            ("os-release", "nvidia-h200-x4/os-release.txt"),
            ("uname", "nvidia-h200-x4/uname.txt"),
            *((name, "") for name in ("python3", "systemd-detect-virt", "systemd")),
        ),
    ),
    "services": (lambda lines: cluster_state.parse_services(lines), (("services", "field/services-crash-loop.txt"),)),
}


def changed_text(chance: random.Random, text: str) -> str:
    """A few words replaced, lines dropped or doubled, the end cut off."""
    words = text.split(" ")
    for _ in range(chance.randint(1, 4)):
        words[chance.randrange(len(words))] = chance.choice(ODD)
    lines = " ".join(words).splitlines()
    for _ in range(chance.randint(0, 3)):
        if lines:
            at = chance.randrange(len(lines))
            lines[at : at + 1] = [] if chance.random() < 0.5 else [lines[at], lines[at]]
    kept = "\n".join(lines)
    return kept[: chance.randrange(len(kept) + 1)] if chance.random() < 0.2 else kept


def changed_json(chance: random.Random, value: Any) -> Any:
    """The same with a value of any kind, at any depth, by another."""
    if chance.random() < 0.04:
        return chance.choice(ODD_JSON)
    if isinstance(value, dict):
        return {key: changed_json(chance, entry) for key, entry in value.items()}
    return [changed_json(chance, entry) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_gives_a_report_or_says_why_not(fixture_text: Any, rendered: Any, name: str) -> None:
    parse, sections = PARSERS[name]
    texts = {section: fixture_text(file) if file else "" for section, file in sections}
    chance = random.Random(name)  # noqa: S311 - nothing here is a secret
    for _ in range(ROUNDS):
        parts = []
        for section, text in texts.items():
            is_json = text.lstrip().startswith(("{", "[")) and chance.random() < 0.7
            changed = json.dumps(changed_json(chance, json.loads(text))) if is_json else changed_text(chance, text)
            parts.append((section, changed, chance.choice([0, 0, 0, 1, 14, 124, "missing"])))
        try:
            report = parse(rendered(*parts))
        except ValueError:
            continue
        shown = {key: one.to_json() for key, one in report.items()} if isinstance(report, dict) else report.to_json()
        assert json.dumps(shown, allow_nan=False)


def test_a_broken_field_of_one_gpu_costs_no_other_its_readings(fixture_text: Any, rendered: Any) -> None:
    whole = fixture_text("nvidia-h200-x4/nvidia-smi-q.xml")
    sections = (("nvidia-smi:compute-capability", ""), ("pci", ""))
    healthy = nvidia.parse_gpus(rendered(("nvidia-smi", whole), *sections)).gpus
    last = whole.rindex("<gpu id=")
    chance = random.Random("h200")  # noqa: S311 - nothing here is a secret
    for _ in range(ROUNDS // 3):
        tail = whole[last:].split(">")
        at = chance.randrange(1, len(tail) - 8)
        tail[at] = f"{chance.choice(ODD).replace('<', '')}<{tail[at].partition('<')[2]}"
        found = nvidia.parse_gpus(rendered(("nvidia-smi", f"{whole[:last]}{'>'.join(tail)}"), *sections)).gpus
        assert found[:3] == healthy[:3]
