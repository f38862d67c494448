"""Ask every engine the golden question over its own HTTP listener, all at once: prove.py SECONDS, places on stdin.

Standard library only; prints one JSON line: a list of proofs. Standard input is JSON, one object a model: [{"model",
"directory", "golden", "places": [[node, address, port], ...]}, ...]. A request through the gateway reaches one engine
that it picks; this reaches each of them, on the path that the gateway uses. Where nothing listens there is no engine,
and so no proof.
"""

import concurrent.futures
import http.client
import json
import sys
import time
from pathlib import Path
from typing import Any


def ask(place: list[Any], model: str, golden: dict[str, Any], seconds: float) -> dict[str, Any] | None:
    """One proof, or None where nothing listens."""
    node, address, port = place
    chat = "question" in golden
    asked = golden["question"] if chat else golden["prompt"]
    proof = {"node": node, "address": address, "model": model, "replica": "", "question": asked, "answer": ""}
    what = {"messages": [{"role": "user", "content": asked}]} if chat else {"prompt": asked}
    body = json.dumps({"model": model, **what, "temperature": 0.0, "max_tokens": golden["max_tokens"]})
    started = time.monotonic()
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    detail = ""
    try:
        try:
            connection.connect()
        except ConnectionRefusedError:
            return None
        connection.request(
            "POST", "/v1/chat/completions" if chat else "/v1/completions", body, {"Content-Type": "application/json"}
        )
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        proof["node"] = response.getheader("x-cluster-node") or node
        proof["replica"] = response.getheader("x-cluster-replica") or ""
        if response.status == 200:
            choice = json.loads(text)["choices"][0]
            proof["answer"] = (choice["message"]["content"] if chat else choice["text"]) or ""
        else:
            detail = f"{response.status} {response.reason}: {' '.join(text.split())[:200]}"
    except TimeoutError:
        detail = f"no answer within {seconds:.0f} s"
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        detail = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    correct = golden["expected"].lower() in proof["answer"].lower()
    if not correct and not detail:
        detail = f"expected {golden['expected']!r} in the answer, got {proof['answer'][:120]!r}"
    return {**proof, "correct": correct, "seconds": round(time.monotonic() - started, 3), "detail": detail}


def main() -> None:
    """Proofs in the order of the models and their places."""
    seconds, asked = float(sys.argv[1]), []
    for order in json.load(sys.stdin):
        golden = order["golden"]
        if "reference" in golden:  # taken when the model was fetched, and checked with the weights
            golden = json.loads((Path(order["directory"]) / "golden.json").read_text())
        asked += [(place, order["model"], golden) for place in order["places"]]
    with concurrent.futures.ThreadPoolExecutor(max(len(asked), 1)) as pool:
        proofs = pool.map(lambda question: ask(question[0], question[1], question[2], seconds), asked)
        print(json.dumps([proof for proof in proofs if proof]), flush=True)


main()
