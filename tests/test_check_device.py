# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/check_device.sh: its shortest form on the CPU as a user calls it; how a check that fails is told."""

import importlib.util
import os
import signal
import subprocess
import sys

import pytest

from src.model_utils.util import _device_problem

SCRIPT = os.path.join("scripts", "check_device.sh")


@pytest.fixture(name="program")
def fixture_program(repo, tmp_path, monkeypatch):
    """scripts/check_device.py as a module, in an empty folder in which its logs may lie."""
    spec = importlib.util.spec_from_file_location("check_device", os.path.join(repo, "scripts", "check_device.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    os.makedirs(module.FOLDER)
    return module


def check_device(repo, folder, *arguments, interpreter=sys.executable):
    return subprocess.run(
        ["bash", os.path.join(repo, SCRIPT), *arguments],
        cwd=str(folder),
        env=dict(os.environ, PYTHON=interpreter),
        capture_output=True,
        text=True,
    )


def python(program, name, code, limit=60):
    return program.Check(name, [sys.executable, "-c", code], limit)


def test_the_cpu_passes(repo, tmp_path):
    """All checks in their shortest form."""
    done = check_device(repo, tmp_path, "CPU", "--quick")
    folder = tmp_path / "output" / "check_device"
    logs = "\n".join(path.read_text() for path in folder.glob("*.log")) if done.returncode else ""
    assert done.returncode == 0, done.stdout + done.stderr + logs
    report = (folder / "report.md").read_text()
    assert report.startswith("# Check of CPU 0, quick\n") and report.endswith("\n\nPASS\n")
    assert report[report.index("| check") :] in done.stdout
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in report.splitlines() if line.startswith("| ")]
    said = {name: text for name, _, _, text in rows[2:]}
    assert {result for _, result, _, _ in rows[2:]} == {"PASS"} and len(said) == len(rows) - 2 == 9
    assert said["recorded values, plain"].startswith("3 passed") and "skipped" not in report
    assert "20/20" in said["its training, shortened"]
    assert "- packages: mindspore" in report and "- Python: " in report


def test_what_crashes_hangs_or_fails_is_a_line_and_the_rest_goes_on(program, monkeypatch, capsys):
    crash = python(program, "crash", f"import os; print('so far', flush=True); os.kill(os.getpid(), {signal.SIGSEGV})")
    hang = python(program, "hang", "import time; time.sleep(600)", limit=0.5)
    wrong = python(program, "wrong", "print('begun'); print('error: no | such thing'); print('more'); exit(2)")
    good = python(program, "good", "print('all is well')")
    first = program.Result("device", 0, 1.0, "fine")
    run_check = program.run_check
    monkeypatch.setattr(program, "run_check", lambda check: first if check.name == "device" else run_check(check))
    monkeypatch.setattr(program, "checks", lambda *_: [crash, hang, wrong, good])
    assert program.main(["CPU"]) == 1
    with open(os.path.join(program.FOLDER, "report.md")) as file:
        lines = file.read().splitlines()
    assert lines[-1] == "FAIL: crash, hang, wrong"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")][2:]
    assert [(name, result, said) for name, result, _, said in rows] == [
        ("device", "PASS", "fine"),
        ("crash", "FAIL: SIGSEGV", "so far"),
        ("hang", "FAIL: took too long", "wrote nothing"),
        ("wrong", "FAIL", "error: no / such thing"),
        ("good", "PASS", "all is well"),
    ]
    assert "FAIL: crash, hang, wrong" in capsys.readouterr().out


def test_what_a_check_leaves_running_is_ended(program):
    """Of a check that ended, too. The reader of a pipe sees its end when its last writer has died."""
    os.mkfifo("pipe")
    pipe = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    code = "import subprocess; subprocess.Popen(['sleep', '600'], stdout=open('pipe', 'wb')); print('left one')"
    result = program.run_check(python(program, "leaves one", code))
    assert (result.verdict, result.said) == ("PASS", "left one")
    os.set_blocking(pipe, True)
    assert os.read(pipe, 1) == b""
    os.close(pipe)


def test_no_such_device_is_one_line(program, monkeypatch):
    said = (
        "device_target GPU: this MindSpore (2.8.0) finds no usable device 1 here (no driver); use --device_target CPU"
    )
    monkeypatch.setattr(program, "run_check", lambda check: program.Result(check.name, program.NO_DEVICE, 1.0, said))
    monkeypatch.setattr(program, "GPU_LIBRARIES", ("libc.so.6", "libno_such.so.8"))
    with pytest.raises(ValueError) as caught:
        program.main(["GPU", "1"])
    assert str(caught.value) == (
        "device_target GPU: this MindSpore (2.8.0) finds no usable device 1 here (no driver); install NVIDIA's driver "
        "and the CUDA 11 libraries (GPU in docs/installation.md); missing here: libno_such.so.8"
    )


@pytest.mark.skipif(_device_problem("GPU", 0) is None, reason="this machine has a GPU")
def test_a_gpu_that_is_not_here(repo, tmp_path):
    done = check_device(repo, tmp_path, "GPU", "0", "--quick")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: device_target GPU: ") and "install NVIDIA's driver" in done.stderr


def test_a_python_without_mindspore(repo, tmp_path):
    done = check_device(repo, tmp_path, "CPU", interpreter="false")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "error: false has no MindSpore, or no pytest; run: bash scripts/setup_env.sh\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["TPU"], "device: expected one of GPU, CPU, Ascend, got 'TPU'"),
        (["GPU", "first"], "DEVICE_ID: expected an integer >= 0, got 'first'"),
    ],
)
def test_wrong_arguments(program, arguments, message):
    with pytest.raises(ValueError, match=message):
        program.main(arguments)


def test_the_full_form_is_for_the_device_that_was_asked_for(program):
    """Nothing of it is left to a default."""
    for check in program.checks("Ascend", 3, False, "scratch"):
        words = (
            " ".join(check.command) + " " + " ".join(f"{key}={value}" for key, value in (check.variables or {}).items())
        )
        assert any(
            device in words
            for device in (
                "SRFLOW_TEST_DEVICE=Ascend DEVICE_ID=3",
                "--device_target Ascend --device_id 3",
                "device_target=Ascend device_id=3",
            )
        ), check.name
