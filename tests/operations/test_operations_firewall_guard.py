"""The program that loads rules under a timer, with the kernel's own packet filter, in a network of the test's own.

No systemd runs there: `systemctl` writes down what it was told, and `systemd-run` runs its command after so many tenths
of a second as it was told seconds. With systemd itself: tests/lab/test_lab_way_in.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploys.compute_base import firewall

Run = Callable[[str], tuple[int, str]]

STAND_INS = {
    "systemctl": """#!/bin/sh
echo "$@" >>/etc/said
[ "$1" != stop ] || { [ ! -e /etc/timer ] || { kill "$(cat /etc/timer)"; rm /etc/timer; }; }
""",
    "systemd-run": """#!/bin/sh
for word; do
    case $word in --on-active=*) seconds=${word#*=} ;; esac
done
while case $1 in -*) true ;; *) false ;; esac; do shift; done
(sleep "0.${seconds%s}"; rm -f /etc/timer; exec "$@") >/dev/null 2>&1 &
echo $! >/etc/timer
""",
}


@pytest.fixture
def guarded(tmp_path: Path, repository: Path, composed: Any) -> Run:
    """Runs shell text where $GUARD is the program, $MARK and /etc/cluster/firewall.nft are the declared rules'."""
    if os.geteuid() != 0 or not shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin"):
        pytest.skip("rules are loaded into the kernel, which needs root and nft")
    settings = composed()["control"]
    etc, programs = tmp_path / "etc", tmp_path / "bin"
    (etc / "cluster").mkdir(parents=True)
    programs.mkdir()
    (etc / "cluster" / "firewall.nft").write_text(firewall.text(settings))
    for name, text in STAND_INS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    guard = repository / "deploys/compute_base/programs/firewall_guard.sh"
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin",
        "GUARD": str(guard),
        "MARK": firewall.mark(settings),
    }

    def run(text: str) -> tuple[int, str]:
        inside = f"mount --bind {etc} /etc && mount -t tmpfs none /run && exec 2>&1 && {{\n{text}\n}}"
        done = subprocess.run(
            ["unshare", "--net", "--mount", "sh", "-c", inside],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if "Operation not permitted" in done.stderr + done.stdout:
            pytest.skip("this machine's root may make no network of its own")
        return done.returncode, done.stdout

    return run


def test_rules_that_are_confirmed_stay_and_are_loaded_at_boot(guarded: Run) -> None:
    status, said = guarded(
        "sh $GUARD load $MARK 90 2222 2022; sh $GUARD confirm $MARK; nft list table inet cluster; ls /etc/cluster\n"
        "nft delete table inet cluster; nft -f /etc/cluster/firewall-proven.nft; echo at boot\n"
        "nft list table inet cluster; cat /etc/said; [ ! -e /etc/timer ]"
    )
    assert status == 0, said
    now, at_boot = said.split("at boot")
    assert "elements = { 2022, 2222 }" in now and "elements = { 2022, 2222 }" in at_boot
    assert "enable --quiet cluster-firewall.service" in said and "start cluster-firewall.service" in said


@pytest.mark.parametrize("before", ["none", "confirmed"])
def test_rules_that_nobody_confirms_are_taken_back(guarded: Run, before: str) -> None:
    first = "sh $GUARD load $MARK 90; sh $GUARD confirm $MARK;" if before == "confirmed" else ""
    changed = "sed -i s/$MARK/rules_0000000000/ /etc/cluster/firewall.nft; sh $GUARD load rules_0000000000 5;"
    wait = "i=0; while nft list table inet cluster 2>/dev/null | grep -q rules_0000000000; do"
    _, said = guarded(
        f"{first} {changed} nft list table inet cluster | grep -c rules_0000000000\n"
        f"{wait} i=$((i+1)); [ $i -lt 400 ] || exit 7; done\n"
        "sh $GUARD confirm rules_0000000000; echo confirmed $?; nft list tables; nft list ruleset | grep -c $MARK"
    )
    assert "confirmed 1" in said and "not loaded any more" in said
    assert ("table inet cluster" in said.splitlines()) is (before == "confirmed"), said
    assert said.strip().splitlines()[-1] == ("1" if before == "confirmed" else "0")


def test_rules_that_the_kernel_refuses_change_nothing(guarded: Run) -> None:
    _, said = guarded(
        "sh $GUARD load $MARK 90; sh $GUARD confirm $MARK; echo nonsense >>/etc/cluster/firewall.nft\n"
        "sh $GUARD load $MARK 5; echo load $?; nft list table inet cluster | grep -c $MARK; ls /etc/timer"
    )
    assert "load 1" in said and "syntax error" in said
    assert "\n1\n" in said and "'/etc/timer': No such file" in said, said


@pytest.mark.parametrize("words", ["", "load", "confirm", "reload x"])
def test_what_it_cannot_be_told(guarded: Run, words: str) -> None:
    assert guarded(f"sh $GUARD {words}")[0] != 0
