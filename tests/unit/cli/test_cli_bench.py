"""`cluster bench` as a program, against a server that stands for the cluster's endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Typed
from tests.openai_server import OpenAiServer, Place, answer, refusal

QUICK = ["--duration", "0.4", "--warm-up", "0", "--no-check", "--input-tokens", "4", "--output-tokens", "2"]


def bench(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """`cluster bench`, as an operator types it."""
    program = str(Path(sys.executable).parent / "cluster")
    return subprocess.run(
        [program, "-c", place.inventory, "bench", *words],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_rate_gives_a_table_and_json(server: OpenAiServer, place: Place, tmp_path: Path) -> None:
    done = bench(place, "--rate", "10", *QUICK, "--goodput", "time_to_first_token:5000", "--to", str(tmp_path / "to"))
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()
    assert head.split("  ")[0] == "step" and "TTFT ms P50" in head and "goodput/s" in head
    assert row.split()[:3] == ["rate=10", "4", "0"]
    assert sorted(entry.name for entry in (tmp_path / "to").iterdir()) == [
        "requests.parquet",
        "summary.json",
        "vllm_bench-rate=10.json",
    ]
    done = bench(place, "--rate", "10", *QUICK, "--json")
    said = json.loads(done.stdout)
    assert (said["steps"][0]["good"], said["steps"][0]["output_tokens"], said["stopped"]) == (4, 8, False)
    assert server.asked[0]["messages"][0]["role"] == "user" and server.asked[0]["max_tokens"] == 2


def test_golden_answers_are_judged_and_failures_end_in_1(server: OpenAiServer, place: Place) -> None:
    server.replies.extend(
        [*(answer("a") for _ in range(18)), refusal(503, "no engine"), answer("The capital is", " Rome.")]
    )
    done = bench(place, "--rate", "50", "--duration", "0.4", "--warm-up", "0")
    assert done.returncode == 1, done.stderr
    assert "1 requests: wrong" in done.stderr
    assert "1 requests: refused in OpenAI's shape" in done.stderr


def test_nobody_listens_is_said_before_anything_is_sent(place: Place, server: OpenAiServer) -> None:
    text = Path(place.inventory).read_text().replace(f"api_port={server.port}", "api_port=1027")
    Path(place.inventory).write_text(text)
    done = bench(place, "--rate", "10")
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing listens there" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--goodput", "ttft:3"], "write one of time_to_first_token"),
        (["--rate", "4", "--users", "2"], "give one of"),
        (["--rate", "4", "--output-tokens", "few"], "lengths 'few'"),
        (["--arrivals", "even"], "'even' is not one of"),
    ],
)
def test_words_that_mean_nothing_are_refused(typed: Typed, place: Place, words: list[str], said: str) -> None:
    status, out, error = typed("-c", place.inventory, "bench", *words)
    assert (status, out) == (2, "")
    assert said in error
