"""CPU, memory, clock, host and NPU: captures of a real host, synthesised and unreadable output."""

from __future__ import annotations

from typing import Any

import pytest

from facts.health.cpu import processor_check
from facts.parse.clock import parse_clock
from facts.parse.cpu import parse_cpu
from facts.parse.host import parse_host
from facts.parse.memory import parse_filesystem, parse_memory
from facts.parse.npu import parse_npus

CAPTURE = "nvidia-h200-x4/"
S = "synthesised/"


def cpu_output(rendered: Any, *, lscpu: str = "", cpuinfo: str = "", machine: str = "x86_64") -> Any:
    return rendered(
        ("lscpu", lscpu, 0 if lscpu else "missing"),
        ("cpuinfo", cpuinfo, 0 if cpuinfo else 1),
        ("machine", machine),
    )


def test_cpu_of_the_capture(fixture_text: Any, rendered: Any) -> None:
    report = parse_cpu(cpu_output(rendered, lscpu=fixture_text(CAPTURE + "lscpu.json")))
    assert (report.architecture, report.model) == ("x86_64", "Intel(R) Xeon(R) Processor")
    assert (report.sockets, report.cores, report.threads) == (1, 64, 64)
    assert {"avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"} <= set(report.decisive_flags)


def test_nested_lscpu_of_aarch64(fixture_text: Any, rendered: Any) -> None:
    report = parse_cpu(cpu_output(rendered, lscpu=fixture_text(S + "lscpu-aarch64.json")))
    assert (report.architecture, report.model, report.cores, report.threads) == (
        "aarch64",
        "Neoverse-V2",
        8,
        8,
    )


def test_cpuinfo_where_lscpu_is_missing(fixture_text: Any, rendered: Any) -> None:
    text = fixture_text(S + "cpuinfo-raspberry-pi-5.txt")
    report = parse_cpu(cpu_output(rendered, cpuinfo=text, machine="aarch64"))
    assert (report.architecture, report.threads, report.cores) == ("aarch64", 2, 0)


