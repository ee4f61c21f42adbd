# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM, SIGINT and SIGHUP: the first is noted, the second acts."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from src.training.signals import StopSignals


@pytest.fixture(autouse=True)
def fixture_not_under_nohup():
    """SIGHUP is not ignored, nor would it end the tests."""
    before = signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "number, name, status",
    [(signal.SIGTERM, "SIGTERM", 0), (signal.SIGINT, "SIGINT", 130), (signal.SIGHUP, "SIGHUP", 129)],
)
def test_the_first_is_noted(number, name, status, capfd):
    before = signal.getsignal(number)
    with StopSignals() as stop:
        assert (stop.requested, stop.name, stop.status) == (False, None, 0)
        os.kill(os.getpid(), number)
        assert (stop.requested, stop.name, stop.status) == (True, name, status)
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err.startswith(f"\n{name}: this step is finished and saved")


def test_under_nohup_a_hang_up_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as stop:
        stop.renew()
        os.kill(os.getpid(), signal.SIGHUP)
        assert not stop.requested
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGINT])
def test_a_hang_up_is_never_the_second(first):
    """A terminal that is closed may send it twice, or after a Ctrl-C."""
    with StopSignals() as stop:
        for number in (first, signal.SIGHUP, signal.SIGHUP):
            os.kill(os.getpid(), number)
        assert stop.number == first


def test_nobody_reads_the_message():
    """A Ctrl-C ends a `tee` too, before it is noted."""
    read, write = os.pipe()
    os.close(read)
    stderr = os.dup(2)
    os.dup2(write, 2)
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(write)
    assert stop.name == "SIGINT"


@pytest.mark.parametrize(
    "first, second",
    [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT"), ("SIGHUP", "SIGTERM"), ("SIGHUP", "SIGINT")],
)
def test_the_second_ends_the_process(repo, first, second):
    code = (
        "import os, signal, time\n"
        "from src.training.signals import StopSignals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "with StopSignals():\n"
        f"    os.kill(os.getpid(), signal.{first})\n"
        "    print('still here', flush=True)\n"
        f"    os.kill(os.getpid(), signal.{second})\n"
        "    time.sleep(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repo, capture_output=True, timeout=300, check=False)
    assert (done.stdout, done.returncode) == (b"still here\n", -getattr(signal, second))


def test_outside_the_main_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work():
        with StopSignals() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def test_handlers_are_taken_back():
    with StopSignals() as stop:
        signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))  # as MindSpore 2.x does
        stop.renew()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stop.renew()  # not after the first: a second one may be on its way to the system's own handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
