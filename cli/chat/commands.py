"""Which lines are commands. Pure.

A command is typed with a slash or without. Without one it must be the whole line and its argument must be one that the
command takes, so that "status of the French Revolution" is a question. `/ask TEXT` sends whatever TEXT is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """One command: its names, its argument as help shows it, and what it does."""

    names: tuple[str, ...]
    argument: str
    help: str

    @property
    def name(self) -> str:
        """The name that the program goes by."""
        return self.names[0]


COMMANDS = (
    Command(("help", "?"), "", "this list"),
    Command(("status",), "", "nodes, resources, replicas, memory; asks every host"),
    Command(("actors", "replicas"), "", "engine replicas: node, state, since when, proofs"),
    Command(("logs",), "[NODE] [LINES]", "last lines of the services and of the replicas"),
    Command(("test",), "", "ask the golden question, once for each declared replica"),
    Command(("new", "clear"), "", "begin another conversation"),
    Command(("system",), "[TEXT|off]", "show, set or take away the system prompt"),
    Command(("model",), "[NAME]", "list the models that are served, or talk to another one"),
    Command(("temperature",), "[0..2]", "show or set it; 0 gives the same answer each time"),
    Command(("max-tokens",), "[N]", "show or set the greatest length of an answer"),
    Command(("quit", "exit", "bye"), "", "leave; so does Ctrl-D"),
)
_BY_NAME = {name: command for command in COMMANDS for name in command.names}


@dataclass(frozen=True)
class Ask:
    """A question for the model."""

    text: str


@dataclass(frozen=True)
class Invocation:
    """A command, by its first name, with its argument."""

    name: str
    argument: str


@dataclass(frozen=True)
class Unknown:
    """A line with a slash that is no command."""

    word: str


def parse(line: str, nodes: Collection[str]) -> Ask | Invocation | Unknown | None:
    """What a line means; None for an empty one. `nodes`: names of the cluster's nodes."""
    text = line.strip()
    if not text:
        return None
    word, _, argument = text.partition(" ")
    argument = argument.strip()
    if word == "/ask":
        return Ask(argument) if argument else None
    if word.startswith("/"):
        command = _BY_NAME.get(word[1:].lower())
        return Invocation(command.name, argument) if command else Unknown(word)
    command = _BY_NAME.get(word.lower())
    if command is None or "\n" in text:
        return Ask(text)
    takes = _TAKES.get(command.name)
    if not argument or (takes and takes(argument, nodes) and word == word.lower()):
        return Invocation(command.name, argument)
    return Ask(text)


def log_argument(argument: str, nodes: Collection[str]) -> tuple[str, int] | None:
    """(node or "", lines or 0) of `logs`; None when a word is neither a node nor a number."""
    node, lines = "", 0
    for word in argument.split():
        if word in nodes and not node:
            node = word
        elif re.fullmatch(r"[1-9]\d{0,3}", word) and not lines:
            lines = int(word)
        else:
            return None
    return node, lines


_TAKES: dict[str, Callable[[str, Collection[str]], bool]] = {
    "logs": lambda argument, nodes: log_argument(argument, nodes) is not None,
    "system": lambda argument, nodes: True,
    "model": lambda argument, nodes: " " not in argument,
    "temperature": lambda argument, nodes: bool(re.fullmatch(r"\d+(\.\d+)?", argument)),
    "max-tokens": lambda argument, nodes: argument.isdigit(),
}


def completions(before: str, nodes: Collection[str], models: Collection[str]) -> tuple[str, list[str]]:
    """(the part that is being typed, what it could become) for the text before the cursor."""
    word, space, rest = before.lstrip().partition(" ")
    slash = "/" if word.startswith("/") else ""
    if not space:
        names = [*_BY_NAME, *(["ask"] if slash else [])]
        return word, sorted(slash + name for name in names if len(name) > 1 and (slash + name).startswith(word))
    command = _BY_NAME.get(word.removeprefix("/"))
    values = {"logs": nodes, "model": models, "system": ["off"]}.get(command.name if command else "", [])
    typed = rest.rpartition(" ")[2]
    return typed, sorted(value for value in values if value.startswith(typed))


def help_rows() -> list[tuple[str, str]]:
    """(command, what it does) for a table."""
    rows = [(f"{', '.join(command.names)} {command.argument}".strip(), command.help) for command in COMMANDS]
    return [*rows, ("/ask TEXT", "send TEXT even if it is the name of a command")]
