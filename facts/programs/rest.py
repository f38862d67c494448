"""GET one path of Ray's dashboard with the cluster's token and print the JSON in one line: URL TOKEN-FILE SECONDS"""

import json
import sys

from facts.programs import ray_rest


def main() -> None:
    """Prints the answer, or {"unreachable": why}."""
    url, token_file, seconds = sys.argv[1:4]
    try:
        print(json.dumps(ray_rest.request(url, token_file=token_file, seconds=float(seconds))))
    except Exception as error:
        print(json.dumps({"unreachable": f"{url}: {error}"}))


if __name__ == "__main__":
    main()
