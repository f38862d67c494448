"""Judgements: reports made here or read from fixtures, and the results that follow from them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from facts.health import clock, gpu, memory, network
from facts.health.result import CheckResult
from facts.parse.clock import ClockReport
from facts.parse.gpu import Gpu, GpuReport
from facts.parse.listening import ListeningReport, ListeningSocket
from facts.parse.memory import FilesystemReport, MemoryReport
from facts.parse.network import InterfacesReport, ResolutionReport, parse_interfaces
from facts.parse.nvidia import parse_gpus

GIBIBYTE = 1 << 30
S = "synthesised/"


@pytest.fixture
def read(fixture_text: Any, rendered: Any) -> Any:
    return lambda name: parse_gpus(
        rendered(("nvidia-smi", fixture_text(name)), ("nvidia-smi:compute-capability", "", 1), ("pci", ""))
    )


def verdicts(results: list[CheckResult]) -> dict[str, bool | None]:
    return {result.name: result.ok for result in results}


def test_capture_of_h200_holds(read: Any) -> None:
    report = read("nvidia-h200-x4/nvidia-smi-q.xml")
    results = gpu.gpu_checks("compute1", report, expected_count=4, minimum_driver_version="550")
    assert all(result.ok for result in results), results
    json.dumps([result.to_json() for result in results])


def test_old_driver_names_node_value_and_remedy(read: Any) -> None:
    report = replace(read("nvidia-h200-x4/nvidia-smi-q.xml"), driver_version="535")
    assert gpu.driver_check("compute1", report, "550") == CheckResult(
        "gpu_driver", False, "compute1: driver 535 is older than 550", 'run "cluster up --only compute_base"'
    )


@pytest.mark.parametrize(
    ("version", "minimum", "ok"),
    [
        ("550", "550.0", True),
        ("550.54.14", "550.54.15", False),
        ("7.0.0-3-pve", "6.14", True),
        ("99", "550", False),
    ],
)
def test_versions_compare_number_by_number(version: str, minimum: str, ok: bool) -> None:
    assert gpu.driver_check("n", GpuReport("amd", "present", driver_version=version), minimum).ok is ok


def test_geforce_on_half_its_lanes_and_idle(read: Any) -> None:
    results = verdicts(gpu.gpu_checks("compute2", read(S + "geforce-rtx-5070-q.xml"), expected_count=1))
    assert results["gpu_link_width"] is False
    assert results["gpu_link_generation"] is None  # generation 1 of 4 while idle: power saving, or not
    assert "gpu_memory_errors" not in results  # it has no counters


def test_slow_link_under_load_does_not_hold(read: Any) -> None:
    (card,) = read(S + "geforce-rtx-5070-q.xml").gpus
    assert gpu.link_generation_check("n", replace(card, utilization_percent=90.0)).ok is False


def test_memory_errors_heat_and_repair(read: Any) -> None:
    card = replace(
        read("nvidia-h200-x4/nvidia-smi-q.xml").gpus[0],
        ecc_uncorrected_errors=2,
        memory_repair_pending=True,
        temperature_celsius=95.0,
    )
    report = GpuReport("nvidia", "present", "nvidia-smi", gpus=(card,))
    results = gpu.gpu_checks("compute1", report, expected_count=1)
    bad = {result.name for result in results if result.ok is False}
    assert bad == {"gpu_memory_errors", "gpu_memory_repair", "gpu_temperature"}
    assert all(result.remedy for result in results if result.ok is False)


def test_missing_tool_is_a_fault_only_where_a_gpu_is_seen() -> None:
    none = GpuReport("nvidia", "missing")
    assert gpu.tool_check("laptop", none).ok is True
    assert gpu.count_check("laptop", none, 0).ok is True
    seen = replace(none, devices_on_pci_bus=1)
    assert gpu.tool_check("compute1", seen).ok is False
    assert gpu.count_check("compute1", seen, 1).ok is None
    assert gpu.driver_check("compute1", seen, "550").ok is None
    gone = GpuReport("nvidia", "present", "nvidia-smi")
    assert gpu.count_check("compute1", gone, 1).ok is False


def test_the_processors_own_gpu_is_left_out_of_the_count() -> None:
    cards = (Gpu(0, "amd", "card", gfx_target="gfx1102"), Gpu(1, "amd", "in the CPU", gfx_target="gfx1036"))
    report = GpuReport("amd", "present", "amd-smi", gpus=cards)
    assert gpu.count_check("compute1", report, 1).ok is False
    assert gpu.count_check("compute1", gpu.of_target(report, "gfx1102"), 1).ok is True


def filesystem(mount_point: str, size: int, free: int) -> FilesystemReport:
    return FilesystemReport(mount_point, "tmpfs", "tmpfs", size, size - free, free)


def test_memory_shared_memory_and_disk() -> None:
    docker = filesystem("/dev/shm", 64 << 20, 64 << 20)
    short = memory.shared_memory_check("compute1", docker, 2 * GIBIBYTE)
    assert (short.ok, short.detail) == (
        False,
        "compute1: /dev/shm has 0.1 GiB, the object store needs 2.0 GiB",
    )
    assert memory.shared_memory_check("n", filesystem("/dev/shm", 8 * GIBIBYTE, GIBIBYTE), 2 * GIBIBYTE).ok is True
    assert memory.shared_memory_check("n", filesystem("/", 8 * GIBIBYTE, 8 * GIBIBYTE), GIBIBYTE).ok is False
    disk = memory.disk_check("control", filesystem("/srv", 100 * GIBIBYTE, 20 * GIBIBYTE), 70 * GIBIBYTE, "the model")
    assert (disk.ok, disk.remedy) == (False, "free 50.0 GiB on /srv, or choose another directory")
    host_memory = MemoryReport(16 * GIBIBYTE, 8 * GIBIBYTE, 0, 0)
    assert memory.memory_check("n", host_memory, 8 * GIBIBYTE).ok is True
    assert memory.memory_check("n", host_memory, 12 * GIBIBYTE).remedy == "stop other programs on this host"
    assert "16.0 GiB in all" in memory.memory_check("n", host_memory, 32 * GIBIBYTE).remedy


@pytest.mark.parametrize(
    ("node_seconds", "asked", "answered", "ok"),
    [
        (1000.5, 1000.0, 1001.0, True),
        (1010.0, 1000.0, 1001.0, False),
        (990.0, 1000.0, 1001.0, False),
        (1000.5, 1000.0, 1010.0, None),
    ],
)
def test_clock_skew(node_seconds: float, asked: float, answered: float, ok: bool | None) -> None:
    results = clock.clock_checks(
        "compute1", ClockReport(node_seconds, "yes"), asked_at_seconds=asked, answered_at_seconds=answered
    )
    assert verdicts(results) == {"clock_skew": ok, "clock_synchronised": True}


def test_clock_that_does_not_follow_a_source() -> None:
    assert clock.synchronised_check("n", ClockReport(1.0, "no")).ok is False
    unknown = clock.synchronised_check("n", ClockReport(1.0, "unknown", "timedatectl is not installed"))
    assert (unknown.ok, unknown.detail) == (None, "n: timedatectl is not installed")
    with pytest.raises(ValueError, match="before asked"):
        clock.skew_check("n", ClockReport(1.0, "yes"), 2.0, 1.0, 1.0)


def test_own_name() -> None:
    def ok(addresses: tuple[str, ...], *, loopback: bool = False) -> bool | None:
        report = ResolutionReport("compute1", addresses, loopback)
        return network.resolution_check("compute1", report, "10.0.0.11").ok

    assert ok(("10.0.0.11",)) is True
    assert ok(("127.0.1.1",), loopback=True) is False
    assert ok(("10.0.0.11", "127.0.1.1"), loopback=True) is False
    assert ok(("192.168.1.5",)) is False
    assert ok(()) is False


def test_interface_of_the_cluster(fixture_text: Any, rendered: Any) -> None:
    ip, net = fixture_text(S + "ip-address-two-links.json"), fixture_text(S + "net-two-links.txt")
    report = parse_interfaces(rendered(("ip", ip), ("net", net)))

    def checks(address: str, speed: int) -> dict[str, bool | None]:
        return verdicts(
            network.interface_checks("n", report, address, minimum_speed_bits_per_second=speed, expected_mtu_bytes=1500)
        )

    assert checks("10.0.0.11", 2_500_000_000) == dict.fromkeys(
        ("cluster_address", "link_state", "link_speed", "link_mtu"), True
    )
    assert checks("10.0.0.11", 10_000_000_000)["link_speed"] is False
    usb4 = checks("10.0.1.11", 10_000_000_000)
    assert (usb4["link_speed"], usb4["link_state"], usb4["link_mtu"]) == (None, True, False)
    assert checks("10.9.9.9", 1) == {"cluster_address": False}
    blind = network.interface_checks("n", InterfacesReport("missing", (), "ip is not installed"), "10.0.0.11")
    assert verdicts(blind) == {"cluster_address": None}


def test_ports_open_beyond_the_cluster() -> None:
    sockets = (
        ListeningSocket("127.0.0.1", 8265),
        ListeningSocket("10.0.0.11", 6379, "gcs_server", 700),
        ListeningSocket("0.0.0.0", 8000, "python3", 812),  # noqa: S104 - only compared
    )
    report = ListeningReport(sockets, processes_known=True)
    assert network.exposure_check("n", report, {8265, 6379}, ["10.0.0.0/24"]).ok is True
    exposed = network.exposure_check("n", report, {8000, 6379}, ["10.0.0.0/24"])
    assert (exposed.ok, exposed.detail) == (False, "n: open beyond the cluster: 0.0.0.0 port 8000 (python3)")
