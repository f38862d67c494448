"""`cluster doc`: the project's documentation, in the terminal."""

from __future__ import annotations

import click

from cli import display
from facts.sources import REPOSITORY
from operate.errors import OperatorError

_DOCS = REPOSITORY / "docs"


def pages() -> dict[str, str]:
    """Page name -> its title."""
    found = {}
    for path in sorted(_DOCS.rglob("*.md")):
        first = next((line for line in path.read_text().splitlines() if line.startswith("# ")), path.stem)
        found[str(path.relative_to(_DOCS).with_suffix(""))] = first.removeprefix("# ")
    return found


def _complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [page for page in pages() if page.startswith(incomplete)]


@click.command("doc")
@click.argument("page", required=False, shell_complete=_complete)
def command(page: str | None) -> None:
    """Show a PAGE of the documentation; without PAGE, list the pages."""
    known = pages()
    if page is None:
        display.table("Pages (cluster doc PAGE)", ("page", "about"), list(known.items()))
        return
    if page not in known:
        raise OperatorError(f"no page {page!r}; there are {', '.join(known)}")
    display.page((_DOCS / f"{page}.md").read_text())
