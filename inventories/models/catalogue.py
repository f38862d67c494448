"""The catalogue of models: YAML read once into frozen entries. Bytes in the names; a bad file is a ProfileError.

Sizes are the architecture's own numbers, so that memory can be counted before anything is fetched. `parameters` of 0
says that nobody knows yet (a hub id): the fetch counts the hub's own sizes before its first byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from hardware.model import ProfileError

EngineKind = Literal["vllm", "transformers", "llama.cpp", "auto"]
Task = Literal["chat", "completion", "text-to-text", "fill-mask", "auto"]
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
KINDS = ("cpu", "cuda", "rocm")

# Kind of source -> the keys that it needs beside `kind`; fetch_model.py, on the hosts, asks for the same.
SOURCE_KEYS = {"hub": ("repository", "revision"), "pypi-gguf": ("package", "file"), "directory": ("path",)}
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """One model.

    `dtypes` are the data types that it computes in, the best first; `dtypes_by_kind` overrides them for a kind of
    runtime, and an empty list there says that the model does not run on that kind. `golden` is a question (chat) or a
    prompt with what its answer at temperature 0 contains, or `reference`: the answer is taken when it is fetched.
    """

    name: str
    task: Task
    source: Mapping[str, Any]
    golden: Mapping[str, Any]
    licence: str
    maximum_length: int
    parameters: int
    layers: int
    hidden_size: int
    attention_heads: int
    key_value_heads: int
    head_size: int
    engine_kind: EngineKind = "vllm"
    mixture_of_experts: bool = False
    quantization: str = ""
    weights_bytes_on_disk: int = 0
    dtypes: tuple[str, ...] = ("bfloat16", "float16", "float32")
    dtypes_by_kind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def dtypes_on(self, kind: str) -> tuple[str, ...]:
        """Data types that it may compute in on a kind of runtime, the best first; empty: it does not run there."""
        return tuple(self.dtypes_by_kind.get(kind, self.dtypes))

    def weights_bytes(self, dtype: str) -> int:
        """Bytes of its weights in memory in a data type; those of a quantised model do not depend on it."""
        return self.weights_bytes_on_disk if self.quantization else self.parameters * DTYPE_BYTES[dtype]

    def cache_bytes_a_token(self, dtype: str) -> int:
        """Bytes that a token takes in the key-value cache; a model of masked words keeps none."""
        if self.task == "fill-mask":
            return 0
        return 2 * self.layers * self.key_value_heads * self.head_size * DTYPE_BYTES[dtype]

    def to_data(self) -> dict[str, Any]:
        """Plain data; without `engine` where the engine needs no options of the model's own."""
        data = {part.name: _plain(getattr(self, part.name)) for part in fields(self)}
        if not data["engine"]:
            del data["engine"]
        return data


@cache
def load(directory: Path = _HERE) -> dict[str, Entry]:
    """All entries of the directory's YAML files by name; ProfileError names file, model and key."""
    found: dict[str, Entry] = {}
    for path in sorted(directory.glob("*.yaml")):
        try:
            data = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 (both are safe)
        except (OSError, yaml.YAMLError) as error:
            raise ProfileError(f"{path.name} cannot be read: {' '.join(str(error).split())}; mend the file") from None
        if not isinstance(data, Mapping):
            raise ProfileError(f"{path.name} is no mapping of model names to models; see docs/models.md")
        for name, values in data.items():
            if name in found:
                raise ProfileError(f"{path.name}: model {name!r} is in another file as well; keep one of them")
            found[str(name)] = parse(str(name), values, path.name)
    return found


