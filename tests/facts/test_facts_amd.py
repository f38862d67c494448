"""amd-smi, rocm-smi and sysfs: synthesised output (fixtures/synthesised/README.md says what it follows)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facts.parse.amd import parse_gpus
from facts.parse.amd_sysfs import gfx_target
from facts.parse.gpu import GpuReport

EMPTY = ("", "missing")
S = "synthesised/"


@pytest.fixture
def read(rendered: Any) -> Any:
    """Parses the fact's output; a section that is not given is missing (tools) or empty (sysfs)."""

    def read_sections(**given: tuple[str, int | str]) -> GpuReport:
        tools = {"static": "amd-smi:static", "metric": "amd-smi:metric", "rocm": "rocm-smi"}
        parts = [(name, *given.get(short, EMPTY)) for short, name in tools.items()]
        parts += [(name, *given.get(name, ("", 0))) for name in ("drm", "kfd", "pci")]
        return parse_gpus(rendered(*parts))

    return read_sections


def test_discrete_card_by_amd_smi_takes_its_target_from_the_kernel(fixture_text: Any, read: Any) -> None:
    report = read(
        static=(fixture_text(S + "amd-smi-static-rx-7600-xt.json"), 0),
        metric=(fixture_text(S + "amd-smi-metric-rx-7600-xt.json"), 0),
        drm=(fixture_text(S + "drm-rx-7600-xt.txt"), 0),
        kfd=(fixture_text(S + "kfd-rx-7600-xt.txt"), 0),
    )
    assert (report.tool, report.source, report.driver_version) == ("present", "amd-smi", "6.12.43")
    (gpu,) = report.gpus
    assert gpu.gfx_target == "gfx1102"
    assert gpu.memory_total_bytes == 16368 * 2**20 == 17163091968
    assert gpu.gtt_total_bytes == 15979 * 2**20
    assert (gpu.power_limit_watts, gpu.temperature_celsius) == (165, 41)
    assert (gpu.pcie_generation_current, gpu.pcie_generation_max) == (1, 4)
    assert (gpu.pcie_width_current, gpu.pcie_width_max) == (8, 8)
    json.dumps(report.to_json())


def test_integrated_gpu_whose_tool_says_nothing_is_filled_from_sysfs(fixture_text: Any, read: Any) -> None:
    report = read(
        static=(fixture_text(S + "amd-smi-static-strix-halo.json"), 0),
        metric=(fixture_text(S + "amd-smi-metric-strix-halo.json"), 0),
        drm=(fixture_text(S + "drm-strix-halo.txt"), 0),
        kfd=(fixture_text(S + "kfd-strix-halo.txt"), 0),
    )
    (gpu,) = report.gpus
    assert (gpu.name, gpu.gfx_target) == ("AMD Radeon 8060S Graphics", "gfx1151")
    assert gpu.memory_total_bytes == 512 * 2**20
    assert gpu.gtt_total_bytes == 124 * 2**30
    assert (gpu.temperature_celsius, gpu.power_draw_watts, gpu.power_limit_watts) == (38, 11, None)
    assert gpu.pcie_width_current is None


def test_integrated_gpu_without_sysfs_has_unknown_memory_not_zero(fixture_text: Any, read: Any) -> None:
    report = read(
        static=(fixture_text(S + "amd-smi-static-strix-halo.json"), 0),
        metric=(fixture_text(S + "amd-smi-metric-strix-halo.json"), 0),
    )
    assert report.gpus[0].memory_total_bytes is None
    assert report.gpus[0].gtt_total_bytes is None


def test_rocm_smi_where_amd_smi_is_missing(fixture_text: Any, read: Any) -> None:
    report = read(rocm=("WARNING: AMD GPU device(s) is/are in a low-power state\n"
                        + fixture_text(S + "rocm-smi-rx-7600-xt.json"), 0))  # fmt: skip
    (gpu,) = report.gpus
    assert (report.source, report.driver_version) == ("rocm-smi", "6.12.43")
    assert (gpu.gfx_target, gpu.memory_total_bytes) == ("gfx1102", 17163091968)
    assert gpu.memory_free_bytes == 17163091968 - 211812352
    assert report.detail == "amd-smi is not installed"


def test_sysfs_alone(fixture_text: Any, read: Any) -> None:
    drm, kfd = fixture_text(S + "drm-strix-halo.txt"), fixture_text(S + "kfd-strix-halo.txt")
    report = read(drm=(drm, 0), kfd=(kfd, 0))
    assert (report.tool, report.source, len(report.gpus)) == ("missing", "sysfs", 1)
    assert report.gpus[0].gfx_target == "gfx1151"


def test_no_tool_and_no_gpu_against_a_tool_and_no_gpu(read: Any) -> None:
    assert (read().tool, read().gpus) == ("missing", ())
    answered = read(static=('{"gpu_data": []}', 0), metric=('{"gpu_data": []}', 0))
    assert (answered.tool, answered.gpus) == ("present", ())
    warned = read(rocm=("WARNING: No AMD GPUs specified", 0))
    assert (warned.tool, warned.gpus) == ("present", ())


