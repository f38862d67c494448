"""Reads a node's GPUs and writes a file for a textfile collector: gpu_reader.py FILE PERIOD-SECONDS

Standard library only. One reader a node, on its own schedule of ten seconds or more: a driver that hangs holds up this
process alone, never a scrape (gpustack#4899). NVIDIA's cards are asked through the driver's library (NVML, whose manual
names each call below), AMD's in the kernel's sysfs, where amdsmi has its numbers from. It only reads. What a card does
not know is left out; a card that answers no more is `cluster_gpu_lost 1`.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from deploys.observability.programs.prometheus_text import Sample, render

SHORTEST_PERIOD_SECONDS = 10.0
LIBRARY = "libnvidia-ml.so.1"
GPU_IS_LOST = 15  # NVML_ERROR_GPU_IS_LOST
AMD = "0x1002"


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


# Call, what stands between the card and the answer, kind of the answer, name, factor to its unit, labels.
_NUMBERS: tuple[tuple[str, tuple[int, ...], Any, str, float, dict[str, str]], ...] = (
    ("nvmlDeviceGetTemperature", (0,), ctypes.c_uint, "cluster_gpu_temperature_celsius", 1.0, {}),
    ("nvmlDeviceGetPowerUsage", (), ctypes.c_uint, "cluster_gpu_power_watts", 1e-3, {}),
    ("nvmlDeviceGetEnforcedPowerLimit", (), ctypes.c_uint, "cluster_gpu_power_limit_watts", 1e-3, {}),
    ("nvmlDeviceGetClockInfo", (1,), ctypes.c_uint, "cluster_gpu_clock_hertz", 1e6, {"clock": "compute"}),
    ("nvmlDeviceGetClockInfo", (2,), ctypes.c_uint, "cluster_gpu_clock_hertz", 1e6, {"clock": "memory"}),
    ("nvmlDeviceGetCurrentClocksThrottleReasons", (), ctypes.c_ulonglong, "cluster_gpu_throttle_reasons", 1.0, {}),
    ("nvmlDeviceGetTotalEccErrors", (0, 0), ctypes.c_ulonglong, "cluster_gpu_ecc_errors", 1.0, {"kind": "corrected"}),
    ("nvmlDeviceGetTotalEccErrors", (1, 0), ctypes.c_ulonglong, "cluster_gpu_ecc_errors", 1.0, {"kind": "uncorrected"}),
    ("nvmlDeviceGetPcieReplayCounter", (), ctypes.c_uint, "cluster_gpu_pcie_replays", 1.0, {}),
)


class Nvml:
    """The driver's library, opened once; OSError where there is none, or it does not begin."""

    def __init__(self, library: str = "") -> None:
        library = library or LIBRARY
        self._library = ctypes.CDLL(library)
        if status := self._call("nvmlInit_v2"):
            raise OSError(f"{library}: nvmlInit_v2 answers {status}")

    def _call(self, name: str, *arguments: Any) -> int:
        """NVML's own status; -1 where the library does not have the call."""
        try:
            call = getattr(self._library, name)
        except AttributeError:
            return -1
        return int(call(*arguments))

    def read(self) -> Iterator[Sample]:
        """Samples of every card."""
        count = ctypes.c_uint()
        if self._call("nvmlDeviceGetCount_v2", ctypes.byref(count)):
            return
        for index in range(count.value):
            device, where = ctypes.c_void_p(), {"gpu": str(index)}
            status = self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
            if status == 0:
                status = yield from self._card(device, where)
            yield "cluster_gpu_lost", where, float(status == GPU_IS_LOST)

    def _card(self, device: ctypes.c_void_p, where: dict[str, str]) -> Generator[Sample, None, int]:
        busy, memory = _Utilization(), _Memory()
        status = self._call("nvmlDeviceGetUtilizationRates", device, ctypes.byref(busy))
        if status == 0:
            yield "cluster_gpu_busy_ratio", where, busy.gpu / 100
            yield "cluster_gpu_memory_busy_ratio", where, busy.memory / 100
        if (asked := self._call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))) == 0:
            yield "cluster_gpu_memory_total_bytes", where, float(memory.total)
            yield "cluster_gpu_memory_used_bytes", where, float(memory.used)
        for call, given, kind, name, factor, labels in _NUMBERS:
            value = kind()
            if self._call(call, device, *(ctypes.c_uint(one) for one in given), ctypes.byref(value)) == 0:
                yield name, {**where, **labels}, value.value * factor
        return GPU_IS_LOST if GPU_IS_LOST in (status, asked) else 0


