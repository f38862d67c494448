"""What the documentation says of the code, read from the pages and compared with the code."""

from __future__ import annotations

import re
from pathlib import Path

from tests.unit.test_imports import FLOORS, MAY_IMPORT

REPOSITORY = Path(__file__).parents[2]
ARCHITECTURE = (REPOSITORY / "docs" / "architecture.md").read_text()


def test_the_table_of_imports_is_the_one_that_the_code_is_held_to() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| (.*?) \|$", ARCHITECTURE, re.MULTILINE)
    said = {
        package: set(FLOORS[: FLOORS.index(package)]) if what == "all below it" else set(re.findall(r"`(\w+)`", what))
        for package, what in rows
    }
    assert said == {package: allowed - {package} for package, allowed in MAY_IMPORT.items()}


def test_the_picture_of_the_floors_is_in_the_order_of_the_code() -> None:
    picture = ARCHITECTURE.split("```")[1]
    assert tuple(reversed(re.findall(r"^(\w+)", picture, re.MULTILINE))) == FLOORS


def test_pages_name_files_that_are_there() -> None:
    missing = []
    for page in [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "docs").rglob("*.md")]:
        if page.parent.name == "decisions":
            continue  # a record of its day
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_0-9.]+\.(?:py|sh|yaml|md|toml))`", page.read_text()):
            if name.split("/")[0] in (*FLOORS, "tests", "benchmarks", "docs") and not (REPOSITORY / name).exists():
                missing.append(f"{page.relative_to(REPOSITORY)}: {name}")
    assert not missing, "\n".join(missing)
