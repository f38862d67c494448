"""getent's line of an account and the names of its groups to an `AccountReport`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from facts.parse.report import Report


@dataclass(frozen=True)
class AccountReport(Report):
    """passwd(5)'s fields but for the password, and the names of all groups that the account is in."""

    name: str
    user_id: int
    home: str
    shell: str
    groups: tuple[str, ...]


def parse_account(output: Sequence[str]) -> AccountReport | None:
    """The output of `facts.accounts.Account`; None without an account.

    ValueError for a line that is not passwd(5)'s.
    """
    lines = [line for line in output[1:] if line.strip()]
    if not lines:
        return None
    fields = lines[0].split(":")
    if len(fields) != 7 or not fields[2].isdigit():
        raise ValueError(f"account: seven fields were expected, not {lines[0][:80]!r}")
    groups = tuple(lines[1].split()) if len(lines) > 1 else ()
    return AccountReport(fields[0], int(fields[2]), fields[5], fields[6], groups)