@pytest.mark.parametrize(
    "text", ["", "garbage", '{"gpu_data": [{"gpu": 0, "asic', "[WARN] nothing", "AMDSMI_STATUS_NOT_INIT"]
)
def test_tool_without_json_is_failed_with_the_reason(read: Any, text: str) -> None:
    report = read(static=(text, 0), metric=(text, 0))
    assert report.tool == "failed"
    assert "amd-smi:static: no JSON" in report.detail


def test_failing_tool_is_failed_with_what_it_said(read: Any) -> None:
    report = read(static=("ERROR: Driver not initialized (amdgpu not found in modules)", 255))
    assert report.tool == "failed"
    assert "amd-smi exited 255: ERROR: Driver not initialized" in report.detail


@pytest.mark.parametrize(
    ("static", "unread"),
    [
        ('[{"asic": {}}]', ()),
        ('[{"gpu": 0}, 7]', ()),
        ('[{"gpu": 0, "vram": {"size": {"value": "lots", "unit": "MB"}}}]', ("'lots MB'",)),
        ('[{"gpu": 0, "vram": {"size": {"value": 5, "unit": "W"}}}]', ("no unit of size",)),
        ('[{"gpu": 0, "vram": {"size": {"value": -5, "unit": "MB"}}}]', ("is negative",)),
        ('[{"gpu": 0, "vram": {"size": {"value": 18446744073709551615, "unit": "B"}}}]', ("stands for no value",)),
        ('[{"gpu": 0, "vram": {"size": {"value": 4294967295, "unit": "MB"}}}]', ("stands for no value",)),
    ],
)
def test_what_is_no_value_is_absent_with_its_reason(read: Any, static: str, unread: tuple[str, ...]) -> None:
    (card,) = read(static=(static, 0)).gpus
    assert card.memory_total_bytes is None
    assert len(card.unread) == len(unread) and all(said in card.unread[0] for said in unread)


def test_a_list_of_gpus_that_is_none_is_no_answer(read: Any, fixture_text: Any) -> None:
    report = read(static=('{"gpu_data": 7}', 0), drm=(fixture_text(S + "drm-rx-7600-xt.txt"), 0))
    assert (report.tool, report.source, len(report.gpus)) == ("failed", "sysfs", 1)
    assert "a list of GPUs was expected" in report.detail


def test_an_empty_answer_is_no_truth_where_the_kernel_drives_a_card(fixture_text: Any) -> None:
    report = parse_gpus(fixture_text("field/amd-smi-empty-but-sysfs.txt").splitlines())
    (card,) = report.gpus
    assert (report.tool, report.source, card.memory_total_bytes) == ("present", "sysfs", 17_000_000_000)
    assert "amd-smi lists none, the kernel drives 0000:09:00.0" in report.detail


def test_a_card_that_one_tool_leaves_out_is_added_from_the_kernel(fixture_text: Any, read: Any) -> None:
    drm = fixture_text(S + "drm-rx-7600-xt.txt")
    second = drm.replace("card0", "card1").replace("card1/", "card1/").replace("0000:03:00.0", "0000:43:00.0")
    report = read(static=(fixture_text(S + "amd-smi-static-rx-7600-xt.json"), 0), drm=(f"{drm}\n{second}", 0))
    assert [card.pci_address for card in report.gpus] == ["0000:03:00.0", "0000:43:00.0"]
    assert [card.index for card in report.gpus] == [0, 1]
    assert "amd-smi does not list 0000:43:00.0" in report.detail


def test_what_drivers_write_for_unknown_is_absent(fixture_text: Any, read: Any) -> None:
    both = json.loads(fixture_text("field/amd-smi-sentinels.json"))
    (card,) = read(static=(json.dumps(both["static"]), 0), metric=(json.dumps(both["metric"]), 0)).gpus
    assert (card.temperature_celsius, card.power_draw_watts, card.pcie_width_current) == (41, None, None)
    assert len(card.unread) == 3


@pytest.mark.parametrize("value", [65535, 4294967295, 18446744073709551615, 1.8446744073709552e19, 2112, -4000, "NaN"])
def test_impossible_readings_are_absent(read: Any, value: Any) -> None:
    metric = [{"gpu": 0, "temperature": {"edge": {"value": value, "unit": "C"}}, "pcie": {"width": value}}]
    (card,) = read(static=('[{"gpu": 0}]', 0), metric=(json.dumps(metric), 0)).gpus
    assert (card.temperature_celsius, card.pcie_width_current) == (None, None)
    assert len(card.unread) == 2


@pytest.mark.parametrize(
    "document", ['[{"gpu": 0}]', '[{"gpu": 0, "asic": "N/A", "vram": "N/A", "limit": null, "bus": []}]']
)
def test_absent_fields_are_none(read: Any, document: str) -> None:
    (gpu,) = read(static=(document, 0), metric=(document, 0)).gpus
    assert (gpu.name, gpu.memory_total_bytes, gpu.power_limit_watts) == ("AMD GPU", None, None)


def test_graphics_targets() -> None:
    named = {
        110002: "gfx1102",
        110501: "gfx1151",
        90010: "gfx90a",
        90402: "gfx942",
        120001: "gfx1201",
        0: None,
    }
    assert {version: gfx_target(version) for version in named} == named
    with pytest.raises(ValueError, match="no graphics version"):
        gfx_target(7)
