# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""scripts/check_device.sh: its shortest form on the CPU as a user calls it; how a check that fails is told."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from modules import load

from src.model_utils.util import _device_problem

SCRIPT = os.path.join("scripts", "check_device.sh")


@pytest.fixture(name="program")
def fixture_program(tmp_path, monkeypatch):
    """scripts/check_device.py as a module, in an empty folder in which its logs may lie."""
    module = load("scripts", "check_device")
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
    packages = "mindspore" if sys.version_info >= (3, 8) else "unknown: Python 3.7 cannot tell"
    assert f"- packages: {packages}" in report and "- Python: " in report


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


# scripts/check_device.py as __main__ runs it, with checks that the test gives it in place of the device's own.
ENDED = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("check_device", sys.argv[1])
program = importlib.util.module_from_spec(spec)
spec.loader.exec_module(program)
run_check = program.run_check
good = program.Result("device", 0, 1.0, "fine")
hang = program.Check("hang", [sys.executable, "-c", sys.argv[2]], 600)
program.run_check = lambda check: good if check.name == "device" else run_check(check)
program.checks = lambda *_: [hang, hang]
program.end_by_signals(lambda number: 128 + number)
program.run_main(lambda: program.main(["CPU"]))
"""


def heed_signals():
    """Jobs in a shell's background, such as CI's, ignore SIGINT, and those under nohup SIGHUP; their children too."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_check_that_runs(repo, program, number):
    """The report is not the one that was there before, and does not say PASS."""
    report = os.path.join(program.FOLDER, "report.md")
    with open(report, "w") as file:
        file.write("# Check of GPU 5\n\nPASS\n")
    os.mkdir(program.QUICK_START)
    os.mkfifo("pipe")
    hang = "import time; pipe = open('pipe', 'wb'); pipe.write(b'runs'); pipe.flush(); time.sleep(600)"
    script = os.path.join(repo, "scripts", "check_device.py")
    process = subprocess.Popen(
        [sys.executable, "-c", ENDED, script, hang],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
    )
    with open("pipe", "rb") as pipe:
        assert pipe.read(4) == b"runs"
        process.send_signal(number)
        assert pipe.read(1) == b""  # its only writer has died
    process.communicate()
    assert process.returncode == (130 if number == signal.SIGINT else 128 + number)
    with open(report) as file:
        text = file.read()
    assert text.startswith("# Check of CPU 0\n") and text.endswith("\n\nnot finished: 2 more to come\n")
    assert "| device | PASS |" in text and not os.path.exists(program.QUICK_START)


def test_no_such_device_is_one_line(program, monkeypatch):
    said = (
        "device_target GPU: this MindSpore (2.8.0) finds no usable device 1 here (no driver); use --device_target CPU"
    )
    monkeypatch.setattr(program, "run_check", lambda check: program.Result(check.name, program.NO_DEVICE, 1.0, said))
    monkeypatch.setattr(program, "GPU_LIBRARIES", ("libc.so.6", "libno_such.so.8"))
    report = os.path.join(program.FOLDER, "report.md")
    with open(report, "w") as file:
        file.write("PASS\n")
    with pytest.raises(ValueError) as caught:
        program.main(["GPU", "1"])
    assert str(caught.value) == (
        "device_target GPU: this MindSpore (2.8.0) finds no usable device 1 here (no driver); install NVIDIA's driver "
        "and the CUDA 11 libraries (GPU in docs/installation.md); missing here: libno_such.so.8"
    )
    assert not os.path.exists(report)


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


# Collects the tests of several command lines of pytest in one process, and writes their names to a file.
COLLECT = """
import json, sys, pytest
class Collected:
    names = []
    def pytest_collection_finish(self, session):
        self.names.append([item.name for item in session.items])
collected = Collected()
for arguments in json.loads(sys.argv[1]):
    pytest.main([*arguments, "--collect-only"], plugins=[collected])
json.dump(collected.names, open(sys.argv[2], "w"))
"""


def test_the_tests_that_it_names_are_there(program):
    """Each word of each -k stands for some test; one that was renamed would show first on a user's device."""
    checks = program.checks("CPU", 0, True, "scratch") + program.checks("CPU", 0, False, "scratch")
    commands = [check.command[3:] for check in checks if check.command[1:3] == ["-m", "pytest"]]
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, json.dumps(commands), "names"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with open("names") as file:
        collected = json.load(file)
    assert len(collected) == len(commands) == 11
    for command, names in zip(commands, collected):
        words = set(re.findall(r"\w+", command[command.index("-k") + 1])) - {"and", "or"}
        missing = [word for word in words if not any(word.lower() in name.lower() for name in names)]
        assert not missing, f"{command[-3:]}: {missing}"


def test_the_benchmark_needs_no_metadata_of_packages(monkeypatch):
    """Which Python 3.7 does not have, on which MindSpore 1.7.0 may run."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    benchmark = load("benchmarks", "run")
    monkeypatch.setitem(sys.modules, "importlib.metadata", None)
    monkeypatch.delattr(importlib, "metadata", raising=False)
    assert benchmark.version_of("numpy") is None
