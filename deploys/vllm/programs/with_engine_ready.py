"""Run a node's Ray with a process beside it that loads vLLM meanwhile: with_engine_ready.py SOCKET COMMAND...

Replaces itself by the command (exec), so that the service manager keeps the right process; what it has started before
ends with the service.
"""

import os
import sys

from deploys.vllm.programs.engine_link import begin


def main() -> None:
    """Never returns."""
    path, *command = sys.argv[1:]
    begin("ready", path)
    os.execv(command[0], command)  # noqa: S606 (the service's own command)


if __name__ == "__main__":
    main()
