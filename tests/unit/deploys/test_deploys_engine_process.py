"""engine_process.py without vLLM: which event loop an engine's process gets."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from deploys.vllm.programs.engine_process import loop_factory


def test_the_loop_is_uvloops_where_the_runtime_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "uvloop.py").write_text("from asyncio import new_event_loop\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "uvloop", raising=False)
    try:
        assert loop_factory() is asyncio.new_event_loop
    finally:
        sys.modules.pop("uvloop", None)


def test_without_it_the_loop_is_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        assert runner.run(asyncio.sleep(0, "ran")) == "ran"
