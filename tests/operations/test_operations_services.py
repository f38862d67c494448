"""Operations on services and the clock, against what their facts' commands print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from deploys import hosts, roles
from deploys.operations import service, stage, time
from deploys.services.description import Service
from deploys.settings import Settings
from facts.clock import TimeService
from facts.services import Services

PROGRAMS = Path(sys.executable).parent


def lines(*services: Service, active: str = "active", enabled: str = "enabled", digest: str = "") -> list[str]:
    """What the fact's command prints when every service is as given."""
    return ["services", *(f"service {one.name} {active} {enabled} {digest or one.digest}" for one in services)]


def restarted(name: str) -> list[str]:
    return [
        f"systemctl enable --quiet -- {name}",
        f"systemctl reset-failed -- {name}",
        f"systemctl restart -- {name}",
    ]


@pytest.fixture
def control(composed: Any) -> Settings:
    found: Settings = composed()["control"]
    return found


@pytest.fixture
def supervised(composed: Any) -> Settings:
    found: Settings = composed(managed=False)["control"]
    return found


def test_services_running_as_declared(given_host: Any, unchanged: Any, control: Settings) -> None:
    wanted = roles.services(control)
    facts = {Services: lines(*wanted)}
    unchanged(given_host.run(service.ensure_running, facts, settings=control, services=wanted))


@pytest.mark.parametrize(
    "change",
    [
        {"active": "inactive"},
        {"active": "failed"},
        {"enabled": "disabled"},
        {"digest": "0123456789abcdef"},
        {"digest": "-"},
    ],
)
def test_a_service_that_differs_is_restarted_alone(given_host: Any, control: Settings, change: dict[str, str]) -> None:
    depot, head, serve, *_ = roles.services(control)
    facts = {Services: [*lines(depot, serve), *lines(head, **change)[1:]]}
    outcome = given_host.run(service.ensure_running, facts, settings=control, services=(depot, head, serve))
    assert outcome.commands == ["systemctl daemon-reload", *restarted("cluster-ray-head")]
    assert outcome.noops == []


def test_services_that_nobody_knows_start_in_their_order(given_host: Any, control: Settings) -> None:
    wanted = roles.services(control)
    outcome = given_host.run(service.ensure_running, {Services: ["services"]}, settings=control, services=wanted)
    expected = [command for one in wanted for command in restarted(one.name)]
    assert outcome.commands == ["systemctl daemon-reload", *expected]


def test_services_under_supervisor(given_host: Any, unchanged: Any, supervised: Settings) -> None:
    wanted = roles.services(supervised)
    facts = {Services: lines(*wanted, active="RUNNING", enabled="program")}
    unchanged(given_host.run(service.ensure_running, facts, settings=supervised, services=wanted))
    _, asked = given_host.asked[-1]
    assert asked["supervisor"] == hosts.of(supervised).manager.state_directory


def test_a_stale_service_under_supervisor(given_host: Any, supervised: Settings) -> None:
    head, serve, *_ = roles.services(supervised)
    facts = {
        Services: [
            *lines(head, active="RUNNING", enabled="program"),
            *lines(serve, active="RUNNING", enabled="program", digest="-")[1:],
        ]
    }
    outcome = given_host.run(service.ensure_running, facts, settings=supervised, services=(head, serve))
    control = f"{PROGRAMS}/supervisorctl -c {hosts.of(supervised).manager.state_directory}/supervisord.conf"
    daemon, update, restart = outcome.commands
    asked, started = daemon.split(" || ")[-2:]
    assert asked.endswith(f"{control} pid >/dev/null 2>&1")
    assert started.startswith("env -i ") and started.endswith(control.replace("supervisorctl", "supervisord"))
    assert update == f"{control} reread >/dev/null && {control} update >/dev/null"
    assert f"{control} restart cluster-serve" in restart and f"{control} start cluster-serve" in restart
    assert "cluster-ray-head" not in " ".join(outcome.commands)


def test_nothing_to_stop(given_host: Any, unchanged: Any, control: Settings) -> None:
    wanted = roles.services(control)
    for found in (["services"], lines(*wanted, active="inactive", enabled="disabled", digest="-")):
        unchanged(given_host.run(service.ensure_stopped, {Services: found}, settings=control, services=wanted))


def test_what_runs_or_would_run_is_stopped_side_by_side(given_host: Any, control: Settings) -> None:
    depot, head, serve, *_ = roles.services(control)
    found = [
        *lines(depot, active="inactive", enabled="disabled"),
        *lines(head)[1:],
        *lines(serve, active="failed", enabled="enabled")[1:],
    ]
    outcome = given_host.run(service.ensure_stopped, {Services: found}, settings=control, services=(serve, head, depot))
    assert outcome.commands == ["systemctl disable --now --quiet -- cluster-serve cluster-ray-head"]


def test_stopping_under_supervisor_ends_the_supervisor(given_host: Any, supervised: Settings) -> None:
    head, serve, *_ = roles.services(supervised)
    found = lines(head, serve, active="RUNNING", enabled="program")
    outcome = given_host.run(service.ensure_stopped, {Services: found}, settings=supervised, services=(serve, head))
    directory = hosts.of(supervised).manager.state_directory
    control = f"{PROGRAMS}/supervisorctl -c {directory}/supervisord.conf"
    assert (
        outcome.commands[0]
        == f"rm -f -- {directory}/conf.d/cluster-serve.conf {directory}/conf.d/cluster-ray-head.conf"
    )
    assert outcome.commands[1].startswith(f"{control} shutdown"), "its programs end side by side"
    assert f"[ -S {directory}/control.sock ] || break" in outcome.commands[1]


def test_a_time_service_that_is_there_is_left(given_host: Any, unchanged: Any) -> None:
    unchanged(given_host.run(time.synchronise, {TimeService: ["time", "unit chrony"]}))


def test_without_a_time_service_systemds_is_installed(given_host: Any) -> None:
    outcome = given_host.run(time.synchronise, {TimeService: ["time"]})
    assert len(outcome.commands) == 2
    assert "apt-get install -y --no-install-recommends systemd-timesyncd" in outcome.commands[0]
    assert outcome.commands[1] == "systemctl enable --now --quiet systemd-timesyncd"


def test_a_meeting_point_never_changes_anything(given_host: Any, unchanged: Any) -> None:
    unchanged(given_host.run(stage.meet, {}, reached="base"))
