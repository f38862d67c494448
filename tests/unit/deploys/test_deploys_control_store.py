"""control_store.py: what the head remembers is set aside when starts with it come to nothing, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.compute_base.programs import control_store


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A database below a directory, as Ray makes it."""
    made = tmp_path / "control-store" / "cpu-0"
    made.mkdir(parents=True)
    (made / "session_name").write_text("session_1")
    return made


def test_a_head_that_starts_keeps_what_it_remembers(place: Path) -> None:
    for _ in range(3 * control_store.STARTS):
        store = control_store.ControlStore(str(place))
        assert store.begin() == ""
        store.started()
    assert (place / "session_name").read_text() == "session_1"


def test_starts_that_come_to_nothing_set_it_aside_once(place: Path) -> None:
    said = [control_store.ControlStore(str(place)).begin() for _ in range(control_store.STARTS + 1)]
    assert said[:-1] == [""] * control_store.STARTS
    assert "3 starts came to nothing" in said[-1] and f"{place}.unreadable" in said[-1]
    assert not place.exists() and Path(f"{place}.unreadable", "session_name").exists()
    assert control_store.ControlStore(str(place)).begin() == "", "there is none now"


def test_the_first_start_has_none_and_a_memory_head_none_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    control_store.ControlStore(str(tmp_path / "new" / "cpu-0")).begin()
    monkeypatch.delenv(control_store.PLACE, raising=False)
    assert control_store.declared() is None
    monkeypatch.setenv(control_store.PLACE, str(tmp_path))
    found = control_store.declared()
    assert found and found.place == tmp_path
