"""The common base of every report: JSON, in the shape of its fields."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Report:
    """Base of the dataclasses that parsers return. Field names are the stable shape of `--json`."""

    def to_json(self) -> dict[str, Any]:
        """The fields, nested reports included, as `json.dumps` takes them; pyinfra calls this."""
        return asdict(self)
