"""The operator's /etc/hosts is written only where the cluster's names need it."""

from __future__ import annotations

from typing import Any

from deploys.compute_base import names as text_of
from deploys.operations import names
from facts.names import Names
from facts.parse.names import NamesReport

INSTALLED = "127.0.0.1 localhost\n127.0.1.1 nuc\n203.0.113.7 printer\n"


def test_names_are_written_once(given_host: Any, unchanged: Any, composed: Any) -> None:
    settings = composed()["compute0"]
    outcome = given_host.run(names.keep, {Names: NamesReport("nuc", INSTALLED, "")}, settings=settings)
    written = outcome.uploads["/etc/hosts.cluster-new"]
    assert written == text_of.merged(INSTALLED, "nuc", settings) and "printer" in written
    assert outcome.commands[0] == "upload /etc/hosts.cluster-new" and "mv -fT" in outcome.commands[-1]
    unchanged(given_host.run(names.keep, {Names: NamesReport("nuc", written, "")}, settings=settings))
