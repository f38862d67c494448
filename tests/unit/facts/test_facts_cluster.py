"""Parsers of what Ray, the service manager, the runtime and the processes say.

What Ray says was captured from Ray 2.60.0 (fixtures/ray-2.60.0); the rest is in the form that the facts' own commands
print.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.directories import Directories
from facts.files import Digests
from facts.health.services import condition, trouble
from facts.parse.cluster_state import (
    NodesReport,
    ProofsReport,
    ServeState,
    parse_digests,
    parse_json_line,
    parse_life,
    parse_model_directory,
    parse_proofs,
    parse_ray_nodes,
    parse_serve,
    parse_services,
)
from facts.parse.processes import parse_processes
from facts.parse.runtime import parse_runtime
from facts.ray import Nodes, Runtime
from facts.services import FirewallRules, Services

CAPTURED = Path(__file__).parent / "fixtures" / "ray-2.60.0"


def captured(name: str) -> Any:
    return json.loads((CAPTURED / f"{name}.json").read_text())


def shell(command: str) -> list[str]:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.splitlines()


def test_nodes_as_ray_says_them() -> None:
    report = parse_ray_nodes(captured("nodes"))
    assert report.unreachable == ""
    assert [(node.name, node.address, node.alive, node.head) for node in report.nodes] == [
        ("head", "127.0.0.10", True, True),
        ("worker1", "127.0.0.11", True, False),
        ("worker2", "127.0.0.12", True, False),
    ]
    # Ray leaves a resource out that a node has none of.
    assert [(node.cpus, node.gpus, node.engine_slots) for node in report.nodes] == [(0, 0, 0), (4, 0, 1), (4, 0, 1)]
    assert {node.why_dead for node in report.nodes} == {""}


def test_a_dead_node_keeps_its_reason() -> None:
    answer = captured("nodes")
    answer["data"]["result"]["result"][1].update(
        state="DEAD", state_message="Unexpected termination", resources_total={}
    )
    node = parse_ray_nodes(answer).nodes[1]
    assert (node.alive, node.why_dead, node.cpus) == (False, "Unexpected termination", 0)


def test_no_nodes_and_nobody_there_are_two_things() -> None:
    answer = captured("nodes")
    answer["data"]["result"]["result"] = []
    assert parse_ray_nodes(answer) == NodesReport(())
    assert parse_ray_nodes({"unreachable": "refused"}) == NodesReport((), "refused")


def test_serve_as_ray_says_it() -> None:
    state = parse_serve(captured("serve"))
    assert (state.status, state.message) == ("RUNNING", "")
    engines = [replica for replica in state.replicas if replica.deployment.startswith("ProvenLLMServer")]
    assert [(engine.state, engine.node_address) for engine in engines] == [
        ("RUNNING", "127.0.0.11"),
        ("RUNNING", "127.0.0.12"),
    ]
    assert engines[0].actor == "SERVE_REPLICA::llm#ProvenLLMServer:smollm2-135m-instruct#7izc4fmp"
    assert len(state.replicas) == 3, "two engines and the ingress"


def test_serve_with_several_applications_and_one_that_does_not_run() -> None:
    answer = captured("serve")
    answer["applications"]["other"] = {**answer["applications"]["llm"], "status": "DEPLOYING", "message": "soon"}
    state = parse_serve(answer)
    assert (state.status, state.message) == ("DEPLOYING", "soon")
    assert state.applications == {"llm": "RUNNING", "other": "DEPLOYING"}
    assert [replica.application for replica in state.replicas] == ["llm"] * 3 + ["other"] * 3


def test_serve_without_the_application_and_without_an_answer() -> None:
    assert parse_serve({"applications": {}}) == ServeState("NOT_STARTED", "", ())
    assert parse_serve({"applications": None}) == ServeState("NOT_STARTED", "", ())
    assert parse_serve({"unreachable": "refused"}) == ServeState("UNREACHABLE", "refused", ())


def test_proofs_as_the_replicas_gave_them() -> None:
    report = parse_proofs(captured("proofs"))
    assert [(proof.node, proof.correct) for proof in report.proofs] == [("worker1", True), ("worker2", True)]
    assert "Paris" in report.proofs[0].answer
    assert report.proofs[0].seconds > 0


def test_a_proof_that_never_came_is_a_proof_that_failed() -> None:
    late = [{"node": "worker1", "address": "127.0.0.11", "replica": "r", "correct": False, "detail": "no answer"}]
    (proof,) = parse_proofs(late).proofs
    assert (proof.correct, proof.answer, proof.seconds, proof.detail) == (False, "", 0, "no answer")
    assert parse_proofs({"unreachable": "refused"}) == ProofsReport((), "refused")


def test_processes_of_a_node() -> None:
    answer = captured("processes")
    report = parse_processes(answer)
    assert [name.split(":")[0] for name in report.engines] == ["ray", "VLLM", "VLLM"]
    assert len(report.names) == len(answer["processes"])
    assert report.total_bytes == sum(row["bytes"] for row in answer["processes"])


def test_reports_are_json() -> None:
    for report in (
        parse_ray_nodes(captured("nodes")),
        parse_serve(captured("serve")),
        parse_proofs(captured("proofs")),
        parse_processes(captured("processes")),
    ):
        assert json.loads(json.dumps(report.to_json()))


def row(**changes: Any) -> dict[str, Any]:
    answer: dict[str, Any] = captured("nodes")
    answer["data"]["result"]["result"][0].update(changes)
    return answer


MALFORMED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "nodes: a list": (parse_ray_nodes, []),
    "nodes: Ray's own failure": (parse_ray_nodes, {"result": False, "msg": "no head"}),
    "serve: a list": (lambda answer: parse_serve(answer), []),
    "proofs: a number": (parse_proofs, 3),
    "runtime: nothing": (parse_runtime, []),
    "processes: no list": (parse_processes, {}),
    "JSON: a traceback": (lambda lines: parse_json_line(lines, "Ray"), ["Traceback", "oops"]),
    "JSON: nothing": (lambda lines: parse_json_line(lines, "Ray"), []),
}
# Shapes that are JSON and not the expected one: they once raised an error that stopped every host.
OTHER_SHAPES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "nodes: no data": (parse_ray_nodes, {"result": True}),
    "nodes: null instead of rows": (parse_ray_nodes, {"result": True, "data": {"result": {"result": None}}}),
    "serve: a list of applications": (lambda answer: parse_serve(answer), {"applications": [1]}),
    "proofs: a row that is a text": (parse_proofs, ["right"]),
    "processes: a text for the list": (parse_processes, {"processes": "many"}),
    "JSON: no end of lists": (lambda lines: parse_json_line(lines, "Ray"), ["[" * 100_000]),
    "model directory: a list": (parse_model_directory, ["whole"]),
    "model directory: no problems": (parse_model_directory, {"state": "whole", "bytes": 1}),
    "model directory: a state of its own": (parse_model_directory, {"state": "fine", "problems": []}),
}


@pytest.mark.parametrize("case", [*MALFORMED, *OTHER_SHAPES])
def test_malformed_input_is_a_value_error(case: str) -> None:
    parse, answer = {**MALFORMED, **OTHER_SHAPES}[case]
    with pytest.raises(ValueError, match=r"."):
        parse(answer)


def test_a_fact_with_malformed_output_fails_alone() -> None:
    with pytest.raises(FactProcessError, match=r"Nodes: Ray's state API: expected JSON, got 'bash: python3"):
        Nodes().process(["bash: python3: command not found"])


@pytest.mark.parametrize("error", [KeyError("data"), TypeError("no len()"), AttributeError("get"), IndexError("1")])
def test_an_error_that_no_parser_foresaw_fails_alone_too(error: Exception) -> None:
    class Odd(FactBase[str]):
        @fails_alone
        def process(self, output: list[str]) -> str:
            raise error

    with pytest.raises(FactProcessError, match=rf"Odd: .*{type(error).__name__}.*'what was said'"):
        Odd().process(["what was", "said"])


@pytest.mark.parametrize("cpus", ["four", None, float("nan"), [1]])
def test_a_node_of_which_one_figure_cannot_be_read_is_there_all_the_same(cpus: Any) -> None:
    answer = row(resources_total={"CPU": cpus, "GPU": 2.0})
    answer["data"]["result"]["result"].append("no node")
    first, *others = parse_ray_nodes(answer).nodes
    assert (first.cpus, first.gpus, len(others)) == (None, 2.0, 2)
    assert len(parse_ray_nodes(answer).unread) == 2
    assert parse_ray_nodes(row(resources_total=7)).nodes[0].gpus is None


def test_what_can_be_read_of_an_application_is_kept() -> None:
    replicas = ["a", {"state": "RUNNING", "node_ip": "192.0.2.1", "actor_name": "x"}]
    known = {"llm": {"status": "RUNNING", "deployments": {"engine": {"replicas": replicas}, "none": None}}, "odd": 3}
    state = parse_serve({"applications": known})
    assert (state.applications, len(state.replicas)) == ({"llm": "RUNNING", "odd": ""}, 1)
    assert parse_serve({"applications": {"llm": {"deployments": [1]}}}).replicas == ()


def test_a_row_that_cannot_be_read_leaves_the_others() -> None:
    sizes = [{"name": "raylet"}, {"name": "gcs", "bytes": float("inf")}, {"name": "VLLM::Worker", "bytes": 7}, "x"]
    found = parse_processes({"processes": sizes})
    assert (len(found.names), found.total_bytes, found.engines) == (3, 7, ("VLLM::Worker",))
    assert [proof.seconds for proof in parse_proofs([{"seconds": "soon"}, {"seconds": 2}]).proofs] == [0, 2]
    assert parse_digests(["s 644", "s 644 root /a", "h 00  /a"])["/a"].owner == "root"
    lives = parse_life([{"state": "flying", "node": "a"}, {"state": "serving", "node": "b"}])
    assert [(one["node"], one["state"]) for one in lives] == [("a", "silent"), ("b", "serving")]


@pytest.mark.parametrize("noted", ['{"python": "3.1', "{" * 100_000, '{"versions": 3}'])
def test_a_mark_that_cannot_be_read_marks_nothing(noted: str) -> None:
    runtime = parse_runtime(["runtime /opt/x", noted, 'version = "2.60.0"'])
    assert (runtime.ray_version, runtime.versions) == ("2.60.0", {})


def test_services() -> None:
    found = parse_services(
        [
            "services",
            "service cluster-ray-head active enabled 0123456789abcdef",
            "service cluster-serve RUNNING program -",
            "service cluster-depot inactive disabled -",
            "service cluster-ray-worker none none -",
            "service cluster-other activating enabled-runtime -",
            "a line of something else",
        ]
    )
    assert {name: (state.active, state.enabled, state.configuration) for name, state in found.items()} == {
        "cluster-ray-head": (True, True, "0123456789abcdef"),
        "cluster-serve": (True, True, ""),
        "cluster-depot": (False, False, ""),
        "cluster-ray-worker": (False, False, ""),
        "cluster-other": (False, False, ""),
    }


def test_a_crash_loop_between_two_starts() -> None:
    text = (Path(__file__).parents[2] / "facts/fixtures/field/services-crash-loop.txt").read_text()
    state = parse_services(text.splitlines())["cluster-ray-worker"]
    assert (state.active, state.enabled, state.manager_state) == (False, True, "activating")


@pytest.mark.parametrize(
    ("line", "expected", "said"),
    [
        ("active enabled d running 0 900", "running", ""),
        ("active enabled d running 7 900", "running", ""),
        ("active enabled d running 1 3", "running", ""),
        ("reloading enabled d reload 0 900", "running", ""),
        ("active enabled d running 7 3", "restarting", "again and again (active/running, 7 restarts, up for 3 s)"),
        ("activating enabled - auto-restart 1 0", "restarting", "again and again (activating/auto-restart, 1 restart)"),
        ("activating enabled - start 0 0", "starting", "is not running yet (activating/start)"),
        ("activating enabled - start 3 0", "restarting", "3 restarts"),
        ("failed enabled - failed 5 0", "stopped", "is not running (failed, 5 restarts)"),
        ("deactivating enabled - stop-sigterm 0 0", "stopped", "deactivating/stop-sigterm"),
        ("inactive disabled - dead 0 0", "stopped", "is not running (inactive/dead)"),
        ("RUNNING program d - - 900", "running", ""),
        ("RUNNING program d - 4 5", "restarting", "4 restarts"),
        ("STARTING program d - 0 1", "starting", "is not running yet (STARTING)"),
        ("STARTING program d - 3 1", "restarting", "STARTING, 3 restarts"),
        ("BACKOFF program - - 4 0", "restarting", "again and again (BACKOFF, 4 restarts)"),
        ("FATAL program - - 9 0", "stopped", "is not running (FATAL, 9 restarts)"),
        ("none none - - - 0", "stopped", "is not running"),
        ("activating enabled", "stopped", "is not running"),
        ("active enabled d running 4294967295x -5", "running", ""),
    ],
)
def test_the_condition_of_a_service(line: str, expected: str, said: str) -> None:
    found = parse_services(["services", f"service cluster-x {line}", "said cluster-x \x1b[31mout of\x1b[0m memory"])
    state = found["cluster-x"].to_json() if found else {}
    assert condition(state) == expected
    assert said in trouble(state) and bool(trouble(state)) is bool(said)
    assert ("its last words: out of memory" in trouble(state)) is bool(said and found)


SYSTEMCTL = """#!/bin/sh
printf 'ActiveState=%s\\nSubState=%s\\nUnitFileState=enabled\\nMainPID=0\\nNRestarts=%s\\n' {active} {sub} {restarts}
printf 'ActiveEnterTimestampMonotonic=%s\\n' {since}
"""
JOURNALCTL = "#!/bin/sh\ncase $* in *_SYSTEMD_UNIT=*) printf 'first\\n\\nbind: Address already in use\\n\\n';; esac\n"


@pytest.mark.parametrize(
    ("active", "sub", "restarts", "since", "expected", "words"),
    [
        ("activating", "auto-restart", "7", "0", "restarting", "bind: Address already in use"),
        ("active", "running", "7", "now", "restarting", "bind: Address already in use"),
        ("active", "running", "7", "1", "running", ""),
        ("active", "running", "0", "now", "running", ""),
        ("inactive", "dead", "0", "0", "stopped", ""),
    ],
)
def test_a_crash_loop_under_systemd(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    active: str,
    sub: str,
    restarts: str,
    since: str,
    expected: str,
    words: str,
) -> None:
    # Stand-ins that print what systemd's own tools print: no machine of the tests is its systemd's to break.
    at = str(int(float(Path("/proc/uptime").read_text().split()[0]) * 1e6)) if since == "now" else since
    for name, text in {
        "systemctl": SYSTEMCTL.format(active=active, sub=sub, restarts=restarts, since=at),
        "journalctl": JOURNALCTL,
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    fact = Services()
    found = fact.process(shell(fact.command(("cluster-ray-worker", "cluster-serve"))))
    assert list(found) == ["cluster-ray-worker", "cluster-serve"]
    state = found["cluster-serve"]
    assert (condition(state.to_json()), state.restarts, state.last_words) == (expected, int(restarts), words)


def test_runtime_whole_and_missing(tmp_path: Path) -> None:
    directory = tmp_path / "cpu-0123 456"
    missing = Runtime().process(shell(Runtime().command(str(directory))))
    assert (missing.name, missing.complete, missing.ray_version) == ("cpu-0123 456", False, "")

    package = directory / "lib" / "python3.11" / "site-packages" / "ray"
    package.mkdir(parents=True)
    (package / "_version.py").write_text('# a file as Ray has it\nversion = "2.60.0"\ncommit = "abc"\n')
    unfinished = Runtime().process(shell(Runtime().command(str(directory))))
    assert (unfinished.complete, unfinished.ray_version) == (False, "2.60.0")

    (directory / "complete.json").write_text(json.dumps({"python": "3.11.2", "versions": {"ray": "2.60.0"}}) + "\n")
    whole = Runtime().process(shell(Runtime().command(str(directory))))
    assert (whole.complete, whole.python, whole.versions) == (True, "3.11.2", {"ray": "2.60.0"})


def test_digests_of_real_files(tmp_path: Path) -> None:
    file, other = tmp_path / "a file", tmp_path / "it's"
    file.write_text("abc")
    file.chmod(0o640)
    other.write_text("")
    paths = (str(file), str(other), str(tmp_path / "missing"))
    found = Digests().process(shell(Digests().command(paths)))
    assert set(found) == {str(file), str(other)}
    # FIPS 180-2, appendix B.1: the digest of "abc".
    assert found[str(file)].sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found[str(file)].mode == "0640"


def test_digests_of_no_files(tmp_path: Path) -> None:
    assert Digests().process(shell(Digests().command((str(tmp_path / "missing"),)))) == {}


def test_directories_that_are_there(tmp_path: Path) -> None:
    place, file = tmp_path / "a:place", tmp_path / "file"
    place.mkdir(mode=0o700)
    file.touch()
    paths = (str(place), str(file), str(tmp_path / "missing"))
    found = Directories().process(shell(Directories().command(paths)))
    assert {path: mode for path, (_, mode) in found.items()} == {str(place): "0700"}


def test_firewall_mark() -> None:
    mark = "rules_0123456789ab"
    assert FirewallRules().process(["firewall", mark, mark]) == mark
    assert FirewallRules().process(["firewall", mark]) == "", "loaded, and not at boot"
    assert FirewallRules().process(["firewall", mark, "rules_0"]) == ""
    assert FirewallRules().process(["firewall"]) == ""


def test_processes_are_found_by_their_environment(repository: Path) -> None:
    """The script itself, on a process that carries the marks, one that descends from it, and for another node."""
    marks = {**os.environ, "CLUSTER_NODE_NAME": "node-of-a-test", "CLUSTER_NAME": "cluster-of-a-test"}
    inner = "import sys; sys.stdout.write('up\\n'); sys.stdout.flush(); sys.stdin.read()"
    outer = f"env -u CLUSTER_NODE_NAME {shlex.join([sys.executable, '-c', inner])}; true"
    with subprocess.Popen(["sh", "-c", outer], env=marks, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        script = repository / "facts" / "programs" / "processes.py"
        said = {}
        for node in ("node-of-a-test", "another-node"):
            done = subprocess.run(
                [sys.executable, str(script), node, "cluster-of-a-test"],
                capture_output=True,
                text=True,
                timeout=30,
                check=True,
            )
            said[node] = parse_processes(json.loads(done.stdout))
        process.communicate(timeout=10)
    names = said["node-of-a-test"].names
    assert len(names) == 2 and names[0].startswith("sh ") and names[1].startswith(sys.executable)
    assert said["node-of-a-test"].total_bytes > 0
    assert said["another-node"].names == ()
