"""A server that stands for the cluster's endpoint, and an inventory that leads `cluster chat` to it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.openai_server import OpenAiServer, Place

# Its own: a laptop cluster that is up on this machine does not matter, and is not touched.
ADDRESS = "127.0.6.10"


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    """Speaks OpenAI's shapes on a loopback address."""
    with OpenAiServer(ADDRESS) as running:
        yield running


@pytest.fixture
def place(server: OpenAiServer, tmp_path: Path, repository: Path) -> Place:
    """The laptop's inventory with the server's address and port."""
    text = (repository / "inventories" / "laptop.py").read_text()
    text = text.replace("127.0.0.", "127.0.6.").replace(
        "    serving=Serving(", f"    serving=Serving(api_port={server.port},"
    )
    path = tmp_path / "mine.py"
    path.write_text(text)
    home = tmp_path / "home"
    environment = {**os.environ, "CLUSTER_HOME": str(home), "NO_COLOR": "1", "CLUSTER": "", "TERM": "xterm"}
    return Place(str(path), home, environment)
