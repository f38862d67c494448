"""Templates: their texts are tested with the roles that own them; here, what a wrong one does."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2 import TemplateNotFound, UndefinedError

from deploys.templates import FOLDER, render


@pytest.fixture
def module(tmp_path: Path) -> str:
    """A module with a template beside it."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "some.conf.j2").write_text("{# why #}\nport={{ port }}\n{% if port %}\non\n{% endif %}\n")
    return str(tmp_path / "module.py")


def test_what_decides_and_explains_leaves_no_line(module: str) -> None:
    assert render(module, "some.conf.j2", port=1) == "port=1\non\n"


def test_a_name_that_is_not_given_is_an_error(module: str) -> None:
    with pytest.raises(UndefinedError, match="'port' is undefined"):
        render(module, "some.conf.j2", prot=1)
    with pytest.raises(TemplateNotFound, match=r"other\.conf\.j2"):
        render(module, "other.conf.j2")
