"""What a stub engine has room for, and what it says of that in vLLM's metrics: slots, a queue, a cache of prefixes.

Standard library only. Seconds.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

PREFIX_CHARACTERS = 64
MOST_PREFIXES = 100_000


class Room:
    """At most `slots` requests at once (0: any number); a prompt's beginning that is new costs `cold` seconds more."""

    def __init__(self, slots: int = 0, cold: float = 0.0) -> None:
        self.slots, self.cold = slots, cold
        self.running = self.finished = self.tokens = self.queries = self.hits = 0
        self._waiting: deque[Callable[[bool], None]] = deque()
        self._prefixes: dict[str, None] = {}
        self._began = time.time()

    def enter(self, begin: Callable[[bool], None]) -> None:
        """`begin(False)` at once, or `begin(True)` when a slot is free."""
        if self.slots and self.running >= self.slots:
            self._waiting.append(begin)
        else:
            self.running += 1
            begin(False)

    def leave(self, tokens: int) -> None:
        """A request that had begun is over; 0 tokens: its client went away."""
        self.running -= 1
        self.finished += bool(tokens)
        self.tokens += tokens
        if self._waiting:
            self.running += 1
            self._waiting.popleft()(True)

    def prefill(self, prompt: str) -> float:
        """Seconds that this prompt costs beside the usual."""
        self.queries += 1
        start = prompt[:PREFIX_CHARACTERS]
        if start in self._prefixes:
            self.hits += 1
            return 0.0
        if len(self._prefixes) < MOST_PREFIXES:
            self._prefixes[start] = None
        return self.cold

    def metrics(self, model: str) -> str:
        """Prometheus' text, with the names and labels of vLLM's."""
        values = {
            "vllm:num_requests_running": ("gauge", self.running),
            "vllm:num_requests_waiting": ("gauge", len(self._waiting)),
            "vllm:request_success_total": ("counter", self.finished),
            "vllm:generation_tokens_total": ("counter", self.tokens),
            "vllm:prefix_cache_queries_total": ("counter", self.queries),
            "vllm:prefix_cache_hits_total": ("counter", self.hits),
            "vllm:num_preemptions_total": ("counter", 0),
            "vllm:kv_cache_usage_perc": ("gauge", self.running / self.slots if self.slots else 0.0),
        }
        lines = []
        for name, (kind, value) in values.items():
            lines += [f"# TYPE {name} {kind}", f'{name}{{engine="0",model_name="{model}"}} {value}']
        return "\n".join(
            [*lines, "# TYPE process_start_time_seconds gauge", f"process_start_time_seconds {self._began}", ""]
        )
