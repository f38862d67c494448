"""An HTTP answer is the same however its bytes are cut, and what breaks HTTP's rules is no answer (RFC 9112)."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.load.wire import AnswerReader, WireError

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6;name=value\r\ndata: \r\nA\r\n0123456789\r\n0\r\nTrailer: yes\r\n\r\n"
)
LENGTH = b"HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\nConnection: close\r\n\r\nhello"
CLOSED = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\nx-cluster-node: a\r\n\r\nuntil the end"
WHOLE = {
    CHUNKED: (200, b"data: 0123456789", True),
    LENGTH: (404, b"hello", False),
    CLOSED: (200, b"until the end", False),
}


@given(st.sampled_from(list(WHOLE)), st.lists(st.integers(0, 200), max_size=8))
def test_cuts_change_nothing(answer: bytes, cuts: list[int]) -> None:
    reader, body = AnswerReader(), b""
    places = [0, *sorted(cut for cut in cuts if cut < len(answer)), len(answer)]
    for begin, end in itertools.pairwise(places):
        body += reader.feed(answer[begin:end])
    reader.closed()
    assert (reader.status, body, reader.keep) == WHOLE[answer]
    assert reader.complete


@pytest.mark.parametrize("answer", list(WHOLE))
def test_an_answer_that_ends_before_its_end_is_none(answer: bytes) -> None:
    reader = AnswerReader()
    reader.feed(answer[:-3] if answer is not CLOSED else answer[:40])
    assert not reader.complete
    with pytest.raises(WireError, match="ended"):
        reader.closed()


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nfolded : value\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0x10\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 5_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000,
    ],
)
def test_what_breaks_the_rules_is_refused(answer: bytes) -> None:
    with pytest.raises(WireError):
        AnswerReader().feed(answer)


@given(st.binary(max_size=300))
def test_no_bytes_end_in_another_error(data: bytes) -> None:
    reader = AnswerReader()
    try:
        reader.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + data)
        reader.closed()
    except WireError:
        return
    assert reader.complete
