"""The plan against the laptop cluster that runs: calibrate, then plan with it, then explain what held the service back.

Other work on the machine makes figures move, so times are only held to a factor; how well the plan predicts is measured
by benchmarks/laptop_plan.py.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any, get_args

import pytest

from hardware.planner.timing import Limit
from tests.laptop.conftest import Operator, operator_at

pytestmark = pytest.mark.cluster

FACTOR = 2.5


def read(operator: Operator, *words: str) -> dict[str, Any]:
    done = operator.cluster(*words, "--json")
    assert done.status == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_calibrated_planned_and_explained(laptop: Operator, tmp_path: Path) -> None:
    # Nothing is known of this processor: the plan names the figure, it does not guess one.
    unknown = operator_at(tmp_path / "nobody").cluster("plan")
    assert unknown.status == 2
    assert "run `cluster calibrate`" in unknown.stderr

    made = read(laptop, "calibrate", "--rounds", "1")
    honest = [outcome for outcome in made["outcomes"] if not outcome["fitted"]]
    alone_fitted, prompt = [outcome for outcome in made["outcomes"] if outcome["fitted"]]
    assert len(honest) == 4
    assert "prefill" in prompt["what"]
    assert made["memory_bytes_per_second"] > 1e9
    for outcome in made["outcomes"]:
        assert 1 / FACTOR < outcome["measured"] / outcome["predicted"] < FACTOR, outcome

    # The plan has that calibration: it says so, with its error, and one user's token takes about what was measured.
    planned = read(laptop, "plan", "--prompt", "64", "--output", "40", "--concurrency", "1")
    assert planned["calibrated"]
    assert planned["past_error"]["comparisons"] == 4
    (both,) = [entry for entry in planned["placements"] if entry["name"] == planned["recommended"]]
    (alone,) = both["predictions"]
    assert alone["itl_seconds"]["low"] <= alone["itl_seconds"]["likely"] <= alone["itl_seconds"]["high"]
    assert alone["itl_seconds"]["likely"] == pytest.approx(alone_fitted["predicted"], rel=0.1)

    # The explanation names a limit for each point, splits the time, and holds its counter-tests against the run.
    picture = tmp_path / "explained.svg"
    found = read(laptop, "explain", "--rounds", "1", "--plot", str(picture))
    assert len(found["findings"]) == 6
    for finding in found["findings"]:
        assert finding["limit"] in get_args(Limit)
        assert finding["distance"] > 1 / FACTOR
        assert sum(part["seconds"] for part in finding["parts"]) == pytest.approx(finding["predicted_seconds"])
        assert {test["name"] for test in finding["counter_tests"]} >= {"twice the context", "half the core clock"}
    changed = {proof["what"].split(" ")[1] for proof in found["proofs"]}
    assert changed == {"sequences", "tokens"}, found["proofs"]
    drawn = ElementTree.fromstring(picture.read_text())  # noqa: S314 (our own picture)
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == 6
    assert found["past_error"]["comparisons"] == 10
    assert read(laptop, "plan")["past_error"]["comparisons"] == 10
