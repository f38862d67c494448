"""What patient_ray.py puts around two of Ray's functions; the real Ray is in tests/runtime."""

from __future__ import annotations

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

    assert patient_ray.patient(ask, 10)("head:6379", "id") == {"node": 1}


def test_a_node_that_never_comes_is_said_in_rays_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_ray, "PERIOD_SECONDS", 0.01)

    def ask() -> None:
        raise RuntimeError("no node")

    with pytest.raises(RuntimeError, match="no node"):
        patient_ray.patient(ask, 0.05)()


def test_declared_ports_are_written_before_the_raylet_starts() -> None:
    seen: list[Any] = []
    node = SimpleNamespace(
        _node_id="ab", _ray_params=SimpleNamespace(metrics=6384, agent=None), get_session_dir_path=lambda: "/session"
    )
    start = patient_ray.after_ports(
        lambda _node, *more: seen.append(("start", *more)),
        lambda *written: seen.append(written),
        {"metrics": "metrics_port", "agent": "agent_port"},
    )
    start(node, "plasma")
    assert seen == [("/session", "ab", "metrics_port", 6384), ("start", "plasma")]
