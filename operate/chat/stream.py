"""The client of the cluster's API for a conversation: streams answers, reads small JSON. ChatError for every failure.

A request has a connection of its own: one that was kept could have been dropped by anything on the way while the
operator was thinking.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx

from operate.api import ANSWER_SECONDS
from operate.chat.answer import Answer, Piece
from operate.chat.events import EventDecoder
from operate.chat.failures import ChatError, Unreachable, broken, refusal, said_by

CONNECT_SECONDS = 5.0
LOOK_SECONDS = 5.0


class Api:
    """One endpoint. `socket` is a Unix socket that leads to it, or None to connect to `url` itself.

    `key` goes into a header and nowhere else: a message that repeats it has it blacked out. `key_file` is what messages
    name instead. No proxy and no ~/.netrc of this machine is used: the endpoint is on the cluster's own network.
    """

    def __init__(
        self,
        url: str,
        *,
        command: str,
        key: str | None = None,
        key_file: str = "",
        socket: str | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self.url, self._command, self._key, self._key_file, self._seconds = url, command, key, key_file, seconds
        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            transport=httpx.HTTPTransport(
                # This machine's own certificates and SSL_CERT_FILE, as `cluster ask` has them; httpx brings others.
                verify=ssl.create_default_context(),
                uds=socket,
                trust_env=False,
                limits=httpx.Limits(max_keepalive_connections=0),
            ),
            trust_env=False,
        )

    def close(self) -> None:
        """Close what is open."""
        self._client.close()

    def stream(self, body: dict[str, Any], answer: Answer, hear: Callable[[Piece], None]) -> None:
        """Ask; `answer` is filled and `hear` called as text arrives. ChatError when it does not come whole."""
        try:
            self._stream(f"{self.url}/chat/completions", body, answer, hear)
        except ChatError as error:
            raise type(error)(self._without_key(str(error))) from None

    def get(self, url: str) -> Any:
        """A JSON document; ChatError when there is none."""
        try:
            response = self._client.get(url, timeout=LOOK_SECONDS)
        except httpx.HTTPError as error:
            raise self._unreachable(url, error) from None
        if response.status_code != 200:
            raise ChatError(self._without_key(str(self._refused(url, response, response.content))))
        try:
            return response.json()
        except ValueError:
            raise ChatError(f"{url}: no JSON but {response.text[:80]!r}; is that this cluster's gateway?") from None

    def models(self) -> list[str]:
        """Names of the models that are served."""
        answer = self.get(f"{self.url}/models")
        try:
            return [str(row["id"]) for row in answer["data"]]
        except (KeyError, TypeError):
            raise ChatError(f"{self.url}/models: no list of models in the answer; `logs` may say more") from None

    def _stream(self, url: str, body: dict[str, Any], answer: Answer, hear: Callable[[Piece], None]) -> None:
        try:
            with self._client.stream("POST", url, json=body) as response:
                answer.node = response.headers.get("x-cluster-node", "")
                answer.address = response.headers.get("x-cluster-address", "")
                answer.replica = response.headers.get("x-cluster-replica", "")
                if response.status_code != 200:
                    raise self._refused(url, response, response.read())
                self._read(url, response, answer, hear)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise self._unreachable(url, error) from None
        except httpx.TimeoutException:
            why = f"nothing came for {self._seconds:.0f} s"
            raise broken(url, why, answer.completion_tokens, len(answer.answer)) from None
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise broken(url, why, answer.completion_tokens, len(answer.answer)) from None

    def _read(self, url: str, response: httpx.Response, answer: Answer, hear: Callable[[Piece], None]) -> None:
        kind = response.headers.get("content-type", "")
        if not kind.startswith("text/event-stream"):
            raise ChatError(f"{url}: {kind or 'an unnamed type'} instead of a stream; is that this cluster's gateway?")
        events = EventDecoder()
        for received in response.iter_bytes():
            for data in events.feed(received):
                if data == "[DONE]":
                    return
                self._take(data, answer, hear)
        if not answer.finish_reason:
            raise broken(url, "the stream ended too early", answer.completion_tokens, len(answer.answer))

    def _take(self, data: str, answer: Answer, hear: Callable[[Piece], None]) -> None:
        """One event: text, the reason of the end, the engine's count of tokens, or an error in the stream."""
        now = time.monotonic()
        try:
            chunk = json.loads(data)
            if chunk.get("error"):
                said, _ = said_by(data.encode())
                raise broken(self.url, f"the engine said {said}", answer.completion_tokens, len(answer.answer))
            answer.model = str(chunk.get("model") or answer.model)
            for choice in (chunk.get("choices") or [])[:1]:
                delta = choice.get("delta") or {}
                thought = delta.get("reasoning") or delta.get("reasoning_content")
                for piece in (Piece(thought or "", thinking=True), Piece(delta.get("content") or "")):
                    if piece.text:
                        answer.add(piece, now)
                        hear(piece)
                answer.finish_reason = str(choice.get("finish_reason") or answer.finish_reason)
            counted = (chunk.get("usage") or {}).get("completion_tokens")
            if counted is not None:
                answer.completion_tokens = int(counted)
        except (ValueError, TypeError, AttributeError):
            raise broken(
                self.url, f"an event of another shape, {data[:80]!r}", answer.completion_tokens, len(answer.answer)
            ) from None

    def _refused(self, url: str, response: httpx.Response, body: bytes) -> ChatError:
        return refusal(url, response.status_code, response.headers, body, command=self._command, key=self._key_file)

    def _unreachable(self, url: str, error: Exception) -> ChatError:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            remedy = "set SSL_CERT_FILE to the certificate of the authority that signed it"
            return ChatError(f"{url}: its certificate is not trusted here ({error}); {remedy}")
        why = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error) or type(error).__name__
        return Unreachable(
            f"{url} cannot be reached ({why}); `status` shows the nodes, `{self._command} up` starts them"
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[the API key]") if self._key else text
