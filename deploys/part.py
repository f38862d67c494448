"""What all parts of a host's settings are: frozen, and without a key that nobody knows."""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One subject of a host's settings. The type checker wants `frozen=True` of every part again."""
