"""engine_ranks.py: which rank of an engine over several nodes is named, from rows as Ray 2.60 writes them."""

from __future__ import annotations

import os
import subprocess

from deploys.vllm.programs.engine_ranks import Rank, first_to_blame, process_state, still

NEAR = Rank(0, "a0", "worker1", "n1", 11)
FAR = Rank(1, "a1", "worker2", "n2", 12)
RANKS = (NEAR, FAR)
ALIVE = {"State": "ALIVE", "EndTime": 0}
BOTH = {"n1", "n2"}


def test_nobody_is_blamed_while_all_ranks_live() -> None:
    assert first_to_blame(RANKS, {"a0": ALIVE, "a1": ALIVE}, BOTH) == ""
    assert still(RANKS, lambda _: {0: "R", 1: "S"}) == ""


def test_the_rank_that_ended_first_is_named_with_its_node() -> None:
    """vLLM ends the others as soon as it sees the first."""
    actors = {"a0": {"State": "DEAD", "EndTime": 2_000}, "a1": {"State": "DEAD", "EndTime": 1_000}}
    assert first_to_blame(RANKS, actors, BOTH) == "rank 1 on worker2 has ended (process 12)"


def test_a_node_that_is_gone_comes_before_what_ended_with_it() -> None:
    actors = {"a0": {"State": "DEAD", "EndTime": 1_000}, "a1": {}}
    assert first_to_blame(RANKS, actors, {"n1"}) == "rank 1 on worker2: its Ray node is gone"


def test_a_stopped_rank_is_named_though_ray_takes_it_for_alive() -> None:
    assert still(RANKS, lambda _: {0: "R", 1: "T"}) == "rank 1 on worker2 is stopped (process 12)"


def test_a_node_that_says_nothing_is_named_where_others_answer_and_do_not_stand_still() -> None:
    assert still(RANKS, lambda _: {0: "S"}) == "rank 1 on worker2: its node does not answer"
    assert still(RANKS, lambda _: {0: "T"}) == "rank 0 on worker1 is stopped (process 11)"
    assert still(RANKS, lambda _: {}) == ""


def test_states_are_those_of_linux() -> None:
    assert process_state(os.getpid()) == "R"
    with subprocess.Popen(["sleep", "30"]) as child:
        os.kill(child.pid, 19)
        os.waitpid(child.pid, os.WUNTRACED)
        assert process_state(child.pid) == "T"
        child.kill()
    assert process_state(child.pid) == "X"
