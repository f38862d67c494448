"""The boundary: host data to frozen settings, and what is said of data that does not fit; and the command builder."""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from deploys import shell
from deploys.settings import SettingsError, of, parse
from hardware.lab import lab
from inventories.composition.compose import Serving, Site, compose

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def data(home: Path) -> dict[str, Any]:
    """Plain settings of a lab's control node."""
    control, _ = compose(
        lab(1),
        addresses={"control": "192.0.2.10", "compute0": "192.0.2.11"},
        serving=Serving(model="smollm2-135m-instruct"),
        site=Site(login_user="admin"),
    )
    found: dict[str, Any] = control[0][1]["settings"]
    return found


def test_settings_survive_json(data: dict[str, Any]) -> None:
    assert parse("control", json.loads(json.dumps(data))) == parse("control", data)


def test_parsing_leaves_the_data_alone(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    parse("control", data)
    assert data == before


@pytest.mark.parametrize("value", [None, "settings", ["settings"], 3])
def test_not_a_mapping(value: Any) -> None:
    with pytest.raises(SettingsError, match=r"^compute1: host data has no `settings`; .*compose\(\)"):
        parse("compute1", value)


CHANGES: dict[str, tuple[Change, str]] = {
    "missing key": (lambda data: data["network"].pop("address"), "settings.network: missing address"),
    "missing part": (lambda data: data.pop("ray"), "settings: missing ray"),
    "missing list": (lambda data: data["accelerators"].pop("names"), "settings.accelerators: missing names"),
    "missing key of a part": (
        lambda data: data["applications"][0]["serving"].pop("dtype"),
        "settings.applications[0].serving: missing dtype",
    ),
    "missing key of the ports": (lambda data: data["ray"]["ports"].pop("gcs"), "settings.ray.ports: missing gcs"),
    "unknown key": (lambda data: data["network"].update(adress="192.0.2.1"), "settings.network: unknown adress"),
    "unknown key of a part": (lambda data: data["ray"].update(gpu=1), "settings.ray: unknown gpu"),
    "unknown and missing": (
        lambda data: data["runtime"].update(version=data["runtime"].pop("python")),
        "settings.runtime: unknown version",
    ),
    "a part that is no mapping": (
        lambda data: data.update(ray=None),
        "settings.ray: expected an object, got null; compare with inventories/composition",
    ),
    "a list that is none": (
        lambda data: data["accelerators"].update(names=None),
        "settings.accelerators.names: expected an array, got null; compare with inventories/composition",
    ),
    "a number that is none": (
        lambda data: data["ray"]["ports"].update(gcs="6379"),
        "settings.ray.ports.gcs: expected an int, got str",
    ),
    "a word that nobody knows": (
        lambda data: data.update(role="boss"),
        "settings.role: invalid enum value 'boss'; compare",
    ),
    "no application": (lambda data: data.update(applications=[]), "no application"),
    "control node among strangers": (lambda data: data.update(control_node="other"), "control node 'other'"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_messages_name_the_host_and_the_key(data: dict[str, Any], case: str) -> None:
    change, said = CHANGES[case]
    change(data)
    with pytest.raises(SettingsError) as raised:
        parse("compute1", data)
    assert str(raised.value).startswith("compute1: settings")
    assert said in str(raised.value)
    host = SimpleNamespace(name="compute1", data={"settings": data})
    with pytest.raises(DeployError, match=re.escape(said)) as stopped:
        of(host)
    assert str(stopped.value) == str(raised.value), "pyinfra stops on it before anything changes"


def test_the_api_wants_a_key_beyond_loopback(data: dict[str, Any]) -> None:
    assert parse("control", data).api_key_required
    data["network"]["peers"] = {"control": "127.0.0.10", "compute0": "127.0.0.11"}
    assert not parse("control", data).api_key_required


@pytest.mark.parametrize(
    "value", ["plain", "two words", "it's", 'say "hi"', "$HOME", "`id`", "a;b", "*", "back\\slash", ""]
)
def test_command_quotes_every_value(value: str) -> None:
    raw = shell.command("printf", "%s", values=(value,)).get_raw_value()
    assert shlex.split(raw) == ["printf", "%s", value]
    assert shlex.split(shell.line("printf", value)) == ["printf", value]


@pytest.mark.parametrize("value", ["-", "-rf", "--output=/etc/passwd"])
def test_values_that_a_program_could_take_for_an_option_are_refused(value: str) -> None:
    with pytest.raises(shell.UnsafeValueError, match=rf"chown: value '{value}' starts with '-'"):
        shell.command("chown", values=("admin", value))
    assert issubclass(shell.UnsafeValueError, ValueError)


def test_fixed_arguments_may_be_options() -> None:
    assert shell.command("mkdir", "-p", "--", values=("/a b",)).get_raw_value() == "mkdir -p -- '/a b'"
