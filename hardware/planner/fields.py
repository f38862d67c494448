"""Reads numbers out of a config.json, refusing what is missing or absurd. Pure.

Bounds are wide: ten times and more beyond any published model, so that only a broken file is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hardware.planner.errors import ConfigurationError

# Field -> the least and the most that can be.
_BOUNDS: dict[str, tuple[int, int]] = {
    "hidden_size": (8, 1 << 18),
    "num_hidden_layers": (1, 4096),
    "num_attention_heads": (1, 4096),
    "num_key_value_heads": (1, 4096),
    "head_dim": (2, 8192),
    "intermediate_size": (1, 1 << 22),
    "vocab_size": (2, 1 << 24),
    "max_position_embeddings": (1, 1 << 30),
    "num_experts": (1, 1 << 16),
    "num_experts_per_tok": (1, 1 << 12),
    "moe_intermediate_size": (1, 1 << 22),
    "kv_lora_rank": (1, 1 << 18),
    "q_lora_rank": (1, 1 << 18),
    "sliding_window": (1, 1 << 30),
}


class Fields:
    """A config.json's fields; `where` names the file in messages."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values, self.where = values, where

    def raw(self, name: str, default: Any = None) -> Any:
        """A field as it stands there; null counts as absent."""
        value = self._values.get(name)
        return default if value is None else value

    def items(self) -> Iterator[tuple[str, Any]]:
        """Every field with its value."""
        return iter(self._values.items())

    def number(self, *names: str, default: int | None = None, bounds: str = "") -> int:
        """The first of `names` that is there, as a whole number within the bounds of its kind."""
        for name in names:
            value = self.raw(name)
            if value is None:
                continue
            low, high = _BOUNDS.get(bounds or names[0], (0, 1 << 40))
            if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
                raise ConfigurationError(
                    f"{self.where}: {name} is {value!r}, not a whole number; take the file from the model's repository"
                )
            if not low <= value <= high:
                raise ConfigurationError(
                    f"{self.where}: {name} is {value}, outside {low} to {high}; take the file from the model's "
                    "repository"
                )
            return int(value)
        if default is not None:
            return default
        raise ConfigurationError(
            f"{self.where}: field {' or '.join(names)} is missing; the planner needs it, take the complete config.json "
            "from the model's repository"
        )

    def optional(self, *names: str, bounds: str = "") -> int | None:
        """Like `number`, None when none is there."""
        if all(self.raw(name) is None for name in names):
            return None
        return self.number(*names, bounds=bounds)

    def flag(self, name: str, default: bool) -> bool:
        """A true or false field."""
        value = self.raw(name, default)
        if not isinstance(value, bool):
            raise ConfigurationError(f"{self.where}: {name} is {value!r}; it has to be true or false")
        return value

    def words(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, None when it is not there."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            raise ConfigurationError(f"{self.where}: {name} is no list of words")
        return tuple(value)

    def part(self, name: str) -> Fields | None:
        """A nested object, None when it is not there."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{self.where}: {name} is {value!r}, not an object")
        return Fields(value, f"{self.where}: {name}")
