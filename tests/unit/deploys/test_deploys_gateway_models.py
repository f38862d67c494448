"""Several models behind the gateway's configuration in a real HAProxy: the request's `model` decides who answers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from deploys.gateway.configuration import Served, render
from tests.unit.deploys.test_deploys_gateway import ADDRESS, KEY, Gateway, Placed, Stub, wait_until

FIRST, SECOND = "smollm2-135m-instruct", "local--tiny.t5_v1"


class TwoModels(Gateway):
    """The first stub serves one model, the second another."""

    def write(self, stubs: Sequence[Placed]) -> str:
        models = [Served(name, [stub.place], 2048) for name, stub in zip((FIRST, SECOND), stubs, strict=True)]
        text = render(models=models, **self.options)
        self.file.write_text(text)
        return text

    def listed(self) -> list[str]:
        status, body, _ = self.ask("GET", "/v1/models")
        assert status == 200
        return [entry["id"] for entry in json.loads(body)["data"]]


@pytest.fixture
def stubs() -> Iterator[list[Stub]]:
    found = [Stub("127.0.0.85"), Stub("127.0.0.86")]
    yield found
    for stub in found:
        stub.end()


@pytest.fixture
def gateway(stubs: list[Stub], tmp_path: Path) -> Iterator[TwoModels]:
    found = TwoModels(tmp_path, stubs)
    wait_until(lambda: found.listed() == [FIRST, SECOND])
    yield found
    found.end()


def by(gateway: Gateway, body: bytes, path: str = "/v1/chat/completions") -> str:
    status, answer, _ = gateway.ask(path=path, body=body)
    assert status == 200, answer
    return str(json.loads(answer)["by"])


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
def test_the_name_in_the_request_decides(gateway: TwoModels, path: str) -> None:
    large = {"messages": [{"role": "user", "content": "model " * 100_000, "model": FIRST}]}
    for more in ({}, large):
        assert by(gateway, json.dumps({"model": FIRST, **more}).encode(), path) == "127.0.0.85"
        assert by(gateway, json.dumps({**more, "model": SECOND}).encode(), path) == "127.0.0.86"


@pytest.mark.parametrize("body", [b"{}", b'{"messages": [{"model": "x"}]}', b"no JSON", b'{"model": null}', b""])
def test_who_names_none_is_answered_by_the_default_one(gateway: TwoModels, body: bytes) -> None:
    assert by(gateway, body) == "127.0.0.85"


@pytest.mark.parametrize("name", ["another", "", f"{FIRST} ", FIRST.upper(), 'a "quoted" \\ name\n%[src]', "ü" * 500])
def test_a_name_that_is_not_declared_is_refused_in_openais_shape(
    gateway: TwoModels, stubs: list[Stub], name: str
) -> None:
    status, body, _ = gateway.ask(body=json.dumps({"model": name}, ensure_ascii=False).encode())
    error = json.loads(body)["error"]
    assert (status, error["code"], error["type"], error["param"]) == (
        404, "model_not_found", "invalid_request_error", "model",
    )  # fmt: skip
    assert f"The model `{name[:60]}" in error["message"], "as it was said: nothing in it is evaluated"
    assert not any(stub.served for stub in stubs)


def test_a_model_without_an_engine_is_not_listed_and_the_other_one_goes_on(
    gateway: TwoModels, stubs: list[Stub]
) -> None:
    stubs[0].ready = 503
    wait_until(lambda: gateway.listed() == [SECOND])
    assert by(gateway, json.dumps({"model": SECOND}).encode()) == "127.0.0.86"
    for body in (json.dumps({"model": FIRST}).encode(), b"{}"):
        status, answer, headers = gateway.ask(body=body)
        assert (status, json.loads(answer)["error"]["code"], headers["retry-after"]) == (503, 503, "5")
    health = {place: gateway.ask("GET", f"/health{place}")[0] for place in ("", f"?model={FIRST}", f"?model={SECOND}")}
    assert health == {"": 200, f"?model={FIRST}": 503, f"?model={SECOND}": 200}
    stubs[1].ready = 503
    wait_until(lambda: gateway.listed() == [])
    assert gateway.ask("GET", "/health")[0] == 503 and gateway.ask("GET", "/health?model=another")[0] == 503


def test_openais_client_sees_both(gateway: TwoModels) -> None:
    client = openai.OpenAI(base_url=f"http://{ADDRESS}:{gateway.port}/v1", api_key="none", max_retries=0)
    models = client.models.list().data
    assert [(model.id, model.object) for model in models] == [(FIRST, "model"), (SECOND, "model")]
    assert abs(models[0].created - time.time()) < 60
    assert client.models.retrieve(SECOND).id == SECOND
    message: Any = {"role": "user", "content": "hello"}
    for ask in (
        lambda: client.models.retrieve("another"),
        lambda: client.chat.completions.create(model="another", messages=[message]),
    ):
        with pytest.raises(openai.NotFoundError, match="does not exist") as refused:
            ask()
        assert refused.value.code == "model_not_found"


def test_nothing_is_told_without_the_key(stubs: list[Stub], tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    gateway = TwoModels(tmp_path, stubs, key_file=str(tmp_path / "key"))
    try:
        for method, path in (("GET", "/v1/models"), ("GET", f"/v1/models/{FIRST}"), ("POST", "/v1/completions")):
            status, body, _ = gateway.ask(method, path, b'{"model": "another"}')
            assert (status, FIRST in body.decode()) == (401, False)
    finally:
        gateway.end()


@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{FIRST}"])
def test_the_list_of_models_is_read_alone(gateway: TwoModels, path: str) -> None:
    for method in ("POST", "DELETE", "PUT"):
        status, body, headers = gateway.ask(method, path)
        assert (status, headers["allow"]) == (405, "GET, HEAD")
        assert json.loads(body)["error"]["code"] == 405
    assert gateway.ask("GET", path)[0] == 200
