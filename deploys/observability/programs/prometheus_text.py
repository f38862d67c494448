"""Prometheus' text format (exposition format 0.0.4), read and written. Pure; standard library only.

A sample is (name, labels, value). What another process wrote is not trusted: a line that is no sample is left out.
"""

import re
from collections.abc import Callable, Iterable, Iterator

Sample = tuple[str, dict[str, str], float]

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?(?:\s+#.*)?\s*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")
_MEANT = {"n": "\n", "\\": "\\", '"': '"'}
LINE_CHARACTERS = 8_192


def every(_name: str) -> bool:
    """Keep all."""
    return True


def samples(text: str, keep: Callable[[str], bool] = every) -> Iterator[Sample]:
    """The samples whose name `keep` wants, in the text's order; comments and what cannot be read are passed over."""
    for line in text.splitlines():
        if not line or line[0] == "#" or len(line) > LINE_CHARACTERS:
            continue
        found = _LINE.fullmatch(line)
        if found is None or not keep(found[1]):
            continue
        labels = _labels(found[2] or "")
        value = number(found[3])
        if labels is not None and value is not None:
            yield found[1], labels, value


def number(text: str) -> float | None:
    """A value as the format has it, NaN and +Inf too; None for what is none."""
    try:
        return float(text)
    except ValueError:
        return None


def _labels(text: str) -> dict[str, str] | None:
    found: dict[str, str] = {}
    place = 0
    while place < len(text):
        label = _LABEL.match(text, place)
        if label is None:
            return None
        found[label[1]] = _ESCAPED.sub(lambda match: _MEANT.get(match[1], match[0]), label[2])
        place = label.end()
    return found


def render(found: Iterable[Sample]) -> str:
    """The text of these samples, a line each, for a textfile collector."""
    lines = []
    for name, labels, value in found:
        inside = ",".join(f'{key}="{_escaped(said)}"' for key, said in labels.items())
        lines.append(f"{name}{{{inside}}} {value!r}" if inside else f"{name} {value!r}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
