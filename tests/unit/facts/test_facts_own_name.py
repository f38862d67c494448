"""Names by which a service may be called; values are those that browsers and clients put into Host (RFC 9110, 7.2)."""

from __future__ import annotations

import pytest

from facts.programs.own_name import is_own


@pytest.mark.parametrize(
    "host", ["", "127.0.0.10", "127.0.0.10:8090", "[::1]", "[fd00::1]:80", "localhost:1", "ENGINE:8100"]
)
def test_addresses_and_own_names(host: str) -> None:
    assert is_own(host)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8090",
        "127.0.0.1.evil.example",
        "[evil.example]",
        "localhost.evil.example",
        "api.example:443",
    ],
)
def test_names_of_others(host: str) -> None:
    assert not is_own(host)
