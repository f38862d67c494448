"""Which lines of a conversation are commands, and which are questions that begin like one."""

from __future__ import annotations

import pytest

from cli.chat.commands import COMMANDS, Ask, Invocation, Unknown, completions, help_rows, log_argument, parse
from cli.chat.session import Session

NODES = ("head", "worker1", "worker2")


@pytest.mark.parametrize("name", [name for command in COMMANDS for name in command.names])
def test_a_command_alone_with_a_slash_and_without(name: str) -> None:
    plain, slashed = parse(f"{name}\n", NODES), parse(f"  /{name.upper()}  ", NODES)
    assert isinstance(plain, Invocation) and plain == slashed


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.name != "quit"])
def test_every_command_is_obeyed(command: object) -> None:
    name = getattr(command, "name")  # noqa: B009 (a parameter of the test)
    assert callable(getattr(Session, f"_do_{name.replace('-', '_')}"))


@pytest.mark.parametrize(
    ("line", "name", "argument"),
    [
        ("logs worker1", "logs", "worker1"),
        ("logs 50 worker2", "logs", "50 worker2"),
        ("system Answer in French.", "system", "Answer in French."),
        ("/system Two\nlines", "system", "Two\nlines"),
        ("model gpt2", "model", "gpt2"),
        ("temperature 0.7", "temperature", "0.7"),
        ("max-tokens 64", "max-tokens", "64"),
        ("/temperature warm", "temperature", "warm"),
        ("clear", "new", ""),
    ],
)
def test_arguments(line: str, name: str, argument: str) -> None:
    assert parse(line, NODES) == Invocation(name, argument)


@pytest.mark.parametrize(
    "line",
    [
        "What is the capital of France?",
        "status of the French Revolution",
        "logs are made of wood",
        "test me on geography",
        "model trains are fun",
        "System design is hard, explain it",
        "quit smoking, how?",
        "temperature in Paris",
        "status\nquo",
    ],
)
def test_a_question_that_begins_like_a_command(line: str) -> None:
    assert parse(line, NODES) == Ask(line)


def test_a_commands_name_can_be_asked() -> None:
    assert parse("/ask test", NODES) == Ask("test")
    assert parse("/ask", NODES) is None


def test_a_slash_and_no_command_is_not_sent() -> None:
    assert parse("/etc/hosts is what?", NODES) == Unknown("/etc/hosts")


@pytest.mark.parametrize("line", ["", "\n", "   \n"])
def test_an_empty_line_means_nothing(line: str) -> None:
    assert parse(line, NODES) is None


def test_what_logs_takes() -> None:
    assert log_argument("", NODES) == ("", 0)
    assert log_argument("worker1 30", NODES) == ("worker1", 30)
    for wrong in ("worker9", "0", "-5", "99999", "worker1 worker2", "10 20"):
        assert log_argument(wrong, NODES) is None


def test_completion() -> None:
    assert completions("st", NODES, []) == ("st", ["status"])
    assert completions("/a", NODES, []) == ("/a", ["/actors", "/ask"])
    assert completions("logs w", NODES, []) == ("w", ["worker1", "worker2"])
    assert completions("logs 20 ", NODES, []) == ("", sorted(NODES))
    assert completions("/model g", NODES, ["gpt2", "smollm2"]) == ("g", ["gpt2"])
    assert completions("tell me st", NODES, ["gpt2"]) == ("st", [])


def test_help_names_every_command() -> None:
    listed = " ".join(row[0] for row in help_rows())
    assert all(name in listed for command in COMMANDS for name in command.names)
