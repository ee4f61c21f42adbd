# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""A run outlives the terminal, the pipe or the disk that it writes to."""

import os
import subprocess
import sys

import pytest

from src.training.output import outlive_output

# As training: a bar, warnings, a signal that is waited for. It "saves" into a file, as nobody may read what it prints.
RUN = """
import os, signal, sys, time
from tqdm import tqdm
from src.model_utils.util import not_fatal, run_main, warn
from src.training.output import outlive_output
from src.training.signals import StopSignals

def wait_for(stop):
    while not stop.requested:
        time.sleep(0.01)

def train():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with outlive_output(), StopSignals() as stop:
        {before}
        with tqdm(total=10, mininterval=0, miniters=1) as bar:
            for step in range(10):
                if stop.requested:
                    break
                if step == 5:
                    {at_step_5}
                bar.update()
                warn(f"step {{step}}")
                tqdm.write("validation")
                with not_fatal("not saved"):
                    raise OSError(28, "no space")
        print("the end")
        with open(sys.argv[1], "w") as file:
            file.write(f"saved after {{step}}")
    {after}
    return stop.status

run_main(train)
"""


def run(repo, path, output=None, error=None, before="pass", at_step_5="pass", after="pass", **environment):
    """Run RUN, which saves to `path`, in a process of its own; stdout and stderr are pipes unless they are given."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-c", RUN.format(before=before, at_step_5=at_step_5, after=after), str(path)],
        cwd=repo,
        env=dict(variables, **environment),
        stdout=output or subprocess.PIPE,
        stderr=error or subprocess.PIPE,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(name="broken", params=["pipe", "disk"])
def fixture_broken(request):
    """A file that cannot be written: a pipe that nobody reads, or a file on a full disk."""
    if request.param == "disk" and not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    read, write = os.pipe()
    os.close(read)
    with open("/dev/full", "w") if request.param == "disk" else os.fdopen(os.dup(write), "w") as file:
        os.close(write)
        yield file


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_neither_can_be_written(broken, unbuffered, repo, tmp_path):
    """As by `2>&1 | tee log`, and then Ctrl-C; the status is the signal's."""
    saved = tmp_path / "saved"
    interrupt = "os.kill(os.getpid(), signal.SIGINT)"
    done = run(repo, saved, broken, broken, at_step_5=interrupt, PYTHONUNBUFFERED=unbuffered)
    assert (saved.read_text(), done.returncode) == ("saved after 6", 130)


def test_stdout_alone_cannot_be_written(broken, repo, tmp_path):
    done = run(repo, tmp_path / "saved", output=broken)
    assert ((tmp_path / "saved").read_text(), done.returncode) == ("saved after 9", 0)
    assert "warning: step 9\n" in done.stderr
    assert "rror" not in done.stderr.replace("[Errno 28]", "")


def test_stderr_alone_cannot_be_written(broken, repo, tmp_path):
    done = run(repo, tmp_path / "saved", error=broken)
    assert ((tmp_path / "saved").read_text(), done.returncode) == ("saved after 9", 0)
    assert done.stdout == "validation\n" * 10 + "the end\n"


def test_an_error_keeps_its_status(broken, repo, tmp_path):
    done = run(repo, tmp_path / "saved", broken, broken, after="raise ValueError('stopped')")
    assert ((tmp_path / "saved").read_text(), done.returncode) == ("saved after 9", 2)


def test_a_terminal_is_closed(repo, tmp_path):
    """The system sends SIGHUP, and what is written to the terminal fails from then on."""
    saved, (ours, terminal) = tmp_path / "saved", os.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            RUN.format(
                # The first terminal that the leader of a session opens is the session's own.
                before="os.open(os.ttyname(0), os.O_RDWR); print('ready', flush=True); wait_for(stop)",
                at_step_5="pass",
                after="pass",
            ),
            str(saved),
        ],
        cwd=repo,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    text = b""
    while b"ready" not in text:
        text += os.read(ours, 1000)
    os.close(ours)
    try:
        assert process.wait(timeout=300) == 129
    finally:
        process.kill()
    assert saved.read_text() == "saved after 0"


def test_outputs_that_work_are_put_back(capsys):
    before = sys.stdout, sys.stderr
    with outlive_output():
        assert (sys.stdout is before[0], sys.stderr is before[1]) == (False, False)
        assert sys.stderr.isatty() == before[1].isatty() and sys.stdout.encoding == before[0].encoding
        print("out")
        assert sys.stderr.write("err\n") == 4
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr() == ("out\n", "err\n")


def test_only_failures_to_write_are_lost():
    with pytest.raises(OSError, match="of the run"), outlive_output():
        raise OSError("of the run")
