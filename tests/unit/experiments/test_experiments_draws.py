"""What is asked and when: drawn as it was said, the same for the same seed."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import numpy
import pytest
from scipy import stats

from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load import arrivals, lengths, trace
from experiments.load.arrivals import Bursts, Constant, Poisson, Replay
from experiments.load.lengths import fixed
from experiments.load.prompts import Questions, Synthetic
from experiments.load.steps import Step


def gaps(kind: arrivals.Arrivals, seconds: float = 100.0, seed: int = 1) -> Any:
    return numpy.diff(kind.times(random.Random(seed), seconds))  # noqa: S311


@pytest.mark.parametrize("kind", [Constant(50), Poisson(50), Bursts(50), Bursts(50, 0.05)])
def test_each_kind_asks_for_its_rate_exactly_and_again(kind: arrivals.Arrivals) -> None:
    times = kind.times(random.Random(3), 40.0)  # noqa: S311
    assert len(times) == 2_000
    assert times == sorted(times) and times[0] >= 0 and times[-1] < 40.0
    assert times == kind.times(random.Random(3), 40.0)  # noqa: S311
    assert kind.rate == 50


def test_poisson_arrivals_pass_a_test_for_it_and_the_others_do_not() -> None:
    def p(kind: arrivals.Arrivals) -> float:
        return float(stats.kstest(gaps(kind), "expon", args=(0, 1 / kind.rate)).pvalue)

    assert (
        min(float(stats.kstest(gaps(Poisson(50), seed=seed), "expon", args=(0, 1 / 50)).pvalue) for seed in range(5))
        > 0.01
    )
    assert p(Constant(50)) < 1e-6
    assert p(Bursts(50)) < 1e-6


def test_bursts_are_as_bursty_as_they_were_asked_to_be() -> None:
    # A gamma distribution of shape k has a coefficient of variation of 1/sqrt(k).
    for shape in (0.25, 1.0, 4.0):
        found = gaps(Bursts(100, shape), 400.0)
        assert found.std() / found.mean() == pytest.approx(1 / math.sqrt(shape), rel=0.1)


@pytest.mark.parametrize(
    ("kind", "rate", "burstiness", "said"),
    [
        ("even", 4.0, 0.0, "choose from constant, poisson, bursts"),
        ("poisson", 0.0, 0.0, "above 0"),
        ("poisson", math.nan, 0.0, "above 0"),
        ("poisson", 4.0, 0.5, "it is for bursts"),
        ("bursts", 4.0, -1.0, "above 0"),
    ],
)
def test_arrivals_that_cannot_be_are_refused(kind: str, rate: float, burstiness: float, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        arrivals.named(kind, rate, burstiness)


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("128", 128),
        ("uniform:64-256", 160),
        ("normal:256,16", 256),
        ("lognormal:100,0.5", 113.3),
        ("exponential:80", 80),
        ("list:10,20,90", 40),
    ],
)
def test_lengths_are_as_they_were_written(text: str, mean: float) -> None:
    found = lengths.parse(text)
    assert str(found) == text
    assert found.mean == pytest.approx(mean, rel=0.01)
    draw = random.Random(2)  # noqa: S311
    drawn = [found.sample(draw) for _ in range(20_000)]
    assert min(drawn) >= 1
    assert statistics.fmean(drawn) == pytest.approx(mean, rel=0.03)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-3",
        "1.5",
        "nan",
        "many",
        "uniform:9-3",
        "uniform:5",
        "normal:5",
        "normal:0,1",
        "zipf:3",
        "list:",
        "1e9",
        "normal:9,-1",
    ],
)
def test_lengths_that_cannot_be_say_how_to_write_one(text: str) -> None:
    with pytest.raises(ExperimentError, match="write 128, uniform:64-256"):
        lengths.parse(text)


def test_prompts_have_the_drawn_lengths_and_share_nothing() -> None:
    prompts = Synthetic(fixed(40)).begin(7, fixed(9))
    first, second = prompts.take(), prompts.take()
    assert first and second
    assert [len(prompt.messages[0]["content"].split()) for prompt in (first, second)] == [40, 40]
    assert first.messages != second.messages
    assert (first.max_tokens, first.prefix_group, first.turn, first.checked) == (9, -1, 0, False)
    again = Synthetic(fixed(40)).begin(7, fixed(9)).take()
    assert again and again.messages == first.messages


def test_conversations_go_on_after_their_answers_with_the_prefix_of_their_group() -> None:
    prompts = Synthetic(fixed(5), turns=fixed(2), groups=2, prefix_tokens=30).begin(1, fixed(4))
    first, other = prompts.take(), prompts.take()
    assert first and other and (first.turn, other.turn) == (0, 0)
    prompts.came(first, "an answer")
    prompts.came(other, None)  # no whole answer: this conversation ends
    second = prompts.take()
    assert second and second.turn == 1
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant", "user"]
    assert second.messages[:2] == first.messages and second.messages[2]["content"] == "an answer"
    assert second.prefix_group == first.prefix_group in (0, 1)
    prompts.came(second, "the last")
    taken = [prompts.take() for _ in range(40)]
    assert all(prompt and prompt.turn == 0 for prompt in taken)
    prefixes = {prompt.prefix_group: prompt.messages[0]["content"] for prompt in taken if prompt}
    assert len(set(prefixes.values())) == len(prefixes) == 2


def test_the_golden_question_is_asked_among_the_others() -> None:
    golden = Question("What is the capital of France?", 8, "Paris")
    prompts = Synthetic(fixed(5), golden=golden, golden_every=4).begin(1, fixed(4))
    taken = [prompt for prompt in (prompts.take() for _ in range(8)) if prompt]
    assert [prompt.checked for prompt in taken] == [False, False, False, True] * 2
    assert taken[3].question is golden and taken[3].max_tokens == 8


def test_questions_come_in_turn() -> None:
    prompts = Questions((Question("a", 1), Question("b", 2, "x"))).begin(0, fixed(4))
    taken = [prompt for prompt in (prompts.take() for _ in range(3)) if prompt]
    assert [(prompt.question.text, prompt.max_tokens, prompt.checked) for prompt in taken] == [
        ("a", 1, False),
        ("b", 2, True),
        ("a", 1, False),
    ]


# The fields are those that vLLM's TimedTrace reads; Moonshot's published traces have them.
TRACE = [
    {"timestamp": 1500, "input_length": 20, "output_length": 3, "hash_ids": [7, 8]},
    {"timestamp": 0, "input_length": 33, "output_length": 5, "hash_ids": [7, 8, 9]},
    {"timestamp": 3000, "input_length": 10, "output_length": 2, "hash_ids": []},
]


def test_a_timed_trace_is_replayed_at_its_times_with_its_prefixes(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, TRACE)) + "\n\n")
    read = trace.read(path, seconds_a_unit=0.001)
    assert read.arrivals().times(random.Random(), math.inf) == [0.0, 1.5, 3.0]  # noqa: S311
    assert read.arrivals(speed=2).times(random.Random(), 1.0) == [0.0, 0.75]  # noqa: S311
    assert read.arrivals(speed=2).rate == 2.0
    prompts = read.begin(1, fixed(99))
    taken = [prompts.take() for _ in range(4)]
    assert taken.pop() is None
    texts = [prompt.messages[0]["content"].split() for prompt in taken if prompt]
    assert [len(text) for text in texts] == [33, 20, 10]
    assert texts[0][:20] == texts[1]
    assert [(prompt.max_tokens, prompt.prefix_group) for prompt in taken if prompt] == [(5, 7), (3, 7), (2, -1)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: no JSON"),
        ("[]", "no JSON object"),
        ('{"timestamp": 1, "input_length": 0, "output_length": 3}', "input_length is 0"),
        ('{"timestamp": -1, "input_length": 1, "output_length": 3}', "timestamp is -1"),
        ('{"timestamp": 1, "input_length": 1}', "output_length is None"),
        ('{"timestamp": 1, "input_length": 1, "output_length": 3, "hash_ids": "ab"}', "hash_ids is no list"),
        ("", "no request in it"),
    ],
)
def test_what_is_no_trace_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(line)
    with pytest.raises(ExperimentError, match=said):
        trace.read(path)
    with pytest.raises(ExperimentError, match="give a trace in JSON lines"):
        trace.read(tmp_path / "missing.jsonl")


def test_a_step_has_its_warm_up_before_what_is_measured() -> None:
    step = Step("s", Constant(10), duration_seconds=2.0, warm_up_seconds=1.0)
    assert step.schedule() == pytest.approx([number / 10 for number in range(30)])
    assert len(Step("s", Constant(10), requests=5, warm_up_seconds=1.0).schedule()) == 15
    replay = Replay((0.0, 0.5, 1.5, 2.5))
    assert Step("s", replay, warm_up_seconds=1.0).schedule() == [0.0, 0.5, 1.5, 2.5]
    assert Step("s", replay, warm_up_seconds=1.0, requests=1).schedule() == [0.0, 0.5, 1.5]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (Step("s", Constant(1)), "no end"),
        (Step("s", requests=1), "neither arrivals nor concurrent users"),
        (Step("s", Constant(1), duration_seconds=-1), "below 0"),
        (Step("s", Constant(1), duration_seconds=1, deadline_seconds=0), "deadline of 0 s"),
    ],
)
def test_a_step_that_cannot_be_is_refused(step: Step, said: str) -> None:
    with pytest.raises(ExperimentError, match=said):
        step.check()
