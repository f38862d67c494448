"""Rules are loaded under a timer, and stay only where a new connection comes in through them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import ConnectError

from deploys.compute_base import firewall as rules
from deploys.operations import firewall
from deploys.settings import Settings
from facts.services import FirewallRules
from facts.way_in import WayIn

GUARD = "sh /usr/local/lib/cluster/deploys/compute_base/programs/firewall_guard.sh"


@pytest.fixture
def control(composed: Any) -> Settings:
    found: Settings = composed()["control"]
    return found


def facts(*marks: str, port: int | None = 22, let_in: tuple[int, ...] = ()) -> dict[Any, list[str]]:
    arrival = {"address": "192.0.2.10", "port": port, "interface": "eth0"} if port else None
    said = json.dumps({"arrival": arrival, "listening": [22], "let_in": list(let_in)})
    return {FirewallRules: ["firewall", *marks], WayIn: [said]}


@pytest.mark.parametrize(("port", "let_in"), [(22, ()), (2222, (2222,)), (None, ()), (22, (2222,))])
def test_rules_that_are_loaded_and_proven(
    given_host: Any, unchanged: Any, control: Settings, port: int | None, let_in: tuple[int, ...]
) -> None:
    mark = rules.mark(control)
    unchanged(given_host.run(firewall.load, facts(mark, mark, port=port, let_in=let_in), settings=control))


@pytest.mark.parametrize("loaded", ["none", "other", "not_at_boot", "other_at_boot"])
def test_rules_are_loaded_for_a_while_and_then_confirmed(given_host: Any, control: Settings, loaded: str) -> None:
    mark, other = rules.mark(control), "rules_ba9876543210"
    found = {"none": (), "other": (other, other), "not_at_boot": (mark,), "other_at_boot": (mark, other)}[loaded]
    outcome = given_host.run(firewall.load, facts(*found), settings=control)
    assert outcome.commands == [f"{GUARD} load {mark} 90", "call _come_in_anew"]


def test_the_port_that_we_came_through_is_let_in(given_host: Any, control: Settings) -> None:
    mark = rules.mark(control)
    outcome = given_host.run(firewall.load, facts(mark, mark, port=2222, let_in=(2022,)), settings=control)
    assert f"{GUARD} load {mark} 90 2022 2222" in outcome.commands, "and those of others before"


class Connector:
    """Stands for pyinfra's SSH: new ones do as `fails` says, the first one is the connection that was there."""

    fails: Exception | None = None
    confirmed = True
    ran: list[str]

    def __init__(self, *_: Any) -> None:
        self.connected = False

    def connect(self) -> None:
        if self.fails:
            raise self.fails
        self.connected = True

    def run_shell_command(self, command: StringCommand, **arguments: Any) -> tuple[bool, Any]:
        self.ran.append(("new " if self.connected else "old ") + command.get_raw_value())
        output = type("Output", (), {"stderr": "" if self.confirmed else "not loaded any more"})
        return self.confirmed, output


@pytest.mark.parametrize(
    ("fails", "confirmed", "result", "ran"),
    [
        (None, True, True, ["new confirm"]),
        (ConnectError("timed out"), True, False, ["old undo"]),
        (TimeoutError("no answer"), True, False, ["old undo"]),
        (None, False, False, ["new confirm", "old undo"]),
    ],
)
def test_only_a_new_connection_confirms(
    given_host: Any, fails: Exception | None, confirmed: bool, result: bool, ran: list[str]
) -> None:
    kind: Any = type("Kind", (Connector,), {"fails": fails, "confirmed": confirmed, "ran": []})
    given_host.host.connector = kind()
    done = firewall._come_in_anew(
        given_host.state, given_host.host, StringCommand("confirm"), StringCommand("undo"), {"_sudo": True}
    )
    assert (done, kind.ran) == (result, ran)
