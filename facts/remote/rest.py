"""GET one path of Ray's dashboard with the cluster's token and print the JSON in one line: URL TOKEN-FILE SECONDS"""

import json
import sys
import urllib.request
from pathlib import Path

url, token_file, seconds = sys.argv[1:4]
try:
    token = Path(token_file).read_text().strip()
    call = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})  # noqa: S310 (http by design)
    with urllib.request.urlopen(call, timeout=float(seconds)) as answer:  # noqa: S310
        print(json.dumps(json.load(answer)))
except Exception as error:
    print(json.dumps({"unreachable": f"{url}: {error}"}))
