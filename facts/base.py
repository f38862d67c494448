"""The boundary between the pure parsers and pyinfra.

pyinfra stops every host when a fact raises anything but `FactProcessError`. The decorator here turns a parser's
error into one, so that a host with unreadable output fails alone.
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
    """Decorate a fact's `process`: its `ValueError` becomes `FactProcessError`, with the fact's name in front.

    So do the errors of a parser that met a shape it does not check for; their message names them.
    """

    @wraps(process)
    def guarded(fact: FactType, output: list[str]) -> ReportType:
        try:
            return process(fact, output)
        except ValueError as error:
            raise FactProcessError(f"{fact.name}: {error}") from error
        except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            said = " ".join(output)[:200]
            raise FactProcessError(
                f"{fact.name}: output of an unknown shape ({type(error).__name__}: {error}): {said!r}"
            ) from error

    return guarded