def parse(name: str, values: Any, where: str) -> Entry:
    """One entry from its YAML; ProfileError says which key is missing, unknown or of a wrong kind."""
    where = f"{where}: model {name!r}"
    if not isinstance(values, Mapping):
        raise ProfileError(f"{where} has no keys; see docs/models.md")
    values = {**values, "name": name}
    known = {part.name: part for part in fields(Entry)}
    unknown = sorted(set(values) - set(known))
    missing = sorted(
        key
        for key, part in known.items()
        if key not in values and part.default is MISSING and part.default_factory is MISSING
    )
    if unknown or missing:
        said = [f"unknown key {', '.join(unknown)}"] * bool(unknown) + [f"no {', '.join(missing)}"] * bool(missing)
        raise ProfileError(f"{where}: {' and '.join(said)}; the keys are {', '.join(known)}")
    if isinstance(values.get("dtypes"), list):
        values["dtypes"] = tuple(values["dtypes"])
    if isinstance(values.get("dtypes_by_kind"), Mapping):
        values["dtypes_by_kind"] = {kind: tuple(types or ()) for kind, types in values["dtypes_by_kind"].items()}
    made = Entry(**cast(Any, values))
    _check(made, where)
    return made


def check_source(source: Any, where: str) -> None:
    """ProfileError unless a source has its kind's keys, as texts."""
    kind = source.get("kind") if isinstance(source, Mapping) else None
    if kind not in SOURCE_KEYS:
        raise ProfileError(f"{where}: source kind {kind!r} is not known; known are {', '.join(SOURCE_KEYS)}")
    for key in SOURCE_KEYS[kind]:
        if not isinstance(source.get(key), str) or not source[key]:
            raise ProfileError(f"{where}: source {kind} has {key} {source.get(key)!r}, not a text")


def check_golden(golden: Any, where: str) -> None:
    """ProfileError for a golden check that could not fail, or that nobody could ask."""
    if not isinstance(golden, Mapping) or ("question" in golden) == ("prompt" in golden):
        raise ProfileError(f"{where}: golden needs a question (chat) or a prompt, one of the two")
    if ("expected" in golden) == ("reference" in golden):
        raise ProfileError(
            f"{where}: golden needs `expected`, or `reference: transformers` to take the answer when the weights are "
            "fetched"
        )
    if "expected" in golden and not str(golden["expected"]).strip():
        raise ProfileError(f"{where}: golden expects an empty text, which every answer contains; give a word")
    if golden.get("reference", "transformers") != "transformers":
        raise ProfileError(f"{where}: golden reference {golden['reference']!r} is not known; it is transformers")
    if not isinstance(golden.get("max_tokens"), int) or golden["max_tokens"] < 1:
        raise ProfileError(f"{where}: golden max_tokens is {golden.get('max_tokens')!r}; give a number above zero")


def _check(made: Entry, where: str) -> None:
    check_source(made.source, where)
    check_golden(made.golden, where)
    for key, allowed in (("engine_kind", get_args(EngineKind)), ("task", get_args(Task))):
        if getattr(made, key) not in allowed:
            raise ProfileError(f"{where}: {key} is {getattr(made, key)!r}; it is one of {', '.join(allowed)}")
    for dtype in (*made.dtypes, *(dtype for types in made.dtypes_by_kind.values() for dtype in types)):
        if dtype not in DTYPE_BYTES:
            raise ProfileError(f"{where}: dtype {dtype!r} is not known; known are {', '.join(DTYPE_BYTES)}")
    strange = sorted(set(made.dtypes_by_kind) - set(KINDS))
    if strange:
        raise ProfileError(f"{where}: dtypes_by_kind names {', '.join(strange)}; kinds are {', '.join(KINDS)}")
    sizes = ("parameters", "layers", "hidden_size", "attention_heads", "key_value_heads", "head_size", "maximum_length")
    for key in sizes:
        value = getattr(made, key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ProfileError(f"{where}: {key} is {value!r}; give a whole number above zero")
    if made.quantization and not made.weights_bytes_on_disk:
        raise ProfileError(f"{where}: a quantised model needs weights_bytes_on_disk; its files' sizes added up")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return list(value) if isinstance(value, tuple) else value
