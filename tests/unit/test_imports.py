"""Which package may import which, read from syntax trees, and that each package comes from this repository."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath

import pytest

REPOSITORY = Path(__file__).parents[2]

# From the ground up: a package imports itself and what is below it.
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
SHIPPED = FLOORS
STANDARD_LIBRARY_ONLY = {"hardware", "lab"}
# What only a command needs: whoever operates a cluster from a program of their own has no terminal.
TERMINAL = {"click", "rich", "prompt_toolkit"}
MODULE_LINES = 400
# Standard library, but not pure: a bill of materials reads no network, starts no process and keeps no clock.
IMPURE = {
    "asyncio",
    "http",
    "multiprocessing",
    "os",
    "random",
    "socket",
    "subprocess",
    "threading",
    "time",
    "urllib",
}


@dataclass(frozen=True)
class Module:
    """A file that was read: its path from the repository on, its length, and its syntax tree."""

    path: PurePath
    lines: int
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.path.parts[0]

    @property
    def imports(self) -> set[str]:
        return set(imported(self.tree, self.package))


def imported(tree: ast.Module, package: str) -> Iterator[str]:
    """The top-level package of every import, wherever in the file it stands; a relative one is `package`."""
    for statement in ast.walk(tree):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.name.partition(".")[0]
        elif isinstance(statement, ast.ImportFrom):
            yield package if statement.level else (statement.module or "").partition(".")[0]


@cache
def modules() -> list[Module]:
    """Every file of the packages, read once."""
    files = sorted(
        file for package in MAY_IMPORT for file in (REPOSITORY / package).rglob("*.py") if "prepared" not in file.parts
    )
    texts = ((file.relative_to(REPOSITORY), file.read_text()) for file in files)
    return [Module(path, len(text.splitlines()), ast.parse(text, str(path))) for path, text in texts]


def wrong_imports(module: Module) -> Iterator[str]:
    """What a module of its package may not import."""
    package, found = module.package, module.imports
    for name in sorted((found & set(MAY_IMPORT)) - MAY_IMPORT[package]):
        yield f"imports {name}; {package} may not"
    foreign = found - set(sys.stdlib_module_names) - set(MAY_IMPORT)
    if package in STANDARD_LIBRARY_ONLY and foreign:
        yield f"imports {', '.join(sorted(foreign))}; {package} has no dependencies"
    if package == "hardware" and found & IMPURE:
        yield f"imports {', '.join(sorted(found & IMPURE))}; hardware is pure"
    if package == "inventories":
        # The catalogue of models and the operator's machines are YAML, which the standard library does not read.
        allowed = {"pyinfra"} if "connectors" in module.path.parts else set()
        if module.path.name in ("catalogue.py", "machines.py"):
            allowed = {"yaml"}
        if foreign - allowed:
            yield f"imports {', '.join(sorted(foreign - allowed))}; an inventory is plain data"


def project_on_a_host(module: Module) -> Iterator[str]:
    """What a program that runs on hosts imports of this project, but other programs: only these are there."""
    if "programs" not in module.path.parts:
        return
    for statement in ast.walk(module.tree):
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            names = [f"{'.' * statement.level}{statement.module or ''}"]
        else:
            continue
        for name in names:
            if name.startswith(".") or (name.split(".")[0] in MAY_IMPORT and "programs" not in name.split(".")):
                yield f"imports {name}; on a host there are programs alone"


def talk(module: Module) -> Iterator[str]:
    """What a module of operate/ says to a terminal, or reads from one."""
    if module.package != "operate":
        return
    if module.imports & TERMINAL:
        yield f"imports {', '.join(sorted(module.imports & TERMINAL))}; operating has no terminal"
    calls = (node.func for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    if {call.id for call in calls if isinstance(call, ast.Name)} & {"print", "input"}:
        yield "talks to a terminal; return it, or tell a Progress"


def shape(module: Module) -> Iterator[str]:
    """A module is short, and says what it is."""
    if module.lines > MODULE_LINES:
        yield f"has {module.lines} lines; split it by subject"
    if not ast.get_docstring(module.tree):
        yield "has no module docstring"


@pytest.mark.parametrize("rule", [wrong_imports, project_on_a_host, talk, shape])
def test_every_module_holds_to(rule: Callable[[Module], Iterator[str]]) -> None:
    wrong = [f"{module.path} {what}" for module in modules() for what in rule(module)]
    assert not wrong, "\n".join(wrong)


def test_nobody_imports_benchmarks_and_tests_but_the_tests_of_benchmarks() -> None:
    files = sorted(file for package in ("benchmarks", "tests") for file in (REPOSITORY / package).rglob("*.py"))
    scripts = [Module(file.relative_to(REPOSITORY), 0, ast.parse(file.read_text())) for file in files]
    wrong = [
        f"{module.path} imports tests" for module in scripts if module.package != "tests" and "tests" in module.imports
    ]
    wrong += [
        f"{module.path} imports benchmarks; only tests/unit/benchmarks may"
        for module in scripts
        if module.package == "tests" and "benchmarks" in module.imports and "benchmarks" not in module.path.parts
    ]
    wrong += [
        f"{module.path} imports {name}" for module in modules() for name in module.imports & {"benchmarks", "tests"}
    ]
    assert not wrong, "\n".join(wrong)


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
    assert {
        "hardware/model.py",
        "deploys/roles.py",
        "facts/ray.py",
        "lab/plan.py",
        "inventories/composition/compose.py",
    } <= {str(module.path) for module in modules()}


LONG = "import ast\n" * (MODULE_LINES + 1)


@pytest.mark.parametrize(
    ("rule", "path", "source", "said"),
    [
        (wrong_imports, "facts/a.py", "def f():\n    from cli.main import x", ["imports cli; facts may not"]),
        (wrong_imports, "facts/a.py", "import ast, hardware.model\nfrom . import y", []),
        (wrong_imports, "lab/a.py", "import click.core", ["imports click; lab has no dependencies"]),
        (wrong_imports, "hardware/a.py", "import socket", ["imports socket; hardware is pure"]),
        (wrong_imports, "inventories/a.py", "import yaml", ["imports yaml; an inventory is plain data"]),
        (wrong_imports, "inventories/models/catalogue.py", "import yaml", []),
        (
            project_on_a_host,
            "deploys/programs/a.py",
            "from . import b\nimport facts\nfrom facts.programs import golden",
            ["imports .; on a host there are programs alone", "imports facts; on a host there are programs alone"],
        ),
        (talk, "operate/a.py", "import click", ["imports click; operating has no terminal"]),
        (talk, "operate/a.py", "print()", ["talks to a terminal; return it, or tell a Progress"]),
        (talk, "cli/a.py", "import click\nprint()", []),
        (shape, "cli/a.py", '"""What it is."""', []),
        (shape, "cli/a.py", LONG, [f"has {MODULE_LINES + 1} lines; split it by subject", "has no module docstring"]),
    ],
)
def test_each_rule_finds_its_fault(
    rule: Callable[[Module], Iterator[str]], path: str, source: str, said: list[str]
) -> None:
    assert list(rule(Module(PurePath(path), len(source.splitlines()), ast.parse(source)))) == said


# They fetch from the world outside the cluster, where a proxy may be the only way.
OUTSIDE = {"images/builder.py", "deploys/vllm/programs/hub_download.py"}


def test_a_clusters_address_is_asked_in_the_one_way_that_uses_no_proxy() -> None:
    asking = {
        str(path.relative_to(REPOSITORY))
        for package in (*SHIPPED, "benchmarks")
        for path in (REPOSITORY / package).rglob("*.py")
        if any(word in path.read_text() for word in ("urlopen(", "build_opener(", "getproxies("))
        and "prepared" not in path.parts
    }
    assert asking == {"facts/programs/direct.py", *OUTSIDE}


def test_clients_of_httpx_take_no_proxy_from_the_environment() -> None:
    for package in (*SHIPPED, "benchmarks"):
        for path in (REPOSITORY / package).rglob("*.py"):
            text = path.read_text()
            made = text.count("httpx.Client(") + text.count("httpx.AsyncClient(")
            assert text.count("trust_env=False") >= made, path
