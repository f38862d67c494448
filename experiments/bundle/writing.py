"""Files of a bundle, written whole or not at all. BundleError names the file and the reason."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.bundle import layout
from experiments.bundle.errors import BundleError, unwritten
from experiments.bundle.journal import plain


@contextlib.contextmanager
def whole(directory: Path, name: str) -> Iterator[Path]:
    """A place to write a file to, which becomes the bundle's `name` when the block ends well; otherwise it is gone.

    A reader, and a run that is stopped, finds the old file or the new one.
    """
    final = layout.inside(directory, name)
    # The ending stays: writers of tables look at it.
    fresh = final.with_name(f".{os.getpid()}.{final.name}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        with fresh.open("rb") as written:
            os.fsync(written.fileno())
        fresh.replace(final)
    except OSError as error:
        raise unwritten(final, error) from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def write_bytes(directory: Path, name: str, content: bytes) -> None:
    """A file of the bundle."""
    with whole(directory, name) as place:
        place.write_bytes(content)


def write_text(directory: Path, name: str, text: str) -> None:
    """A file of the bundle, UTF-8."""
    write_bytes(directory, name, text.encode())


def write_json(directory: Path, name: str, value: Any) -> None:
    """A file of the bundle, indented for people; objects with `to_json` as that, other frozen ones by their fields."""
    write_text(directory, name, json.dumps(value, indent=2, default=plain) + "\n")


def read_json(directory: Path, name: str) -> Any:
    """What is in a file of the bundle; None where it is missing. BundleError for one that is no JSON."""
    path = layout.inside(directory, name)
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror}; it cannot be read") from None
    except ValueError as error:
        raise BundleError(
            f"{path}: no JSON ({error}); `cluster experiment check` says whether it was changed"
        ) from None


def new_directory(fetched: Path, kind: str, at: float) -> Path:
    """A directory for a new bundle, made; its name is the experiment's id. A second one in one second gets a number."""
    name = layout.identity(kind, at)
    for number in range(1, 1000):
        directory = fetched / (name if number == 1 else f"{name}-{number}")
        try:
            fetched.mkdir(parents=True, exist_ok=True)
            directory.mkdir()
        except FileExistsError:
            if not fetched.is_dir():
                raise BundleError(f"{fetched}: no directory; choose another place with --to") from None
            continue
        except OSError as error:
            raise BundleError(f"{directory}: {error.strerror}; choose another place with --to") from None
        return directory
    raise BundleError(f"{fetched / name}: 999 bundles of this second; choose another place with --to")
