"""Whether an answer that was never recorded in health is wrong, or another rounding of the same model.

At temperature 0 an engine takes the likeliest token. Where two tokens are as likely as each other up to the rounding of
the dtype, batches of other sizes take the one or the other, and the rest of the answer follows. So an unrecorded answer
is read back to a healthy engine, which tells for each of its tokens how far it lies below the likeliest one
(vLLM's `prompt_logprobs`). Only an answer that is nowhere farther below than a rounding counts as right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx

from experiments.answers import RIGHT, WRONG, Outcome, Question
from experiments.load.client import Endpoint, headers
from facts.programs.golden import is_right

# Logits of small models lie between 16 and 32, where bfloat16 has steps of 1/8; two of them can be two steps apart by
# rounding alone. float32 has steps of 2e-6 there, and sums of hundreds of products differ by some thousand of them.
ROUNDING_NATS = {"bfloat16": 0.25, "float16": 0.05, "float32": 0.01}


def largest_gap(prompt_logprobs: Sequence[dict[str, Any] | None], answer_tokens: int) -> float:
    """Nats by which the least likely of the last `answer_tokens` tokens lies below the likeliest in its place.

    Each entry has the token that is there and the one of rank 1; ValueError for any other shape.
    """
    found = 0.0
    if not 0 < answer_tokens < len(prompt_logprobs):
        raise ValueError(f"{answer_tokens} tokens of an answer in {len(prompt_logprobs)} of a prompt")
    for entry in prompt_logprobs[-answer_tokens:]:
        if not entry:
            raise ValueError("a token of the answer has no log probability")
        # vLLM puts the token that is there first.
        values = [float(value["logprob"]) for value in entry.values()]
        found = max(found, max(values) - values[0])
    return found


async def gap_of(session: httpx.AsyncClient, endpoint: Endpoint, question: Question, answer: str) -> float:
    """`largest_gap` of an answer, as a healthy engine sees it; infinite when the answer ends where the model goes on.

    httpx.HTTPError or ValueError when the engine does not say.
    """
    asked = [{"role": "user", "content": question.text}]
    alone = await _one_token(session, endpoint, {"messages": asked})
    read = {
        "messages": [*asked, {"role": "assistant", "content": answer}],
        "add_generation_prompt": False,
        "continue_final_message": True,
        "prompt_logprobs": 1,
    }
    back = await _one_token(session, endpoint, read)
    try:
        tokens = int(back["usage"]["prompt_tokens"]) - int(alone["usage"]["prompt_tokens"])
        ended = back["choices"][0]["finish_reason"] == "stop"
        if tokens < question.max_tokens and not ended:
            return float("inf")
        return largest_gap(back["prompt_logprobs"], tokens)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"an answer of another shape than vLLM's: {type(error).__name__} {error}") from None


async def _one_token(session: httpx.AsyncClient, endpoint: Endpoint, more: dict[str, Any]) -> Any:
    body = {"model": endpoint.model, "max_tokens": 1, "temperature": 0, **more}
    said = await session.post(f"{endpoint.url}/chat/completions", json=body, headers=headers(endpoint), timeout=60)
    said.raise_for_status()
    return said.json()


async def judge_again(
    session: httpx.AsyncClient,
    endpoint: Endpoint,
    questions: Sequence[Question],
    outcomes: Sequence[Outcome],
    rounding_nats: float,
) -> tuple[list[Outcome], dict[str, Any]]:
    """Outcomes with each unrecorded answer read back to a healthy engine, and what came of that.

    An answer that lacks what it has to hold stays wrong whatever the engine thinks of it.
    """
    by_text = {question.text: question for question in questions}
    gaps: dict[tuple[str, str], float] = {}
    judged = []
    for entry in outcomes:
        question = by_text.get(entry.question)
        if entry.kind != WRONG or question is None or not is_right(question.expected, entry.answer):
            judged.append(entry)
            continue
        key = (entry.question, entry.answer)
        if key not in gaps:
            gaps[key] = await gap_of(session, endpoint, question, entry.answer)
        said = f"{entry.detail}; at most {gaps[key]:.3f} nats below the likeliest token"
        judged.append(replace(entry, kind=RIGHT if gaps[key] <= rounding_nats else WRONG, detail=said))
    accepted = [gap for gap in gaps.values() if gap <= rounding_nats]
    return judged, {
        "rounding_nats": rounding_nats,
        "unrecorded_answers": len(gaps),
        "accepted": len(accepted),
        "largest_accepted_nats": max(accepted, default=None),
        "requests": sum(before.kind != after.kind for before, after in zip(outcomes, judged, strict=True)),
        "answers": [
            {"question": question, "answer": answer, "nats": None if gap == float("inf") else round(gap, 4)}
            for (question, answer), gap in gaps.items()
        ],
    }
