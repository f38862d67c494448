"""Which files of a model's repository are the model: one copy of its weights, and what lies beside them. Pure.

A repository may hold the same weights several times: in another format, in one piece beside the parts that the index
names (`consolidated.safetensors`), in folders (`original/`), or, as GGUF, in a variant for each quantisation. One copy
is taken: safetensors before PyTorch's .bin before GGUF; of the first two what the index names. Of several GGUF variants
the one that the operator names, else the largest that fits; a variant's parts are one. `mmproj` files (a picture
encoder), `imatrix` files and vocabularies are no models. Part of fetch_model.py; standard library only.
"""

import fnmatch
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar

BESIDE = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py")
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".gguf")

# transformers' own names (transformers.utils: SAFE_WEIGHTS_NAME, WEIGHTS_NAME and their indexes), the best first.
_COPIES = (("model", ".safetensors"), ("pytorch_model", ".bin"), ("model", ".bin"))
_PART = re.compile(r"^(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})$")
_NO_MODEL = re.compile(r"(^|[-_.])(mmproj|imatrix)|^ggml-vocab", re.IGNORECASE)


class ChoiceError(RuntimeError):
    """No copy of the weights can be taken: what is there, and what to do. One line."""


class Listed(Protocol):
    """A file as it is listed: its path from the top, with slashes, and its bytes."""

    @property
    def path(self) -> str: ...
    @property
    def size(self) -> int: ...


File = TypeVar("File", bound=Listed)


def choose(
    listed: Sequence[File], patterns: Any = None, variant: str = "", room_bytes: int | None = None
) -> list[File]:
    """The files that are needed, the small ones first; empty where there are no weights.

    `patterns` of the operator name files and nothing else is taken. `variant` names one of a GGUF repository; without
    it the largest within `room_bytes` is taken. ChoiceError lists the variants where none can be chosen.
    """
    if patterns:
        return [file for file in listed if any(fnmatch.fnmatch(file.path, pattern) for pattern in patterns)]
    top = [file for file in listed if "/" not in file.path]
    weights = [] if variant else _tensors(top)
    weights = weights or _gguf(listed, variant, room_bytes)
    if not weights:
        return []
    beside = [file for file in top if any(fnmatch.fnmatch(file.path, pattern) for pattern in BESIDE)]
    return [file for file in beside if file not in weights] + weights


def index_of(files: Iterable[File]) -> File | None:
    """The index that names the parts of the weights, where one of the chosen files is it."""
    names = {f"{stem}{suffix}.index.json" for stem, suffix in _COPIES}
    return next((file for file in files if file.path in names), None)


