"""pyinfra's settings for this project, read by `pyinfra` when it runs in this directory."""

from pyinfra import config

# One host that fails stops the run: a cluster is served by exactly its declared nodes, so the others would only wait.
config.FAIL_PERCENT = 0
config.CONNECT_TIMEOUT = 8
