"""What a host says of /etc/hosts and of cloud-init."""

from __future__ import annotations

import pytest

from facts.health.names import hosts_owner_check
from facts.parse.names import parse_names

CLOUD = "/etc/cloud/cloud.cfg"


def output(*cloud: str, disabled: int = 1, installed: bool = True, hosts: str = "127.0.0.1 localhost") -> list[str]:
    status = ("0" if cloud else "1") if installed else "missing"
    return [
        *("##begin uname", "nuc-17", "##end uname 0"),
        *("##begin hosts", *hosts.splitlines(), f"##end hosts {0 if hosts else 1}"),
        *("##begin disabled", f"##end disabled {disabled}"),
        *("##begin cloud-init", *cloud, f"##end cloud-init {status}"),
    ]


@pytest.mark.parametrize(
    ("said", "file"),
    [
        (output(), ""),
        (output(installed=False), ""),
        (output(f"{CLOUD}:manage_etc_hosts: true"), CLOUD),
        (output(f"{CLOUD}:manage_etc_hosts: localhost"), CLOUD),
        (output(f'{CLOUD}:  "manage_etc_hosts": "template",'), CLOUD),
        (output(f"{CLOUD}:manage_etc_hosts: True"), CLOUD),
        (output(f"{CLOUD}:manage_etc_hosts: false"), ""),
        (output(f"{CLOUD}:# manage_etc_hosts: true"), ""),
        (output(f"{CLOUD}:manage_etc_hosts: true", f"{CLOUD}.d/99.cfg:manage_etc_hosts: false"), ""),
        (output(f"{CLOUD}:manage_etc_hosts: no", f"{CLOUD}.d/99.cfg:manage_etc_hosts: yes"), f"{CLOUD}.d/99.cfg"),
        (output(f"{CLOUD}:manage_etc_hosts: true", disabled=0), ""),
    ],
)
def test_who_else_writes_the_file(said: list[str], file: str) -> None:
    report = parse_names(said)
    assert (report.host_name, report.hosts, report.cloud_init) == ("nuc-17", "127.0.0.1 localhost\n", file)
    check = hosts_owner_check("control", report.cloud_init)
    assert check.ok is not bool(file) and (file in check.remedy) and bool(check.remedy) is bool(file)


def test_a_host_without_the_file() -> None:
    assert parse_names(output(hosts="")).hosts == ""


@pytest.mark.parametrize("said", [[], output()[:-1], output()[1:], ["##begin uname", "##end uname 0", *output()[3:]]])
def test_what_is_no_answer(said: list[str]) -> None:
    with pytest.raises(ValueError, match=r"absent|no name|no end line"):
        parse_names(said)
