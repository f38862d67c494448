"""`cluster ask` before it asks."""

from __future__ import annotations

import pytest

from tests.conftest import Typed


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused_at_once(typed: Typed, question: str) -> None:
    status, out, error = typed("ask", question)
    assert (status, out) == (2, "")
    assert "the question is empty" in error


def test_a_question_that_is_no_text_is_refused_at_once(typed: Typed) -> None:
    """A byte that is no UTF-8 comes as half of a pair in the program's arguments."""
    status, out, error = typed("ask", "caf\udce9?")
    assert (status, out) == (2, "")
    assert "character 4 is the byte 0xe9, which is no character of UTF-8" in error
