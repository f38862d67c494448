"""The gateway alone: `pyinfra INVENTORY deploys/gateway/alone.py --limit CONTROL`, while the engines go on."""

from pyinfra import host

from deploys.gateway.deploy import gateway

if "control" in host.groups:
    gateway()
