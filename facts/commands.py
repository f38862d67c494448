"""Shell text for facts: read-only, quoted, and divided into sections that `facts.parse.sections` reads back.

Each section prints a line when it begins and one when it ends, with the exit status of its command or
`missing` when the program is not installed. So a fact's output is never empty (pyinfra skips `process` on
empty output), the whole command always succeeds, and a truncated output is recognised. Standard error is kept
in the section: it holds the reason when a tool fails.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pyinfra.api.exceptions import FactValueError

from facts.parse.sections import TIMED_OUT_STATUS

TOOL_TIMEOUT_SECONDS = 30
"""A driver tool can hang for ever on a device that fell off its bus; `timeout` ends it with status 124."""

_GRACE_SECONDS = 2
# The tools of GPU drivers and of iproute2 are often outside the PATH of a shell that is not a login shell.
_PREAMBLE = 'export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/opt/rocm/bin:/usr/lib/wsl/lib"'
_STATUS = '"$?"'
_END = "printf '\\n##end %s %s\\n' {name} {status}"


def argument(value: str) -> str:
    """Quote `value` for the shell.

    Raises `FactValueError` for an empty value or one that starts with `-`, which a program would read as an
    option.
    """
    if not value or value.startswith("-"):
        raise FactValueError(f"{value!r} is no usable argument: it is empty or starts with '-'")
    return shlex.quote(value)


def tool(name: str, program_and_arguments: Sequence[str]) -> str:
    """A section that runs a program under a time limit, or says that it is `missing`.

    `name` begins with the program's name, and may go on with a colon and what is asked of it
    ("amd-smi:static").
    """
    program = shlex.quote(program_and_arguments[0])
    command = f"timeout {TOOL_TIMEOUT_SECONDS} {shlex.join(program_and_arguments)} 2>&1"
    return section(name, command, only_with=program)


def driver_tool(name: str, program_and_arguments: Sequence[str], seconds: int) -> str:
    """As `tool`, for one that may hang in its driver, where no signal reaches it: it is left behind then.

    The shell waits for the reader of its output alone, which has a time limit of its own.
    """
    program = shlex.quote(program_and_arguments[0])
    run = f"timeout {seconds} {shlex.join(program_and_arguments)} 2>&1; {_END.format(name=name, status=_STATUS)}"
    hung = _END.format(name=name, status=TIMED_OUT_STATUS)
    missing = _END.format(name=name, status="missing")
    return (
        f"echo '##begin {name}'; if command -v {program} >/dev/null 2>&1; "
        f"then {{ {{ {run}; }} & }} | timeout {seconds + _GRACE_SECONDS} cat || {hung}; else {missing}; fi"
    )


def files(name: str, patterns: Sequence[str]) -> str:
    """A section with every line of every readable file that matches, as `PATH:LINE`.

    `patterns` are fixed paths of /proc and /sys with shell wildcards; they are not quoted, so that the shell
    expands them, and therefore must not come from outside.
    """
    return section(name, f"grep -sH '' {' '.join(patterns)} 2>/dev/null")


def section(name: str, script: str, *, only_with: str = "") -> str:
    """A section around any shell text.

    With `only_with`, a quoted program name, it is `missing` without that program.
    """
    begin = f"echo '##begin {name}'"
    body = f"{script}; {_END.format(name=name, status=_STATUS)}"
    if not only_with:
        return f"{begin}; {body}"
    missing = _END.format(name=name, status="missing")
    return f"{begin}; if command -v {only_with} >/dev/null 2>&1; then {body}; else {missing}; fi"


def join(*sections: str) -> str:
    """One command of several sections; it exits 0 whatever they do."""
    return "; ".join((_PREAMBLE, *sections, "true"))
