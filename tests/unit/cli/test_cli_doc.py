"""`cluster doc`: a page loses nothing, on a narrow terminal and in a pipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import display
from cli.commands import doc

PAGE = f"""# A page

{" ".join(f"word{number}" for number in range(40))}

| name | about |
|---|---|
| first | {" ".join(f"cell{number}" for number in range(40))} |

```sh
cluster up
```
"""


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A documentation of one page, and a terminal of 60 columns."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "page.md").write_text(PAGE)
    monkeypatch.setattr(doc, "_DOCS", tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_page_in_a_pipe_is_its_markdown(pages: Path) -> None:
    result = CliRunner().invoke(doc.command, ["below/page"])
    assert (result.exit_code, result.stdout) == (0, PAGE)


def test_a_page_on_a_terminal_is_laid_out_and_whole(pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # what rich takes for a terminal
    monkeypatch.setenv("NO_COLOR", "1")
    result = CliRunner().invoke(doc.command, ["below/page"])
    assert "|---|" not in result.stdout
    words = set(result.stdout.replace("\x1b[1m", " ").replace("\x1b[0m", " ").split())
    assert {f"{kind}{number}" for kind in ("word", "cell") for number in range(40)} <= words
    assert "cluster up" in result.stdout


def test_a_table_in_a_pipe_has_one_line_a_row(pages: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = ("first", " ".join(f"cell{number}" for number in range(60)))
    display.table("a title", ("name", "about"), [row])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "cell0" in line]
    assert line.split() == [row[0], *row[1].split()]


def test_the_pages_are_listed(pages: Path) -> None:
    result = CliRunner().invoke(doc.command, [])
    assert "below/page" in result.stdout and "A page" in result.stdout
