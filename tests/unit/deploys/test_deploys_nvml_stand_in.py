"""The stand-in of NVIDIA's library, compiled by this machine's compiler and called as nvidia-ml-py calls the real one.

Names, numbers and layouts are those of NVIDIA's public nvml.h.
"""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploys.faults import stand_in
from deploys.faults.programs import gpu_fault

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here")

LOST, NOT_SUPPORTED, TIMEOUT = 15, 3, 10


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("device", ctypes.c_void_p),
        ("type", ctypes.c_ulonglong),
        ("data", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.build(tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "table"
    cards = [
        stand_in.Card(name, 24 << 30, 350_000, 2100, power_milliwatts=200_000) for name in ("First card", "Second")
    ]
    file.write_text(stand_in.table(cards))
    monkeypatch.setenv(stand_in.VARIABLE, str(file))
    return file


@pytest.fixture
def nvml(library: Path, table: Path) -> Iterator[Any]:
    found = ctypes.CDLL(str(library))
    assert found.nvmlInitWithFlags(0) == 0
    yield found
    found.nvmlShutdown()


def _device(nvml: Any, index: int) -> tuple[int, Any]:
    device = ctypes.c_void_p()
    return nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)), device


def _asked(nvml: Any, name: str, device: Any, kind: Any = ctypes.c_uint, *words: int) -> tuple[int, int]:
    value = kind()
    return getattr(nvml, name)(device, *words, ctypes.byref(value)), value.value


def _add(table: Path, name: str, **parameters: Any) -> None:
    table.write_text(table.read_text() + "\n".join(gpu_fault.lines(name, {"device": 0, **parameters})) + "\n")


def test_a_healthy_card_is_described_and_called_a_stand_in(nvml: Any) -> None:
    status, device = _device(nvml, 0)
    text, memory = ctypes.create_string_buffer(96), _Memory()
    assert status == 0 and nvml.nvmlDeviceGetName(device, text, 96) == 0 and text.value == b"First card"
    assert nvml.nvmlDeviceGetName(device, text, 4) == 7, "too small a buffer is no overflow"
    assert nvml.nvmlSystemGetDriverVersion(text, 80) == 0 and b"STAND-IN" in text.value
    assert nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0 and memory.free == 24 << 30
    assert _asked(nvml, "nvmlDeviceGetPowerUsage", device) == (0, 200_000)
    assert _asked(nvml, "nvmlDeviceGetClockInfo", device, ctypes.c_uint, 1) == (0, 2100)
    assert _asked(nvml, "nvmlDeviceGetClockInfo", device, ctypes.c_uint, 2)[0] == NOT_SUPPORTED
    assert _asked(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", device, ctypes.c_ulonglong) == (0, 0)
    assert _device(nvml, 2)[0] == 2


def test_caps_are_felt_and_named(nvml: Any, table: Path) -> None:
    _, device = _device(nvml, 0)
    _add(table, "gpu-power-cap", watts=100.0)
    _add(table, "gpu-clock-limit", megahertz=600)
    assert _asked(nvml, "nvmlDeviceGetEnforcedPowerLimit", device) == (0, 100_000)
    assert _asked(nvml, "nvmlDeviceGetPowerManagementDefaultLimit", device) == (0, 350_000)
    assert _asked(nvml, "nvmlDeviceGetPowerUsage", device) == (0, 100_000)
    assert _asked(nvml, "nvmlDeviceGetClockInfo", device, ctypes.c_uint, 0) == (0, 600)
    assert _asked(nvml, "nvmlDeviceGetCurrentClocksThrottleReasons", device, ctypes.c_ulonglong) == (0, 6)
    table.write_text(gpu_fault.without(gpu_fault.without(table.read_text(), "gpu-power-cap"), "gpu-clock-limit"))
    assert _asked(nvml, "nvmlDeviceGetPowerUsage", device) == (0, 200_000)


def test_a_lost_card_is_lost_to_every_question_and_the_other_is_not(nvml: Any, table: Path) -> None:
    _, first = _device(nvml, 0)
    _, second = _device(nvml, 1)
    _add(table, "gpu-lost")
    assert _device(nvml, 0)[0] == LOST
    for name in ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit"):
        assert _asked(nvml, name, first)[0] == LOST
        assert _asked(nvml, name, second)[0] == 0
    count = ctypes.c_uint()
    assert (nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), count.value) == (0, 2)


def test_errors_come_as_events_once_and_as_counts(nvml: Any, table: Path) -> None:
    _, device = _device(nvml, 0)
    events, found = ctypes.c_void_p(), _Event()
    assert nvml.nvmlEventSetCreate(ctypes.byref(events)) == 0
    assert nvml.nvmlDeviceRegisterEvents(device, ctypes.c_ulonglong(2 | 8), events) == 0
    assert nvml.nvmlEventSetWait_v2(events, ctypes.byref(found), 10) == TIMEOUT
    _add(table, "gpu-xid", xid=79)
    _add(table, "gpu-ecc", errors=3)
    told = []
    while nvml.nvmlEventSetWait_v2(events, ctypes.byref(found), 20) == 0:
        told.append((found.type, found.data))
    assert told == [(8, 79), (2, 3)]
    assert nvml.nvmlDeviceGetTotalEccErrors(device, 1, 0, ctypes.byref(value := ctypes.c_ulonglong())) == 0
    assert value.value == 3
    nvml.nvmlEventSetFree(events)


def test_a_missing_table_is_a_machine_without_cards(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stand_in.VARIABLE, "/nowhere/table")
    nvml, count = ctypes.CDLL(str(library)), ctypes.c_uint()
    assert nvml.nvmlInitWithFlags(0) == 0
    assert (nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)), count.value) == (0, 0)


def test_bad_names_and_missing_compilers_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no card's name"):
        stand_in.table([stand_in.Card("A #1", 1, 1, 1)])
    with pytest.raises(RuntimeError, match="install a C compiler"):
        stand_in.build(tmp_path / "x.so", compiler=str(tmp_path / "no-compiler"))


def test_it_comes_to_a_host_whole() -> None:
    command = stand_in.place(b"library", [stand_in.Card("It's one", 1, 2, 3)])
    assert command.line.startswith("set -eu; mkdir -p /run/cluster-nvml-stand-in; printf %s '")
    assert command.line.endswith(
        "mv -f /run/cluster-nvml-stand-in/libnvidia-ml.so.1.new /run/cluster-nvml-stand-in/libnvidia-ml.so.1"
    )
    assert command.stdin == "bGlicmFyeQ=="
