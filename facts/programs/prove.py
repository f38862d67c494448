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
from typing import Any

from facts.programs.golden import answer_of, asked, complaint, declared, request


def ask(place: list[Any], model: str, golden: dict[str, Any], seconds: float) -> dict[str, Any] | None:
    """One proof, or None where nothing listens."""
    node, address, port = place
    proof = {"node": node, "address": address, "model": model, "replica": "", "question": asked(golden), "answer": ""}
    path, body = request(golden, model)
    started = time.monotonic()
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    detail = ""
    try:
        try:
            connection.connect()
        except ConnectionRefusedError:
            return None
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        proof["node"] = response.getheader("x-cluster-node") or node
        proof["replica"] = response.getheader("x-cluster-replica") or ""
        if response.status == 200:
            proof["answer"] = answer_of(json.loads(text), golden)
        else:
            detail = f"{response.status} {response.reason}: {' '.join(text.split())[:200]}"
    except TimeoutError:
        detail = f"no answer within {seconds:.0f} s"
    except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException) as error:
        detail = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    wrong = complaint(golden, proof["answer"])
    return {
        **proof,
        "correct": not wrong,
        "seconds": round(time.monotonic() - started, 3),
        "detail": detail or wrong,
    }


def main() -> None:
    """Proofs in the order of the models and their places."""
    seconds, questions = float(sys.argv[1]), []
    for order in json.load(sys.stdin):
        golden = declared(order["golden"], order["directory"])
        questions += [(place, order["model"], golden) for place in order["places"]]
    with concurrent.futures.ThreadPoolExecutor(max(len(questions), 1)) as pool:
        proofs = pool.map(lambda question: ask(question[0], question[1], question[2], seconds), questions)
        print(json.dumps([proof for proof in proofs if proof]), flush=True)


if __name__ == "__main__":
    main()
