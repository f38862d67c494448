"""`cluster`: the command, its common options and its one error boundary."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import version
from typing import Any

import click

from cli import display
from operate.errors import INTERRUPTED, OperatorError

_COMMANDS = (
    "plan",
    "up",
    "down",
    "status",
    "verify",
    "ask",
    "chat",
    "explain",
    "calibrate",
    "models",
    "nodes",
    "doctor",
    "lab",
    "image",
    "netboot",
    "control",
    "doc",
    "completion",
)


class LazyGroup(click.Group):
    """Loads a command's module when it is used, so that `cluster --help` and completion are quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f"cli.commands.{cmd_name}"), "command")  # noqa: B009 (mypy knows no such attribute)
        return command if isinstance(command, click.Command) else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            raise OperatorError(f"no command {args[0]!r}; there are {', '.join(_COMMANDS)}") from None


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
@click.version_option(version("cluster"), prog_name="cluster")
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
        display.words().print(f"cluster: {error}", style="red", markup=False)
        sys.exit(error.exit_code)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        display.words().print("cluster: interrupted; what was done stays, run the same command again to go on")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.exit(1)


if __name__ == "__main__":
    main()
