"""An inventory that cannot be read is refused in one line, by every command and in the containers' way."""

from __future__ import annotations

from pathlib import Path

import pytest

from containers import declared
from hardware.model import ProfileError
from inventories.composition import reading
from tests.conftest import Typed

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("command", ["status", "plan", "models"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import sys\nsys.exit(3)\n", "mine.py:2: the file ends the program (exit 3); an inventory defines `control`"),
        ("raise SystemExit\n", "mine.py:1: the file ends the program (exit 0)"),
        ("raise SystemExit('two\\nlines')\n", "mine.py:1: the file ends the program (exit two lines)"),
        ("raise GeneratorExit\n", "mine.py:1 cannot be loaded: GeneratorExit"),
        ("raise ValueError('two\\nlines')\n", "mine.py:1 cannot be loaded: ValueError: two lines; mend the file"),
        ("from inventories.compose import compose\n", "mine.py:1: No module named 'inventories.compose'; it is "
         "inventories.composition.compose in this version"),
        ("from inventories.composition.compose import Sevring\n", "cannot import name 'Sevring'"),
        ("from hardware.model import GIGA\n\ncontrol = [\n", "mine.py:3: '[' was never closed; mend the file"),
        ("control = [1 / 0]\n", "mine.py:1 cannot be loaded: ZeroDivisionError: division by zero; mend the file"),
        ("control = []\0", "mend the file"),
        ("from inventories.models import entry\nentry('none')\n", "mine.py: model 'none' is not known"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_run(typed: Typed, tmp_path: Path, text: str, said: str, command: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    status, out, err = typed("-c", str(tmp_path / "mine.py"), command)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.mark.parametrize("command", ["down", "plan", "models"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", "no cluster 'nowhere'; there are geforce_pair, lab, laptop, v0_1, v0_2, or give the path"),
        ("./nowhere.py", "./nowhere.py: no such file; give the path of an inventory file, or one of geforce_pair"),
        ("tests/", "tests/: a directory; give the path of an inventory file in it"),
        ("./README.md", "./README.md: no inventory; it is a Python file, whose name ends in .py"),
    ],
)
def test_what_is_no_file_of_an_inventory(
    typed: Typed, monkeypatch: pytest.MonkeyPatch, given: str, said: str, command: str
) -> None:
    monkeypatch.chdir(REPOSITORY)
    status, out, err = typed("-c", given, command)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.symlink_to("/proc/self/mem")  # even root cannot read its first bytes
    with pytest.raises(reading.InventoryError, match="give an inventory that can be read"):
        reading.values(file)


def test_a_copy_is_planned_for_by_its_path(typed: Typed, tmp_path: Path) -> None:
    for name, model in (("laptop", "smollm2-135m-instruct"), ("v0_2", "qwen3-30b-a3b")):
        file = tmp_path / f"my_{name}.py"
        file.write_text((REPOSITORY / "inventories" / f"{name}.py").read_text())
        _, named, _ = typed("-c", name, "plan", "--json")
        status, out, err = typed("-c", str(file), "plan", "--json")
        assert out == named and model in out, (status, err)


def test_containers_are_read_in_the_same_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reading, "INVENTORIES", tmp_path)
    for text, said in (
        ("raise SystemExit(1)\n", "containers.py:1: the file ends the program"),
        ("control = []\n", "containers: CLUSTER is no hardware profile"),
        ("from hardware.laptop import CLUSTER\n", "containers.py: no hosts in group `control`"),
    ):
        (tmp_path / "containers.py").write_text(text)
        with pytest.raises(ProfileError, match=said):
            declared.load("containers", 2)
