"""One HTTP/1.1 answer, read as its bytes come: status, headers, and the body's bytes the moment they are there. Pure.

Our own, because of its price: a load generator on the machine that it loads pays for each token's chunk in the very
times that it measures. Lengths, chunks and bodies that end with the connection, after RFC 9112; what breaks its rules
is a WireError, and no answer is taken for whole that is not.
"""

from __future__ import annotations

from enum import Enum, auto

MOST_HEAD_BYTES = 65_536
MOST_LINE_BYTES = 4_096


class WireError(Exception):
    """The peer broke HTTP's rules, or ended in the middle."""


class _Next(Enum):
    HEAD = auto()
    LENGTH = auto()
    CHUNK_SIZE = auto()
    CHUNK = auto()
    CHUNK_END = auto()
    TRAILER = auto()
    UNTIL_CLOSED = auto()
    NOTHING = auto()


class AnswerReader:
    """Feed it bytes; `status` is 0 until the head was whole, `complete` says that all of the answer came."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep = False
        self._next = _Next.HEAD
        self._buffer = b""
        self._left = 0

    @property
    def complete(self) -> bool:
        """Whether the answer's end came."""
        return self._next is _Next.NOTHING

    def feed(self, data: bytes) -> bytes:
        """Take what came; the bytes of the body that were in it. WireError for what is no HTTP/1.1."""
        buffer = self._buffer + data if self._buffer else data
        body: list[bytes] = []
        while buffer:
            if self._next is _Next.HEAD:
                before = buffer
                buffer = self._head(buffer)
                if buffer is before:
                    break
            elif self._next in (_Next.LENGTH, _Next.CHUNK):
                taken = buffer[: self._left]
                buffer = buffer[self._left :]
                self._left -= len(taken)
                body.append(taken)
                if not self._left:
                    self._next = _Next.NOTHING if self._next is _Next.LENGTH else _Next.CHUNK_END
            elif self._next is _Next.UNTIL_CLOSED:
                body.append(buffer)
                buffer = b""
            elif self._next is _Next.NOTHING:
                raise WireError(f"bytes after the answer's end: {buffer[:40]!r}")
            else:
                end = buffer.find(b"\r\n")
                if end < 0:
                    if len(buffer) > MOST_LINE_BYTES:
                        raise WireError(f"a line of a chunk without an end: {buffer[:40]!r}")
                    break
                self._line(buffer[:end])
                buffer = buffer[end + 2 :]
        self._buffer = buffer
        return body[0] if len(body) == 1 else b"".join(body)

    def closed(self) -> None:
        """The peer ended the connection; WireError unless that is how this answer ends, or it had ended."""
        if self._next is _Next.UNTIL_CLOSED:
            self._next = _Next.NOTHING
        elif self._next is not _Next.NOTHING:
            raise WireError("the connection ended before the answer" if not self.status else "ended within the answer")

    def _head(self, buffer: bytes) -> bytes:
        """What follows the head; the same bytes while it is not whole."""
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > MOST_HEAD_BYTES:
                raise WireError(f"a head of more than {MOST_HEAD_BYTES} bytes")
            return buffer
        first, *lines = buffer[:end].decode("latin-1").split("\r\n")
        version, _, rest = first.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit() and len(code) == 3):
            raise WireError(f"no HTTP/1.1: {first[:60]!r}")
        headers = {}
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise WireError(f"no header: {line[:60]!r}")
            headers[name.lower()] = value.strip()
        if code[0] != "1":  # 100 Continue and its like come before the answer
            self.status, self.headers = int(code), headers
            self.keep = version == "HTTP/1.1" and "close" not in headers.get("connection", "").lower()
            self._begin_body()
        return buffer[end + 4 :]

    def _begin_body(self) -> None:
        coding, length = self.headers.get("transfer-encoding"), self.headers.get("content-length")
        if self.status in (204, 304):
            self._next = _Next.NOTHING
        elif coding is not None:
            if coding.lower() != "chunked":
                raise WireError(f"transfer coding {coding!r}, and only chunked was agreed on")
            self._next = _Next.CHUNK_SIZE
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise WireError(f"content-length {length[:40]!r}")
            self._left = int(length)
            self._next = _Next.LENGTH if self._left else _Next.NOTHING
        else:
            self._next, self.keep = _Next.UNTIL_CLOSED, False

    def _line(self, line: bytes) -> None:
        if self._next is _Next.CHUNK_SIZE:
            size = line.partition(b";")[0].strip()
            try:
                if not size or size.translate(None, b"0123456789abcdefABCDEF"):
                    raise ValueError
                self._left = int(size, 16)
            except ValueError:
                raise WireError(f"a chunk of size {line[:40]!r}") from None
            self._next = _Next.CHUNK if self._left else _Next.TRAILER
        elif self._next is _Next.CHUNK_END:
            if line:
                raise WireError(f"a chunk that is longer than it said: {line[:40]!r}")
            self._next = _Next.CHUNK_SIZE
        elif not line:  # the empty line after the trailers
            self._next = _Next.NOTHING
