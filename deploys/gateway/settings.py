"""Settings of the gateway."""

from __future__ import annotations

from collections.abc import Mapping

from deploys.part import Part


class Gateway(Part, frozen=True):
    """The public endpoint: its port, what it asks of its callers, and where engines may listen.

    `certificate`: a PEM file with its key, on the control node. `engine_ports`: of every node that new requests go to.
    """

    port: int
    certificate: str
    request_bytes: int
    request_answers: int
    request_seconds: int
    requests_per_minute: int
    log_prompts: bool
    names: tuple[str, ...]
    engine_ports: Mapping[str, tuple[int, ...]]
