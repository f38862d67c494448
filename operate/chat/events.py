"""Server-sent events, from bytes as the network cuts them. Pure.

Lines are cut at the byte LF and decoded when they are whole: a character may lie across two reads, and U+2028 or U+0085
inside an answer is no end of a line, as str.splitlines() would have it.
"""

from __future__ import annotations


class EventDecoder:
    """Feed bytes, get the `data` of each event that is whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[str] = []

    def feed(self, received: bytes) -> list[str]:
        """The events that `received` completes; what is not UTF-8 becomes U+FFFD."""
        *lines, self._rest = (self._rest + received).split(b"\n")
        events = []
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if self._data:
                    events.append("\n".join(self._data))
                self._data = []
            elif line.startswith(b"data:"):
                value = line.removeprefix(b"data:").removeprefix(b" ")
                self._data.append(value.decode(errors="replace"))
            # Comments (keep-alive), `event:`, `id:` and `retry:` say nothing that OpenAI's shape uses.
        return events
