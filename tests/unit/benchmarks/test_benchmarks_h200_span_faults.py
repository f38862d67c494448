"""What is made of a fault of a rank: who was named, also by an engine that was gone before anybody could ask it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import msgspec

from benchmarks.h200 import one_machine
from benchmarks.h200.span_faults import Watch, misses
from deploys.environment import proof_record_path
from inventories.composition.compose import Serving

FOUND = {"fault": "far Ray node gone", "node": "worker2", "recovered": 67.0, "hung": 0, "named": "the engine ended"}


def test_an_engine_that_ends_is_heard_by_its_record(home: Path, tmp_path: Path) -> None:
    serving = Serving(model="smollm2-135m-instruct", check_fit=False)
    *_, worker = one_machine.settings_of("no GPU", serving, "cpu")
    worker = msgspec.structs.replace(worker, directories=msgspec.structs.replace(worker.directories, ray=str(tmp_path)))
    now = time.time()
    events = [
        {"at": now - 60, "event": "end", "reason": "an engine before the fault"},
        {"at": now + 1, "event": "proof", "correct": True},
        {"at": now + 2, "event": "end", "reason": "the engine's own process has ended: rank 0 on worker2 is gone"},
    ]
    lines = "\n".join([*map(json.dumps, events), '{"at": 1, "cut'])
    Path(proof_record_path(worker)).write_text(lines)
    watch = Watch((worker,), begun=now)
    watch.look(serve_too=False)
    assert [words for words in watch.said if words.startswith("record")] == [
        "record: the engine's own process has ended: rank 0 on worker2 is gone"
    ]
    assert misses({**FOUND, "said": watch.said}) == []


def test_a_fault_that_nobody_names_is_a_miss() -> None:
    assert misses({**FOUND, "said": {"Serve: UNHEALTHY": 6.2}}) == ["far Ray node gone: nobody named worker2"]
    lost = misses({**FOUND, "said": {"rank 0 on worker2": 1.0}, "recovered": None, "hung": 2})
    assert len(lost) == 2
