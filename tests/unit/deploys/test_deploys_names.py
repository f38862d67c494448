"""The cluster's names in /etc/hosts, and what stays of an operator's own file."""

from __future__ import annotations

import random
from typing import Any

import pytest

from deploys.compute_base import names
from deploys.settings import Settings

LOOPBACK = ("127.", "::1")
IMAGE = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
# As Debian's installer and cloud-init write it, with entries of an operator.
INSTALLED = """127.0.0.1\tlocalhost
127.0.1.1\tnuc-17.example.org\tnuc-17

# The following lines are desirable for IPv6 capable hosts
::1     localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
203.0.113.7 printer printer.example.org # upstairs
"""


@pytest.fixture
def node(composed: Any) -> Settings:
    found: Settings = composed()["compute0"]
    return found


def resolved(text: str) -> dict[str, list[str]]:
    """Name -> addresses, in the file's order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *said = line.partition("#")[0].split() or [""]
        for name in said:
            found.setdefault(name, []).append(address)
    return found


@pytest.mark.parametrize("found", ["", IMAGE, INSTALLED, f"# Managed by cluster.\n{IMAGE}192.0.2.99 compute9\n"])
def test_a_nodes_name_resolves_to_its_cluster_address_only(composed: Any, found: str) -> None:
    for settings in composed().values():
        text = names.merged(found, settings.node, settings)
        said = resolved(text)
        assert {name: said[name] for name in settings.network.peers} == {
            name: [address] for name, address in settings.network.peers.items()
        }
        assert said["localhost"][0] == "127.0.0.1" and "::1" in said["localhost"]
        assert ("compute-node" in said) is not settings.is_control
        assert "compute9" not in said, "the former file was ours alone"
        assert names.merged(text, settings.node, settings) == text


def test_what_the_operator_wrote_stays(node: Settings) -> None:
    text = names.merged(INSTALLED, "nuc-17", node)
    for line in INSTALLED.splitlines():
        assert (line in text.splitlines()) is ("nuc-17" not in line), line
    changed = names.merged(text.replace("printer", "scanner"), "nuc-17", node)
    assert changed == text.replace("printer", "scanner")


def test_the_hosts_own_name_moves_from_loopback_to_the_cluster_address(node: Settings) -> None:
    text = names.merged(INSTALLED, "nuc-17", node)
    said = resolved(text)
    assert said["nuc-17"] == said["nuc-17.example.org"] == [node.network.address]
    (line,) = [line for line in text.splitlines() if "nuc-17" in line]
    assert line.split()[1] == "nuc-17.example.org", "hostname --fqdn takes the first"
    assert names.merged(text, "nuc-17", node) == text, "and it is not forgotten"


@pytest.mark.parametrize(
    ("line", "host_name", "kept"),
    [
        ("127.0.1.1 compute0", "compute0", []),
        ("127.0.1.1 compute0.example compute0", "compute0", []),
        ("127.0.0.1 localhost compute0", "compute0", ["127.0.0.1 localhost"]),
        ("::1 localhost nuc", "nuc", ["::1 localhost"]),
        ("10.0.0.5 control gate # old", "compute0", ["10.0.0.5 gate # old"]),
        ("10.0.0.5 control", "compute0", []),
        ("10.0.0.5 nuc", "nuc", []),
        ("fe80::1%eth0 compute1", "compute0", []),
        ("192.0.2.11 nuc.example nuc", "nuc", ["192.0.2.11 nuc.example nuc"]),
        ("192.0.2.10 control gate", "compute0", ["192.0.2.10 control gate"]),
        ("nonsense compute0", "compute0", []),
        ("# compute0 is no entry", "compute0", ["# compute0 is no entry"]),
    ],
)
def test_lines_that_lead_a_name_elsewhere(node: Settings, line: str, host_name: str, kept: list[str]) -> None:
    text = names.merged(f"{line}\n", host_name, node)
    assert text.splitlines()[: text.splitlines().index(names.BEGIN)] == kept
    assert names.merged(text, host_name, node) == text
    for name in (host_name, *node.network.peers):
        wanted = node.network.peers.get(name, node.network.address)
        assert set(resolved(text)[name]) == {wanted}, name


@pytest.mark.parametrize("host_name", ["localhost", "localhost.localdomain", "control", "a b", "", "x;y", "-x"])
def test_a_name_that_cannot_be_the_hosts_own_is_left(node: Settings, host_name: str) -> None:
    text = names.merged(INSTALLED, host_name, node)
    assert names.block(node) in text
    assert names.merged(text, host_name, node) == text


@pytest.mark.parametrize("mark", [names.BEGIN, names.END, f"{names.END}\n{names.BEGIN}"])
def test_a_lost_mark_loses_no_entry(node: Settings, mark: str) -> None:
    text = names.merged(f"203.0.113.7 printer\n{mark}\n203.0.113.8 scanner\n", "compute0", node)
    assert {"printer", "scanner"} <= set(resolved(text))
    assert (text.count(names.BEGIN), text.count(names.END)) == (1, 1)
    assert names.merged(text, "compute0", node) == text


def test_another_cluster_of_the_same_host_replaces_the_names(composed: Any, node: Settings) -> None:
    text = names.merged(INSTALLED, "nuc-17", node)
    other = composed(addresses={"control": "10.1.0.1", "compute0": "10.1.0.2", "compute1": "10.1.0.3"})["compute0"]
    said = resolved(names.merged(text, "nuc-17", other))
    assert said["compute1"] == ["10.1.0.3"] and said["nuc-17"] == ["10.1.0.2"]


ADDRESSES = ["127.0.0.1", "127.0.1.1", "::1", "192.0.2.10", "192.0.2.11", "10.0.0.1", "fe80::1%eth0", "nonsense", "#x"]
NAMES = ["control", "compute0", "Compute1", "nuc", "NUC.example", "localhost", "ip6-localhost", "#", "\u00fc", ""]
MARKS = [names.BEGIN, names.END, "", "\t", "# Managed by cluster."]


def test_any_file_at_all(node: Settings) -> None:
    """Files of random lines, always the same ones."""
    choose = random.Random(17)  # noqa: S311 (no secret)

    def line() -> str:
        words = choose.choices(NAMES, k=choose.randrange(5))
        return choose.choice(MARKS) if choose.random() < 0.2 else f"{choose.choice(ADDRESSES)}\t{' '.join(words)}"

    for _ in range(1000):
        found = "\n".join(line() for _ in range(choose.randrange(8)))
        host_name = choose.choice(["nuc", "compute0", "control", "localhost", "a b"])
        text = names.merged(found, host_name, node)
        assert names.merged(text, host_name, node) == text, found
        said = resolved(text.lower())
        assert all(set(said[name]) == {address} for name, address in node.network.peers.items()), found
        if host_name in ("nuc", "compute0"):
            assert set(said[host_name]) == {node.network.address}, found
