"""Lanes take turns there and back, and what each part of the way adds is told apart. The load tool is the edge."""

from __future__ import annotations

import os
from typing import Any

import pytest

from experiments.errors import ExperimentError
from experiments.load.tool import ToolRun, Work
from experiments.load.turns import take_turns
from experiments.report import gateway as gateway_report
from experiments.report.gateway import DIRECT, GATEWAY, REPLICA
from experiments.servers import Server

WORK = Work("m", "/model", 10, 2, 32, 16, 0.5, 0)
PLACES = {DIRECT: "bare", REPLICA: "replica", GATEWAY: "gateway"}
SECONDS = {"bare": 0.050, "replica": 0.053, "gateway": 0.054}


class Tool:
    """Answers as `vllm bench serve` would for servers of known speed."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def run(self, work: Work, url: str) -> ToolRun:
        self.asked.append((url, work.seed))
        first = SECONDS[url]
        return ToolRun(10 * first, 10, 0, 160, (first,) * 8, (first / 10,) * 150)


class Refusing(Tool):
    """One lane that fails."""

    def run(self, work: Work, url: str) -> ToolRun:
        if url == "replica":
            raise ExperimentError("vllm bench serve: refused")
        return super().run(work, url)


def measured(tool: Tool, misses: list[str], places: dict[str, str] = PLACES) -> dict[str, Any]:
    return take_turns(tool, WORK, places, Server("gateway", os.getpid()), 2, misses)


def test_lanes_take_turns_there_and_back_and_no_run_finds_its_prompts_cached() -> None:
    tool = Tool()
    measured(tool, [])
    names = ["bare", "replica", "gateway", "gateway", "replica", "bare"]
    assert [url for url, _ in tool.asked] == names * 2
    engines = {"bare": "bare", "replica": "cluster", "gateway": "cluster"}
    assert len({(engines[url], seed) for url, seed in tool.asked}) == 12


def test_bare_and_gateway_ask_the_same() -> None:
    tool = Tool()
    measured(tool, [])
    seeds = {lane: [seed for url, seed in tool.asked if url == lane] for lane in SECONDS}
    assert seeds["bare"] == seeds["gateway"]
    assert len(set(seeds["bare"])) == 4


def test_no_block_begins_after_the_seconds_and_each_is_told() -> None:
    tool = Tool()
    told: list[dict[str, Any]] = []
    gateway = Server("gateway", os.getpid())
    take_turns(tool, WORK, PLACES, gateway, 3, [], seconds=-1.0, after_block=told.append)
    assert (len(tool.asked), [found[GATEWAY]["runs"] for found in told]) == (6, [2])
    take_turns(tool, WORK, PLACES, gateway, 2, [], after_block=told.append)
    assert [found[GATEWAY]["runs"] for found in told] == [2, 2, 4]


def test_blocks_are_paired_with_an_interval() -> None:
    class Drifting(Tool):
        """A machine that is slower in the second block."""

        def run(self, work: Work, url: str) -> ToolRun:
            done = super().run(work, url)
            slower = 0.020 if len(self.asked) > 4 else 0.0
            gateway = 0.001 if url == "gateway" and slower else 0.0
            first = done.first_tokens[0] + slower + gateway
            return ToolRun(done.seconds, 10, 0, 160, (first,) * 8, done.between_tokens)

    found = measured(Drifting(), [], {DIRECT: "bare", GATEWAY: "gateway"})["paired"]
    middle = found["first_token_p50_ms"]
    # 4 and 5 ms, whatever the machine did: their mean, and 12.706 times their deviation over the root of two.
    assert (middle["pairs"], middle["mean"]) == (2, 4.5)
    assert (middle["low"], middle["high"]) == (round(4.5 - 12.706 / 2, 4), round(4.5 + 12.706 / 2, 4))
    assert found["requests_ratio"] == {"pairs": 2, "mean": 0.9259, "low": 0.9259, "high": 0.9259}
    assert "| 64 | 2 | 4.50 (-1.85 to 10.85) |" in gateway_report.paired_table({"64": {"paired": found}})[1]


def test_runs_of_one_lane_say_how_equal_they_are() -> None:
    found = measured(Tool(), [])
    assert gateway_report.runs_table({"64": found}).splitlines()[2] == (
        "| 64 at once, bare | 4 | 20.0 - 20.0 | 50.0 - 50.0 | 50.0 - 50.0 |"
    )


def test_what_the_gateway_adds_is_told_from_what_the_engine_process_adds() -> None:
    found = measured(Tool(), [])
    assert found["added_first_token_ms"]["p50"] == 4.0
    assert found["replica_over_direct"]["added_first_token_ms"]["p50"] == 3.0
    assert found["gateway_over_replica"]["added_first_token_ms"]["p50"] == 1.0
    assert found["gateway_over_replica"]["requests_ratio"] == round(53 / 54, 4)
    table, _ = gateway_report.parts_of_it({"64": found})
    assert [row.split(" | ")[:2] for row in table.splitlines()[2:]] == [
        ["| 64 at once, replica - bare", "3.00"],
        ["| 64 at once, gateway - replica", "1.00"],
    ]


def test_the_targets_are_judged_against_bare() -> None:
    found = measured(Tool(), [])
    assert gateway_report.targets_missed({"engine": {"concurrent": {"1": found}}}) == [
        "engine, 1 at once: 4.00 (4.00 to 4.00) ms added to the p50 of first tokens; target 2"
    ]
    del found["paired"]
    assert gateway_report.targets_missed({"engine": {"concurrent": {"1": found}}}) == [
        "engine, 1 at once: 4.00 ms added to the p50 of first tokens; target 2"
    ]


@pytest.mark.parametrize(
    ("added", "ratio", "said"),
    [
        ((1.0, 0.5, 1.9), (1.001, 0.992, 1.01), []),
        (
            (1.0, -0.5, 2.5),
            (0.995, 0.98, 1.01),
            [
                "engine, 64 at once: not proven: 1.00 (-0.50 to 2.50) ms added to the p50 of first tokens; target 2",
                "engine, 64 at once: not proven: 0.9950 (0.9800 to 1.0100) of the direct requests a second; "
                "target 0.99",
            ],
        ),
        (
            (3.0, 2.5, 3.5),
            (0.97, 0.96, 0.98),
            [
                "engine, 64 at once: 3.00 (2.50 to 3.50) ms added to the p50 of first tokens; target 2",
                "engine, 64 at once: 0.9700 (0.9600 to 0.9800) of the direct requests a second; target 0.99",
            ],
        ),
    ],
)
def test_an_interval_holds_misses_or_proves_nothing(
    added: tuple[float, ...], ratio: tuple[float, ...], said: list[str]
) -> None:
    found = measured(Tool(), [], {DIRECT: "bare", GATEWAY: "gateway"})
    names = ("mean", "low", "high")
    found["paired"]["first_token_p50_ms"] = {"pairs": 9, **dict(zip(names, added, strict=True))}
    found["paired"]["requests_ratio"] = {"pairs": 9, **dict(zip(names, ratio, strict=True))}
    assert gateway_report.targets_missed({"engine": {"concurrent": {"64": found}}}) == said


def test_two_lanes_have_no_parts() -> None:
    found = measured(Tool(), [], {DIRECT: "bare", GATEWAY: "gateway"})
    assert "replica_over_direct" not in found
    assert gateway_report.parts_of_it({"1": found}) == []


def test_a_lane_that_fails_is_a_miss_and_has_no_figures() -> None:
    misses: list[str] = []
    found = measured(Refusing(), misses)
    assert len(misses) == 4
    assert found[REPLICA]["requests"] == 0
    assert found["replica_over_direct"]["added_first_token_ms"]["p50"] is None
    assert gateway_report.parts_of_it({"1": found})[0].count("-") > 3
