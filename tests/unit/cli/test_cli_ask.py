"""`cluster ask` before it asks."""

from __future__ import annotations

import pytest

from tests.conftest import Typed


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused_at_once(typed: Typed, question: str) -> None:
    status, out, error = typed("ask", question)
    assert (status, out) == (2, "")
    assert "the question is empty" in error
