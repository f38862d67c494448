"""The one builder of shell commands: everything quoted, options never taken from values.

Pure. A value that starts with `-` would be read as an option by the program that gets it, so it is refused.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyinfra.api import StringCommand


class UnsafeValueError(ValueError):
    """A value that a program could take for an option."""


def command(program: str, *arguments: str, values: tuple[str, ...] = ()) -> StringCommand:
    """`program` with fixed `arguments`, then `values`, which come from data and may not start with `-`."""
    # Whoever only writes lines down need not wait for pyinfra.
    from pyinfra.api import StringCommand

    return StringCommand(line(program, *arguments, values=values))


def line(program: str, *arguments: str, values: tuple[str, ...] = ()) -> str:
    """The same as text, for unit files and scripts."""
    for value in values:
        if value.startswith("-"):
            raise UnsafeValueError(f"{program}: value {value!r} starts with '-' and would be read as an option")
    return shlex.join([program, *arguments, *values])
