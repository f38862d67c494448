"""`cluster chat` with the laptop cluster: real engines, a pipe, and a pseudo-terminal with somebody impatient at it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from facts.sources import REPOSITORY
from tests.laptop.conftest import Operator
from tests.pseudo_terminal import ENTER, INTERRUPT, PseudoTerminal

pytestmark = pytest.mark.cluster

QUESTION = "What is the capital of France?"
PROMPT = "· help, quit"
WAITING = "waiting for the first token"


def _command(*options: str) -> list[str]:
    return [str(Path(sys.executable).parent / "cluster"), "chat", *options]


def _piped(laptop: Operator, typed: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command(*options),
        input=typed,
        cwd=REPOSITORY,
        env=laptop.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_in_a_pipe_it_says_paris_and_who_said_it(laptop: Operator) -> None:
    done = _piped(laptop, f"{QUESTION}\n")
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert "answered by Worker Node #1: worker1, 127.0.0.11" in done.stderr or (
        "answered by Worker Node #2: worker2, 127.0.0.12" in done.stderr
    )


def test_json_has_node_and_speed(laptop: Operator) -> None:
    done = _piped(laptop, f"{QUESTION}\n", "--json")
    (told,) = (json.loads(line) for line in done.stdout.splitlines())
    assert "Paris" in told["answer"]
    assert (told["node"], told["address"]) in (("worker1", "127.0.0.11"), ("worker2", "127.0.0.12"))
    assert told["replica"] and told["model"] == "smollm2-135m-instruct" and told["finish_reason"] == "stop"
    assert 0 < told["ttft_seconds"] < 60 and told["tokens_per_second"] > 0 and told["completion_tokens"] > 3


def test_commands(laptop: Operator) -> None:
    done = _piped(laptop, "status\nactors\nlogs worker1 5\nmodel\ntest\n")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 nodes in Ray" in done.stdout and "2 engine slots" in done.stdout
    assert done.stdout.count("serving") >= 2
    assert "· cluster-ray-worker" in done.stdout
    assert "* smollm2-135m-instruct" in done.stdout
    assert "2 of 2 right" in done.stdout


def test_an_impatient_person_at_a_terminal(laptop: Operator) -> None:
    with PseudoTerminal(_command(), {**laptop.environment, "TERM": "xterm"}) as terminal:
        terminal.expect(PROMPT)
        terminal.type("Tell me a very long story about a ship." + ENTER)
        terminal.wait(
            lambda seen: len(seen.rpartition(WAITING)[2].strip()) > 20 and WAITING in seen, "text of an answer"
        )
        terminal.type(INTERRUPT)
        assert "answered by Worker Node #" in terminal.expect("stopped by you")
        terminal.expect(PROMPT)
        terminal.type("new" + ENTER)
        terminal.expect(PROMPT)
        terminal.type(QUESTION + ENTER)
        terminal.expect("Paris")
        terminal.expect("answered by Worker Node #")
        terminal.expect(PROMPT)
        terminal.type("quit" + ENTER)
        assert terminal.end() == 0
