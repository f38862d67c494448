"""The program that reads facts, in this process: this machine by pyinfra's @local, and a port that nobody has.

What it answers is what operate/runner.py makes observations of.
"""

from __future__ import annotations

import io
import json
import logging
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.parse.report import Report
from operate import observer

AWAY = {"ssh_hostname": "127.0.0.1", "ssh_user": "nobody", "ssh_config_file": "/dev/null", "ssh_look_for_keys": False}
COMMAND = "pyinfra.facts.server.Command"


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """observed({host: [(key, fact, arguments)]}) is what the program prints; hosts but @local are away."""

    def run(requests: dict[str, list[Any]], fact_seconds: float = 20) -> Any:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            away = {**AWAY, "ssh_port": nobody.getsockname()[1]}
            hosts = [[name, {} if name == "@local" else away] for name in requests]
            order = {"groups": {"all": hosts}, "requests": requests, "connect_seconds": 5, "fact_seconds": fact_seconds}
            monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(order)))
            observer.main()
        return json.loads(capsys.readouterr().out)

    return run


def test_a_host_that_is_away_takes_nothing_from_another(observed: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("abc")
    paths = {"paths": [str(tmp_path / "file"), str(tmp_path / "none")]}
    found = observed({"@local": [("files", "facts.files.Digests", paths)], "away": [("host", "facts.host.Host", {})]})
    here = found["@local"]
    assert here["connected"] and here["facts"]["files"]["asked"] <= here["facts"]["files"]["answered"]
    assert here["facts"]["files"]["value"][str(tmp_path / "file")]["sha256"].startswith("ba7816bf")
    assert not found["away"]["connected"] and found["away"]["facts"] == {}
    assert found["away"]["error"], "and it says why"


def test_each_fact_fails_alone_and_says_why(observed: Any) -> None:
    asked = [
        ("no module", "facts.nothing.Fact", {}),
        ("no fact", "facts.host.Nothing", {}),
        ("wrong arguments", "facts.files.Digests", {"path": "/"}),
        ("failed", COMMAND, {"command": "exit 3"}),
        ("slow", COMMAND, {"command": "sleep 20"}),
        ("good", COMMAND, {"command": "echo three"}),
    ]
    facts = observed({"@local": asked}, fact_seconds=1)["@local"]["facts"]
    said = {key: fact.get("error", "") for key, fact in facts.items()}
    assert said["no module"] == "No module named 'facts.nothing'"
    assert "has no attribute 'Nothing'" in said["no fact"]
    assert "unexpected keyword argument 'path'" in said["wrong arguments"]
    assert "could not load fact: server.Command command=exit 3" in said["failed"]
    assert said["slow"] == "no answer within 1 s"
    assert facts["good"]["value"] == "three"


def test_facts_of_one_command_fail_alone_too(observed: Any) -> None:
    asked = [
        ("memory", "facts.memory.Memory", {}, True),
        ("wrong", "facts.memory.Disk", {"path": "relative"}, True),
        ("no module", "facts.nothing.Fact", {}, True),
        ("unreadable", f"{__name__}.Unreadable", {}, True),
        ("disk", "facts.memory.Disk", {"path": "/"}, True),
        ("alone", COMMAND, {"command": "echo three"}, False),
    ]
    facts = observed({"@local": asked})["@local"]["facts"]
    assert facts["memory"]["value"]["total_bytes"] > 0 and facts["disk"]["value"]["mount_point"] == "/"
    assert facts["memory"]["asked"] == facts["disk"]["asked"], "in one command"
    assert "'relative' is not an absolute path" in facts["wrong"]["error"]
    assert facts["no module"]["error"] == "No module named 'facts.nothing'"
    assert "Unreadable: noise is no report" in facts["unreadable"]["error"]
    assert facts["alone"]["value"] == "three"


def test_a_fact_that_holds_up_its_command_leaves_the_others(observed: Any) -> None:
    asked = [("slow", COMMAND, {"command": "sleep 20"}, True), ("memory", "facts.memory.Memory", {}, True)]
    facts = observed({"@local": asked}, fact_seconds=1)["@local"]["facts"]
    assert facts["slow"]["error"] == "no answer within 1 s"
    assert facts["memory"]["value"]["total_bytes"] > 0


class Unreadable(FactBase[str]):
    """A fact whose output is of no shape that its parser knows."""

    def command(self) -> str:
        return "echo noise"

    @fails_alone
    def process(self, output: list[str]) -> str:
        raise ValueError(f"{output[0]} is no report")


@dataclass(frozen=True)
class _Report(Report):
    names: tuple[str, ...]
    deeper: dict[int, Any]


def test_values_become_plain_data() -> None:
    report = _Report(("a",), {1: {"set"}})
    assert observer.plain({"report": report, 2: None}) == {
        "report": {"names": ["a"], "deeper": {"1": ["set"]}},
        "2": None,
    }


def test_the_last_words_about_a_host_are_kept_without_colours() -> None:
    errors = observer.LastError()
    for text in ("[head] \x1b[31mfirst\x1b[0m", "[head]   second\n  line ", "of nobody"):
        errors.emit(logging.LogRecord("pyinfra", logging.ERROR, "", 0, text, None, None))
    assert errors.said == {"head": "second line"}
