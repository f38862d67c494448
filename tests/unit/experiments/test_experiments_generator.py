"""The generator over real connections on loopback: what is sent when, what is said of it, how it ends."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import answers
from experiments.answers import Question
from experiments.errors import ExperimentError
from experiments.load import event_loop, generator, health
from experiments.load.arrivals import Constant, Poisson
from experiments.load.client import Endpoint
from experiments.load.health import ClientHealth
from experiments.load.lengths import fixed
from experiments.load.prompts import Questions, Synthetic
from experiments.load.records import RequestRecord
from experiments.load.steps import Step
from experiments.stub_engine import Speed, serve

Serving = Callable[[], AbstractAsyncContextManager[str]]
ADDRESS = "127.0.0.72"
FIRST, NEXT = 0.05, 0.005
SHORT = Step("s", Constant(40), requests=20, prompts=Synthetic(fixed(8)), output_lengths=fixed(6), deadline_seconds=20)


async def _load(
    url: str, steps: Sequence[Step], *, stop_after: int = 0, key: str = ""
) -> tuple[list[RequestRecord], ClientHealth]:
    records: list[RequestRecord] = []
    stop = asyncio.Event()

    def write(record: RequestRecord) -> None:
        records.append(record)
        if stop_after and len(records) >= stop_after:
            stop.set()

    return records, await generator.run(Endpoint(url, "stub", key), steps, write=write, stop=stop)


def _stub(*steps: Step, stop_after: int = 0) -> tuple[list[RequestRecord], ClientHealth]:
    async def work() -> tuple[list[RequestRecord], ClientHealth]:
        server = await serve(ADDRESS, 0, Speed(FIRST, NEXT, "stub1"))
        try:
            return await _load(
                f"http://{ADDRESS}:{server.sockets[0].getsockname()[1]}/v1", steps, stop_after=stop_after
            )
        finally:
            server.close()

    return event_loop.run(work())


def test_an_open_loop_sends_when_a_request_is_due_and_tells_its_times() -> None:
    records, seen = _stub(SHORT)
    assert len(records) == 20
    assert [record.kind for record in records] == [answers.ANSWERED] * 20
    records.sort(key=lambda record: record.number)
    for before, after in itertools.pairwise(records):
        assert before.due is not None and after.due is not None
        assert after.due - before.due == pytest.approx(1 / 40, abs=1e-6)
    for record in records:
        assert record.due is not None and record.ttft is not None
        assert record.sent >= record.due
        assert record.ttft >= FIRST - 1e-4
        assert record.first_byte is not None and record.first_byte <= record.token_times[0] <= record.ended
        assert (len(record.token_times), record.output_tokens, record.prompt_tokens) == (6, 6, 1)
        assert (record.node, record.replica, record.status, record.finish_reason) == ("stub1", "stub", 200, "length")
        assert (record.target_rate, record.step, record.warm_up, len(record.trace)) == (40, "s", False, 32)
    # How late they were is the machine's doing; that it is told rightly is ours.
    assert sorted(seen.send_lag) == pytest.approx(sorted(r.sent - r.due for r in records if r.due is not None))
    assert len(seen.loop_lag) > 10 and len(seen.loop_lag) == len(seen.loop_lag_at)
    assert 0 <= seen.steal <= 1 and seen.processor > 0


def test_a_warm_up_is_marked_and_steps_follow_each_other() -> None:
    first = replace(SHORT, name="a", requests=0, duration_seconds=0.25, warm_up_seconds=0.25)
    records, _ = _stub(first, replace(SHORT, name="b", requests=3))
    records.sort(key=lambda record: record.number)
    assert [record.step for record in records] == ["a"] * 20 + ["b"] * 3
    assert [record.warm_up for record in records] == [True] * 10 + [False] * 13


def test_a_closed_loop_has_its_users_and_no_more() -> None:
    records, seen = _stub(replace(SHORT, arrivals=None, concurrent=3, requests=12))
    assert len(records) == 12
    events = sorted([(record.sent, 1) for record in records] + [(record.ended, -1) for record in records])
    under_way = 0
    for _, change in events:
        under_way += change
        assert under_way <= 3
    assert all(record.due is None and record.ttft_from_due == record.ttft for record in records)
    assert not seen.send_lag


def test_a_request_that_finds_no_place_waits_and_stays_due() -> None:
    step = replace(SHORT, arrivals=Constant(100), requests=6, concurrent=1)
    records, seen = _stub(step)
    assert len(records) == 6 and all(record.good for record in records)
    last = max(records, key=lambda record: record.number)
    # One takes 75 ms, one is due each 10 ms: the sixth waits for five before it.
    assert last.ttft is not None and last.ttft_from_due is not None
    assert last.ttft_from_due - last.ttft > 5 * 0.075 - 0.06
    assert max(seen.send_lag) == pytest.approx(last.ttft_from_due - last.ttft)


def test_answers_are_read_whole_too() -> None:
    records, _ = _stub(replace(SHORT, streamed=False, requests=3))
    assert [(record.kind, record.output_tokens, record.token_times) for record in records] == [
        (answers.ANSWERED, 6, ())
    ] * 3


def test_turns_of_conversations_keep_the_rate() -> None:
    step = replace(SHORT, prompts=Synthetic(fixed(4), turns=fixed(3), groups=2, prefix_tokens=5))
    records, _ = _stub(step)
    assert len(records) == 20 and {record.turn for record in records} == {0, 1, 2}
    assert {record.prefix_group for record in records} <= {0, 1}


KINDS = [
    ("right", answers.RIGHT),
    ("wrong", answers.WRONG),
    ("truncated", answers.TRUNCATED),
    ("cut", answers.CUT),
    ("cut before the head", answers.CUT),
    ("error in the stream", answers.IN_STREAM),
    ("aborted", answers.IN_STREAM),
    ("refused", answers.REFUSED),
    ("bare 503", answers.UNCLEAR),
    ("hang", answers.HUNG),
    ("hang in the middle", answers.HUNG),
]


def test_each_behaviour_has_its_kind(misbehaving: Serving) -> None:
    steps = [
        Step(how, Constant(50), requests=1, prompts=Questions((Question(how, 8, "Paris"),)), deadline_seconds=0.4)
        for how, _ in KINDS
    ]

    async def work() -> list[RequestRecord]:
        async with misbehaving() as url:
            return (await _load(url, steps))[0]

    records = event_loop.run(work())
    assert [(record.step, record.kind) for record in records] == KINDS
    assert all(bool(record.detail) == (record.kind != answers.RIGHT) for record in records)
    assert [record.step for record in records if record.good] == ["right"]


def test_nobody_listens_is_said_and_ends() -> None:
    records, seen = event_loop.run(_load(f"http://{ADDRESS}:1/v1", [replace(SHORT, requests=3)]))
    assert [record.kind for record in records] == [answers.UNREACHABLE] * 3
    assert all("Connect" in record.detail for record in records)
    assert not seen.send_lag


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a/v1", "http://a:b/v1", "http:///v1"])
def test_an_endpoint_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ExperimentError, match="give an address"):
        event_loop.run(_load(url, [SHORT]))


def test_a_stop_sends_no_more_and_waits_a_little(misbehaving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    records, _ = _stub(replace(SHORT, requests=4_000), stop_after=5)
    assert 5 <= len(records) < 20
    assert all(record.good for record in records)
    monkeypatch.setattr(generator, "STOP_SECONDS", 0.2)
    hanging = Step("h", Constant(50), requests=400, prompts=Questions((Question("hang", 8),)), deadline_seconds=20)

    async def work() -> list[RequestRecord]:
        found: list[RequestRecord] = []
        stop = asyncio.Event()

        def soon(_step: Step) -> None:
            asyncio.get_running_loop().call_later(1.2, stop.set)

        async with misbehaving() as url:
            await generator.run(Endpoint(url, "m"), [hanging], write=found.append, stop=stop, begun=soon)
        return found

    begun = time.monotonic()
    given_up = event_loop.run(work())
    assert time.monotonic() - begun < 5
    assert given_up and {record.kind for record in given_up} == {answers.GIVEN_UP}
    assert not any(record.good or record.failed for record in given_up)


@pytest.mark.parametrize("users", [0, 2])
def test_a_stop_ends_users_who_wait_for_a_place(users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(generator, "_most_connections", lambda: 1)
    step = replace(SHORT, arrivals=None if users else Constant(200), concurrent=users, requests=500)
    records, seen = _stub(step, stop_after=3)
    assert 3 <= len(records) <= 5 and all(record.good for record in records)
    assert seen.not_sent >= 1


def test_what_the_writer_raises_ends_the_load() -> None:
    async def work() -> None:
        server = await serve(ADDRESS, 0, Speed(0.001, 0.001, "stub1"))

        def write(record: RequestRecord) -> None:
            raise ExperimentError("no space left")

        try:
            endpoint = Endpoint(f"http://{ADDRESS}:{server.sockets[0].getsockname()[1]}/v1", "stub")
            await generator.run(endpoint, [replace(SHORT, requests=4_000)], write=write, stop=asyncio.Event())
        finally:
            server.close()

    with pytest.raises(ExperimentError, match="no space left"):
        event_loop.run(work())


def test_a_client_that_stands_still_sees_it_in_its_own_lag() -> None:
    async def work() -> ClientHealth:
        server = await serve(ADDRESS, 0, Speed(0.001, 0.001, "stub1"))
        endpoint = Endpoint(f"http://{ADDRESS}:{server.sockets[0].getsockname()[1]}/v1", "stub")

        def write(record: RequestRecord) -> None:
            if record.number == 5:
                time.sleep(0.08)  # the fault itself, no wait

        try:
            return await generator.run(endpoint, [SHORT], write=write, stop=asyncio.Event())
        finally:
            server.close()

    seen = event_loop.run(work())
    assert max(seen.loop_lag) > 0.06
    assert max(seen.send_lag) > 0.03


def test_what_is_sent_is_what_an_openai_server_expects() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        length = int(heads[-1].lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        heads[-1] += await reader.readexactly(length)
        body = b'{"error":{"message":"no","type":"t"}}'
        writer.write(b"HTTP/1.1 429 Too Many\r\nx-cluster-attempts: 3\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    async def work() -> list[RequestRecord]:
        server = await asyncio.start_server(handle, ADDRESS, 0)
        url = f"http://{ADDRESS}:{server.sockets[0].getsockname()[1]}/v1"
        golden = Synthetic(fixed(3), golden=Question("q", 2, "a"), golden_every=2)
        try:
            return (await _load(url, [replace(SHORT, requests=2, prompts=golden)], key="secret"))[0]
        finally:
            server.close()

    records = event_loop.run(work())
    head, _, body = heads[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.72:")
    assert b"Authorization: Bearer secret" in head
    assert f"traceparent: 00-{records[0].trace}-".encode() in head
    assert b'"stream":true' in body and b'"include_usage":true' in body and b'"ignore_eos":true' in body
    assert b"ignore_eos" not in heads[1]
    assert [(record.kind, record.status, record.attempts) for record in records] == [(answers.REFUSED, 429, 3)] * 2


def test_governor_and_steal_are_read_from_the_system(tmp_path: Path) -> None:
    for number, word in enumerate(["powersave", "performance", "powersave"]):
        path = tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_governor"
        path.parent.mkdir(parents=True)
        path.write_text(f"{word}\n")
    (tmp_path / "proc").mkdir()
    # proc(5): user nice system idle iowait irq softirq steal guest guest_nice
    (tmp_path / "proc/stat").write_text("cpu  100 0 100 700 0 0 0 100 50 0\ncpu0 1 2\n")
    assert health.governor(tmp_path) == "performance, powersave"
    watch = health.Watch(tmp_path)
    (tmp_path / "proc/stat").write_text("cpu  150 0 100 720 0 0 0 130 90 0\n")
    assert watch.health().steal == pytest.approx(30 / 100)
    assert health.governor(tmp_path / "nowhere") == ""


def test_a_poisson_step_asks_for_exactly_its_rate() -> None:
    records, _ = _stub(replace(SHORT, arrivals=Poisson(60), requests=0, duration_seconds=0.5))
    assert len(records) == 30
