"""`cluster`: the command, its common options and its one error boundary."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

from operate.errors import INTERRUPTED, OperatorError

# What `cluster --help` and completion say of each command, so that they load none of them. A test holds each sentence
# against the command's own first one.
COMMANDS = {
    "plan": "Say where a model fits on the cluster, how fast it would be, what would bind, and which placement to "
    "take.",
    "up": "Deploy the cluster, verify it and ask it a first question.",
    "down": "Stop the cluster.",
    "status": "Show nodes, engines and endpoint.",
    "verify": "Compare the running cluster with its inventory and ask every engine the golden question.",
    "ask": "Ask QUESTION; prints the answer and the node that gave it.",
    "chat": "Talk to the cluster.",
    "bench": "Put load on the cluster's API and show its latencies.",
    "experiment": "Run load, faults and telemetry as an experiment, and read what it leaves.",
    "explain": "Explain RUN, a file of measured points (JSON lines): what bound each, and the counter-tests that would "
    "prove it.",
    "calibrate": "Measure memory, matrices and collectives on the hosts, and steps of the service if one runs.",
    "models": "Show the models that can be served, and whether they fit this cluster.",
    "nodes": "Show the nodes, or add and remove one while the cluster serves.",
    "doctor": "Look at the hosts and name what would go wrong, with its fix.",
    "lab": "Real hosts on this machine (root): a control and N compute hosts, each a Debian with systemd and sshd.",
    "image": "The one root file system that compute nodes boot over the network: kernel, initrd, squashfs, manifest.",
    "netboot": "Nodes that boot from the control node: set up, images, choice, rollback, power.",
    "control": "Work on the control node.",
    "doc": "Show a PAGE of the documentation; without PAGE, list the pages.",
    "completion": 'Print the completion script of SHELL, as in: eval "$(cluster completion bash)".',
}


def _short(says: str, room: int = 45) -> str:
    return click.Command(None, help=says).get_short_help_str(room)


class LazyGroup(click.Group):
    """Loads a command's module when it is used, so that `cluster --help` and completion are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"cli.commands.{cmd_name}"), "command")  # noqa: B009 (mypy knows no such attribute)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        room = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(name, _short(says, room)) for name, says in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=_short(says)) for name, says in COMMANDS.items() if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise OperatorError(f"no command {args[0]!r}; there are {', '.join(COMMANDS)}") from None


def complete_cluster(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of clusters that begin with what was typed."""
    from operate.clusters import names

    return [name for name in names() if name.startswith(incomplete)]


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "-c",
    "--cluster",
    "name",
    default=lambda: os.environ.get("CLUSTER") or "laptop",
    metavar="NAME",
    shell_complete=complete_cluster,
    help="Cluster: the name of a file in inventories/, or a path to one.  [default: laptop, or $CLUSTER]",
)
@click.option("--no-color", is_flag=True, help="No colours (also with NO_COLOR set).")
@click.version_option(package_name="cluster", prog_name="cluster")
@click.pass_context
def group(context: click.Context, name: str, no_color: bool) -> None:
    """A few machines from power-on to a verified LLM inference cluster (Ray + vLLM).

    Exit status: 0 it holds, 1 it does not, 2 it could not be told or the command was used wrongly.
    """
    if no_color:
        os.environ["CLUSTER_NO_COLOR"] = "1"
    context.obj = name


def main() -> None:
    """Entry point: every failure is one line on stderr and an exit status."""
    try:
        sys.exit(group.main(standalone_mode=False, prog_name="cluster") or 0)
    except OperatorError as error:
        _say(f"cluster: {error}", fg="red")
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        _say("cluster: interrupted; what was done stays, run the same command again to go on")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)


def _say(text: str, **style: Any) -> None:
    """A line on stderr, in colours where that is a terminal that wants them."""
    plain = bool(os.environ.get("NO_COLOR") or os.environ.get("CLUSTER_NO_COLOR"))
    click.echo(text if plain else click.style(text, **style), err=True)


if __name__ == "__main__":
    main()
