"""What the command says of itself, and what it loads before it says or does anything."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from cli.main import COMMANDS, LazyGroup, group

SLOW = {"pyinfra", "rich", "httpx", "prompt_toolkit", "gevent"}


def loaded(code: str, **environment: str) -> set[str]:
    """Slow packages that a fresh interpreter has loaded after some code, whether or not the code exits."""
    program = (
        "import sys\n"
        "try:\n"
        f"    exec({code!r})\n"
        "except SystemExit:\n"
        "    pass\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split()[1:]) & SLOW


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_it_says_of_itself(name: str) -> None:
    command = LazyGroup().get_command(click.Context(group), name)
    assert command is not None and command.help
    first, *_ = " ".join(command.help.split("\n\n")[0].split()).split(". ")
    assert COMMANDS[name].rstrip(".") == first.rstrip(".")


def test_every_command_is_listed() -> None:
    context = click.Context(group)
    shown = group.get_help(context)
    assert all(f"  {name} " in shown for name in group.list_commands(context))


def test_help_and_completion_load_nothing_slow() -> None:
    run = "sys.argv = ['cluster', '--help']\nfrom cli.main import main\nmain()"
    assert loaded(run) == set()
    words = {"_CLUSTER_COMPLETE": "bash_complete", "COMP_WORDS": "cluster st", "COMP_CWORD": "1"}
    assert loaded(run, **words) == set()


def test_completion_offers_commands_with_what_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {item.value: item.help for item in group.shell_complete(click.Context(group), "sta")}
    assert found == {"status": COMMANDS["status"]}


@pytest.mark.parametrize("name", ["up", "down", "status", "verify", "ask", "plan", "nodes", "doctor", "models"])
def test_a_command_loads_pyinfra_only_in_its_children(name: str) -> None:
    assert loaded(f"import cli.commands.{name}") == set()
    assert loaded("from operate import clusters\nclusters.read('laptop')") == set()
