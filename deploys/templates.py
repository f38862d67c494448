"""Configuration texts from Jinja templates, which stand in the folder of the role that owns them.

The operator's machine renders; a host gets the text. A name that a template uses and that it is not given is an error,
and a line that only decides or explains is no line of the text. Pure, but for reading the template once.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

FOLDER = "templates"


def render(module: str, name: str, **values: Any) -> str:
    """The text of a template in the folder `templates` beside `module`, a file; jinja2's errors name what is wrong."""
    return _templates(Path(module).parent / FOLDER).get_template(name).render(values)


@functools.cache
def _templates(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here: most commands write no configuration

    return Environment(  # noqa: S701 (no HTML)
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
