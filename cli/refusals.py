"""Refusals of the lab and of the images, shown as the command's own: one line, exit 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import images
import lab
from operate.errors import OperatorError


def refusals(function: Callable[..., None]) -> Callable[..., None]:
    """A LabError or an ImageError is for the operator, who can mend it."""

    @wraps(function)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            function(*arguments, **options)
        except (lab.LabError, images.ImageError) as error:
            raise OperatorError(str(error)) from None

    return guarded