@pytest.mark.parametrize(
    ("lscpu", "said"),
    [
        ("garbage", "lscpu: no JSON"),
        ('{"lscpu": []}', "no CPU"),
        ('{"other": 1}', "no CPU"),
        ('{"lscpu": [3]}', "no CPU"),
    ],
)
def test_unreadable_lscpu_is_a_value_error(rendered: Any, lscpu: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_cpu(cpu_output(rendered, lscpu=lscpu))


def test_neither_lscpu_nor_cpuinfo_is_a_value_error(rendered: Any) -> None:
    with pytest.raises(ValueError, match="/proc/cpuinfo: cpuinfo exited 1"):
        parse_cpu(cpu_output(rendered))


def test_memory_of_the_capture(fixture_text: Any, rendered: Any) -> None:
    report = parse_memory(rendered(("meminfo", fixture_text(CAPTURE + "meminfo.txt"))))
    assert report.total_bytes == 528231220 * 1024
    assert report.available_bytes == 527367604 * 1024
    assert (report.swap_total_bytes, report.swap_free_bytes) == (0, 0)


@pytest.mark.parametrize(("text", "said"), [("", "no MemTotal"), ("MemTotal: many kB", "MemTotal: 'many kB'")])
def test_unreadable_meminfo_is_a_value_error(rendered: Any, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_memory(rendered(("meminfo", text)))


def test_filesystem_with_spaces_in_its_names(rendered: Any) -> None:
    text = (
        "Filesystem     Type      1-blocks        Used   Available Capacity Mounted on\n"
        "//nas/big data cifs 2000000000000 500000000000 1500000000000      25% /srv/big data\n"
    )
    report = parse_filesystem(rendered(("filesystem", text)))
    assert (report.source, report.mount_point) == ("//nas/big data", "/srv/big data")
    assert (report.filesystem_type, report.free_bytes) == ("cifs", 1500000000000)


@pytest.mark.parametrize("line", ["", "MemAvailable: many kB", "MemAvailable: 18446744073709551615 kB"])
def test_memory_whose_availability_cannot_be_read_has_its_size(rendered: Any, line: str) -> None:
    report = parse_memory(rendered(("meminfo", f"MemTotal: 1024 kB\nSwapTotal: 0 kB\n{line}")))
    assert (report.total_bytes, report.available_bytes, report.swap_total_bytes) == (1 << 20, None, 0)
    assert "MemAvailable" in report.unread[0]


def test_df_without_a_row_or_failing_is_a_value_error(rendered: Any) -> None:
    with pytest.raises(ValueError, match="no file system"):
        parse_filesystem(rendered(("filesystem", "Filesystem Type")))
    with pytest.raises(ValueError, match="df: filesystem exited 1: df: /x: Stale file handle"):
        parse_filesystem(rendered(("filesystem", "df: /x: Stale file handle", 1)))


@pytest.mark.parametrize(
    ("date", "timedatectl", "status", "expected"),
    [
        ("1795246926.024202", "yes", 0, (1795246926.024202, "yes")),
        ("1795246926.024202", "no", 0, (1795246926.024202, "no")),
        ("1795246926.N", "", "missing", (1795246926.0, "unknown")),
        ("1795246926.%N", "System has not been booted with systemd", 1, (1795246926.0, "unknown")),
    ],
)
def test_clock(rendered: Any, date: str, timedatectl: str, status: int | str, expected: tuple[float, str]) -> None:
    report = parse_clock(rendered(("timedatectl", timedatectl, status), ("date", date)))
    assert (report.epoch_seconds, report.synchronised) == expected
    assert bool(report.detail) is (report.synchronised == "unknown")


def test_unreadable_date_is_a_value_error(rendered: Any) -> None:
    with pytest.raises(ValueError, match="date: 'noon' is not a number"):
        parse_clock(rendered(("timedatectl", "", "missing"), ("date", "noon")))


def host_output(rendered: Any, release: str, *, uname: str = "compute1\n6.12.43\nx86_64", virtual: str = "none") -> Any:
    return rendered(
        ("os-release", release),
        ("uname", uname),
        ("python3", "Python 3.12.3"),
        ("systemd-detect-virt", virtual, 1),
        ("systemd", "", 0),
    )


def test_host_of_the_capture(fixture_text: Any, rendered: Any) -> None:
    words = fixture_text(CAPTURE + "uname.txt").split()
    uname = "\n".join([words[1], words[2], words[-2]])
    report = parse_host(host_output(rendered, fixture_text(CAPTURE + "os-release.txt"), uname=uname))
    assert (report.os_id, report.os_version, report.os_name) == ("ubuntu", "24.04", "Ubuntu 24.04.3 LTS")
    assert (report.kernel_release, report.architecture) == ("6.18.44-fc-v657-gpu", "x86_64")
    assert (report.python_version, report.virtualization, report.init_is_systemd) == ("3.12.3", "none", True)


@pytest.mark.parametrize(
    ("release", "uname", "said"),
    [
        ("VERSION_ID=12", "compute1\nb\nc", "no ID"),
        ('ID="debian\nVERSION_ID=12', "compute1\nb\nc", "No closing quotation"),
        ("ID=debian\nVERSION_ID=12", "compute1", "3 lines were expected"),
    ],
)
def test_what_a_host_does_not_say_is_absent_with_its_reason(rendered: Any, release: str, uname: str, said: str) -> None:
    report = parse_host(host_output(rendered, release, uname=uname))
    assert (report.host_name, report.os_version, report.python_version) == ("compute1", "12", "3.12.3")
    assert said in report.unread[0]


def test_two_kinds_of_core_are_both_counted(fixture_text: Any, rendered: Any) -> None:
    report = parse_cpu(
        cpu_output(rendered, lscpu=fixture_text("field/lscpu-two-kinds-of-core.json"), machine="aarch64")
    )
    assert (report.cores, report.threads, report.sockets, report.model) == (12, 12, 1, "Little, Big")
    assert [(kind.model, kind.cores) for kind in report.kinds] == [("Little", 8), ("Big", 4)]
    assert report.decisive_flags == ("asimd", "asimddp")
    assert processor_check("n", report).ok is True


def test_two_kinds_of_core_without_lscpu(rendered: Any) -> None:
    # Synthesised after arch/arm64/kernel/cpuinfo.c of Linux: no model names, a part number for each core.
    block = "processor\t: {}\nFeatures\t: {}\nCPU part\t: {}\n"
    text = "\n".join([block.format(0, "asimd bf16", "0xd85"), block.format(1, "asimd", "0xd87")])
    report = parse_cpu(cpu_output(rendered, cpuinfo=text, machine="aarch64"))
    assert (report.threads, report.model) == (2, "CPU part 0xd85, CPU part 0xd87")
    assert report.decisive_flags == ("asimd",)


def test_npu_is_reported_and_not_served(fixture_text: Any, rendered: Any) -> None:
    pci = (
        "/sys/bus/pci/devices/0000:c5:00.1/vendor:0x1022\n/sys/bus/pci/devices/0000:c5:00.1/device:0x17f0\n"
        "/sys/bus/pci/devices/0000:c4:00.0/vendor:0x1002\n/sys/bus/pci/devices/0000:c4:00.0/device:0x1586\n"
    )
    nodes = "/dev/accel/accel0\n/sys/module/amdxdna"
    accel = fixture_text(S + "npu-accel-strix-halo.txt")
    report = parse_npus(rendered(("nodes", nodes, 0), ("accel", accel), ("pci", pci)))
    assert (report.module_loaded, report.device_nodes) == (True, ("/dev/accel/accel0",))
    assert report.devices_on_pci_bus == 1
    (npu,) = report.npus
    assert (npu.name, npu.model, npu.firmware_version) == ("accel0", "RyzenAI-npu5", "1.0.0.166")
    assert npu.pci_address == "0000:c5:00.1"
    assert report.served_by_vllm is False
    assert "no support" in report.served_by_vllm_reason


def test_accelerators_of_other_makers_are_no_npu_of_amd(rendered: Any) -> None:
    accel = "/sys/class/accel/accel0/device/vendor:0x8086\n"
    report = parse_npus(rendered(("nodes", "", 2), ("accel", accel), ("pci", "")))
    assert (report.module_loaded, report.npus) == (False, ())
    assert parse_npus(rendered(("nodes", "", 2), ("accel", f"no path\n{accel}"), ("pci", ""))).npus == ()
