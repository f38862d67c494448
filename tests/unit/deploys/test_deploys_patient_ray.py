"""What patient_ray.py puts around two of Ray's functions; the real Ray is in tests/runtime."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploys.compute_base.programs import patient_ray


def test_a_node_that_is_not_known_yet_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_ray, "PERIOD_SECONDS", 0.01)
    answers: list[Any] = [RuntimeError("not yet"), RuntimeError("not yet"), {"node": 1}]

    def ask(*_arguments: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    known = threading.Event()
    assert patient_ray.patient(ask, 10, known)("head:6379", "id") == {"node": 1}
    assert known.is_set(), "from here on Ray looks at its processes itself"


def test_a_node_that_never_comes_is_said_in_rays_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_ray, "PERIOD_SECONDS", 0.01)

    def ask() -> None:
        raise RuntimeError("no node")

    with pytest.raises(RuntimeError, match="no node"):
        patient_ray.patient(ask, 0.05, threading.Event())()


def test_declared_ports_are_written_before_the_raylet_starts() -> None:
    seen: list[Any] = []
    node = SimpleNamespace(
        _node_id="ab", _ray_params=SimpleNamespace(metrics=6384, agent=None), get_session_dir_path=lambda: "/session"
    )
    start = patient_ray.after_ports(
        lambda _node, *more: seen.append(("start", *more)),
        lambda *written: seen.append(written),
        {"metrics": "metrics_port", "agent": "agent_port"},
        lambda there: seen.append(("started", there)),
    )
    start(node, "plasma")
    assert seen == [("/session", "ab", "metrics_port", 6384), ("start", "plasma"), ("started", node)]


# From Ray 2.60.0: a raylet whose port was taken, but for its stack.
FATAL = """\
[2026-11-29 14:29:22,798 I 2052 2052] (raylet) store.cc:573: Plasma store debug dump:
Current usage: 0 / 0.08 GB
[2026-11-29 14:29:22,839 C 2052 2052] (raylet) grpc_server.cc:134:  An unexpected system state has occurred. You have \
likely discovered a bug in Ray. Please report this issue at https://github.com/ray-project/ray/issues and we'll work \
with you to fix it. Check failed: server_ Failed to start the grpc server. The specified port is 7900.
*** StackTrace Information ***
raylet(+0xff770a) [0x5642f24c970a] ray::operator<<()
"""


def test_the_last_words_are_the_cause(tmp_path: Path) -> None:
    out, error = tmp_path / "raylet.out", tmp_path / "raylet.err"
    out.write_text(FATAL)
    error.write_text(FATAL)
    said = patient_ray.last_words([out, error])
    assert said == "Check failed: server_ Failed to start the grpc server. The specified port is 7900."


def test_without_an_error_they_are_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "raylet.out").write_text("one\n\ntwo\nKilled\n")
    assert patient_ray.last_words([tmp_path / "raylet.out", tmp_path / "raylet.err"]) == "one; two; Killed"
    assert patient_ray.last_words([tmp_path / "none"]) == ""
