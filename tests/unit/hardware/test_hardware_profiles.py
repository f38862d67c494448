"""Every profile of hardware/ loads, its names and sources hold, and a released one does not change.

The numbers come from the sources named in hardware/catalog/; no machine is asked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardware.lab import lab
from hardware.model import Accelerator, Cluster, Figure, Node, ProfileError

HARDWARE = Path(__file__).parents[3] / "hardware"
PROFILES = ("v0_1", "v0_2", "geforce_pair", "laptop", "lab")
PARTS = {
    "radeon_rx_7600_xt": ("RADEON_RX_7600_XT", "gfx1102", "rocm"),
    "ryzen_ai_max_395": ("RADEON_8060S", "gfx1151", "rocm"),
    "geforce_rtx_5070": ("GEFORCE_RTX_5070", "sm_120", "cuda"),
    "h200": ("H200", "sm_90", "cuda"),
}
# RFC 1035, section 2.3.1, in lower case: written again here so that a slip in model.py's own pattern shows.
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

# SHA-256 of repr(CLUSTER). A deployed cluster is verified against these: see test_released_profile_is_frozen.
RELEASED = {
    "v0_1": "7fa48959945aeb589637e122c203d43e3a4cf1e594c99e806351da6876a47604",
    "v0_2": "3b0e7d5baf78ba80b419cf1dad25520546c296a2fbe6353b4e348a3a08fe5df6",
    "geforce_pair": "085df826485be4fe25af20ddcdd41865ab34b97de301973a83cab2cce443fbfb",
}


def profile(name: str) -> Cluster:
    """CLUSTER of hardware/<name>.py."""
    cluster = importlib.import_module(f"hardware.{name}").CLUSTER
    assert isinstance(cluster, Cluster)
    return cluster


def part(module: str) -> Accelerator:
    """The accelerator of hardware/catalog/<module>.py."""
    accelerator = getattr(importlib.import_module(f"hardware.catalog.{module}"), PARTS[module][0])
    assert isinstance(accelerator, Accelerator)
    return accelerator


def dataclasses_in(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every dataclass instance reachable from `value` through fields and tuples, with the way to it."""
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from dataclasses_in(item, f"{path}[{index}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield path, value
        for field in dataclasses.fields(value):
            yield from dataclasses_in(getattr(value, field.name), f"{path}.{field.name}")


def figures_in(value: Any, path: str) -> list[tuple[str, Figure]]:
    """Every Figure reachable from `value`, with the way to it."""
    return [(at, item) for at, item in dataclasses_in(value, path) if isinstance(item, Figure)]


@pytest.mark.parametrize("name", PROFILES)
def test_profile_loads_and_is_named_after_its_file(name: str) -> None:
    cluster = profile(name)
    assert cluster.name == name
    assert cluster.version


@pytest.mark.parametrize("name", PROFILES)
def test_profile_says_that_it_is_frozen(name: str) -> None:
    docstring = importlib.import_module(f"hardware.{name}").__doc__ or ""
    assert "Frozen on release; a change is a new version." in " ".join(docstring.split())


@pytest.mark.parametrize("name", PROFILES)
def test_node_names_are_dns_labels(name: str) -> None:
    assert [node.name for node in profile(name).nodes if not DNS_LABEL.fullmatch(node.name)] == []


@pytest.mark.parametrize("name", PROFILES)
def test_every_figure_of_a_profile_has_a_source(name: str) -> None:
    figures = figures_in(profile(name), name)
    assert figures, f"{name}: the walk found no figure, so it proves nothing"
    assert [at for at, figure in figures if not figure.source.strip()] == []


@pytest.mark.parametrize("module", PARTS)
def test_every_figure_of_a_part_names_a_public_page(module: str) -> None:
    figures = figures_in(part(module), module)
    assert [at for at, figure in figures if "https://" not in figure.source] == []
    assert len(figures) >= 4, f"{module}: memory, bandwidth, half precision and power are all sourced"


@pytest.mark.parametrize("module", PARTS)
def test_part_is_what_its_file_says(module: str) -> None:
    accelerator = part(module)
    assert (accelerator.architecture, accelerator.runtime_kind) == PARTS[module][1:]
    assert accelerator.engine == "vllm"


def test_every_catalog_file_is_tested() -> None:
    files = {file.stem for file in (HARDWARE / "catalog").glob("*.py")} - {"__init__"}
    assert files == set(PARTS), "name the new part in PARTS"


@pytest.mark.parametrize("module", PARTS)
def test_part_has_the_magnitudes_of_an_accelerator(module: str) -> None:
    """A slip of a unit (GB for GiB is 7 %, bits for bytes 8x, TFLOPS for GFLOPS 1000x) lands outside."""
    accelerator = part(module)
    half_precision = accelerator.half_precision_dense_flops_per_second
    bandwidth = accelerator.memory_bandwidth_bytes_per_second
    assert half_precision is not None
    assert accelerator.memory_bytes.value % 1024**3 == 0
    assert 8 * 1024**3 <= accelerator.memory_bytes.value <= 512 * 1024**3
    assert 1e11 <= bandwidth.value <= 1e13
    assert 50 <= half_precision.value / bandwidth.value <= 400


@pytest.mark.parametrize("name", PROFILES)
def test_profile_is_frozen_all_the_way_down(name: str) -> None:
    for at, item in dataclasses_in(profile(name), name):
        for field in dataclasses.fields(item):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(item, field.name, None)
            value = getattr(item, field.name)
            assert not isinstance(value, list | dict | set), f"{at}.{field.name} can be changed in place"
    assert isinstance(hash(profile(name)), int)


@pytest.mark.parametrize("name", PROFILES)
def test_link_that_the_cluster_needs_reaches_every_node(name: str) -> None:
    cluster = profile(name)
    names = {node.name for node in cluster.nodes}
    assert any(set(link.members) == names and not link.optional for link in cluster.links)


@pytest.mark.parametrize("name", sorted(RELEASED))
def test_released_profile_is_frozen(name: str) -> None:
    found = hashlib.sha256(repr(profile(name)).encode()).hexdigest()
    assert found == RELEASED[name], (
        f"hardware/{name}.py, or a part that it uses, no longer says what was released. If the hardware "
        "changed, undo that and make a new version, a new file beside it. If only model.py gained a field, "
        "or a source was corrected and every value is the same, write the new checksum into RELEASED in the "
        f"same commit, with the reason: {found}"
    )


def test_v0_1_is_what_the_requirements_name() -> None:
    cluster = profile("v0_1")
    assert [node.name for node in cluster.nodes] == ["control-0-1", "compute0", "compute1"]
    assert cluster.control.cluster_interface == "enx8cae4cf44e21"
    assert {node.board for node in cluster.compute} == {"MSI MPG Z690 Carbon WiFi"}
    assert {node.accelerators for node in cluster.compute} == {(part("radeon_rx_7600_xt"),)}
    ethernet, usb4 = cluster.links
    assert (ethernet.kind, ethernet.optional) == ("ethernet", False)
    assert (usb4.kind, usb4.optional, usb4.members) == ("usb4", True, ("compute0", "compute1"))


def test_v0_2_is_what_the_requirements_name() -> None:
    cluster = profile("v0_2")
    assert cluster.control.name == "control-0-2"
    assert [node.name for node in cluster.compute] == ["compute0", "compute1", "compute2", "compute3"]
    for node in cluster.compute:
        assert [processor.name for processor in node.neural_processors] == ["AMD XDNA 2"]
        assert "no support" in node.neural_processors[0].note


def test_v0_2_leaves_system_memory_beside_the_graphics_memory() -> None:
    for node in profile("v0_2").compute:
        (graphics,) = node.accelerators
        assert graphics.shares_system_memory
        assert node.memory_bytes is not None
        assert graphics.memory_bytes.value < node.memory_bytes.value
        assert graphics.memory_bandwidth_bytes_per_second == node.memory_bandwidth_bytes_per_second


def test_ryzen_kernel_argument_maps_exactly_the_graphics_memory() -> None:
    graphics = part("ryzen_ai_max_395")
    (argument,) = graphics.kernel_arguments
    name, _, pages = argument.partition("=")
    assert (name, int(pages) * 4096) == ("ttm.pages_limit", graphics.memory_bytes.value)
    assert graphics.minimum_kernel == "6.15"
    assert "7.0.2" in graphics.engine_note


def test_radeon_7600_override_comes_with_its_proof_and_fallback() -> None:
    card = part("radeon_rx_7600_xt")
    assert dict(card.environment) == {"HSA_OVERRIDE_GFX_VERSION": "11.0.0"}
    for word in ("matrix multiplication", "before any model is downloaded", "llama.cpp"):
        assert word in card.engine_note


@pytest.mark.parametrize(
    ("name", "kind"),
    [("v0_1", "rocm"), ("v0_2", "rocm"), ("geforce_pair", "cuda"), ("laptop", "cpu"), ("lab", "cpu")],
)
def test_runtime_kind(name: str, kind: str) -> None:
    assert profile(name).runtime_kind == kind


def test_laptop_is_a_head_and_two_workers_on_loopback() -> None:
    cluster = profile("laptop")
    assert [node.name for node in cluster.nodes] == ["head", "worker1", "worker2"]
    assert {node.cluster_interface for node in cluster.nodes} == {"lo"}
    assert [node.name for node in cluster.nodes if node.accelerators] == []


@pytest.mark.parametrize("compute_nodes", [1, 2, 3, 64])
def test_lab_has_the_number_of_nodes_asked_for(compute_nodes: int) -> None:
    cluster = lab(compute_nodes)
    assert [node.name for node in cluster.compute] == [f"compute{index}" for index in range(compute_nodes)]
    assert cluster.links[0].members == tuple(node.name for node in cluster.nodes)


@pytest.mark.parametrize("compute_nodes", [0, -1])
def test_lab_without_compute_nodes_is_refused(compute_nodes: int) -> None:
    with pytest.raises(ProfileError, match=r"profile lab: no compute nodes; a cluster needs at least one"):
        lab(compute_nodes)


def test_control_nodes_have_no_accelerator() -> None:
    """The head loads no model, so a GPU there would be counted and never used."""
    heads: list[Node] = [profile(name).control for name in PROFILES]
    assert [head.name for head in heads if head.accelerators] == []
