"""Which package may import which, read from syntax trees, and that each package comes from this repository."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

# From the ground up: a package imports itself and what is below it; `experiments` is judged as soon as it exists.
FLOORS = (
    "hardware",
    "inventories",
    "facts",
    "deploys",
    "lab",
    "images",
    "containers",
    "operate",
    "experiments",
    "cli",
)
# What imports less than all that is below it.
NARROWER: dict[str, set[str]] = {
    "facts": {"hardware"},
    "deploys": {"hardware", "facts"},
    "lab": set(),
    "containers": {"hardware", "inventories", "facts", "deploys"},
}
MAY_IMPORT: dict[str, set[str]] = {
    package: {package, *NARROWER.get(package, FLOORS[:floor])} for floor, package in enumerate(FLOORS)
}
SHIPPED = ("hardware", "inventories", "facts", "deploys", "containers", "lab", "images", "operate", "cli")
STANDARD_LIBRARY_ONLY = {"hardware", "lab"}
# What only a command needs: whoever operates a cluster from a program of their own has no terminal.
TERMINAL = {"click", "rich", "prompt_toolkit"}
MODULE_LINES = 400

FILES = sorted(file for package in MAY_IMPORT for file in (REPOSITORY / package).rglob("*.py"))


def name_of(file: Path) -> str:
    return str(file.relative_to(REPOSITORY))


def imported(source: str, package: str) -> Iterator[str]:
    """The top-level package of every import, wherever in the file it stands; a relative one is `package`."""
    for statement in ast.walk(ast.parse(source)):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.name.partition(".")[0]
        elif isinstance(statement, ast.ImportFrom):
            yield package if statement.level else (statement.module or "").partition(".")[0]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_go_one_way(file: Path) -> None:
    package = file.relative_to(REPOSITORY).parts[0]
    found = set(imported(file.read_text(), package))
    wrong = (found & set(MAY_IMPORT)) - MAY_IMPORT[package]
    assert not wrong, f"{name_of(file)} imports {', '.join(sorted(wrong))}; {package} may not"

    foreign = found - set(sys.stdlib_module_names) - set(MAY_IMPORT)
    if package in STANDARD_LIBRARY_ONLY:
        assert not foreign, f"{name_of(file)} imports {', '.join(sorted(foreign))}; {package} has no dependencies"
    if package == "inventories":
        # The catalogue of models and the operator's machines are YAML, which the standard library does not read.
        allowed = {"pyinfra"} if "connectors" in file.parts else set()
        if file.name in ("catalogue.py", "machines.py"):
            allowed = {"yaml"}
        assert not foreign - allowed, f"{name_of(file)}: an inventory is plain data"


@pytest.mark.parametrize("file", [file for file in FILES if "remote" in file.parts], ids=name_of)
def test_programs_for_the_hosts_import_nothing_of_this_project(file: Path) -> None:
    assert not set(imported(file.read_text(), "relative")) & {*MAY_IMPORT, "relative", "pyinfra"}


@pytest.mark.parametrize("file", [file for file in FILES if name_of(file).startswith("operate/")], ids=name_of)
def test_operating_neither_reads_nor_writes_a_terminal(file: Path) -> None:
    text = file.read_text()
    assert not set(imported(text, "operate")) & TERMINAL
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"print", "input"}, f"{name_of(file)} talks to a terminal; return it, or tell a Progress"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_modules_are_short_and_say_what_they_are(file: Path) -> None:
    text = file.read_text()
    lines = len(text.splitlines())
    assert lines <= MODULE_LINES, f"{name_of(file)} has {lines} lines; split it by subject"
    assert ast.get_docstring(ast.parse(text)), f"{name_of(file)} has no module docstring"


@pytest.mark.parametrize("package", SHIPPED)
def test_package_comes_from_this_repository(package: str) -> None:
    # pyinfra appends the current directory to sys.path, so any installed package of the same name would win.
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None, f"{package} is no regular package; has it an __init__.py?"
    assert Path(spec.origin) == REPOSITORY / package / "__init__.py"


def test_packages_come_from_this_repository_wherever_one_stands(tmp_path: Path) -> None:
    code = (
        "import importlib.util, sys\n"
        "for name in sys.argv[1:]:\n"
        "    spec = importlib.util.find_spec(name)\n"
        "    print(spec.origin if spec else None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *SHIPPED], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.split() == [str(REPOSITORY / package / "__init__.py") for package in SHIPPED]


def test_the_walk_sees_the_files() -> None:
    names = {name_of(file) for file in FILES}
    assert {
        "hardware/model.py",
        "deploys/roles.py",
        "facts/ray.py",
        "lab/plan.py",
        "inventories/composition/compose.py",
    } <= names


def test_the_walk_sees_imports_inside_functions() -> None:
    source = "import ast, click.core\ndef f():\n    from cli.main import x\nfrom . import y\n"
    assert sorted(imported(source, "facts")) == ["ast", "cli", "click", "facts"]
