"""The streaming client against a server in OpenAI's shapes: what arrives, when, and what is said when it does not."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from email.utils import formatdate
from pathlib import Path

import pytest

from operate.chat.answer import Answer, Piece
from operate.chat.events import EventDecoder
from operate.chat.failures import ChatError, ContextFull, Unreachable
from operate.chat.stream import Api
from tests.openai_server import DONE, MODEL, OpenAiServer, Reply, answer, chunk, refusal, usage

KEY = "a-key-that-nobody-may-see"


def ask(server: OpenAiServer, *, seconds: float = 5.0, key: str | None = None) -> tuple[Answer, list[Piece]]:
    api = Api(
        server.url, command="cluster -c mine", key=key, key_file="/home/me/api-key" if key else "", seconds=seconds
    )
    got, heard = Answer("a question", time.monotonic()), list[Piece]()
    try:
        api.stream({"model": MODEL, "messages": [], "stream": True}, got, heard.append)
    except ChatError as error:
        got.error, got.cause = str(error), error
    finally:
        api.close()
    return got, heard


def test_an_answer_arrives_in_pieces_with_its_node(server: OpenAiServer) -> None:
    server.replies.append(answer("The capital", " of France", " is Paris."))
    got, heard = ask(server)
    assert [piece.text for piece in heard] == ["The capital", " of France", " is Paris."]
    assert (got.answer, got.finish_reason, got.error) == ("The capital of France is Paris.", "stop", "")
    assert (got.node, got.address, got.replica, got.model) == ("worker1", "127.0.6.11", "abc123", MODEL)


def test_the_engine_counts_the_tokens(server: OpenAiServer) -> None:
    server.replies.append(answer("several tokens", " in a piece", tokens=7))
    assert ask(server)[0].completion_tokens == 7


def test_without_a_count_the_pieces_are_counted(server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk("a"), chunk("b"), chunk(finish="stop"), DONE]))
    assert ask(server)[0].completion_tokens == 2


def test_time_to_first_token_is_to_the_first_text_not_to_the_headers(server: OpenAiServer) -> None:
    server.replies.append(
        Reply([chunk("", role="assistant"), 0.3, chunk("a"), 0.2, chunk("b"), chunk(finish="stop"), DONE])
    )
    got, _ = ask(server)
    assert got.ttft_seconds is not None and 0.3 <= got.ttft_seconds < 2.0
    # One token in 0.2 s after the first: the wait for the first one is not part of the speed.
    assert got.tokens_per_second is not None and 0.5 < got.tokens_per_second < 10


def test_one_token_has_no_speed(server: OpenAiServer) -> None:
    server.replies.append(answer("Paris"))
    assert ask(server)[0].tokens_per_second is None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_characters_across_chunks(server: OpenAiServer, size: int) -> None:
    text = "Привет, 世界 🎉\u2028next\u0085end"
    stream = chunk(text) + chunk(finish="stop") + usage(3) + DONE
    server.replies.append(Reply([stream[at : at + size] for at in range(0, len(stream), size)]))
    got, _ = ask(server)
    assert (got.answer, got.error) == (text, "")


def test_keep_alive_comments_and_carriage_returns() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b": still here\r\n\r\ndata: one\r\nda") == []
    assert decoder.feed(b"ta:two\r\n\r") == []
    assert decoder.feed(b"\nevent: x\n\ndata: [DONE]\n\n") == ["one\ntwo", "[DONE]"]


def test_reasoning_is_heard_and_is_no_part_of_the_answer(server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk(reasoning_content="hm"), chunk("Paris"), chunk(finish="stop"), DONE]))
    got, heard = ask(server)
    assert heard == [Piece("hm", thinking=True), Piece("Paris")]
    assert got.answer == "Paris"


def test_a_stream_cut_in_the_middle_says_how_much_came(server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk("The capital"), chunk(" of")], cut=True))
    got, _ = ask(server)
    assert got.answer == "The capital of"
    assert "about 2 tokens (14 characters)" in got.error
    assert "ask again" in got.error


def test_a_stream_that_ends_without_an_end_is_cut(server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk("The")]))
    assert "in mid-answer, after about 1 token" in ask(server)[0].error


def test_a_connection_that_ends_before_the_answer(server: OpenAiServer) -> None:
    server.replies.append(Reply([], cut=True))
    assert "before the answer began" in ask(server)[0].error


def test_an_error_within_the_stream(server: OpenAiServer) -> None:
    error = b'data: {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}\n\n'
    server.replies.append(Reply([chunk("The"), error, DONE]))
    got, _ = ask(server)
    assert "the engine said EngineCore died" in got.error and "after about 1 token" in got.error


def test_an_event_of_another_shape(server: OpenAiServer) -> None:
    server.replies.append(Reply([b"data: [1, 2]\n\n"]))
    assert "an event of another shape" in ask(server)[0].error


def test_a_first_token_that_does_not_come(server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk("", role="assistant"), 3.0]))
    assert "nothing came for 0 s" in ask(server, seconds=0.2)[0].error


def test_a_wrong_key_names_its_file_and_never_itself(server: OpenAiServer) -> None:
    server.replies.append(refusal(401, f"Incorrect API key provided: {KEY}.", code="invalid_api_key"))
    got, _ = ask(server, key=KEY)
    assert server.keys == [f"Bearer {KEY}"]
    assert "401" in got.error and "/home/me/api-key" in got.error and "cluster -c mine up" in got.error
    assert KEY not in got.error


def test_too_many_requests_says_when(server: OpenAiServer) -> None:
    server.replies.append(refusal(429, "Rate limit reached", code="rate_limit_exceeded", retry_after="7"))
    assert "ask again in 7 s" in ask(server)[0].error


def test_a_date_in_retry_after(server: OpenAiServer) -> None:
    server.replies.append(refusal(503, "no engine", retry_after=formatdate(time.time() + 60, usegmt=True)))
    said = re.search(r"try again in (\d+) s", ask(server)[0].error)
    assert said and 40 <= int(said[1]) <= 60


def test_no_engine_says_what_to_look_at(server: OpenAiServer) -> None:
    server.replies.append(refusal(503, "No healthy engine.", retry_after="soon"))
    said = ask(server)[0].error
    assert "no engine is ready" in said and "No healthy engine" in said
    assert "try again in a moment" in said and "`actors`" in said


def test_a_gateway_that_answers_with_a_page(server: OpenAiServer) -> None:
    server.replies.append(Reply([b"<html><body>503 Service Unavailable</body></html>"], 503, {}, "text/html"))
    assert "<html>" in ask(server)[0].error


def test_a_conversation_that_is_too_long(server: OpenAiServer) -> None:
    said = "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens."
    server.replies.append(refusal(400, said))
    assert isinstance(ask(server)[0].cause, ContextFull)


def test_a_large_request(server: OpenAiServer) -> None:
    server.replies.append(refusal(413, "Request body too large"))
    assert "shorten the prompt" in ask(server)[0].error


def test_another_program_on_the_port(server: OpenAiServer) -> None:
    server.replies.append(Reply([b"{}"], 200, {}, "application/json"))
    assert "application/json instead of a stream" in ask(server)[0].error


def test_nobody_there(server: OpenAiServer) -> None:
    api = Api(f"http://{server.address}:1/v1", command="cluster -c mine")
    with pytest.raises(Unreachable, match=r"cannot be reached .*refused.*`cluster -c mine up`"):
        api.models()
    with pytest.raises(Unreachable):
        api.stream({}, Answer("", 0.0), lambda piece: None)


def test_models(server: OpenAiServer) -> None:
    assert Api(server.url, command="cluster -c mine").models() == [MODEL]
    server.documents["/v1/models"] = {"data": [{"name": "x"}]}
    with pytest.raises(ChatError, match="no list of models"):
        Api(server.url, command="cluster -c mine").models()


def test_https_with_a_certificate_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused with what to do, and good once SSL_CERT_FILE names it."""
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("no openssl on this machine to make a certificate with")
    key, certificate, both = (tmp_path / name for name in ("key.pem", "certificate.pem", "both.pem"))
    made = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=cluster", "-addext", "subjectAltName=IP:127.0.6.10", "-keyout", str(key), "-out"]
    subprocess.run([*made, *names, str(certificate)], check=True, capture_output=True)
    both.write_text(certificate.read_text() + key.read_text())
    with OpenAiServer("127.0.6.10", certificate=both) as server:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        assert "certificate is not trusted here" in ask(server)[0].error
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ask(server)[0].answer == "The capital of France is Paris."
