"""A host of pyinfra's own whose facts are given: an operation runs as in a deploy, and its commands are read."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.command import FileUploadCommand, FunctionCommand, PyinfraCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.context import ctx_host, ctx_state


@dataclass(frozen=True)
class Outcome:
    """What an operation would do: commands as text, `upload DESTINATION`, `call FUNCTION`; what it said of a no-op."""

    commands: list[str]
    uploads: dict[str, str]
    noops: list[str]
    will_change: bool


class GivenHost:
    """Runs operations against facts that are given as the output of their commands, or as what they return."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = State(Inventory((["compute0"], {})), Config())
        self.host = self.state.inventory.get_host("compute0")
        self.facts: dict[type[FactBase[Any]], Any] = {}
        self.asked: list[tuple[type[FactBase[Any]], dict[str, Any]]] = []
        self.noops: list[str] = []
        monkeypatch.setattr(self.host, "get_fact", self._fact)
        monkeypatch.setattr(self.host, "noop", self.noops.append)

    def _fact(self, fact: type[FactBase[Any]], **arguments: Any) -> Any:
        instance = fact()
        inspect.signature(instance.command).bind(**arguments)  # TypeError as with a real host
        self.asked.append((fact, arguments))
        given = self.facts[fact]
        is_output = isinstance(given, list)
        return instance.process(given) if is_output else given

    def run(self, operation: Any, facts: dict[type[FactBase[Any]], Any], **arguments: Any) -> Outcome:
        """Prepare an operation as pyinfra does, and list what it would do."""
        self.facts, self.noops[:] = facts, []
        with ctx_state.use(self.state), ctx_host.use(self.host):
            meta = operation(name=f"A test of {operation.__name__}", **arguments)
            will_change = meta.will_change
            self.noops.clear()
            prepared = self.state.get_op_data_for_host(self.host, meta._hash)
            found: list[PyinfraCommand] = list(prepared.command_generator())
        uploads: dict[str, str] = {}
        commands = []
        for command in found:
            if isinstance(command, FileUploadCommand):
                content = command.src if isinstance(command.src, str) else command.src.read().decode()
                uploads[command.dest] = content
                commands.append(f"upload {command.dest}")
            elif isinstance(command, FunctionCommand):
                commands.append(f"call {command.function.__name__}")
            else:
                assert isinstance(command, StringCommand)
                commands.append(command.get_raw_value())
        return Outcome(commands, uploads, list(self.noops), will_change)


@pytest.fixture
def given_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[GivenHost]:
    """A host without a connection."""
    yield GivenHost(monkeypatch)


@pytest.fixture
def unchanged() -> Any:
    """Asserts that an operation has nothing to do and says so."""

    def check(outcome: Outcome) -> None:
        assert outcome.commands == []
        assert len(outcome.noops) == 1 and outcome.noops[0], "an operation without commands says why"
        assert not outcome.will_change

    return check
