"""The reader of GPUs on the stand-in of NVIDIA's library: what it says of healthy cards, and of one that is lost."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import pytest

from deploys.faults import stand_in
from deploys.faults.programs import gpu_fault
from deploys.observability.programs import gpu_reader
from deploys.observability.programs.prometheus_text import samples

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler here")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stand_in.build(tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "table"
    card = stand_in.Card("card", 24 << 30, 350_000, 2100, 6 << 30, 200_000, 51, 37)
    file.write_text(stand_in.table([card, card]))
    monkeypatch.setenv(stand_in.VARIABLE, str(file))
    return file


def read(library: Path) -> dict[tuple[str, str], float]:
    """Values by name and card; of several clocks and errors the last."""
    return {(name, labels["gpu"]): value for name, labels, value in gpu_reader.Nvml(str(library)).read()}


def test_the_cards_figures_in_units_of_one(library: Path, table: Path) -> None:
    found = read(library)
    assert {gpu for _, gpu in found} == {"0", "1"}
    said = {name.removeprefix("cluster_gpu_"): value for (name, gpu), value in found.items() if gpu == "1"}
    assert said["busy_ratio"] == 0.37 and said["temperature_celsius"] == 51 and said["lost"] == 0
    assert said["memory_total_bytes"] == 24 << 30 and said["memory_used_bytes"] == 6 << 30
    assert said["power_watts"] == 200 and said["power_limit_watts"] == 350 and said["clock_hertz"] == 2.1e9


def test_a_lost_card_is_said_and_the_other_read_on(library: Path, table: Path) -> None:
    table.write_text(table.read_text() + "\n".join(gpu_fault.lines("gpu-lost", {"device": 0})) + "\n")
    found = read(library)
    assert found["cluster_gpu_lost", "0"] == 1 and ("cluster_gpu_power_watts", "0") not in found
    assert found["cluster_gpu_lost", "1"] == 0 and found["cluster_gpu_power_watts", "1"] == 200


def test_the_file_is_there_after_the_first_reading(
    library: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_reader, "LIBRARY", str(library))
    file, stop = tmp_path / "gpu.prom", threading.Event()
    reader = threading.Thread(target=gpu_reader.follow, args=(file, 0.01, stop))
    reader.start()
    deadline = time.monotonic() + 10
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    first = file.stat().st_mtime_ns
    stop.set()
    reader.join(5)
    names = [name for name, _, _ in samples(file.read_text())]
    assert "cluster_gpu_memory_used_bytes" in names and names[-1] == "cluster_gpu_read_seconds"
    assert file.stat().st_mtime_ns == first, "not sooner than every ten seconds, whatever it is told"
    assert not list(tmp_path.glob(".gpu.prom*"))


def test_without_a_library_there_is_nothing_of_nvidias() -> None:
    with pytest.raises(OSError, match="no-such-library"):
        gpu_reader.Nvml("no-such-library.so")
