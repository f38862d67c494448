"""The account that the services run as: one quick look, and pyinfra's own operation where something is to do."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand
from pyinfra.operations import server

from facts.accounts import Account

Commands = Generator[StringCommand, None, None]


@operation()
def ensure(user: str, home: str = "", shell: str = "", groups: tuple[str, ...] = ()) -> Commands:
    """A system account `user` with that home and shell, in at least those groups; empty leaves what is there."""
    found = host.get_fact(Account, user=user)
    if (
        found
        and (not home or found.home == home)
        and (not shell or found.shell == shell)
        and set(groups) <= set(found.groups)
    ):
        host.noop(f"{user} is as declared")
        return
    yield from server.user._inner(
        user=user,
        home=home or None,
        shell=shell or None,
        groups=list(groups) or None,
        append=True,
        system=True,
        ensure_home=False,
    )
