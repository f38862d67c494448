"""Units and supervisor programs: their important lines, their digests, and that each reads back as what was meant."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from supervisor.datatypes import dict_of_key_value_pairs  # type: ignore[import-untyped]

from deploys import hosts
from deploys.files import ManagedFile
from deploys.hosts.account import Account
from deploys.services.description import DIGEST_VARIABLE, ROOT, Service
from deploys.settings import Settings

SERVICE = Service(
    name="cluster-ray-worker",
    description="Ray worker",
    command=("/opt/runtime/bin/ray", "start", "--block", '--resources={"engine": 1}'),
    environment={"RAY_AUTH_MODE": "token", "MALLOC_ARENA_MAX": "2"},
    after=("cluster-depot",),
)
AWKWARD = ("50%", "%h", "$HOME", "$$", 'a"b', "a'b", "a\\b", "a b", "a;b", "a,b", "{x}", "tab\\t")


def service_file(settings: Settings, service: Service) -> ManagedFile:
    (file,) = hosts.of(settings).service_files(service)
    return file


def unit_words(value: str) -> list[str]:
    """Words of a unit's value as systemd.syntax(7), "Quoting", and systemd.unit(5), "Specifiers", read them."""
    words: list[str] = []
    rest = value
    while rest := rest.lstrip():
        assert rest.startswith('"'), f"an unquoted word: {rest}"
        word, index = "", 1
        while rest[index] != '"':
            if rest[index] == "\\":
                assert rest[index + 1] in '\\"', f"an escape that was not meant: {rest[index:]}"
                index += 1
            elif rest[index] == "%":
                assert rest[index + 1] == "%", f"a specifier: {rest[index:]}"
                index += 1
            word += rest[index]
            index += 1
        words.append(word)
        rest = rest[index + 1 :]
    return words


def expand_variables(word: str) -> str:
    """A word of ExecStart= after systemd's expansion of variables, for words in which every $ is doubled."""
    assert "$" not in word.replace("$$", ""), f"a variable: {word}"
    return word.replace("$$", "$")


def unit_lines(text: str, key: str) -> list[str]:
    return [line.removeprefix(f"{key}=") for line in text.splitlines() if line.startswith(f"{key}=")]


def unit_environment(text: str) -> dict[str, str]:
    # systemd.exec(5), Environment=: "the "$" character has no special meaning".
    pairs = [word.split("=", 1) for line in unit_lines(text, "Environment") for word in unit_words(line)]
    return dict(pairs)


def program(text: str) -> configparser.SectionProxy:
    """The section of a supervisor program, read with the comment rules of supervisor's own parser."""
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    parser.read_string(text)
    return parser[parser.sections()[0]]


def expanded(value: str) -> str:
    """Supervisor expands its options with Python's % and a mapping."""
    empty: Mapping[str, str] = {}
    return str(value % empty)


def test_unit(composed: Any) -> None:
    settings = composed()["compute0"]
    file = service_file(settings, SERVICE)
    assert (file.path, file.mode, file.owner) == ("/etc/systemd/system/cluster-ray-worker.service", "0644", "root")
    lines = file.content.splitlines()
    for line in (
        "After=network-online.target cluster-depot.service",
        "User=cluster",
        'ExecStart="/opt/runtime/bin/ray" "start" "--block" "--resources={\\"engine\\": 1}"',
        'Environment="RAY_AUTH_MODE=token"',
        f'Environment="{DIGEST_VARIABLE}={SERVICE.digest}"',
        "Restart=always",
        "KillMode=control-group",
        "LimitNOFILE=65535",
        "NoNewPrivileges=yes",
        "WantedBy=multi-user.target",
    ):
        assert line in lines
    assert lines.index("[Unit]") < lines.index("[Service]") < lines.index("[Install]")


def test_a_root_service_names_no_user(composed: Any) -> None:
    text = service_file(composed()["control"], replace(SERVICE, user=ROOT)).content
    assert "User=" not in text


def test_program(composed: Any) -> None:
    settings = composed(managed=False)["compute0"]
    file = service_file(settings, SERVICE)
    assert file.path == f"{settings.directories.state}/supervisor/conf.d/cluster-ray-worker.conf"
    assert file.owner == ""
    section = program(file.content)
    assert section.name == "program:cluster-ray-worker"
    assert section["command"] == "/opt/runtime/bin/ray start --block '--resources={\"engine\": 1}'"
    assert dict_of_key_value_pairs(section["environment"]) == {
        **SERVICE.environment,
        DIGEST_VARIABLE: SERVICE.digest,
    }
    for key in ("autostart", "autorestart", "killasgroup"):
        assert section[key] == "true"


