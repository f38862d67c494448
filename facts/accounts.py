"""One account of a host. Reads only; needs no root.

pyinfra's own `server.Users` starts some ten processes for each account of the host, a quarter of a second of processor
time, to tell about all of them.
"""

from __future__ import annotations

from pyinfra.api.facts import FactBase

from facts.base import fails_alone
from facts.commands import argument
from facts.parse.accounts import AccountReport, parse_account


class Account(FactBase[AccountReport | None]):
    """`AccountReport` of the account `user`; None when there is none of that name."""

    def command(self, user: str) -> str:
        name = argument(user)
        return f"echo account; getent passwd -- {name} && id -Gn -- {name}; true"

    @fails_alone
    def process(self, output: list[str]) -> AccountReport | None:
        return parse_account(output)
