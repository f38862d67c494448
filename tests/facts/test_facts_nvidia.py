"""nvidia-smi: the capture of a host with 4 H200, a synthesised GeForce, and output that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError

from facts.nvidia import Gpus
from facts.parse.nvidia import parse_gpus
from facts.parse.topology import parse_topology

H200_COUNT = 4


def gpu_output(rendered: Any, xml: str, *, status: int | str = 0, capabilities: str = "", pci: str = "") -> Any:
    return rendered(
        ("nvidia-smi", xml, status),
        ("nvidia-smi:compute-capability", capabilities, 0 if capabilities else status),
        ("pci", pci),
    )


def test_capture_of_four_h200(fixture_text: Any, rendered: Any) -> None:
    # The capability query's rows, from the same host's --query-gpu capture.
    rows = [line.split(", ") for line in fixture_text("nvidia-h200-x4/nvidia-smi-query.csv").splitlines()]
    address, capability = rows[0].index("pci.bus_id"), rows[0].index("compute_cap")
    capabilities = "\n".join(f"{row[address]}, {row[capability]}" for row in rows[1:])
    xml = fixture_text("nvidia-h200-x4/nvidia-smi-q.xml")
    report = parse_gpus(gpu_output(rendered, xml, capabilities=capabilities))
    assert (report.tool, report.driver_version, report.cuda_version) == ("present", "580.159.04", "13.0")
    assert len(report.gpus) == H200_COUNT
    gpu = report.gpus[0]
    assert gpu.name == "NVIDIA H200"
    assert gpu.pci_address == "00000000:00:06.0"
    assert gpu.memory_total_bytes == 143771 * 2**20
    assert gpu.memory_free_bytes == 143156 * 2**20
    assert gpu.compute_capability == "9.0"
    assert gpu.power_limit_watts == 700
    assert gpu.temperature_celsius == 36
    assert (gpu.ecc_enabled, gpu.ecc_corrected_errors, gpu.ecc_uncorrected_errors) == (True, 0, 0)
    assert gpu.memory_repair_pending is False
    assert (gpu.pcie_generation_current, gpu.pcie_generation_max) == (5, 5)
    assert (gpu.pcie_width_current, gpu.pcie_width_max) == (16, 16)
    assert (gpu.mig_enabled, gpu.persistence_enabled, gpu.processes) == (False, True, ())
    json.dumps(report.to_json())


def test_synthesised_geforce_has_no_ecc_and_two_processes(fixture_text: Any, rendered: Any) -> None:
    report = parse_gpus(gpu_output(rendered, fixture_text("synthesised/geforce-rtx-5070-q.xml")))
    gpu = report.gpus[0]
    assert (gpu.name, gpu.ecc_enabled, gpu.ecc_uncorrected_errors) == ("NVIDIA GeForce RTX 5070", None, None)
    assert (gpu.mig_enabled, gpu.memory_repair_pending, gpu.compute_capability) == (None, None, None)
    assert [(process.process_id, process.kind) for process in gpu.processes] == [(1432, "G"), (20771, "C")]
    assert gpu.processes[1].memory_used_bytes == 1030 * 2**20


def test_old_names_of_power_and_ecc_are_read(rendered: Any) -> None:
    # Synthesised: the elements that documents of older drivers have (nvsmi_device_v11.dtd and before).
    xml = (
        "<nvidia_smi_log><driver_version>470.57</driver_version><gpu id='00000000:01:00.0'>"
        "<product_name>Tesla T4</product_name><ecc_mode><current_ecc>Enabled</current_ecc></ecc_mode>"
        "<ecc_errors><volatile><single_bit><total>3</total></single_bit>"
        "<double_bit><total>1</total></double_bit>"
        "</volatile></ecc_errors>"
        "<power_readings><power_draw>28.00 W</power_draw><power_limit>70.00 W</power_limit>"
        "</power_readings></gpu></nvidia_smi_log>"
    )
    (gpu,) = parse_gpus(gpu_output(rendered, xml)).gpus
    assert (gpu.ecc_corrected_errors, gpu.ecc_uncorrected_errors) == (3, 1)
    assert (gpu.power_draw_watts, gpu.power_limit_watts, gpu.memory_total_bytes) == (28, 70, None)


def test_missing_tool_and_no_gpu_are_different(rendered: Any) -> None:
    missing = parse_gpus(gpu_output(rendered, "", status="missing"))
    assert (missing.tool, missing.gpus) == ("missing", ())
    none = parse_gpus(gpu_output(rendered, "No devices were found", status=6))
    assert (none.tool, none.gpus) == ("present", ())


def test_missing_tool_still_counts_devices_on_the_bus(rendered: Any) -> None:
    pci = "\n".join(
        f"/sys/bus/pci/devices/0000:{place}/{name}:{value}"
        for place, values in {"01:00.0": ("0x10de", "0x030000"), "01:00.1": ("0x10de", "0x040300")}.items()
        for name, value in zip(("vendor", "class"), values, strict=True)
    )
    report = parse_gpus(gpu_output(rendered, "", status="missing", pci=pci))
    assert report.devices_on_pci_bus == 1  # the card, not its sound device


def test_driver_out_of_reach_is_failed_with_the_reason(rendered: Any) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."
    report = parse_gpus(gpu_output(rendered, said, status=9))
    assert report.tool == "failed"
    assert "couldn't communicate" in report.detail
    hung = parse_gpus(gpu_output(rendered, "", status=124))
    assert (hung.tool, hung.detail) == ("failed", "nvidia-smi did not answer in time")


@pytest.mark.parametrize(
    ("xml", "gpus", "said"),
    [
        ("", 0, "no <nvidia_smi_log>"),
        ("garbage", 0, "no <nvidia_smi_log>"),
        ("<nvidia_smi_log><gpu></nvidia_smi_log>", 0, "cannot be read"),
        ("<nvidia_smi_log><gpu>", 0, "truncated"),
        ("<nvidia_smi_log><gpu><product_name>X</product_name></gpu><gpu><prod", 1, "truncated"),
    ],
)
def test_a_document_that_is_none_is_no_answer_and_keeps_its_whole_gpus(
    rendered: Any, xml: str, gpus: int, said: str
) -> None:
    report = parse_gpus(gpu_output(rendered, xml))
    assert (report.tool, len(report.gpus)) == ("failed", gpus)
    assert said in report.detail


@pytest.mark.parametrize(
    "words",
    [
        "GPU requires reset",
        "Function Not Found",
        "Not Available",
        "Not Found",
        "Timeout",
        "Unknown Error",
        "GPU is lost",
    ],
)
def test_words_in_place_of_a_number_leave_the_rest(fixture_text: Any, rendered: Any, words: str) -> None:
    xml = fixture_text("field/nvidia-two-gpus-one-needs-reset.xml").replace("GPU requires reset", words)
    report = parse_gpus(gpu_output(rendered, xml))
    healthy, other = report.gpus
    assert (report.tool, healthy.temperature_celsius, healthy.unread) == ("present", 40, ())
    assert (other.temperature_celsius, other.utilization_percent, other.memory_total_bytes) == (None, None, 24000 << 20)
    assert len(other.unread) == 2 and all(words in said for said in other.unread)


@pytest.mark.parametrize("status", [14, 0])
def test_a_whole_document_counts_whatever_stands_behind_it(fixture_text: Any, rendered: Any, status: int) -> None:
    report = parse_gpus(gpu_output(rendered, fixture_text("field/nvidia-inforom-warning.xml"), status=status))
    (card,) = report.gpus
    assert (report.tool, card.temperature_celsius) == ("present", 40)
    assert report.warnings[0] == "WARNING: infoROM is corrupted at gpu 0000:21:00.0"
    assert bool([said for said in report.warnings if "exited 14" in said]) is bool(status)


@pytest.mark.parametrize(
    "value", ["65535", "4294967295 C", "18446744073709551615", "2112 C", "-300 C", "much", "9" * 400]
)
def test_impossible_readings_are_absent(rendered: Any, value: str) -> None:
    xml = (
        f"<nvidia_smi_log><gpu><product_name>X</product_name><temperature><gpu_temp>{value}</gpu_temp></temperature>"
        f"<fb_memory_usage><total>much</total></fb_memory_usage></gpu></nvidia_smi_log>"
    )
    (card,) = parse_gpus(gpu_output(rendered, xml)).gpus
    assert (card.temperature_celsius, card.memory_total_bytes, len(card.unread)) == (None, None, 2)


INFORMATION = "/proc/driver/nvidia/gpus/0000:21:00.0/information"
DRIVEN = f"/sys/module/nvidia/version:535.154.05\n{INFORMATION}:Model: \t\t NVIDIA X\n{INFORMATION}:GPU UUID: \t GPU-1"


@pytest.mark.parametrize(
    ("said", "status", "tool", "source"),
    [
        ("No devices were found", 6, "present", "procfs"),
        ("Failed to initialize NVML: Driver/library version mismatch", 18, "failed", "procfs"),
        ("", "missing", "missing", "procfs"),
    ],
)
def test_cards_that_the_kernel_drives_are_known_without_the_tool(
    rendered: Any, said: str, status: int | str, tool: str, source: str
) -> None:
    # Synthesised: the names and tabs of the driver's own files, as of version 535.
    report = parse_gpus([*gpu_output(rendered, said, status=status), *rendered(("driver", DRIVEN))])
    (card,) = report.gpus
    assert (report.tool, report.source, report.loaded_driver_version) == (tool, source, "535.154.05")
    assert (card.name, card.uuid, card.pci_address) == ("NVIDIA X", "GPU-1", "0000:21:00.0")


def test_fact_turns_it_into_the_error_that_fails_one_host() -> None:
    with pytest.raises(FactProcessError, match=r"facts.nvidia.Gpus: section nvidia-smi is absent"):
        Gpus().process(["nothing of use"])


def test_every_truncation_of_the_capture_is_a_value_error(fixture_text: Any, rendered: Any) -> None:
    output = gpu_output(rendered, fixture_text("nvidia-h200-x4/nvidia-smi-q.xml"))
    for length in range(0, len(output) - 1, 97):
        with pytest.raises(ValueError, match="section"):
            parse_gpus(output[:length])


def test_topology_of_the_capture(fixture_text: Any, rendered: Any) -> None:
    text = fixture_text("nvidia-h200-x4/nvidia-smi-topo.txt")
    report = parse_topology(rendered(("nvidia-smi:topology", text)))
    assert report.devices == ("GPU0", "GPU1", "GPU2", "GPU3")
    assert len(report.links) == 6
    assert {(link.kind, link.nvlink_count) for link in report.links} == {("NV18", 18)}
    assert report.cpu_affinity[0] == ("GPU0", "0-63")
    assert report.numa_affinity[3] == ("GPU3", "0")


def test_topology_of_two_cards_without_nvlink(rendered: Any) -> None:
    # Synthesised after `nvidia-smi topo -m` as published for two cards on a desktop board.
    text = "\tGPU0\tGPU1\tCPU Affinity\tNUMA Affinity\n"
    text += "GPU0\t X \tPHB\t0-11\t\tN/A\nGPU1\tPHB\t X \t0-11\t\tN/A\n"
    links = parse_topology(rendered(("nvidia-smi:topology", text))).links
    found = [(link.first, link.second, link.kind, link.nvlink_count) for link in links]
    assert found == [("GPU0", "GPU1", "PHB", 0)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header"),
        ("\tGPU0\tGPU1\nGPU0\t X \tPHB\n", "row GPU1 has 0 of 2"),
    ],
)
def test_unreadable_topology_is_a_value_error(rendered: Any, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_topology(rendered(("nvidia-smi:topology", text)))


def test_topology_without_the_tool(rendered: Any) -> None:
    assert parse_topology(rendered(("nvidia-smi:topology", "", "missing"))).tool == "missing"