# File below a card's device directory, name, factor to its unit.
_AMD_FILES: tuple[tuple[str, str, float, dict[str, str]], ...] = (
    ("gpu_busy_percent", "cluster_gpu_busy_ratio", 0.01, {}),
    ("mem_busy_percent", "cluster_gpu_memory_busy_ratio", 0.01, {}),
    ("mem_info_vram_total", "cluster_gpu_memory_total_bytes", 1.0, {}),
    ("mem_info_vram_used", "cluster_gpu_memory_used_bytes", 1.0, {}),
    ("mem_info_gtt_used", "cluster_gpu_shared_memory_used_bytes", 1.0, {}),
    ("pcie_replay_count", "cluster_gpu_pcie_replays", 1.0, {}),
    ("hwmon/hwmon*/temp1_input", "cluster_gpu_temperature_celsius", 1e-3, {}),
    ("hwmon/hwmon*/power1_average", "cluster_gpu_power_watts", 1e-6, {}),
    ("hwmon/hwmon*/power1_cap", "cluster_gpu_power_limit_watts", 1e-6, {}),
    ("hwmon/hwmon*/freq1_input", "cluster_gpu_clock_hertz", 1.0, {"clock": "compute"}),
    ("hwmon/hwmon*/freq2_input", "cluster_gpu_clock_hertz", 1.0, {"clock": "memory"}),
)


def amd(root: Path = Path("/")) -> Iterator[Sample]:
    """Samples of every card of the amdgpu driver."""
    for index, place in enumerate(sorted(root.glob("sys/class/drm/card[0-9]*/device"))):
        if _number(place, "vendor", base=16) != int(AMD, 16):
            continue
        where = {"gpu": str(index)}
        for pattern, name, factor, labels in _AMD_FILES:
            value = _number(place, pattern)
            if value is not None:
                yield name, {**where, **labels}, value * factor
        yield "cluster_gpu_lost", where, float(_number(place, "mem_info_vram_total") is None)


def _number(place: Path, pattern: str, base: int = 10) -> int | None:
    for path in sorted(place.glob(pattern)):
        with contextlib.suppress(OSError, ValueError):
            return int(path.read_text().strip(), base)
    return None


def write(file: Path, found: list[Sample], began: float) -> None:
    """Put the samples in the file's place, whole or not at all; with them, when they were read and how long it took."""
    about: list[Sample] = [
        ("cluster_gpu_read_at_seconds", {}, round(time.time(), 3)),
        ("cluster_gpu_read_seconds", {}, round(time.monotonic() - began, 4)),
    ]
    staged = file.with_name(f".{file.name}.new")
    staged.write_text(render([*found, *about]))
    staged.chmod(0o644)
    staged.replace(file)


def follow(file: Path, period: float, stop: threading.Event) -> None:
    """Read and write until told to stop. A full disk costs a reading and no more."""
    nvml: Nvml | None = None
    while not stop.is_set():
        began, found = time.monotonic(), list(amd())
        try:
            nvml = nvml or Nvml()
            found += nvml.read()
        except OSError:
            nvml = None
        try:
            write(file, found, began)
        except OSError as error:
            print(f"{file}: {error.strerror}; no reading of the GPUs is kept", file=sys.stderr, flush=True)
        stop.wait(max(period, SHORTEST_PERIOD_SECONDS))


def main() -> int:
    """Until TERM."""
    file, period = Path(sys.argv[1]), float(sys.argv[2])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    follow(file, period, stop)
    return 0


def beside(file: Path, period: float) -> int:
    """A reader in a child process of this one, which ends with it; its process id."""
    parent, child = os.getpid(), os.fork()
    if child:
        return child
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with, args=(parent, stop), daemon=True).start()
    with contextlib.suppress(BaseException):
        follow(file, period, stop)
    os._exit(0)


def _end_with(parent: int, stop: threading.Event) -> None:
    while os.getppid() == parent and not stop.wait(1):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
