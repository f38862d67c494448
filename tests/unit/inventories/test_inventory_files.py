"""Every inventory of this project through pyinfra's own loader, in a child process as an operator starts it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inventories.composition.operator import package_sources
from lab.plan import INTERFACE, LOGIN_USER, STATE_VERSION, LabState, plan_hosts, to_text

REPOSITORY = Path(__file__).parents[3]
SECRET = "a-value-that-nobody-may-print"  # noqa: S105 (what the test looks for)


def is_inventory(file: Path) -> bool:
    """Whether a module assigns `control` and `compute`; the others beside it are what inventories import."""
    assigned = {
        name.id
        for statement in ast.parse(file.read_text()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    return {"control", "compute"} <= assigned


INVENTORIES = sorted(file for file in (REPOSITORY / "inventories").glob("*.py") if is_inventory(file))


def load(home: Path, inventory: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **{key: os.environ[key] for key in ("PATH", "HOME", "LANG", "USER", "LOGNAME") if key in os.environ},
        "CLUSTER_HOME": str(home),
        "CLUSTER_CACHE": str(home / "cache"),
        # With these set, nobody has to ask pip for its sources, which takes seconds.
        "UV_FIND_LINKS": "/wheels",
        "UV_DEFAULT_INDEX": "https://packages.example/simple",
        "UV_INDEX": "https://more.example/simple",
        "SSL_CERT_FILE": str(home / "certificates.pem"),
    }
    return subprocess.run(
        [str(Path(sys.executable).parent / "pyinfra"), str(inventory), "debug-inventory", "--json"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def hosts_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stdout + done.stderr
    line = next((line for line in done.stdout.splitlines() if line.startswith("[")), "")
    assert line, f"no JSON in the output:\n{done.stdout}\n{done.stderr}"
    hosts = json.loads(line)
    assert isinstance(hosts, list)
    return hosts


def write_lab(home: Path) -> None:
    """lab.json as `cluster lab up` writes it, from the lab's own writer."""
    (home / "lab").mkdir(parents=True)
    place = home / "lab"
    state = LabState(
        STATE_VERSION, plan_hosts(2), INTERFACE, LOGIN_USER, place / "key", place / "known", home / "image"
    )
    (home / "lab" / "lab.json").write_text(to_text(state))


def test_the_inventories_are_found() -> None:
    assert {"laptop", "lab"} <= {file.stem for file in INVENTORIES}


@pytest.mark.parametrize("inventory", INVENTORIES, ids=lambda file: str(file.stem))
def test_inventory_loads(tmp_path: Path, inventory: Path) -> None:
    home = tmp_path / "home"
    write_lab(home)
    secrets = home / inventory.stem / "secrets"
    secrets.mkdir(parents=True)
    for secret in ("ray-token", "api-key"):
        (secrets / secret).write_text(SECRET)
    before = sorted(home.rglob("*"))
    done = load(home, inventory)
    hosts = hosts_of(done)
    assert sorted(home.rglob("*")) == before, "files are made by the deploys, and by who connects"

    groups = {group for host in hosts for group in host["groups"]}
    assert {group for group in groups if not group.startswith("@")} == {"control", "compute", inventory.stem}
    assert sum("control" in host["groups"] for host in hosts) == 1
    assert all(("control" in host["groups"]) != ("compute" in host["groups"]) for host in hosts)

    assert SECRET not in done.stdout + done.stderr
    for host in hosts:
        settings = host["data"]["settings"]
        assert set(settings["secrets"]) == {"ray-token", "api-key"}
        for path in settings["secrets"].values():
            assert Path(path).is_relative_to(home), "secrets are paths in the operator's own directory"
    assert {host["data"]["settings"]["node"] for host in hosts} == set(hosts[0]["data"]["settings"]["network"]["peers"])


def test_lab_without_a_lab_says_how_to_get_one(tmp_path: Path) -> None:
    done = load(tmp_path / "home", REPOSITORY / "inventories" / "lab.py")
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "cluster lab up" in said and "lab.json" in said


def test_package_sources_of_uv_win_and_local_indexes_are_skipped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    certificates = tmp_path / "certificates.pem"
    certificates.touch()
    monkeypatch.setenv("UV_FIND_LINKS", "/wheels /more")
    monkeypatch.setenv("PIP_FIND_LINKS", "/not-this")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://packages.example/simple")
    monkeypatch.setenv("UV_INDEX", "file:///a/local/index https://more.example/simple")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
    assert package_sources() == {
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_DEFAULT_INDEX": "https://packages.example/simple",
        "UV_INDEX": "https://more.example/simple",
        "SSL_CERT_FILE": str(certificates),
    }
