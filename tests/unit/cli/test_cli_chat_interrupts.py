"""Ctrl-C, sent for real to this process: where it stops something, where it waits, where it does nothing."""

from __future__ import annotations

import os
import signal

import pytest

from cli.chat.interrupts import Interrupts


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_between_two_steps_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts() as interrupts:
        interrupt()
        with interrupts.stoppable():
            pass
        interrupt()
    assert signal.getsignal(signal.SIGINT) is before


def test_it_stops_what_may_be_stopped_once() -> None:
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.stoppable():
            try:
                interrupt()
            finally:
                interrupt()  # a second one does not disturb the cleaning up
        interrupt()


def test_a_write_is_not_cut_in_two() -> None:
    done = []
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt), interrupts.stoppable():
            with interrupts.held():
                interrupt()
                done.append("written")
            done.append("not reached")
        with interrupts.stoppable():
            done.append("the next one is not stopped by the last one's")
    assert done == ["written", "the next one is not stopped by the last one's"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_leaves_through_every_finally(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as left, Interrupts():
            os.kill(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert left.value.code == 128 + number


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupts():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