def test_supervisor_listens_on_its_owners_socket_only(composed: Any) -> None:
    (file,) = Account(composed(managed=False)["control"]).files()
    parser = configparser.RawConfigParser()
    parser.read_string(file.content)
    assert file.mode == "0600"
    assert parser["unix_http_server"]["chmod"] == "0600"
    assert "inet_http_server" not in parser
    assert parser["include"]["files"].endswith("/conf.d/*.conf")


def test_the_digest_follows_what_the_service_runs_with() -> None:
    changed = [
        replace(SERVICE, command=(*SERVICE.command, "--verbose")),
        replace(SERVICE, command=tuple(reversed(SERVICE.command))),
        replace(SERVICE, environment={**SERVICE.environment, "MALLOC_ARENA_MAX": "4"}),
        replace(SERVICE, environment={"RAY_AUTH_MODE": "token"}),
        replace(SERVICE, inputs=("a",)),
        replace(SERVICE, inputs=("b",)),
        replace(SERVICE, user=ROOT),
    ]
    digests = {service.digest for service in (SERVICE, *changed)}
    assert len(digests) == len(changed) + 1


def test_the_digest_follows_nothing_else() -> None:
    reordered = dict(reversed(list(SERVICE.environment.items())))
    same = [
        replace(SERVICE, environment=reordered),
        replace(SERVICE, description="another text"),
        replace(SERVICE, after=()),
    ]
    assert {service.digest for service in same} == {SERVICE.digest}


@pytest.mark.parametrize("value", AWKWARD)
def test_unit_command_reads_back(composed: Any, value: str) -> None:
    service = replace(SERVICE, command=("/bin/echo", value, f"--x={value}"))
    (line,) = unit_lines(service_file(composed()["control"], service).content, "ExecStart")
    assert tuple(expand_variables(word) for word in unit_words(line)) == service.command


@pytest.mark.parametrize("value", AWKWARD)
def test_unit_environment_reads_back(composed: Any, value: str) -> None:
    service = replace(SERVICE, environment={"VALUE": value})
    found = unit_environment(service_file(composed()["control"], service).content)
    assert found == {"VALUE": value, DIGEST_VARIABLE: service.digest}


@pytest.mark.parametrize("value", [*AWKWARD, "a ;b", "a #b", ";b", "#", "a ; # ;", "it's ;b"])
def test_program_command_reads_back(composed: Any, value: str) -> None:
    service = replace(SERVICE, command=("/bin/echo", value))
    section = program(service_file(composed(managed=False)["control"], service).content)
    assert tuple(shlex.split(expanded(section["command"]))) == service.command


@pytest.mark.parametrize("value", ["", *AWKWARD])
def test_program_environment_reads_back(composed: Any, value: str) -> None:
    service = replace(SERVICE, environment={"VALUE": value})
    section = program(service_file(composed(managed=False)["control"], service).content)
    found = dict_of_key_value_pairs(expanded(section["environment"]))
    assert found == {"VALUE": value, DIGEST_VARIABLE: service.digest}


@pytest.mark.parametrize("value", [*AWKWARD, "a ;b", "a #b", "'a\"", 'it\'s "so"', '"a"', "'", "50% ;b"])
def test_a_program_gets_its_environment(composed: Any, value: str) -> None:
    """What supervisor cannot hold as environment is set by env(1), in the command that it does read."""
    service = replace(SERVICE, command=("/bin/true", "%x"), environment={"VALUE": value, "OTHER": "1"})
    section = program(service_file(composed(managed=False)["control"], service).content)
    environment = dict_of_key_value_pairs(expanded(section["environment"]))
    words = shlex.split(expanded(section["command"]))
    if words[0] == "/usr/bin/env":
        assert words.pop(1) == f"VALUE={value}"
        environment["VALUE"] = value
        words.pop(0)
    assert environment == {"VALUE": value, "OTHER": "1", DIGEST_VARIABLE: service.digest}
    assert words == ["/bin/true", "%x"]


def test_systemd_takes_the_unit(composed: Any, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine")
    settings = composed(site={"service_user": "root"})["control"]
    service = replace(SERVICE, command=("/bin/sh", "-c", *AWKWARD), environment={"VALUE": " ".join(AWKWARD)}, after=())
    file = service_file(settings, service)
    unit = tmp_path / Path(file.path).name
    unit.write_text(file.content)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert unit.name not in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr
