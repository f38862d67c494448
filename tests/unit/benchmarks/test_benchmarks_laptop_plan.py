"""What the comparison of plan and laptop makes of figures: errors, intervals, misses. Figures are made up."""

from __future__ import annotations

from typing import Any

from benchmarks import laptop_plan
from experiments import machine


def result() -> dict[str, Any]:
    speed, itl, ttft = {"low": 15.0, "likely": 20.0, "high": 25.0}, {"low": 0.04, "likely": 0.05, "high": 0.06}, 0.2
    return {
        "machine": machine.describe(),
        "versions": {"vllm": "1"},
        "started": "now",
        "predicted_at": "before",
        "load_before": 0.1,
        "workload": {"prompt_tokens": 128, "output_tokens": 64, "requests": 3},
        "placement": "2 x (TP 1 x PP 1)",
        "interval_source": "calibrated",
        "misses": [],
        "predicted": [
            {
                "concurrency": 1,
                "tokens_per_second": speed,
                "itl_seconds": itl,
                "ttft_seconds": {"low": ttft, "likely": ttft, "high": ttft},
            }
        ],
        "measured": [
            {"concurrency": 1, "load_before": 0.2, "tokens_per_second": 25.0, "itl_seconds": 0.05, "ttft_seconds": 0.1}
        ],
    }


def test_errors_are_of_the_prediction_and_misses_are_named() -> None:
    found = result()
    laptop_plan.compare(found)
    assert [round(row["error"], 3) for row in found["comparisons"]] == [-0.2, 0.0, 1.0]
    assert [row["inside"] for row in found["comparisons"]] == [True, True, False]
    assert found["median_error"] == 1 - 20 / 25
    assert found["misses"] == [
        "tokens/s of 1 user: predicted 20% below what was measured",
        "TTFT ms of 1 user: predicted 100% above what was measured",
    ]


def test_the_report_has_both_figures_and_every_miss() -> None:
    found = result()
    laptop_plan.compare(found)
    said = laptop_plan.report(found)
    assert "| tokens/s, 1 user | 20.0 (15.0 to 25.0) | 25.0 | -20% | yes |" in said
    assert "| TTFT ms, 1 user | 200.0 (200.0 to 200.0) | 100.0 | +100% | no |" in said
    assert "Median error 20.0% (aim: 15%); 2 of 3 inside the interval." in said
    assert all(miss in said for miss in found["misses"])
