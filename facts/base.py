"""The boundary between the pure parsers and pyinfra.

pyinfra stops every host when a fact raises anything but `FactProcessError`. The decorator here turns a
parser's `ValueError` into one, so that a host with unreadable output fails alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from pyinfra.api.exceptions import FactProcessError
from pyinfra.api.facts import FactBase

FactType = TypeVar("FactType", bound="FactBase[Any]")
ReportType = TypeVar("ReportType")


def fails_alone(
    process: Callable[[FactType, list[str]], ReportType],
) -> Callable[[FactType, list[str]], ReportType]:
    """Decorate a fact's `process`: its `ValueError` becomes `FactProcessError`, with the fact's name in
    front.
    """

    @wraps(process)
    def guarded(fact: FactType, output: list[str]) -> ReportType:
        try:
            return process(fact, output)
        except ValueError as error:
            raise FactProcessError(f"{fact.name}: {error}") from error

    return guarded
