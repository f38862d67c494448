"""The service user, against what getent and id print (Debian 12)."""

from __future__ import annotations

from typing import Any

import pytest
from pyinfra.facts.server import Groups, LinuxName, Os, Users, Which

from deploys.operations import account
from facts.accounts import Account

THERE = ["account", "cluster:x:998:998::/var/lib/cluster:/usr/sbin/nologin", "cluster video"]
NEW: dict[Any, Any] = {Users: {}, Which: "/usr/sbin/usermod", Groups: [], Os: "Linux", LinuxName: "Debian"}
WANTED = {"user": "cluster", "home": "/var/lib/cluster", "shell": "/usr/sbin/nologin"}


def test_an_account_as_declared(given_host: Any, unchanged: Any) -> None:
    unchanged(given_host.run(account.ensure, {Account: THERE}, **WANTED))
    unchanged(given_host.run(account.ensure, {Account: THERE}, user="cluster", groups=("video",)))


def test_no_account_is_made(given_host: Any) -> None:
    done = given_host.run(account.ensure, {Account: ["account"], **NEW}, **WANTED)
    assert done.commands == ["useradd -d /var/lib/cluster -s /usr/sbin/nologin -r -M cluster"]


@pytest.mark.parametrize("change", [{"home": "/home/cluster"}, {"shell": "/bin/bash"}, {"groups": ("video", "render")}])
def test_another_home_shell_or_group_is_a_change(given_host: Any, change: dict[str, Any]) -> None:
    users = {
        "cluster": {
            "home": "/var/lib/cluster",
            "shell": "/usr/sbin/nologin",
            "group": "cluster",
            "groups": ["video"],
            "uid": 998,
            "gid": 998,
            "comment": "",
            "lastlog": None,
            "password": "!",
        }
    }
    done = given_host.run(account.ensure, {Account: THERE, **NEW, Users: users}, **{**WANTED, **change})
    assert len(done.commands) == 1 and done.commands[0].startswith("usermod") and done.will_change


def test_a_line_that_is_no_account_fails_alone(given_host: Any) -> None:
    from pyinfra.api.exceptions import FactProcessError

    with pytest.raises(FactProcessError, match="seven fields"):
        given_host.run(account.ensure, {Account: ["account", "cluster:x:998"]}, **WANTED)
