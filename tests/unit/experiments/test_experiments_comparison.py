"""Comparisons know their noise: imagined runs with a given noise, drift and difference. Seeded."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments.bundle import layout, writing
from experiments.comparison import Comparison, Run, Turn, compare, compare_runs, noise, smallest_effects, take, turns
from experiments.comparison.design import A, B
from experiments.comparison.result import FAMILY, WORTH
from experiments.errors import ExperimentError
from experiments.load import records
from experiments.load.records import RequestRecord
from tests.unit.experiments import made_runs

FIGURES = {"rate=20 ttft_p50": 0.05, "rate=20 tpot_p50": 0.01, "rate=20 e2e_p50": 0.2}


def imagined(
    rng: np.random.Generator,
    *,
    change: float = 0.0,
    deviation: float = 0.01,
    drift: float = 0.0,
    blocks: tuple[int, int] = (2, 4),
) -> list[Run]:
    """Runs of a plan. `drift` is how much a run is slower than the one before it (log)."""
    found = []
    for place, turn in enumerate(turns(*blocks)):
        slower = math.log1p(change) if turn.measured == B else 0.0
        figures = {
            name: value * math.exp(slower + drift * place + rng.normal(0, deviation)) for name, value in FIGURES.items()
        }
        found.append(Run(turn.side, turn.block, turn.place, turn.alike, 1000.0 + 10 * place, figures))
    return found


def compared(number: int, seed: int, **more: float) -> list[Comparison]:
    rng = np.random.default_rng(seed)
    return [compare_runs(imagined(rng, **more)) for _ in range(number)]  # type: ignore[arg-type]


def test_the_order_is_balanced_and_begins_with_alike_runs() -> None:
    plan = turns(2, 3)
    assert "".join(turn.side for turn in plan) == "ABBA BAAB ABBA BAAB ABBA".replace(" ", "")
    assert "".join(turn.measured for turn in plan) == "AAAAAAAA" + "ABBABAABABBA"
    assert [turn.alike for turn in plan] == [True] * 8 + [False] * 12
    with pytest.raises(ValueError, match="at least 1 and 2"):
        turns(0, 4)


def test_runs_are_taken_in_the_order_of_the_plan() -> None:
    taken: list[Turn] = []

    async def measure(turn: Turn) -> Run:
        taken.append(turn)
        return Run(turn.side, turn.block, turn.place, turn.alike, 0.0, {"x": 1.0})

    plan = turns(1, 2)
    assert len(asyncio.run(take(plan, measure))) == 12
    assert taken == plan


def test_a_run_that_is_not_valid_is_repeated_and_then_stands() -> None:
    taken: list[Turn] = []

    async def measure(turn: Turn) -> Run:
        taken.append(turn)
        valid = taken.count(turn) > 1 and turn.place != 3
        return Run(turn.side, turn.block, turn.place, turn.alike, 0.0, {"x": 1.0}, valid, "" if valid else "no")

    runs = asyncio.run(take(turns(1, 2)[:4], measure, again=1))
    assert [run.valid for run in runs] == [True, True, True, False]
    assert len(taken) == 8


@pytest.mark.parametrize("drift", [0.0, 0.003])
def test_equals_raise_hardly_an_alarm(drift: float) -> None:
    alarms = sum(bool(entry.differs) for entry in compared(200, 1, deviation=0.01, drift=drift))
    # At most FAMILY of them are expected; three standard deviations more would be odd.
    assert alarms <= 200 * FAMILY + 3 * math.sqrt(200 * FAMILY)


def test_five_percent_slower_is_found() -> None:
    found = compared(100, 2, change=0.05, deviation=0.01)
    assert sum(bool(entry.differs) for entry in found) >= 0.9 * 100
    ttft = next(entry for entry in found[0].differences if "ttft" in entry.figure)
    assert ttft.worse is True
    assert ttft.low is not None and ttft.high is not None
    assert ttft.low < 0.05 < ttft.high


def test_intervals_hold_together_as_often_as_they_say() -> None:
    wrong = 0
    for entry in compared(200, 3, change=0.03, deviation=0.02):
        wrong += any(not (one.low or 0) <= 0.03 <= (one.high or 0) for one in entry.differences)
    assert wrong <= 200 * FAMILY + 3 * math.sqrt(200 * FAMILY)


def test_the_smallest_effect_is_the_one_that_is_found_with_power_nine_tenths() -> None:
    seen = noise.Noise(0.01, 5, 4.0, "")
    smallest = math.expm1(noise.smallest_effect(seen, FAMILY / len(FIGURES)))
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(200):
        result = compare_runs(imagined(rng, change=smallest, deviation=0.01))
        ttft = next(entry for entry in result.differences if "ttft" in entry.figure)
        found += bool(ttft.differs)
    # A contrast of four runs has the noise of one: variances s²/2 + s²/2.
    assert 0.83 * 200 <= found <= 0.97 * 200


def test_the_smallest_effect_is_told_from_alike_runs_alone() -> None:
    runs = [run for run in imagined(np.random.default_rng(5), blocks=(6, 2)) if run.alike]
    few, many = smallest_effects(runs, 2), smallest_effects(runs, 12)
    assert set(few) == set(FIGURES)
    for name in FIGURES:
        assert 0.005 < (many[name] or 0) < (few[name] or 0) < 0.2
    assert smallest_effects([replace(run, valid=False) for run in runs], 4) == {}


def test_more_blocks_are_asked_for_where_the_effect_is_small() -> None:
    seen = noise.Noise(0.02, 6, 2.0, "")
    wide, narrow = (noise.blocks_needed(seen, effect, 0.02) for effect in (0.1, 0.03))
    assert wide is not None and narrow is not None
    assert 2 <= wide < narrow
    assert noise.blocks_needed(seen, 0.0001, 0.02) is None


def test_a_machine_that_grows_slower_is_no_difference() -> None:
    """Two percent slower with each run, without other noise: A A B B would say eight percent."""
    result = compare_runs(imagined(np.random.default_rng(6), deviation=0.0005, drift=0.02))
    assert result.differs is False
    assert all(abs(entry.change) < 0.002 for entry in result.differences)


def test_a_difference_not_worth_a_word_is_none() -> None:
    result = compare_runs(imagined(np.random.default_rng(7), change=0.004, deviation=0.0002))
    assert all(entry.low is not None and entry.low > 0 for entry in result.differences)
    assert result.differs is False
    assert abs(result.differences[0].change) < WORTH


def test_noise_that_only_b_has_is_not_taken_from_alike_runs() -> None:
    rng = np.random.default_rng(8)
    alarms = 0
    for _ in range(60):
        runs = [
            replace(run, figures={name: value * math.exp(rng.normal(0, 0.1)) for name, value in run.figures.items()})
            if run.side == B and not run.alike
            else run
            for run in imagined(rng, deviation=0.002, blocks=(6, 4))
        ]
        alarms += bool(compare_runs(runs).differs)
    assert alarms <= 5


def test_requests_of_one_run_are_no_independent_samples() -> None:
    """Runs differ by two percent as a whole: a test over requests calls equals different, one over runs does not."""
    rng = np.random.default_rng(9)
    by_request = by_run = 0
    for _ in range(60):
        pools: dict[str, list[np.ndarray[tuple[int], np.dtype[np.float64]]]] = {A: [], B: []}
        runs = []
        for place, turn in enumerate(turns(1, 3)):
            waits = 0.05 * math.exp(rng.normal(0, 0.02)) * rng.lognormal(0, 0.05, size=300)
            if not turn.alike:
                pools[turn.side].append(waits)
            figures = {"ttft_p50": float(np.median(waits))}
            runs.append(Run(turn.side, turn.block, turn.place, turn.alike, float(place), figures))
        by_request += stats.mannwhitneyu(np.concatenate(pools[A]), np.concatenate(pools[B])).pvalue < FAMILY
        by_run += bool(compare_runs(runs).differs)
    assert by_request > 15
    assert by_run <= 3


def test_a_block_with_an_invalid_run_is_left_out_and_named() -> None:
    runs = imagined(np.random.default_rng(10), change=0.05)
    runs[9] = replace(
        runs[9], valid=False, reason="client_pause: the event loop stood still", figures={"rate=20 ttft_p50": 9.0}
    )
    result = compare_runs(runs)
    assert result.runs == len(runs) - 1
    assert result.left_out == ("client_pause: the event loop stood still",)
    assert result.differs is True
    assert all("3 A/B blocks" in entry.source for entry in result.differences)


def test_two_sets_of_runs_that_were_not_interleaved_say_so() -> None:
    rng = np.random.default_rng(11)
    runs = [
        Run(
            side,
            None,
            place,
            False,
            1000.0 * (side == B) + place,
            {"ttft_p50": 0.05 * math.exp(rng.normal(slower, 0.01))},
        )
        for side, slower in ((A, 0.0), (B, 0.1))
        for place in range(4)
    ]
    result = compare_runs(runs)
    assert result.differs is True
    assert "not interleaved" in result.caveats[0]
    alone = compare_runs([runs[0], runs[4]])
    assert alone.differs is None
    assert any("llm_benchmark_iterations" in caveat for caveat in alone.caveats)
    helped = compare_runs([runs[0], runs[4]], alike=[runs[:4]])
    assert helped.differs is True


def test_one_degree_of_freedom_tells_little_and_does_not_overflow() -> None:
    runs = [
        Run(side, None, place, False, 0.0, {"x": value})
        for place, (side, value) in enumerate([(A, 1), (A, 90), (B, 3)])
    ]
    result = compare_runs(runs)
    assert result.differs is False
    json.dumps(result.to_json(), allow_nan=False)
    assert result.lines()


def test_nothing_to_compare_is_said() -> None:
    result = compare_runs([Run(A, None, 0, False, 0.0, {"x": 1.0})])
    assert result.differs is None
    assert result.caveats == ("no valid run of B",)
    assert "cannot be told" in "\n".join(result.lines())


def _bundle(place: Path, seed: int, *, slower: float = 1.0, began: float = 0.0, iterations: int = 3) -> Path:
    rows: list[RequestRecord] = []
    for iteration in range(iterations):
        for record in made_runs.requests(seed + iteration, seconds=8.0):
            late = made_runs.shifted(record, began + 100.0 * iteration, sent=True)
            late = made_runs.shifted(late, (slower - 1) * (record.token_times[0] - record.sent))
            due = (record.due or 0.0) + began + 100.0 * iteration
            rows.append(replace(late, number=len(rows), step=f"rate=20 #{iteration + 1}", due=due))
    records.write(place / layout.REQUESTS, rows)
    return place


def test_bundles_are_compared_by_their_iterations(tmp_path: Path) -> None:
    a, b = _bundle(tmp_path / "a", 1), _bundle(tmp_path / "b", 11, slower=1.3, began=1000.0)
    result = compare(a, b)
    assert result.runs == 6
    ttft = next(entry for entry in result.differences if entry.figure == "rate=20 ttft_p50")
    assert ttft.worse is True
    assert ttft.change == pytest.approx(0.3, abs=0.05)
    throughput = next(entry for entry in result.differences if entry.figure == "rate=20 output_tokens_per_second")
    assert throughput.differs is False
    assert result.lines()[0] == "A  a"
    assert any("rate=20 ttft_p50" in line and "B is worse" in line for line in result.lines())
    assert json.loads(json.dumps(result.to_json(), allow_nan=False))["differs"] is True


def test_bundles_that_took_turns_are_compared_in_blocks(tmp_path: Path) -> None:
    order: Sequence[tuple[str, float]] = [(side, 1000.0 * place) for place, side in enumerate("ABBABAABABBA")]
    bundles = {
        place: _bundle(
            tmp_path / f"{side}{place}", 20 + place, slower=1.2 if side == B else 1.0, began=at, iterations=1
        )
        for place, (side, at) in enumerate(order)
    }
    sides = {side: [bundles[place] for place, (name, _) in enumerate(order) if name == side] for side in (A, B)}
    result = compare(sides[A], sides[B])
    assert result.way == "interleaved in blocks"
    assert any("no A/A blocks" in caveat for caveat in result.caveats)
    assert next(entry for entry in result.differences if entry.figure == "rate=20 ttft_p50").worse is True
    more = [
        _bundle(tmp_path / f"alike{place}", 40 + place, began=-9000.0 + 1000 * place, iterations=1)
        for place in range(4)
    ]
    helped = compare(sides[A], sides[B], alike=more)
    assert all("1 A/A and 3 A/B blocks" in entry.source for entry in helped.differences)


def test_steps_that_are_invalid_are_left_out_with_their_cause(tmp_path: Path) -> None:
    a, b = _bundle(tmp_path / "a", 1), _bundle(tmp_path / "b", 11)
    cause = {
        "name": "server_restart",
        "ok": False,
        "detail": "compute1 began anew",
        "remedy": "",
        "steps": ["rate=20 #2"],
    }
    judged = {"verdict": "INVALID", "causes": [cause], "steps": {"rate=20 #2": {"verdict": "INVALID"}}}
    writing.write_json(b, layout.VERDICT, judged)
    result = compare(a, b)
    assert result.runs == 5
    assert result.left_out == ("b, rate=20 #2: server_restart: compute1 began anew",)


def test_bundles_that_cannot_be_compared_are_refused(tmp_path: Path) -> None:
    a = _bundle(tmp_path / "a", 1, iterations=1)
    with pytest.raises(ExperimentError, match="on both sides"):
        compare(a, tmp_path / "a")
    with pytest.raises(ExperimentError, match="was a load run"):
        compare(a, tmp_path / "missing")
    with pytest.raises(ExperimentError, match="nothing to compare"):
        compare(a, [])
