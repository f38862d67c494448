"""Reads facts from all hosts in parallel: JSON on stdin, JSON on stdout. In a child process, gevent's patches made.

Input: {"groups": {name: [[target, data], ...]}, "requests": {host: [[key, "module.Fact", arguments, together], ...]},
"connect_seconds": s, "fact_seconds": s}. Output: {host: {"connected", "error", "facts": {key: {"value"|"error"}}}}.
"""

from __future__ import annotations

import importlib
import json
import logging
import re
import sys
import time
from typing import Any

import gevent
from pyinfra import logger
from pyinfra.api import Config, Inventory, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_config, ctx_host, ctx_inventory, ctx_state


def plain(value: Any) -> Any:
    """A fact's value as JSON has it."""
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(entry) for entry in value]
    return value


class LastError(logging.Handler):
    """Remembers what pyinfra logs last about each host: the exception that follows only says that the host failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, without colours, under the name of the host it begins with."""
        text = re.sub(r"\x1b\[[0-9;]*m", "", record.getMessage()).strip()
        found = re.match(r"\[([^\]]+)\]\s*(.*)", text, re.DOTALL)
        if found:
            self.said[found[1]] = " ".join(found[2].split())


SECOND_TURN_SECONDS = 10.0


def words(error: BaseException, seconds: float) -> str:
    """What an error says, in one line. A deadline of ours is no TimeoutError: pyinfra would take that for its own."""
    if isinstance(error, gevent.Timeout):
        return f"no answer within {seconds:.0f} s"
    return " ".join(str(error).split()) or type(error).__name__


def observe(
    state: Any, host: Any, errors: LastError, requests: list[Any], connect_seconds: float, fact_seconds: float
) -> dict[str, Any]:
    """Connect to one host and read its facts, each under a deadline; never raises."""
    answer: dict[str, Any] = {"connected": False, "error": "", "facts": {}}
    with ctx_state.use(state), ctx_host.use(host):
        try:
            with gevent.Timeout(connect_seconds):
                host.connect(raise_exceptions=True)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            answer["error"] = words(error, connect_seconds)
            return answer
        answer["connected"] = True
        shared = [(key, path, arguments) for key, path, arguments, *together in requests if any(together)]
        seconds = fact_seconds
        if len(shared) > 1:
            answer["facts"] = ask_together(host, errors, shared, fact_seconds)
            # Where one held up all of them, the others still get their turn.
            seconds = min(fact_seconds, SECOND_TURN_SECONDS) if not answer["facts"] else fact_seconds
        for key, path, arguments, *together in requests:
            if key not in answer["facts"]:
                limit = seconds if any(together) else fact_seconds
                answer["facts"][key] = ask(host, errors, path, arguments, limit)
    return answer


def ask_together(host: Any, errors: LastError, shared: list[Any], seconds: float) -> dict[str, Any]:
    """Several facts in one command, as `ask` gives each; none where there was no answer within the time of one."""
    found = ask(host, errors, "facts.together.Together", {"facts": shared}, seconds)
    if "value" not in found:
        return {}
    times = {"asked": found["asked"], "answered": found["answered"]}
    return {key: {**said, **times} if "value" in said else said for key, said in found["value"].items()}


def ask(host: Any, errors: LastError, path: str, arguments: dict[str, Any], seconds: float) -> dict[str, Any]:
    """One fact under a deadline: {"value", "asked", "answered"}, or {"error"}; never raises."""
    asked = time.time()
    try:
        module, _, name = path.rpartition(".")
        fact = getattr(importlib.import_module(module), name)
        with gevent.Timeout(seconds):
            value = plain(host.get_fact(fact, **arguments))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        why = errors.said.pop(host.name, "") if isinstance(error, PyinfraError) else ""
        return {"error": why or words(error, seconds)}
    return {"value": value, "asked": asked, "answered": time.time()}


def main() -> None:
    """Read the order, observe every host at once, print the answers.

    The caller ends the process: a frozen host's connection would hold the interpreter's exit for its own time-out.
    """
    order = json.load(sys.stdin)
    errors = LastError()
    logger.addHandler(errors)
    logger.propagate = False
    groups: dict[str, Any] = {
        name: ([tuple(entry) for entry in entries], {}) for name, entries in order["groups"].items()
    }
    everyone = [entry for entries, _ in groups.values() for entry in entries]
    config = Config(CONNECT_TIMEOUT=int(order["connect_seconds"]))
    inventory = Inventory((everyone, {}), **groups)
    state = State(check_for_changes=False)
    with ctx_state.use(state), ctx_config.use(config), ctx_inventory.use(inventory):
        state.init(inventory, config)
        greenlets = {
            host.name: gevent.spawn(
                observe,
                state,
                host,
                errors,
                order["requests"].get(host.name, []),
                order["connect_seconds"],
                order["fact_seconds"],
            )
            for host in inventory
        }
        gevent.joinall(list(greenlets.values()))
    sys.stdout.write(json.dumps({name: greenlet.value for name, greenlet in greenlets.items()}))