def named_by(index: bytes, where: str, files: Sequence[File]) -> list[File]:
    """The chosen files without weights that the index does not name; ChoiceError for an index that is none, or names
    what is not there."""
    try:
        places = json.loads(index)["weight_map"]
        named = {str(name) for name in places.values()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ChoiceError(f"{where} has no weight_map, so nobody knows its parts; is the repository whole?") from None
    missing = sorted(named - {file.path for file in files})
    if missing or not named:
        said = f"names {', '.join(missing[:3])}, which is not there" if named else "names no file"
        raise ChoiceError(f"{where} {said}; the repository is not whole: take another revision")
    return [file for file in files if not file.path.endswith(WEIGHT_SUFFIXES) or file.path in named]


def gguf_file(paths: Iterable[str]) -> str:
    """The GGUF file that llama.cpp is to open, of a directory's: of several parts the first, which names the others.

    "" where there is none; ChoiceError for several models.
    """
    found = _variants([_Path(path) for path in paths])
    if len(found) > 1:
        raise ChoiceError(f"several GGUF models are there ({', '.join(found)}); keep one of them")
    return next((files[0].path for files in found.values()), "")


class _Path:
    def __init__(self, path: str) -> None:
        self.path, self.size = path, 0


def _tensors(top: Sequence[File]) -> list[File]:
    """One copy of the weights as safetensors, or as PyTorch saves them."""
    names = {file.path for file in top}
    for stem, suffix in _COPIES:
        parts = [file for file in top if _is_part_of(file.path, stem, suffix)]
        whole = [file for file in top if file.path == f"{stem}{suffix}"]
        if parts and (f"{stem}{suffix}.index.json" in names or not whole):
            return _one_set(parts, suffix)
        if whole:
            return whole
        # Under names of its own, as in Mistral's `consolidated.safetensors` where there is no other copy.
        others = [file for file in top if suffix == ".safetensors" and file.path.endswith(suffix)]
        if others:
            return others
    return []


def _is_part_of(path: str, stem: str, suffix: str) -> bool:
    found = _PART.match(path.removesuffix(suffix)) if path.endswith(suffix) else None
    return found is not None and found["stem"] == stem


def _one_set(parts: Sequence[File], suffix: str) -> list[File]:
    """The parts of one cut: where the weights were cut anew, the old parts may still be there. Whole sets only."""
    sets: dict[str, list[File]] = {}
    for file in parts:
        found = _PART.match(file.path.removesuffix(suffix))
        sets.setdefault(found["count"] if found else "", []).append(file)
    whole = [files for count, files in sorted(sets.items()) if len(files) == int(count or 0)]
    return sorted(whole[0] if whole else parts, key=lambda file: file.path)


def _gguf(listed: Sequence[File], variant: str, room_bytes: int | None) -> list[File]:
    found = _variants(listed)
    if not found:
        if variant:
            raise ChoiceError(f"variant {variant!r} is asked for and there is no GGUF file; leave it out")
        return []
    if variant:
        asked = [name for name in found if _is_called(name, variant)]
        exact = [name for name in asked if PurePosixPath(name).name.casefold() == variant.casefold()]
        if len(exact or asked) != 1:
            several = f"is one of {len(asked)} variants" if asked else "is none of the variants"
            raise ChoiceError(f"{variant!r} {several}; there are {_list(found)}")
        return found[(exact or asked)[0]]
    if len(found) == 1:
        return next(iter(found.values()))
    if room_bytes is None:
        raise ChoiceError(
            f"it has {len(found)} variants: {_list(found)}; name one, as in hub:OWNER/NAME:{_last_word(found)}"
        )
    fitting = {name: files for name, files in found.items() if _bytes(files) <= room_bytes}
    if not fitting:
        raise ChoiceError(
            f"none of its {len(found)} variants fits the {_gib(max(room_bytes, 0))} that there are for weights: "
            f"{_list(found)}; take a smaller model"
        )
    return max(fitting.items(), key=lambda item: (_bytes(item[1]), item[0]))[1]


def _variants(listed: Sequence[File]) -> dict[str, list[File]]:
    """Each whole GGUF model by its path without number and suffix, its parts in order; ChoiceError where one lacks."""
    found: dict[str, list[File]] = {}
    counts: dict[str, int] = {}
    for file in sorted(listed, key=lambda file: file.path):
        path = PurePosixPath(file.path)
        if path.suffix.lower() != ".gguf" or _NO_MODEL.search(path.stem):
            continue
        part = _PART.match(path.stem)
        name = str(path.with_name(part["stem"] if part else path.stem))
        found.setdefault(name, []).append(file)
        counts[name] = int(part["count"]) if part else 1
    for name, files in found.items():
        if len(files) != counts[name]:
            raise ChoiceError(f"{name} has {len(files)} of {counts[name]} parts; the repository is not whole")
    return found


def _is_called(name: str, variant: str) -> bool:
    """Whether an operator's word names a variant: its path, its file, its folder or how its file's name ends."""
    word = variant.casefold().removesuffix(".gguf")
    path = PurePosixPath(name.casefold())
    ends = re.search(rf"(^|[-._]){re.escape(word)}$", path.name) is not None
    return word == str(path) or ends or word in path.parts[:-1]


def _list(found: dict[str, list[File]]) -> str:
    ordered = sorted(found.items(), key=lambda item: (_bytes(item[1]), item[0]))
    return ", ".join(f"{name} ({_gib(_bytes(files))})" for name, files in ordered)


def _last_word(found: dict[str, list[File]]) -> str:
    """The end of a name of them, as an example of what an operator writes."""
    smallest = min(found.items(), key=lambda item: (_bytes(item[1]), item[0]))[0]
    return re.split(r"[-.]", PurePosixPath(smallest).name)[-1]


def _bytes(files: Sequence[File]) -> int:
    return sum(file.size for file in files)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
