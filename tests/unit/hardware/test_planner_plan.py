"""The plan, its pieces and what it refuses, on the profiles of this project.

Figures that are asserted are bounds from the datasheets in hardware/catalog, worked out here by hand; none was copied
from a run of the planner.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hardware.geforce_pair import CLUSTER as GEFORCE
from hardware.laptop import CLUSTER as LAPTOP
from hardware.model import GIB, Accelerator, Cluster, Figure, Node
from hardware.planner import configuration, kernels, links, plan, what_if
from hardware.planner.architecture import Model
from hardware.planner.calibration import Calibration
from hardware.planner.catalogue import ACCELERATORS
from hardware.planner.errors import PlanError
from hardware.planner.kernels import Support
from hardware.planner.options import Options
from hardware.planner.placement import hardware_of
from hardware.planner.plan import Candidate, Plan
from hardware.planner.prediction import Workload
from hardware.planner.rates import Device, device_of
from hardware.planner.tensors import Sharding
from hardware.v0_1 import CLUSTER as V0_1
from hardware.v0_2 import CLUSTER as V0_2

CONFIGS = Path(__file__).parents[3] / "inventories" / "models" / "configs"


def model(name: str) -> Model:
    return configuration.read(json.loads((CONFIGS / f"{name}.json").read_text()), name)


MISTRAL = model("mistral-small-instruct-2409-awq")
WORK = Workload(512, 128, (1, 8))
CONTEXT = Options(max_model_len=8192)


def candidate(made: Plan, sharding: Sharding, link: str = "") -> Candidate:
    (found,) = [
        entry
        for entry in made.candidates
        if entry.placement.sharding == sharding
        and (not link or (entry.placement.link is not None and entry.placement.link.kind == link))
    ]
    return found


def test_the_first_cluster_holds_the_first_model() -> None:
    """v0_1 with Mistral-Small AWQ: fits in 2 x 16 GiB, has cache left, and no experts to place."""
    made = plan.make(V0_1, MISTRAL, WORK, CONTEXT)
    spread = candidate(made, Sharding(1, 2), "ethernet")
    assert spread.fits
    # 22.2 B weights in 4 bits with scales are more than 10.4 GiB; each half has its own 16 GiB.
    assert all(10.4 / 2 < rank.weights_bytes / GIB < 6.5 for rank in spread.memory)
    assert all(rank.kv_tokens > 8192 for rank in spread.memory)
    assert any("expert parallelism has nothing to place" in reason for reason in made.left_out)
    assert not any(entry.placement.sharding.expert_parallel for entry in made.candidates)
    assert made.support.kernel == "Triton AWQ"
    arguments = plan.engine_arguments(made, spread)
    assert arguments["dtype"] == "float16"
    assert arguments["enforce_eager"] is True
    assert arguments["pipeline_parallel_size"] == 2


def test_no_engine_is_faster_than_its_weights_can_be_read() -> None:
    """A token reads all weights once: 11.3 GiB at 288 GB/s are 42 ms, whatever the overheads."""
    made = plan.make(V0_1, MISTRAL, WORK, CONTEXT)
    for entry in made.candidates:
        rate = 288e9 * entry.placement.sharding.tensor
        floor = sum(rank.weights_bytes for rank in entry.memory) * entry.placement.sharding.tensor / rate
        # The embedding is not read whole: one row a token.
        embedding = 32768 * 6144 * 2 / rate
        assert entry.predictions[0].itl_seconds.low > floor - embedding


def test_tensor_parallelism_is_bound_by_the_link_that_pipelines_hardly_use() -> None:
    rows = links.compare(V0_1, MISTRAL, WORK, CONTEXT)
    names = [row.link for row in rows]
    assert list(dict.fromkeys(names)) == ["ethernet 1 Gb/s", "ethernet 2.5 Gb/s", "usb4 10 Gb/s"]
    assert {row.link for row in rows if row.assumed} == {"ethernet 1 Gb/s"}
    tensor = [row.predictions[-1] for row in rows if row.sharding == Sharding(2, 1)]
    pipeline = [row.predictions[-1] for row in rows if row.sharding == Sharding(1, 2)]
    speeds = [entry.tokens_per_second.likely for entry in tensor]
    assert speeds == sorted(speeds), "a faster link is never slower"
    assert speeds[-1] / speeds[0] > 2
    assert pipeline[-1].tokens_per_second.likely / pipeline[0].tokens_per_second.likely < 1.25
    # Of 56 layers each exchanges twice; 8 tokens x 6144 x 2 bytes over 125 MB/s in both directions of a ring.
    floor = 2 * 56 * 8 * 6144 * 2 / 125e6
    assert tensor[0].itl_seconds.low > floor
    assert tensor[0].limit == "link bandwidth"


def test_what_does_not_fit_says_what_is_short() -> None:
    made = plan.make(GEFORCE, model("llama-3.1-70b"), WORK, CONTEXT)
    assert made.recommended is None
    whole = candidate(made, Sharding())
    assert whole.memory[0].short_bytes / GIB > 141e9 / 1e9 / 1.074 - 12
    assert "GiB too little" in whole.refusal
    assert "nothing fits" in made.refusal


def test_a_card_without_a_kernel_is_refused_with_its_source() -> None:
    made = plan.make(V0_1, replace(model("qwen3-8b"), quantisation=model("deepseek-v3").quantisation), WORK, CONTEXT)
    assert made.recommended is None
    assert "no FP8 units" in made.refusal
    assert "vllm/platforms/rocm.py" in made.refusal


def test_processors_without_figures_are_not_guessed() -> None:
    made = plan.make(LAPTOP, model("smollm2-135m-instruct"), Workload(64, 64, (1,)), Options(max_model_len=2048))
    assert made.recommended is None
    assert "no figure for the memory size" in made.refusal
    assert "cluster calibrate" in made.refusal
    known = Calibration("processor", "engine", memory_bytes=24.0 * GIB)
    made = plan.make(LAPTOP, model("smollm2-135m-instruct"), Workload(64, 64, (1,)), Options(max_model_len=2048), known)
    assert "memory bandwidth" in made.refusal


def server(cards: int) -> Cluster:
    node = Node("server", "compute", "server", "eth0", accelerators=(ACCELERATORS["NVIDIA H200"],) * cards)
    return replace(V0_1, name="server", compute=(node,), links=())


def test_a_mixture_is_spread_over_a_server_s_cards() -> None:
    made = plan.make(server(4), model("qwen3-30b-a3b"), WORK, CONTEXT)
    shardings = [entry.placement.sharding for entry in made.candidates]
    assert Sharding(4, 1, 1, expert_parallel=True) in shardings
    assert Sharding(1, 1, 4, expert_parallel=True) in shardings
    assert Sharding(2, 1, 2, expert_parallel=True) in shardings
    assert len(set(shardings)) == len(shardings)
    assert all(entry.placement.link is None for entry in made.candidates)


def test_ranks_that_share_few_kv_heads_replicate_them() -> None:
    made = plan.make(server(8), model("qwen3-30b-a3b"), WORK, CONTEXT)
    four, eight = candidate(made, Sharding(4)), candidate(made, Sharding(8))
    assert four.memory[0].kv_bytes_per_token == eight.memory[0].kv_bytes_per_token


def test_cards_without_a_link_between_them_are_not_guessed() -> None:
    part = replace(ACCELERATORS["NVIDIA H200"], peer_bandwidth_bytes_per_second=None)
    cluster = replace(server(2), compute=(replace(server(2).compute[0], accelerators=(part, part)),))
    made = plan.make(cluster, model("llama-3.1-8b"), WORK, CONTEXT)
    assert "bandwidth between" in candidate(made, Sharding(2)).refusal
    assert candidate(made, Sharding(1)).predictions


def test_an_igpu_says_what_is_left_for_the_system() -> None:
    made = plan.make(V0_2, model("qwen2.5-14b"), WORK, CONTEXT)
    left = candidate(made, Sharding(1)).memory[0].system_left_bytes
    assert left is not None
    assert 128 * GIB - 96 * GIB <= left <= 128 * GIB


def test_nodes_that_differ_are_refused() -> None:
    other = replace(V0_1.compute[1], accelerators=V0_2.compute[0].accelerators)
    with pytest.raises(PlanError, match="compute nodes differ"):
        hardware_of(replace(V0_1, compute=(V0_1.compute[0], other)))


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (Workload(8000, 1000, (1,)), "more than the context of 8192"),
        (Workload(1, 1, (1,)), ""),
    ],
)
def test_requests_longer_than_the_context(work: Workload, said: str) -> None:
    if not said:
        assert plan.make(V0_1, MISTRAL, work, CONTEXT).recommended is not None
        return
    with pytest.raises(PlanError, match=said):
        plan.make(V0_1, MISTRAL, work, CONTEXT)


def test_a_context_longer_than_the_model_s() -> None:
    with pytest.raises(PlanError, match="context 65536 is more than the 32768 tokens"):
        plan.make(V0_1, MISTRAL, WORK, Options(max_model_len=65536))


@pytest.mark.parametrize("users", [(), (0,), (-1, 2)])
def test_users_that_cannot_be(users: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="concurrency"):
        Workload(1, 1, users)


CARDS: dict[str, Device] = {
    name: device_of(Node("n", "compute", "b", "e", accelerators=(part,)), part) for name, part in ACCELERATORS.items()
}
CPU = hardware_of(LAPTOP).device


def support(device: Device, name: str) -> Support:
    found = model(name)
    return kernels.support_of(device.runtime_kind, device.architecture, found.quantisation, found.dtype)


@pytest.mark.parametrize(
    ("device", "name", "ok", "kernel"),
    [
        (CARDS["NVIDIA H200"], "llama-3.1-8b", True, "cuBLAS"),
        (CARDS["NVIDIA H200"], "deepseek-v3", True, "CUTLASS FP8"),
        (CARDS["NVIDIA H200"], "qwen2.5-7b-instruct-awq", True, "Marlin"),
        (CARDS["NVIDIA GeForce RTX 5070"], "qwen2.5-7b-instruct-awq", True, "Marlin"),
        (CARDS["NVIDIA GeForce RTX 5070"], "deepseek-v3", True, "CUTLASS FP8"),
        (CARDS["AMD Radeon RX 7600 XT"], "qwen2.5-7b-instruct-awq", True, "Triton AWQ"),
        (CARDS["AMD Radeon RX 7600 XT"], "deepseek-v3", False, ""),
        (CARDS["AMD Radeon 8060S"], "llama-3.1-8b", True, "hipBLASLt"),
        (CARDS["AMD Radeon 8060S"], "deepseek-v3", False, ""),
        (CPU, "smollm2-135m-instruct", True, "oneDNN"),
        (CPU, "deepseek-v3", False, ""),
    ],
)
def test_kernels(device: Device, name: str, ok: bool, kernel: str) -> None:
    found = support(device, name)
    assert (found.ok, found.kernel) == (ok, kernel)
    assert found.source.startswith("vllm/")
    assert ok or found.reasons


def test_a_card_that_is_in_no_list() -> None:
    unknown = replace(CARDS["AMD Radeon RX 7600 XT"], architecture="gfx803")
    assert not support(unknown, "llama-3.1-8b").ok


@pytest.mark.parametrize(
    ("change", "nodes", "rates"),
    [("nodes=+1", 3, [2.5e9]), ("nodes=4", 4, [2.5e9]), ("nodes=-1", 1, [2.5e9, 10e9]), ("link=100Mb", 2, [1e8])],
)
def test_what_if_there_were(change: str, nodes: int, rates: list[float]) -> None:
    changed = what_if.apply(V0_1, change, ACCELERATORS)
    assert len(changed.compute) == nodes
    members = {node.name for node in changed.compute}
    joining = [link for link in changed.links if members <= set(link.members)]
    if nodes > 1:
        assert [link.bits_per_second.value for link in joining] == rates


def test_what_if_another_card() -> None:
    changed = what_if.apply(V0_1, "accelerator=rtx 5070", ACCELERATORS)
    assert {part.name for node in changed.compute for part in node.accelerators} == {"NVIDIA GeForce RTX 5070"}


@pytest.mark.parametrize(
    "change",
    [
        "", "link", "link=", "link=fast", "link=0Gb", "link=carrier:1Gb", "nodes=many", "nodes=0", "nodes=-2",
        "nodes=100000", "accelerator=", "accelerator=none such", "accelerator=amd", "memory=lots", "memory=0GiB",
        "bandwidth=2", "bandwidth=0x", "colour=red",
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_read(change: str) -> None:
    with pytest.raises(PlanError) as refused:
        what_if.apply(V0_1, change, ACCELERATORS)
    assert "\n" not in str(refused.value)


def test_the_catalogue_has_every_part() -> None:
    catalogue = Path(__file__).parents[3] / "hardware" / "catalog"
    parts = {path.stem for path in catalogue.glob("*.py")} - {"__init__"}
    assert len(ACCELERATORS) == len(parts)
    assert all(
        isinstance(part, Accelerator) and isinstance(part.memory_bytes, Figure) for part in ACCELERATORS.values()
    )
