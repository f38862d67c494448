"""Lines of `grep -sH '' FILE...` ("PATH:LINE") as files, and the JSON inside a tool's chatter. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

_LINE = re.compile(r"(/[^:]*?/[0-9a-f]+:[0-9a-f]{2}:[0-9a-f]{2}\.\d/[^:]+|/[^:]+):(.*)")


def parse_files(lines: Iterable[str]) -> dict[str, str]:
    """Contents by path, several lines joined. Lines that are not `PATH:LINE` are left out: a file that is not text.

    PCI addresses in a path ("/sys/bus/pci/devices/0000:03:00.0/vendor") are understood.
    """
    contents: dict[str, str] = {}
    for line in lines:
        if match := _LINE.fullmatch(line):
            path, value = match.groups()
            contents[path] = f"{contents[path]}\n{value}" if path in contents else value
    return contents


def by_directory(contents: dict[str, str]) -> dict[str, dict[str, str]]:
    """The same contents as directory -> file name -> content, in the order of the directories' names."""
    directories: dict[str, dict[str, str]] = {}
    for path in sorted(contents, key=_natural):
        directory, _, name = path.rpartition("/")
        directories.setdefault(directory, {})[name] = contents[path].strip()
    return directories


def key_values(text: str, separator: str) -> dict[str, str]:
    """Lines of "key<separator>value" (uevent files with "=", KFD properties with " "); other lines are
    skipped.
    """
    pairs = (line.partition(separator) for line in text.splitlines())
    return {key.strip(): value.strip() for key, found, value in pairs if found}


def parse_json(text: str, where: str) -> Any:
    """The first JSON object or array in `text`; tools print warnings in front of it and behind it.

    Raises `ValueError` when there is none.
    """
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^[ \t]*(?=[{\[])", text, re.MULTILINE):
        try:
            value, _ = decoder.raw_decode(text, start.end())
        except (ValueError, RecursionError):
            continue
        return value
    raise ValueError(f"{where}: no JSON in {text.strip()[:120]!r}")


def display_devices(contents: dict[str, str], vendor: str) -> dict[str, str]:
    """Address -> kernel driver ("" for none) of the PCI devices of `vendor` ("0x10de") that compute or show.

    Those are display controllers (class 03) and processing accelerators (class 12).
    """
    return {
        directory.rpartition("/")[2]: key_values(device.get("uevent", ""), "=").get("DRIVER", "")
        for directory, device in by_directory(contents).items()
        if device.get("vendor", "").lower() == vendor and device.get("class", "")[:4] in ("0x03", "0x12")
    }


def _natural(path: str) -> list[tuple[int, str]]:
    return [(int(part[:18]), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path)]
