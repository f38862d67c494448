"""`cluster chat` on a pseudo-terminal, as a program: typed, pasted, interrupted, left.

The server stands for gateway and engine.
"""

from __future__ import annotations

import select
import signal
import time
from collections.abc import Iterator

import pytest

from tests.openai_server import DONE, OpenAiServer, Place, Reply, answer, chat_command, chunk, endless, refusal
from tests.pseudo_terminal import ALT_ENTER, END, ENTER, INTERRUPT, SECONDS, UP, PseudoTerminal

HINT = "`quit` or Ctrl-D leaves"
PROMPT = "· help, quit"  # the end of the line below the prompt: from here on a line can be typed


@pytest.fixture
def terminal(place: Place) -> Iterator[PseudoTerminal]:
    session = PseudoTerminal(chat_command(place), place.environment)
    try:
        session.expect(PROMPT)
        yield session
    finally:
        session.close()


def test_a_conversation(terminal: PseudoTerminal, server: OpenAiServer, place: Place) -> None:
    """Ask, stop an answer, go on, take a line back, be told how to leave, leave: one session, as it goes."""
    server.replies.extend([answer("Paris."), Reply(endless()), answer("Rome."), refusal(429, "busy", retry_after="4")])
    terminal.type("France?" + ENTER)
    terminal.expect("Paris.\n")
    terminal.expect("answered by Worker Node #1: worker1, 127.0.6.11 · replica abc123")
    terminal.expect(PROMPT)

    # Ctrl-C in mid-answer stops the answer: the engine is told, what came is kept, the session goes on.
    terminal.type("Go on" + ENTER)
    terminal.expect("word3 ")
    terminal.type(INTERRUPT)
    terminal.expect("stopped by you")
    assert server.left.wait(SECONDS)
    terminal.expect(PROMPT)
    terminal.type("Italy?" + ENTER)
    terminal.expect("Rome.\n")
    terminal.expect(PROMPT)
    roles = [message["role"] for message in server.asked[2]["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert server.asked[2]["messages"][3]["content"].startswith("word0 word1 word2 word3 ")

    terminal.type("Spain?" + ENTER)
    terminal.expect("too many requests (429: busy); ask again in 4 s")
    terminal.expect(PROMPT)

    # Ctrl-C takes back what was typed; on an empty line it says how to leave, and does not.
    terminal.type("half a line" + INTERRUPT + INTERRUPT)
    terminal.expect(HINT)
    terminal.expect(PROMPT)
    terminal.type("new" + ENTER)
    terminal.expect("another conversation begins")
    terminal.expect(PROMPT)

    # Several lines are one question, pasted or with Alt-Enter.
    terminal.type("\x1b[200~first\nsecond\x1b[201~" + ALT_ENTER + "third" + ENTER)
    terminal.expect("is Paris.\n")
    terminal.expect(PROMPT)
    assert server.asked[-1]["messages"] == [{"role": "user", "content": "first\nsecond\nthird"}]

    # After a slash the commands are proposed as one types, and Tab takes the first.
    terminal.type("/he")
    terminal.expect("/help")
    terminal.type("\t" + ENTER)
    terminal.expect("Anything else is sent to the model")
    terminal.expect(PROMPT)
    terminal.type(END)
    assert terminal.end() == 0
    assert "Traceback" not in terminal.seen

    history = place.home / "chat-history"
    assert history.stat().st_mode & 0o777 == 0o600
    assert "+France?" in history.read_text().splitlines()


def test_ctrl_c_before_the_first_token(terminal: PseudoTerminal, server: OpenAiServer) -> None:
    server.replies.append(Reply([chunk("", role="assistant"), 30.0, b"", chunk("late")]))
    terminal.type("France?" + ENTER)
    terminal.expect("waiting for the first token")
    deadline = time.monotonic() + SECONDS
    while not server.asked:
        assert time.monotonic() < deadline
        select.select([], [], [], 0.05)
    terminal.type(INTERRUPT)
    terminal.expect("stopped by you")
    terminal.expect(PROMPT)
    terminal.type("exit" + ENTER)
    assert terminal.end() == 0


@pytest.mark.parametrize("options", [(), ("--plain",)])
def test_keys_typed_while_an_answer_streams_wait_for_the_prompt(
    place: Place, server: OpenAiServer, options: tuple[str, ...]
) -> None:
    """They are not echoed into the answer, and are the next line."""
    parts: list[bytes | float] = [
        chunk("", role="assistant"),
        chunk("one "),
        1.5,
        chunk("two."),
        chunk(finish="stop"),
        DONE,
    ]
    server.replies.append(Reply(parts))
    with PseudoTerminal(chat_command(place, *options), place.environment) as session:
        session.expect("> " if options else PROMPT)
        session.type("Go on" + ENTER)
        session.expect("one ")
        session.type("xyzzy" + ENTER)
        assert session.expect("two.") == ""
        before = session.expect("answered by")
        assert "xyzzy" not in before
        session.expect("is Paris.\n")
        assert server.asked[-1]["messages"][-1]["content"] == "xyzzy"
        session.expect("> " if options else PROMPT)
        session.type(END)
        assert session.end() == 0


def test_a_line_that_is_no_text(place: Place, server: OpenAiServer) -> None:
    with PseudoTerminal(chat_command(place), place.environment) as session:
        session.expect(PROMPT)
        session.type_bytes(b"caf\xe9?\r")
        session.expect("the byte 0xe9, which is no character of UTF-8")
        session.expect(PROMPT)
        session.type(END)
        assert session.end() == 0
    assert not server.asked


def test_a_connection_that_breaks_and_escape_sequences_of_a_model(
    terminal: PseudoTerminal, server: OpenAiServer
) -> None:
    server.replies.extend([Reply([chunk("The \x1b]0;owned\x07ca")], cut=True), answer("Paris.")])
    terminal.type("France?" + ENTER)
    terminal.expect("The \N{REPLACEMENT CHARACTER}]0;owned\N{REPLACEMENT CHARACTER}ca\n")
    terminal.expect("the connection broke in mid-answer, after about 1 token")
    terminal.expect(PROMPT)
    terminal.type(UP + ENTER)
    terminal.expect("Paris.\n")
    terminal.expect(PROMPT)
    assert [body["messages"][0]["content"] for body in server.asked] == ["France?", "France?"]


def test_a_terminal_that_goes_away(terminal: PseudoTerminal, server: OpenAiServer) -> None:
    server.replies.append(Reply(endless()))
    terminal.type("Go on" + ENTER)
    terminal.expect("word1 ")
    terminal.process.send_signal(signal.SIGHUP)
    assert terminal.end() == 128 + signal.SIGHUP
    assert server.left.wait(SECONDS)


def test_plain_on_a_terminal(place: Place, server: OpenAiServer) -> None:
    session = PseudoTerminal(chat_command(place, "--plain"), place.environment)
    server.replies.append(Reply(endless()))
    try:
        session.expect("> ")
        session.type("Go on\n")
        session.expect("word1 ")
        session.type(INTERRUPT)
        session.expect("stopped by you")
        session.expect("> ")
        session.type(INTERRUPT)
        session.expect(HINT)
        session.expect("> ")
        session.type("France?\n")
        session.expect("is Paris.\n")
        session.type(END)
        assert session.end() == 0
    finally:
        session.close()


def test_a_history_that_cannot_be_kept(place: Place, server: OpenAiServer) -> None:
    (place.home / "chat-history").mkdir(parents=True)  # a file is wanted
    session = PseudoTerminal(chat_command(place), place.environment)
    try:
        session.expect("what you type is not kept")
        session.expect(PROMPT)
        session.type("quit" + ENTER)
        assert session.end() == 0
    finally:
        session.close()
