"""Where a model is found that is named by anything: an entry, a known shape, a hub's repository, a directory.

One name is one model everywhere: in an inventory, in `cluster plan --model` and in `cluster models`. ProfileError says
why a name is none.
"""

from __future__ import annotations

from pathlib import Path

from hardware.model import ProfileError
from inventories.models import shapes
from inventories.models.anywhere import from_directory, from_hub, from_known
from inventories.models.catalogue import Entry, load


def find(name: str) -> Entry:
    """The model of that name.

    NAME of an entry or of a known config.json; OWNER/NAME of a hub: the entry that comes from there, else the
    repository; `hub:OWNER/NAME@REVISION`: the repository whatever the catalogue has; a directory's absolute path.
    """
    if name.startswith("hub:"):
        return from_hub(name)
    if name.startswith("/"):
        return from_directory(Path(name))
    entries = load()
    if name in entries:
        return entries[name]
    if name in shapes.known():
        return from_known(name)
    if "/" in name:
        return _of_repository(name)
    raise ProfileError(
        f"model {name!r} is not known; known are {', '.join(names())} (inventories/models); or write OWNER/NAME as a "
        "hub has it, hub:OWNER/NAME@REVISION, or a directory's absolute path"
    )


def names() -> tuple[str, ...]:
    """Every name that needs no hub's or directory's, the catalogue's and the known shapes'."""
    return tuple(sorted({*load(), *shapes.known()}))


def _of_repository(repository: str) -> Entry:
    for entry in load().values():
        if entry.source.get("repository") == repository and entry.source.get("revision") == "main":
            return entry
    config = shapes.repositories().get(repository)
    if config and config not in load():
        return from_known(config)
    return from_hub(f"hub:{repository}")
