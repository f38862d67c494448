"""What is sent with each question: the turns so far and the choices of the operator. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Conversation:
    """Turns are (question, answer); `system` is the system prompt, empty for none."""

    model: str
    system: str = ""
    temperature: float = 0.0
    max_tokens: int = 512
    turns: list[tuple[str, str]] = field(default_factory=list)

    def request(self, question: str) -> dict[str, Any]:
        """The body of a streaming chat completion in OpenAI's shape."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        for asked, answered in self.turns:
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        return {
            "model": self.model,
            "messages": [*messages, {"role": "user", "content": question}],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
