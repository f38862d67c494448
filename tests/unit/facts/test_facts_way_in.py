"""How we came to a host: the program itself, run here, and what is judged from its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from facts import sources
from facts.health.way_in import way_in_check
from facts.parse.way_in import WayInReport, parse_way_in

CLOSED = [(6379, 6379), (20000, 20199)]


def report(port: int | None = 22, *, listening: tuple[int, ...] = (22,), interface: str = "eth0") -> WayInReport:
    return WayInReport("192.0.2.10" if port else "", port, interface, listening, ())


@pytest.mark.parametrize(
    ("connection", "port"), [("192.0.2.1 50000 127.0.0.1 2222", 2222), ("::1 5 ::1 22", 22), ("", None), ("a b", None)]
)
def test_the_connection_is_found_through_what_hides_it(connection: str, port: int | None) -> None:
    """As through sudo: a shell that was told starts one that was not."""
    inner = [sys.executable, "-I", "-c", sources.text("facts.programs.way_in"), "no_such_set"]
    hidden = {"PATH": os.environ["PATH"]}
    outer = f"import subprocess, sys; sys.exit(subprocess.run({inner!r}, env={hidden!r}).returncode)"
    environment = {**hidden, **({"SSH_CONNECTION": connection} if connection else {})}
    done = subprocess.run(
        [sys.executable, "-I", "-c", outer], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    found = parse_way_in(done.stdout.splitlines())
    if connection or "SSH_CONNECTION" not in os.environ:
        assert found.port == port
    assert found.let_in == ()


@pytest.mark.parametrize(
    ("said", "declared", "ok", "words"),
    [
        (report(), [22], True, "we come in over eth0 at port 22"),
        (report(interface=""), [22], True, "to 192.0.2.10 at port 22"),
        (report(22), [10022], True, "the inventory connects to 10022; both are let in"),
        (report(2222), [22], True, "at port 2222"),
        (report(20022), [22], False, "one of the cluster's own (20000 to 20199)"),
        (report(None), [22], True, "sshd listens on port 22"),
        (report(None, listening=(2222,)), [22], False, "let in port 22, and sshd listens on 2222"),
        (report(None, listening=()), [22], None, "cannot be told"),
    ],
)
def test_the_way_in_is_judged(said: WayInReport, declared: list[int], ok: bool | None, words: str) -> None:
    check = way_in_check("control", said, declared, CLOSED)
    assert (check.name, check.ok) == ("way_in", ok) and words in check.detail
    assert bool(check.remedy) is (ok is not True)


GOOD: dict[str, Any] = {"arrival": None, "listening": [], "let_in": []}


@pytest.mark.parametrize(
    "said",
    [
        *([], ["no JSON"], ["[]"], ["{}"]),
        [json.dumps({**GOOD, "arrival": {"port": "22"}})],
        [json.dumps({**GOOD, "arrival": {"address": "a"}})],
        [json.dumps({**GOOD, "listening": [0]})],
        [json.dumps({**GOOD, "let_in": [True]})],
    ],
)
def test_what_is_no_answer(said: list[str]) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_way_in(said)


def test_an_answer_as_json() -> None:
    found: Any = json.loads(json.dumps(report().to_json()))
    assert (found["port"], found["listening"]) == (22, [22])
