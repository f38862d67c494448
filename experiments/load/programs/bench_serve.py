"""Runs vLLM's own load tool, `vllm bench serve`, again and again in one process: RESULT-FILE

Runs with the locked runtime's Python. Each line of standard input is a JSON list of arguments for `vllm bench serve`;
for each, the result is appended to RESULT-FILE as one line of JSON, {"error": ...} when the tool failed. One process,
because importing vLLM takes longer than many of the runs. The tool is started by its module: the CPU build has no
package named vllm, for which the command line asks.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Until standard input ends."""
    from vllm.benchmarks.serve import add_cli_args
    from vllm.benchmarks.serve import main as serve

    target = Path(sys.argv[1])
    for line in sys.stdin:
        parser = argparse.ArgumentParser()
        add_cli_args(parser)
        with tempfile.TemporaryDirectory() as place:
            arguments = [*json.loads(line), "--save-result", "--save-detailed", "--disable-tqdm"]
            try:
                serve(parser.parse_args([*arguments, "--result-dir", place, "--result-filename", "result.json"]))
                result = json.loads((Path(place) / "result.json").read_text())
            except (Exception, SystemExit) as error:  # the next run may work, and the caller is told
                result = {"error": f"{type(error).__name__}: {error}"}
        with target.open("a") as stream:
            stream.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
