"""Keep the declared applications deployed on Ray Serve: cluster_serve.py DASHBOARD-URL SERVE-JSON

Standard library only, 15 MB resident. The dashboard's REST interface is Ray's own way to deploy declaratively; what it
was told is forgotten when the head restarts, so it is compared every few seconds and told again.

A changed application is taken down first: with one engine slot a node, a rolling update has nowhere to start the new
engine, and has been seen to wait for ever. Another number of replicas alone is applied in place, and applications that
are as declared are left alone.
"""

import http.client
import json
import signal
import sys
import threading
import urllib.error
from pathlib import Path
from typing import Any

from facts.programs import ray_rest
from facts.programs.ray_rest import APPLICATIONS

PERIOD_SECONDS = 6.0
# While there is something to do: the head begins, or an application is being taken down.
SOON_SECONDS = 0.5
REQUEST_SECONDS = 60.0


def apply_once(base: str, wanted: dict[str, Any], *, retry_failed: bool) -> str:
    """Bring Serve to the declared applications; returns what was done: "", "removed", "applied" or "scaled".

    What is as declared is left alone, whatever happens to the others. Serve gives an application up for good after some
    tries. `retry_failed` takes such a one down, to begin anew.
    """
    url = f"{base}{APPLICATIONS}"
    running = (ray_rest.request(url, seconds=REQUEST_SECONDS) or {}).get("applications", {})
    declared = {application["name"]: application for application in wanted["applications"]}
    deployed = {name: state.get("deployed_app_config") for name, state in running.items()}
    leaving = [
        name
        for name, state in running.items()
        if name not in declared
        or not same(_without_replicas(deployed[name]), _without_replicas(declared[name]))
        or (retry_failed and state.get("status") == "DEPLOY_FAILED")
    ]
    staying = [name for name in declared if name in running and name not in leaving]
    scaled = [name for name in staying if not same(deployed[name], declared[name])]
    missing = [name for name in declared if name not in running]
    rest = {**wanted, "applications": [declared[name] for name in declared if name not in leaving]}
    if leaving:
        if any(running[name].get("status") != "DELETING" for name in leaving):
            # Told of an application no more, Serve takes it down; nothing left to tell of is an end of all.
            _tell(url, rest) if rest["applications"] else _tell(url)
        return "removed"
    if missing or scaled:
        _tell(url, rest)
        return "applied" if missing else "scaled"
    return ""


def _tell(url: str, applications: Any = None) -> None:
    """Put these applications in the place of all that run; none are the end of all."""
    method = "DELETE" if applications is None else "PUT"
    ray_rest.request(url, method=method, body=applications, seconds=REQUEST_SECONDS)


def _without_replicas(application: Any) -> Any:
    """An application without its numbers of replicas, which Serve changes in place."""
    if not isinstance(application, dict):
        return application
    deployments = application.get("deployments") or []
    rest = [{key: value for key, value in entry.items() if key != "num_replicas"} for entry in deployments]
    return {**application, "deployments": rest}


def same(deployed: Any, declared: dict[str, Any]) -> bool:
    """Whether Serve was told the same: it adds keys of its own, and returns ours as they were."""
    return isinstance(deployed, dict) and all(deployed.get(key) == value for key, value in declared.items())


def body(error: urllib.error.HTTPError) -> str:
    """The head of what came with a refusal; it may break off as any answer may."""
    try:
        return error.read().decode(errors="replace")[:300]
    except (OSError, http.client.HTTPException) as broken:
        return f"{error.reason} ({type(broken).__name__} while reading why)"


def main() -> int:
    """Run until TERM."""
    base, path = sys.argv[1].rstrip("/"), Path(sys.argv[2])
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    wanted = json.loads(path.read_text())
    last, fresh = "", True
    while not stop.is_set():
        try:
            # Whoever restarts this program wants another try; left alone, it does not fight with a lost cause.
            said = apply_once(base, wanted, retry_failed=fresh)
            fresh = fresh and said == "removed"
        except urllib.error.HTTPError as error:
            said = f"{error.code} from {base}: {body(error)}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            said = f"waiting for {base}: {str(error) or type(error).__name__}"
        except (AttributeError, KeyError, TypeError) as error:
            said = f"{base} answers with JSON of another shape than Ray Serve's: {type(error).__name__}: {error}"
        if said and said != last:
            print(said, flush=True)
        last = said
        stop.wait(SOON_SECONDS if said else PERIOD_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
