"""One request and what comes back, from the moment its first byte is given to the socket. Unix seconds."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from experiments.answers import (
    ANSWERED,
    CUT,
    GIVEN_UP,
    GOOD,
    HUNG,
    REFUSED,
    RIGHT,
    UNCLEAR,
    UNREACHABLE,
    Reading,
    judge,
    openai_error,
)
from experiments.load.client import Endpoint, clock
from experiments.load.prompts import Prompt
from experiments.load.records import RequestRecord
from experiments.load.steps import Step
from experiments.load.wire import AnswerReader, WireError

MOST_BODY_BYTES = 64 * 1024**2
# What a gateway of the cluster may say of an answer, beside facts.programs.own_name's headers: how often it tried.
ATTEMPTS_HEADER = "x-cluster-attempts"


@dataclass(frozen=True, eq=False)
class Order:
    """A request that is ready to be sent: its bytes, and what its record will say of it."""

    number: int
    step: Step
    prompt: Prompt
    due: float | None
    warm_up: bool
    trace: str
    data: bytes


def order(endpoint: Endpoint, step: Step, prompt: Prompt, number: int, due: float | None, warm_up: bool) -> Order:
    """Write the request down, so that nothing is left to do when it is due."""
    body: dict[str, object] = {
        "model": endpoint.model,
        "messages": prompt.messages,
        "max_tokens": prompt.max_tokens,
        "temperature": 0,
        "stream": step.streamed,
    }
    if step.streamed:
        body["stream_options"] = {"include_usage": True}
    if step.ignore_end and not prompt.checked:
        body["ignore_eos"] = True
    content, trace = msgspec.json.encode(body), secrets.token_hex(16)
    host, _, path = endpoint.url.partition("://")[2].partition("/")
    head = [
        f"POST /{path.rstrip('/')}/chat/completions HTTP/1.1",
        f"Host: {host}",
        "Accept: text/event-stream, application/json",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        f"traceparent: 00-{trace}-{trace[:16]}-01",
    ]
    if endpoint.key:
        head.append(f"Authorization: Bearer {endpoint.key}")
    return Order(number, step, prompt, due, warm_up, trace, "\r\n".join([*head, "", ""]).encode() + content)


class Exchange:
    """An order under way. A connection tells it what comes; `done` is called once, when it has ended."""

    def __init__(self, given: Order, done: Callable[[Exchange], None]) -> None:
        self.order = given
        self.kind = ""
        self.detail = ""
        self.sent: float | None = None
        self.ended: float | None = None
        self.reading = Reading()
        self.answer = AnswerReader()
        self.first_byte: float | None = None
        self.token_times: list[float] = []
        # Ends the connection that carries it.
        self.cut: Callable[[], None] | None = None
        self._done = done
        self._rest = b""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.ended is not None

    def received(self, data: bytes, at: float) -> None:
        """Bytes came at that time."""
        if self.first_byte is None:
            self.first_byte = at
        try:
            body = self.answer.feed(data)
        except WireError as error:
            self.end(at, CUT, str(error))
            return
        if body:
            self._body(body, at)
        if self.answer.complete and not self.over:
            self.end(at, *self._judged())

    def closed(self, at: float, why: str) -> None:
        """The peer ended the connection."""
        try:
            self.answer.closed()
        except WireError as error:
            self.end(at, CUT, f"{error}{f': {why}' if why else ''}")
            return
        self.end(at, *self._judged())

    def unreachable(self, why: str) -> None:
        """It could not be sent."""
        self.end(clock(), UNREACHABLE, why)

    def hang(self) -> None:
        """Its deadline came."""
        self._drop(HUNG, f"no end within {self.order.step.deadline_seconds:g} s")

    def give_up(self) -> None:
        """The load is stopped."""
        self._drop(GIVEN_UP, "the load was stopped")

    def _drop(self, kind: str, detail: str) -> None:
        if not self.over and self.cut is not None:
            self.cut()
        self.end(clock(), kind, detail)

    def end(self, at: float, kind: str, detail: str) -> None:
        """The end, once; what comes after it changes nothing."""
        if not self.over:
            self.ended, self.kind, self.detail = at, kind, detail
            self._done(self)

    @property
    def good(self) -> bool:
        """Whether the whole answer came, and nothing speaks against it."""
        return self.kind in GOOD

    def record(self) -> RequestRecord:
        """As the samples keep it; it has ended."""
        given, headers = self.order, self.answer.headers
        assert self.ended is not None  # noqa: S101 (asked after its end)
        attempts = headers.get(ATTEMPTS_HEADER, "")
        return RequestRecord(
            number=given.number,
            step=given.step.name,
            warm_up=given.warm_up,
            target_rate=given.step.arrivals.rate if given.step.arrivals else None,
            due=given.due,
            sent=self.ended if self.sent is None else self.sent,
            first_byte=self.first_byte,
            first_token=self.token_times[0] if self.token_times else None,
            last_token=self.token_times[-1] if self.token_times else None,
            ended=self.ended,
            token_times=tuple(self.token_times),
            prompt_tokens=self.reading.prompt_tokens,
            output_tokens=self.reading.output_tokens or len(self.token_times),
            finish_reason=self.reading.finish,
            status=self.answer.status,
            kind=self.kind,
            detail=self.detail,
            node=headers.get("x-cluster-node", ""),
            replica=headers.get("x-cluster-replica", ""),
            attempts=int(attempts) if attempts.isascii() and attempts.isdigit() else 0,
            prefix_group=given.prompt.prefix_group,
            turn=given.prompt.turn,
            trace=given.trace,
        )

    def _body(self, body: bytes, at: float) -> None:
        self._rest += body
        if self.answer.status != 200 or not self.order.step.streamed:
            if len(self._rest) > MOST_BODY_BYTES:
                self.end(at, CUT, f"an answer of more than {MOST_BODY_BYTES} bytes")
            return
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            if self.reading.stream_line(line.decode(errors="replace")):
                self.token_times.append(at)

    def _judged(self) -> tuple[str, str]:
        """(kind, detail) of an answer that ended by HTTP's rules."""
        if self.answer.status != 200:
            said = openai_error(self._rest)
            words = said or self._rest[:120].decode(errors="replace")
            return (REFUSED if said else UNCLEAR), f"{self.answer.status} {words}"
        if not self.order.step.streamed:
            self.reading.whole(self._rest)
        elif self._rest:
            self.reading.stream_line(self._rest.decode(errors="replace"))
        kind, detail = judge(self.order.prompt.question, self.reading)
        return (ANSWERED, "") if kind == RIGHT and not self.order.prompt.checked else (kind, detail)
