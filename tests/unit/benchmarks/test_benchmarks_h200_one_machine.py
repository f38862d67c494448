"""A cluster by hand on one machine: what is left of it for whoever asks why it did not start."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.h200 import one_machine
from benchmarks.h200.one_machine import LOG_END_BYTES
from inventories.composition.compose import Serving


def test_the_ends_of_a_nodes_logs_outlive_rays_directory(home: Path, tmp_path: Path) -> None:
    head, _ = one_machine.settings_of("no GPU", Serving(model="smollm2-135m-instruct", check_fit=False), "cpu")
    state, ray, kept = tmp_path / "state", tmp_path / "ray", tmp_path / "kept"
    places = msgspec.structs.replace(head.directories, state=str(state), ray=str(ray))
    node = msgspec.structs.replace(head, directories=places)
    engine = ray / "session_1" / "logs" / "worker.err"
    service = state / "supervisor" / "cluster-serve.log"
    for file, text in ((engine, "x" * LOG_END_BYTES + "why"), (service, "applied"), (ray / "empty.out", "")):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (ray / "session_1" / "gone.log").symlink_to(ray / "nothing")
    one_machine.keep_logs(node, kept)
    assert sorted(file.name for file in kept.iterdir()) == ["head-cluster-serve.log", "head-worker.err"]
    assert (kept / "head-worker.err").read_text()[-6:] == "xxxwhy"
    assert (kept / "head-worker.err").stat().st_size == LOG_END_BYTES
