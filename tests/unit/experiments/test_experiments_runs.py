"""A run against a stub engine of known speed: whole, stopped, killed and resumed, refused, replayed."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from experiments.bundle import journal, layout, manifest, reading
from experiments.bundle.errors import BundleError
from experiments.configuration import suites
from experiments.configuration.errors import ConfigurationError
from experiments.errors import ExperimentError
from experiments.load import records
from experiments.runs import replaying
from experiments.runs.errors import RunError
from experiments.runs.order import BENCHMARK, Finished
from experiments.runs.run import run
from experiments.runs.suite import Outcome, run_suite
from operate import clusters

ADDRESS = "127.0.7.10"
TAGS = frozenset({BENCHMARK})
FILE = """
exp_type_identifier: tried
llm_benchmark_arrivals: constant
llm_benchmark_target_qps_values: [20, 40]
llm_benchmark_duration: {seconds}
llm_benchmark_warm_up: 0.2
llm_benchmark_output_tokens: 4
llm_benchmark_checked_every: 5
telemetry_enabled: false
"""
HOLDER = """
import sys
from experiments.runs import lock
from operate import clusters
with lock.exclusive(clusters.read(sys.argv[1]), "experiment other"):
    print("held", flush=True)
    sys.stdin.read()
"""


@dataclass
class Told:
    """What a run says meanwhile; at a phase that begins so, the operator presses Ctrl-C."""

    said: list[str] = field(default_factory=list)
    stop_at: str = "never"

    def phase(self, text: str) -> None:
        self.said.append(text)
        if self.stop_at in text:
            signal.raise_signal(signal.SIGINT)

    def note(self, text: str) -> None:
        self.said.append(text)

    def event(self, kind: str, text: str) -> None:
        self.said.append(text)


@dataclass
class Tried:
    """A stub that answers what the golden question wants, an inventory that leads to it, a directory."""

    inventory: Path
    directory: Path
    told: Told = field(default_factory=Told)

    def run(
        self, *, seconds: float = 0.6, more: str = "", resume: bool = False, tags: frozenset[str] = TAGS
    ) -> Finished:
        """Run an experiment of two steps, 20 and 40 requests a second; the failure or interruption is raised."""
        suite = suites.load(str(self.file(seconds, more)))
        (outcome,) = run_suite(
            str(self.inventory), suite, {}, self.told, tags=tags, fetched=self.fetched, resume=resume
        )
        assert isinstance(outcome, Outcome) and outcome.finished
        return outcome.finished

    def file(self, seconds: float, more: str = "") -> Path:
        path = self.directory / "mine.yaml"
        path.write_text(FILE.format(seconds=seconds) + more)
        return path

    @property
    def fetched(self) -> Path:
        return self.directory / layout.FETCHED

    @property
    def bundles(self) -> list[Path]:
        return layout.bundles(self.fetched)

    def step_began(self, step: str) -> bool:
        """Whether the newest run has begun a load step."""
        return any(
            entry.kind == "step" and entry.data["step"] == step
            for bundle in self.bundles[-1:]
            for entry in journal.read(bundle)
        )

    def when(self, holds: Callable[[], Any], then: Callable[[], Any], after_seconds: float = 0.0) -> threading.Thread:
        """Do something, in a thread, once something holds."""

        def wait() -> None:
            end = time.monotonic() + 150
            while not holds() and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(after_seconds)
            then()

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def stub() -> Iterator[int]:
    """A stub engine's port; each of its tokens is what the golden question wants."""
    with socket.socket() as free:
        free.bind((ADDRESS, 0))
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "experiments.stub_engine", ADDRESS, str(port), "--ttft-ms", "5", "--itl-ms", "2"]
    process = subprocess.Popen(
        [*command, "--model", "smollm2-135m-instruct", "--token", "Paris "], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    yield port
    process.terminate()
    process.wait(10)


@pytest.fixture
def tried(stub: int, home: Path, tmp_path: Path, repository: Path) -> Tried:
    text = (repository / "inventories" / "laptop.py").read_text().replace("127.0.0.", "127.0.7.")
    inventory = tmp_path / "tried.py"
    inventory.write_text(text.replace("serving=Serving(", f"serving=Serving(api_port={stub},"))
    return Tried(inventory, tmp_path)


def counted(bundle: Path, step: str) -> int:
    return sum(record.step == step for record in records.read(bundle / layout.REQUESTS))


def test_a_run_leaves_a_whole_bundle_that_can_be_replayed(tried: Tried) -> None:
    finished = tried.run()
    (bundle,) = tried.bundles
    assert finished.bundle == bundle
    assert [check.detail for check in manifest.check(bundle) if check.ok is not True] == []
    seen = reading.read(bundle)
    assert (seen.state, seen.cluster) == ("complete", "laptop")
    assert {"prepare", "benchmark", "judge"} <= seen.phases_ended
    found = records.read(bundle / layout.REQUESTS)
    measured = [record.step for record in found if not record.warm_up]
    assert (measured.count("rate=20"), measured.count("rate=40")) == (12, 24)
    assert {record.kind for record in found} == {"right", "answered"} and all(record.output_tokens for record in found)
    summary = json.loads((bundle / layout.SUMMARY).read_text())
    assert [step["step"] for step in summary["steps"]] == ["rate=20", "rate=40"]
    assert json.loads((bundle / "results/vllm_bench-rate=40.json").read_text())["completed"] == 24
    versions = json.loads((bundle / layout.VERSIONS).read_text())
    assert versions["runtime"]["packages"]["ray"] and versions["packages"]["PyYAML"] and versions["machine"]["cores"]
    assert (bundle / layout.INVENTORY / "tried.py").read_text() == tried.inventory.read_text()
    assert json.loads((bundle / layout.PLAN).read_text())["model"] == "smollm2-135m-instruct"

    cluster = clusters.read(str(tried.inventory))
    assert replaying.differences(bundle, cluster) == []
    again = run(replaying.order(bundle, cluster, tried.fetched), tried.told).bundle
    assert again != bundle and reading.read(again).values == seen.values
    assert reading.read(again).origin["replay_of"] == bundle.name
    assert counted(again, "rate=40") == counted(bundle, "rate=40")
    path = bundle / layout.SUMMARY
    path.write_bytes(path.read_bytes().replace(b"rate=20", b"rate=21", 1))
    with pytest.raises(BundleError, match=r"summary\.json was changed.*not as it was written"):
        replaying.order(bundle, cluster, tried.fetched)


def test_a_stopped_run_can_be_read_and_goes_on(tried: Tried) -> None:
    stop = tried.when(lambda: tried.step_began("rate=40"), lambda: os.kill(os.getpid(), signal.SIGINT), 0.5)
    with pytest.raises(KeyboardInterrupt):
        tried.run(seconds=1.5)
    stop.join()
    (bundle,) = tried.bundles
    assert any("--resume" in said for said in tried.told.said)
    seen = reading.read(bundle)
    assert (seen.state, seen.stopped_in, seen.why) == ("partial", "benchmark", "interrupted")
    assert manifest.read(bundle)["state"] == "partial" and all(check.ok for check in manifest.check(bundle))
    before = [record for record in records.read(bundle / layout.REQUESTS) if record.step == "rate=20"]
    assert len(before) == 34 and 0 < counted(bundle, "rate=40") < 68

    with pytest.raises(RunError, match="llm_benchmark_duration changed since it was stopped"):
        tried.run(seconds=1.6, resume=True)
    tried.run(seconds=1.5, resume=True)
    assert tried.bundles == [bundle] and "1 of 2 load steps were measured before" in tried.told.said
    after = records.read(bundle / layout.REQUESTS)
    assert [record for record in after if record.step == "rate=20"] == before
    assert counted(bundle, "rate=40") == 68 and len({record.number for record in after}) == len(after)
    assert reading.read(bundle).state == "complete" and all(check.ok for check in manifest.check(bundle))
    with pytest.raises(RunError, match="came to its end"):
        tried.run(seconds=1.5, resume=True)


@pytest.mark.parametrize(
    ("at", "phase", "tag"),
    [
        ("configuration, versions", "prepare", BENCHMARK),
        ("deploying laptop", "deploy", "deploy"),
        ("benchmark on laptop", "benchmark", BENCHMARK),
        ("collecting telemetry", "collect-telemetry-data", "collect-telemetry-data"),
        ("judging the run", "judge", BENCHMARK),
    ],
)
def test_ctrl_c_in_any_phase_leaves_a_bundle_that_can_be_read(tried: Tried, at: str, phase: str, tag: str) -> None:
    tried.told.stop_at = at
    with pytest.raises(KeyboardInterrupt):
        tried.run(seconds=0.2, tags=frozenset({BENCHMARK, tag}))
    (bundle,) = tried.bundles
    seen = reading.read(bundle)
    assert (seen.state, seen.stopped_in, seen.why) == ("partial", phase, "interrupted")
    assert all(check.ok for check in manifest.check(bundle))
    if phase == "judge":
        tried.told.stop_at = "never"
        tried.run(seconds=0.2, resume=True)
        assert reading.read(bundle).state == "complete" and counted(bundle, "rate=20") == 8


def test_a_killed_run_can_be_read_and_goes_on(tried: Tried) -> None:
    command = [str(Path(sys.executable).parent / "cluster"), "-c", str(tried.inventory), "experiment", "run"]
    process = subprocess.Popen(
        [*command, str(tried.file(1.5)), "--tags", "benchmark"],
        cwd=tried.directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    tried.when(lambda: tried.step_began("rate=20"), process.kill, 0.8).join()
    assert process.wait(60) == -signal.SIGKILL
    (bundle,) = tried.bundles
    seen = reading.read(bundle)
    assert (seen.state, seen.stopped_in) == ("partial", "benchmark") and "died" in seen.why
    assert 0 < counted(bundle, "rate=20") < 34
    tried.run(seconds=1.5, resume=True)
    assert reading.read(bundle).state == "complete"
    assert (counted(bundle, "rate=20"), counted(bundle, "rate=40")) == (34, 68)


def test_two_runs_on_one_cluster_are_refused_with_the_holder_s_name(tried: Tried) -> None:
    command = [sys.executable, "-c", HOLDER, str(tried.inventory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(RunError, match=rf"process {holder.pid} \(experiment other\) runs on laptop"):
            tried.run()
        holder.communicate()
    assert tried.bundles == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("llm_benchmark_durations: 3", "did you mean llm_benchmark_duration"),
        ("model_id: no-such-model", "model 'no-such-model' is not known"),
        ("model_id: qwen3-30b-a3b", "does not fit laptop"),
        ("model_id: gpt2", "takes no chats"),
        ("exp_global_data_parallelism: 9", "laptop has 2 compute nodes"),
        ("exp_global_data_parallelism: 1", "run it with the tag deploy"),
        ("llm_benchmark_prompt_tokens: many", "no numbers of tokens"),
        ("llm_benchmark_concurrent_workers: []\nllm_benchmark_iterations: 0", "llm_benchmark_iterations is 0"),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(tried: Tried, more: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        tried.run(more=more)
    assert any(said in problem and "mine.yaml:" in problem for problem in raised.value.problems)
    assert not tried.fetched.exists()


def test_a_cluster_that_does_not_answer_is_said_in_a_line(tried: Tried) -> None:
    tried.inventory.write_text(tried.inventory.read_text().replace("127.0.7.10", "127.0.7.99"))
    with pytest.raises(RunError, match="nothing listens there"):
        tried.run()
    seen = reading.read(tried.bundles[0])
    assert seen.stopped_in == "benchmark" and "nothing listens" in seen.why


def test_a_disk_that_fills_leaves_what_was_written(tried: Tried) -> None:
    """A limit on the size of files refuses further bytes, as a full file system does."""
    room = 45_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    begun = tried.when(
        lambda: tried.step_began("rate=20"), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    )
    try:
        with pytest.raises(ExperimentError, match=r"File too large|only a part could be written"):
            tried.run(seconds=3)
    finally:
        begun.join()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (bundle,) = tried.bundles
    seen = reading.read(bundle)
    assert (seen.state, seen.stopped_in) == ("partial", "benchmark")
    assert counted(bundle, "rate=20") > 10


def test_a_suite_goes_on_where_it_was_stopped(tried: Tried) -> None:
    path = tried.directory / "two.yaml"
    shared = "\n".join(f"  {line}" for line in FILE.format(seconds=0.3).splitlines() if "identifier" not in line)
    entries = "\n".join(f"  - exp_type_identifier: tried-{name}" for name in ("one", "two"))
    path.write_text(f"parameters:\n{shared}\nexperiments:\n{entries}\n")
    second = lambda: len(tried.bundles) == 2 and tried.step_began("rate=20")  # noqa: E731
    stop = tried.when(second, lambda: os.kill(os.getpid(), signal.SIGINT))
    how: dict[str, Any] = {"tags": TAGS, "fetched": tried.fetched}
    with pytest.raises(KeyboardInterrupt):
        run_suite(str(tried.inventory), suites.load(str(path)), {}, tried.told, **how)
    stop.join()
    first, other = run_suite(str(tried.inventory), suites.load(str(path)), {}, tried.told, resume=True, **how)
    assert first.before == tried.bundles[0] and other.finished and other.finished.bundle == tried.bundles[1]
    assert [reading.read(bundle).state for bundle in tried.bundles] == ["complete", "complete"]
