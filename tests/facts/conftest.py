"""What the tests of facts share: fixture files, and output in the sections of `facts.commands`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

FIXTURES = Path(__file__).parent / "fixtures"
FixtureText = Callable[[str], str]
Rendered = Callable[..., list[str]]
Shell = Callable[[str], list[str]]


@pytest.fixture
def fixture_text() -> FixtureText:
    """The text of a file below fixtures/."""
    return lambda name: (FIXTURES / name).read_text()


@pytest.fixture
def rendered() -> Rendered:
    """Output lines of sections, each given as (name, text) or (name, text, status)."""

    def render(*sections: tuple[str, str] | tuple[str, str, int | str]) -> list[str]:
        lines: list[str] = []
        for name, text, *rest in sections:
            lines += [f"##begin {name}", *text.splitlines(), "", f"##end {name} {rest[0] if rest else 0}"]
        return lines

    return render


@pytest.fixture
def shell() -> Shell:
    """Runs a command as pyinfra would, and returns its lines; it has to succeed and to print something."""

    def run(command: str) -> list[str]:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=120, check=True)
        lines = done.stdout.splitlines()
        assert lines
        return lines

    return run
