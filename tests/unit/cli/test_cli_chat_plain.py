"""`cluster chat` in a pipe: answers on stdout, all else on stderr, an exit status that can be used.

The server stands for gateway and engine; nothing else of a cluster runs, and the commands have to say so.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.commands.chat import command
from operate import clusters
from operate.chat.nodes import labels, title
from tests.openai_server import OpenAiServer, Place, Reply, answer, chat_command, chunk, endless, refusal

CONTEXT = "This model's maximum context length is 2048 tokens. However, you requested 2100 tokens."


def chat(place: Place, typed: str, *options: str) -> Result:
    """In this process, which spares the start of a program for each test."""
    result = CliRunner().invoke(command, list(options), input=typed, env=place.environment, obj=place.inventory)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def objects(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_answer_on_stdout_and_who_gave_it_on_stderr(server: OpenAiServer, place: Place) -> None:
    done = chat(place, "What is the capital of France?\n")
    assert (done.exit_code, done.stdout) == (0, "The capital of France is Paris.\n")
    assert "answered by Worker Node #1: worker1, 127.0.6.11 · replica abc123 · smollm2-135m-instruct" in done.stderr
    assert "first token" in done.stderr and "2 tokens" in done.stderr
    assert server.keys == [None]


def test_lines_are_one_conversation(server: OpenAiServer, place: Place) -> None:
    server.replies.extend([answer("Paris."), answer("Rome."), answer("Bern.")])
    chat(
        place,
        "France?\nItaly?\nnew\nSwitzerland?",
        "--system",
        "Be brief.",
        "--temperature",
        "0.5",
        "--max-tokens",
        "9",
    )
    first, second, third = server.asked
    system = {"role": "system", "content": "Be brief."}
    assert first["messages"] == [system, {"role": "user", "content": "France?"}]
    assert second["messages"][1:] == [
        {"role": "user", "content": "France?"},
        {"role": "assistant", "content": "Paris."},
        {"role": "user", "content": "Italy?"},
    ]
    assert third["messages"] == [system, {"role": "user", "content": "Switzerland?"}]
    assert (first["temperature"], first["max_tokens"], first["stream"]) == (0.5, 9, True)


def test_json_is_one_object_an_answer(server: OpenAiServer, place: Place) -> None:
    server.replies.extend([answer("Pa", "ris."), refusal(429, "slow down", retry_after="3")])
    done = chat(place, "France?\nhelp\nItaly?\n", "--json")
    whole, failed = objects(done)
    assert done.exit_code == 1
    assert whole["ttft_seconds"] > 0
    for measured in ("ttft_seconds", "tokens_per_second"):
        del whole[measured]
    assert whole == {
        "question": "France?",
        "answer": "Paris.",
        "node": "worker1",
        "address": "127.0.6.11",
        "replica": "abc123",
        "model": "smollm2-135m-instruct",
        "completion_tokens": 2,
        "finish_reason": "stop",
    }
    assert (failed["answer"], failed["ttft_seconds"], failed["tokens_per_second"]) == ("", None, None)
    assert "again in 3 s" in failed["error"] and "finish_reason" not in failed


def test_a_failure_is_one_line_and_the_next_question_is_asked(server: OpenAiServer, place: Place) -> None:
    server.replies.extend([refusal(503, "No engine."), Reply([chunk("The ca")], cut=True), answer("Paris.")])
    done = chat(place, "one\ntwo\nthree\n")
    assert (done.exit_code, done.stdout) == (1, "The ca\nParis.\n")
    complaints = [line for line in done.stderr.splitlines() if line.startswith("cluster: ")]
    assert len(complaints) == 2
    assert "no engine is ready" in complaints[0] and "about 1 token (6 characters)" in complaints[1]
    assert [message["content"] for message in server.asked[2]["messages"]] == ["three"]


def test_nobody_there(place: Place, server: OpenAiServer) -> None:
    text = Path(place.inventory).read_text().replace(f"api_port={server.port}", "api_port=1")
    Path(place.inventory).write_text(text)
    done = chat(place, "one\n")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "cannot be reached" in done.stderr and f"`cluster -c {place.inventory} up`" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_oldest_turns_give_way(server: OpenAiServer, place: Place) -> None:
    server.replies.extend([answer("A."), answer("B."), refusal(400, CONTEXT), answer("C.")])
    done = chat(place, "one\ntwo\nthree\n")
    assert (done.exit_code, server.asked[3]["messages"][0]["content"]) == (0, "two")
    assert done.stdout == "A.\nB.\nC.\n"
    assert "its oldest turn is left out" in done.stderr


def test_a_question_that_does_not_fit_alone(server: OpenAiServer, place: Place) -> None:
    server.replies.append(refusal(400, CONTEXT))
    done = chat(place, "one\n")
    assert done.exit_code == 1
    assert "too long for the model" in done.stderr


def test_the_golden_question(server: OpenAiServer, place: Place) -> None:
    done = chat(place, "test\nquit\nnever asked\n")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count("✓ 'The capital of France is Paris.' from Worker Node #1: worker1, 127.0.6.11") == 2
    assert "2 of 2 right, from 1 nodes" in done.stdout
    server.replies.extend([answer("It is Lyon.")])
    wrong = chat(place, "test\n")
    assert wrong.exit_code == 1
    assert "✗ 'It is Lyon.'" in wrong.stderr and "1 of 2 right" in wrong.stdout


def test_models(server: OpenAiServer, place: Place) -> None:
    server.documents["/v1/models"] = {"data": [{"id": "smollm2-135m-instruct"}, {"id": "gpt2"}]}
    done = chat(place, "model gpt2\nhello\nmodel nosuch\n")
    assert server.asked[0]["model"] == "gpt2"
    assert "* gpt2" in done.stdout
    assert "model 'nosuch' is not served; there are smollm2-135m-instruct, gpt2" in done.stderr


def test_settings_within(server: OpenAiServer, place: Place) -> None:
    done = chat(
        place, "temperature 0.9\nmax-tokens 7\nsystem Be brief.\nhello\nsystem off\nhello\n/temperature 3\n/nosuch\n"
    )
    first, second = server.asked
    assert (first["temperature"], first["max_tokens"], first["messages"][0]["role"]) == (0.9, 7, "system")
    assert second["messages"][0]["role"] == "user"
    assert "give a number from 0 to 2" in done.stderr
    assert "no command /nosuch" in done.stderr


def test_replicas_from_the_watch_service(server: OpenAiServer, place: Place) -> None:
    """The shape of `GET /cluster/state`, with a replica that serves and one that answers wrongly."""
    now = time.time()
    common = {"model": "smollm2-135m-instruct", "engine": "vllm", "started": now - 900, "kv_cache_usage": 0.25}
    right = {"at": now - 300, "correct": True, "seconds": 0.4, "answer": "Paris", "detail": ""}
    wrong = {"at": now - 5, "correct": False, "seconds": 0.4, "answer": "Lyon", "detail": "expected Paris"}
    counts = {"running": 1, "waiting": 2, "finished": 30}
    server.documents["/cluster/state"] = {
        "replicas": [
            {
                **common,
                "node": "worker1",
                "address": "127.0.6.11",
                "replica": "abc",
                "state": "serving",
                "reason": "",
                "since": now - 600,
                "proofs": {"asked": 9, "failed": 0, "last": right},
                "requests": counts,
            },
            {
                **common,
                "node": "worker2",
                "address": "127.0.6.12",
                "replica": "def",
                "state": "wrong",
                "reason": "gave a wrong answer",
                "since": now - 5,
                "proofs": {"asked": 3, "failed": 1, "last": wrong},
            },
        ],
        "nodes": [],
        "verify": None,
        "load": {},
    }
    done = chat(place, "actors\n")
    first, second = (line for line in done.stdout.splitlines() if "Worker Node" in line)
    assert done.exit_code == 0
    assert first.startswith("abc") and "Worker Node #1: worker1, 127.0.6.11" in first and "10 min" in first
    assert (
        "9 asked, 0 failed; last right, 5 min ago" in first and "1 running, 2 waiting, 30 finished; cache 25%" in first
    )
    assert "wrong: gave a wrong answer" in second and "last wrong: expected Paris" in second


@pytest.mark.parametrize("document", [None, [], {"replicas": "none"}, "text"])
def test_without_a_watch_service_it_says_so(server: OpenAiServer, place: Place, document: Any) -> None:
    if document is not None:
        server.documents["/cluster/state"] = document
    done = chat(place, "actors\nhello\n")  # and no engine listens where the inventory has them
    assert "no engine replica is known" in done.stdout
    assert document is not None or f"404, Not Found; run `cluster -c {place.inventory} up`" in done.stderr
    assert "the cluster's watch service says nothing" in done.stderr
    assert "Paris" in done.stdout and "Traceback" not in done.stderr


def test_status_and_logs_of_a_cluster_that_is_down(server: OpenAiServer, place: Place) -> None:
    """Real facts of this machine: no service of this cluster runs, one log of it is there."""
    log = place.home / "laptop" / "nodes" / "worker1" / "supervisor" / "cluster-ray-worker.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(50)))
    server.documents["/cluster/state"] = {
        "replicas": [],
        "nodes": [{"name": "worker2", "memory_bytes": 16 * 1024**3, "accelerators": [{"name": "RTX 5070"}]}],
    }
    done = chat(place, "status\nlogs worker1 3\n")
    assert "0 of 3 nodes in Ray" in done.stdout, done.stderr
    assert "16.0 GiB, RTX 5070" in done.stdout
    assert all(label in done.stdout for label in ("Head Node", "Worker Node #1", "Worker Node #2", "worker2"))
    assert "── Worker Node #1: worker1, 127.0.6.11 · cluster-ray-worker\nline 47\nline 48\nline 49\n" in done.stdout
    assert "line 46" not in done.stdout


def test_ctrl_c_ends_a_pipe_and_the_engine_is_told(server: OpenAiServer, place: Place) -> None:
    server.replies.append(Reply(endless()))
    process = subprocess.Popen(
        chat_command(place),
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    process.stdin.write(b"go on\nnever asked\n")
    process.stdin.flush()
    assert process.stdout.read(5) == b"word0"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"stopped by you" in stderr and b"Traceback" not in stderr
    assert server.left.wait(10)
    assert len(server.asked) == 1


def test_an_empty_answer_is_a_line(server: OpenAiServer, place: Place) -> None:
    server.replies.extend([answer(), answer("Paris.")])
    done = chat(place, "one\ntwo\n")
    assert (done.exit_code, done.stdout) == (0, "\nParis.\n")
    assert [message["content"] for message in server.asked[1]["messages"]] == ["two"]


def test_bytes_that_are_no_text(server: OpenAiServer, place: Place) -> None:
    done = CliRunner().invoke(command, [], input=b"caf\xe9?\n", env=place.environment, obj=place.inventory)
    assert done.exit_code == 0 and "Paris" in done.stdout
    assert server.asked[0]["messages"][0]["content"] == "caf\N{REPLACEMENT CHARACTER}?"


def test_labels(place: Place) -> None:
    cluster = clusters.read(place.inventory)
    assert labels(cluster) == {"head": "Head Node", "worker1": "Worker Node #1", "worker2": "Worker Node #2"}
    assert title(cluster, "head", "") == "Head Node: head, 127.0.6.10"
    assert title(cluster, "", "127.0.6.12") == "Worker Node #2: worker2, 127.0.6.12"
    assert title(cluster, "worker9", "127.0.6.19") == "worker9, 127.0.6.19 (not in the inventory)"
    assert title(cluster, "", "") == "a node that it does not name"
