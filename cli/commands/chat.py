"""`cluster chat`: a conversation with the cluster; every answer says who gave it and how fast."""

from __future__ import annotations

import os
import sys

import click

from cli.chat import keys
from cli.chat.commands import completions
from cli.chat.interrupts import Interrupts
from cli.chat.screen import Plain, Screen
from cli.chat.session import HOW_TO_LEAVE, Session
from facts.programs.characters import complaint
from operate import ownership
from operate.api import api_key, served_name
from operate.chat.conversation import Conversation
from operate.chat.link import Link
from operate.clusters import ClusterInventory
from operate.errors import OperatorError


@click.command("chat")
@click.option("--model", default="", metavar="NAME", help="Model to talk to.  [default: the cluster's]")
@click.option("--system", default="", metavar="TEXT", help="System prompt.")
@click.option(
    "--temperature", type=click.FloatRange(0, 2), default=0.0, show_default=True, help="0: the same answer each time."
)
@click.option(
    "--max-tokens", type=click.IntRange(1, 32768), default=512, show_default=True, help="Length of an answer."
)
@click.option("--plain", is_flag=True, help="One prompt a line, answers alone on stdout; the default in a pipe.")
@click.option("--json", "as_json", is_flag=True, help="Plain, with one JSON object an answer.")
@click.option("--no-history", is_flag=True, help="Do not keep what is typed for the next session.")
@click.pass_obj
def command(
    name: str,
    model: str,
    system: str,
    temperature: float,
    max_tokens: int,
    plain: bool,
    as_json: bool,
    no_history: bool,
) -> None:
    """Talk to the cluster. Answers stream; each says which node gave it, and how fast.

    `help` inside lists the commands. Exit status in a pipe: 0 every answer came whole, 1 one did not.
    """
    if wrong := complaint(system):
        raise click.UsageError(f"--system is no text: {wrong}")
    cluster = ownership.load(name)
    conversation = Conversation(served_name(cluster, model), system, temperature, max_tokens)
    comfortable = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    link = Link(cluster)
    with Interrupts() as interrupts:
        try:
            if as_json or plain or not comfortable:
                session = Session(cluster, link, conversation, Plain(as_json=as_json), interrupts)
                status = session.run()
            else:
                _terminal(cluster, link, conversation, interrupts, no_history=no_history)
                status = 0
        finally:
            link.close()
    sys.exit(status)


def _terminal(
    cluster: ClusterInventory, link: Link, conversation: Conversation, interrupts: Interrupts, *, no_history: bool
) -> None:
    # Loaded here: a pipe has no use for it, and it takes a tenth of a second.
    from prompt_toolkit.history import History, InMemoryHistory

    from cli.chat.history import history
    from cli.chat.terminal import Terminal

    kept: History = InMemoryHistory()
    unkept = ""
    if not no_history:
        kept, unkept = history(_key(cluster))
    nodes = [host.name for host in cluster.hosts]
    session: Session

    def state() -> str:
        way = " · through SSH" if link.forwarded else ""
        return f" {cluster.name}{way} · {conversation.model} · {len(conversation.turns)} turns · help, quit "

    screen: Screen = Terminal(kept, lambda before: completions(before, nodes, session.models), state)
    session = Session(cluster, link, conversation, screen, interrupts)
    screen.say(
        f"{cluster.name}: {conversation.model} at {cluster.control.settings.endpoint}; `help` lists the commands"
    )
    screen.say(HOW_TO_LEAVE)
    if unkept:
        screen.problem(unkept)
    with keys.unseen():  # while a line is read, prompt_toolkit shows the keys
        session.greet()
        session.run()


def _key(cluster: ClusterInventory) -> str | None:
    """The API key, for the history to leave out; the conversation itself says when it is missing."""
    try:
        return api_key(cluster)
    except OperatorError:
        return None
