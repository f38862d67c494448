"""The playbook that runs beside deploys/all.py: its stages, their order and their hosts are those of the deploys."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.ansible import export
from deploys import roles
from tests.conftest import Composed

# What has no stage of its own in the playbook: checks, the boot server (refused by the export), and what brings runtime
# and weights, which are tasks of the plays around them.
# Network boot and telemetry are choices that the compared inventories do not make.
NO_STAGE = {"refuse_what_does_not_fit", "pxe_server", "observability", "install_runtime", "weights"}
HOSTS = {"": "all", "control": "control_nodes", "compute": "compute_nodes"}


def deployed(text: str) -> list[tuple[str, str]]:
    """(role, hosts) of every deploy that deploys/all.py calls, in its order."""
    tree = ast.parse(text)
    folders = {
        name.name: node.module.split(".")[1]
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".deploy") and node.module
        for name in node.names
    }

    def calls(body: list[ast.stmt], group: str) -> Iterator[tuple[str, str]]:
        for statement in body:
            if isinstance(statement, ast.If):
                assert isinstance(statement.test, ast.Compare) and isinstance(statement.test.left, ast.Constant)
                yield from calls(statement.body, str(statement.test.left.value))
            elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
                called = statement.value.func
                if isinstance(called, ast.Name) and called.id not in NO_STAGE:
                    yield folders[called.id], HOSTS[group]

    return list(calls(tree.body, ""))


def plays(repository: Path) -> list[dict[str, Any]]:
    """The plays of site.yml, in its order."""
    folder = repository / "benchmarks" / "ansible"
    site = yaml.safe_load((folder / "site.yml").read_text())
    return [play for entry in site for play in yaml.safe_load((folder / entry["import_playbook"]).read_text())]


def test_the_playbook_has_the_stages_of_the_deploys_in_their_order(repository: Path) -> None:
    staged = [
        (play["vars"]["stage"].strip("{} ").removeprefix("stages."), play["hosts"])
        for play in plays(repository)
        if "stage" in play.get("vars", {})
    ]
    assert staged == deployed((repository / "deploys" / "all.py").read_text())
    assert {name for name, _ in staged} == set(export.ROLES)


def test_every_task_has_the_values_that_it_names(repository: Path, composed: Composed, tmp_path: Path) -> None:
    for settings in composed().values():
        export.check_covered(settings)
        values = export.host_variables(settings, tmp_path)
        for play in plays(repository):
            if play["hosts"] not in ("all", f"{settings.role}_nodes"):
                continue
            stage = play.get("vars", {}).get("stage", "").strip("{} ").removeprefix("stages.")
            assert not stage or stage in values["stages"], f"{settings.node}: {stage}"
            text = json.dumps(play)
            for name in ("gateway_commands", "gateway_mark", "engines_command", "nodes_command", "runtime_command"):
                assert name not in text or values[name], f"{settings.node}: {name}"


def test_each_declared_file_is_in_a_stage(composed: Composed, tmp_path: Path) -> None:
    for settings in composed().values():
        staged = export.stages(settings, tmp_path)
        files = {file["path"] for stage in staged.values() for file in stage["files"]}
        assert files == {file.path for file in roles.managed_files(settings)}
        services = {stage["service"] for stage in staged.values()} - {""}
        assert services == {service.name for service in roles.services(settings)}


def test_a_role_without_a_stage_is_refused(composed: Composed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(export.ROLES, "gateway")
    head = next(settings for settings in composed().values() if settings.is_control)
    with pytest.raises(export.ExportError, match="1 roles are in no stage"):
        export.check_covered(head)


def test_a_lab_is_exported_whole(repository: Path, home: Path, tmp_path: Path) -> None:
    """As `cluster lab up` writes it; the addresses are those of a lab of three hosts."""
    known = tmp_path / "known_hosts"
    names = [("control", "control"), ("compute0", "compute"), ("compute1", "compute")]
    (home / "lab").mkdir(parents=True)
    state = {
        "hosts": [
            {"name": name, "role": role, "address": f"10.77.0.{10 + place}"} for place, (name, role) in enumerate(names)
        ],
        "login_user": "admin",
        "ssh_key": str(tmp_path / "key"),
        "known_hosts": str(known),
    }
    (home / "lab" / "lab.json").write_text(json.dumps(state))
    export.export(tmp_path / "export", "lab")
    inventory = json.loads((tmp_path / "export" / "inventory.json").read_text())["all"]["children"]
    assert {group: list(value["hosts"]) for group, value in inventory.items()} == {
        "control_nodes": ["control"],
        "compute_nodes": ["compute0", "compute1"],
    }
    control = json.loads((tmp_path / "export" / "host_vars" / "control.json").read_text())
    for stage in control["stages"].values():
        for file in stage["files"]:
            assert (tmp_path / "export" / "content" / file["source"]).is_file()
