"""Ray's own dashboards for Grafana, from its factory: prints {name: dashboard} as one line of JSON.

Runs in the locked runtime, on the control node, when an experiment is over: it loads Ray.
"""

import json
import sys

from deploys.programs.private_names import grafana_dashboards


def main() -> int:
    """Print them."""
    print(json.dumps({name: json.loads(text) for name, text in grafana_dashboards().items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
