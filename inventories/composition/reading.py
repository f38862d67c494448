"""Finds an inventory's file by a name or a path, and runs it. ProfileError says in one line what is wrong with it.

An inventory is a program that somebody wrote: whatever it raises, and that it ends, is bad input.
"""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hardware.model import NoHostsError, ProfileError

INVENTORIES = Path(__file__).resolve().parents[1]
# Rendered by `python -m containers`; their hosts are containers, which no deploy reaches.
CONTAINERS = ("containers", "containers_amd", "containers_nvidia")

# (target, data) of each host, as pyinfra has them.
Hosts = list[tuple[str, Mapping[str, Any]]]


class InventoryError(ProfileError):
    """An inventory that cannot be found or run, whatever it declares."""


def names() -> list[str]:
    """Clusters that have an inventory in this project."""
    return sorted(path.stem for path in INVENTORIES.glob("*.py") if path.stem not in ("__init__", *CONTAINERS))


def find(given: str) -> Path:
    """The file of a name, or of a path, which has a `/` or ends in `.py`; InventoryError where there is none."""
    if "/" not in given and not given.endswith(".py"):
        if given not in names():
            raise InventoryError(
                f"no cluster {given!r}; there are {', '.join(names())}, or give the path of an inventory file"
            )
        return INVENTORIES / f"{given}.py"
    path = Path(given).expanduser()
    if path.is_dir():
        raise InventoryError(f"{given}: a directory; give the path of an inventory file in it")
    if not path.is_file():
        raise InventoryError(
            f"{given}: no such file; give the path of an inventory file, or one of {', '.join(names())}"
        )
    if path.suffix != ".py":
        raise InventoryError(f"{given}: no inventory; it is a Python file, whose name ends in .py")
    return path.resolve()


def values(path: Path) -> Mapping[str, Any]:
    """The names that an inventory defines.

    ProfileError is what its composition refused, NoHostsError where its hosts are yet to be made; InventoryError where
    the file cannot be run.
    """
    try:
        path.read_bytes()
    except OSError as error:
        raise InventoryError(f"{path}: {error.strerror}; give an inventory that can be read") from None
    try:
        return runpy.run_path(str(path))
    except ProfileError as error:
        kind = NoHostsError if isinstance(error, NoHostsError) else ProfileError
        raise kind(f"{path.name}: {error}") from None
    except SyntaxError as error:
        raise InventoryError(f"{error.filename or path}:{error.lineno}: {error.msg}; mend the file") from None
    except SystemExit as error:
        raise InventoryError(
            f"{_where(path, error)}: the file ends the program (exit {_line(error.code or 0)}); an inventory defines "
            "`control` and `compute`, and does nothing else"
        ) from None
    except ImportError as error:
        raise InventoryError(f"{_where(path, error)}: {error}; {_moved(error)}") from None
    except KeyboardInterrupt:
        raise  # the operator's own
    except BaseException as error:
        raise InventoryError(
            f"{_where(path, error)} cannot be loaded: {type(error).__name__}: {_line(error)}; mend the file"
        ) from None


def hosts(path: Path, values: Mapping[str, Any], group: str) -> Hosts:
    """The hosts of a group; InventoryError where they are not what compose() makes."""
    found = values.get(group)
    if not isinstance(found, list) or not found:
        raise InventoryError(
            f"{path.name}: no hosts in group `{group}`; an inventory defines `control` and `compute`, "
            "as inventories/laptop.py does"
        )
    for entry in found:
        if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[1], Mapping)):
            raise InventoryError(
                f"{path.name}: host {entry!r} has no data; build the groups with "
                "inventories.composition.compose.compose()"
            )
    return [(str(target), data) for target, data in found]


def _where(path: Path, error: BaseException) -> str:
    """The file, with the line of it that was at work."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"{path.name}:{lines[-1]}" if lines else path.name


def _line(said: object) -> str:
    """What a stranger's exception says, in one line."""
    return " ".join(str(said).split())[:300]


def _moved(error: ImportError) -> str:
    """What to import instead of what this version has not."""
    package, _, module = (error.name or "").rpartition(".")
    if package == "inventories" and (INVENTORIES / "composition" / f"{module}.py").is_file():
        return f"it is inventories.composition.{module} in this version"
    return "compare the imports with those of inventories/laptop.py and inventories/v0_1.py"
