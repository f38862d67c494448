"""The control node's base and boot server alone: `pyinfra INVENTORY deploys/pxe_server/alone.py --limit CONTROL`.

For a cluster whose compute nodes are not there yet: they come up from what this starts.
"""

from pyinfra import host

from deploys.compute_base.deploy import compute_base
from deploys.pxe_server.deploy import pxe_server

if "control" in host.groups:
    compute_base()
    pxe_server()
