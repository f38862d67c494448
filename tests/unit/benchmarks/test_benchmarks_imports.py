"""Every module of benchmarks/ can be imported: a name that is gone elsewhere is noticed here, not at the next run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from hardware.model import ProfileError

# What only runs elsewhere: with the locked runtime's Python, from standard input on a host, and within Ansible.
ELSEWHERE = ("remote", "callback_plugins")
# An inventory: it can be read where its lab is up.
INVENTORIES = {"benchmarks.netboot_join_inventory"}


def names(repository: Path) -> list[str]:
    files = sorted((repository / "benchmarks").rglob("*.py"))
    here = [file.relative_to(repository) for file in files if not set(ELSEWHERE) & set(file.parts)]
    return [".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in here]


def test_every_module_of_benchmarks_can_be_imported(repository: Path, home: Path) -> None:
    found = names(repository)
    assert "benchmarks.noop_rerun" in found and "benchmarks.ansible.export" in found
    for name in found:
        if name in INVENTORIES:
            with pytest.raises(ProfileError, match="no lab is up"):
                importlib.import_module(name)
        else:
            importlib.import_module(name)
