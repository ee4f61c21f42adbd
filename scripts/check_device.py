# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Check whether this repository works on a device, in a table.

    python scripts/check_device.py [GPU|CPU|Ascend] [DEVICE_ID] [--quick]

Each check is a process of its own with a time limit, so that the crash of one is a line of the table. This process does
not import MindSpore.
"""

import argparse
import contextlib
import ctypes
import importlib.util
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, NamedTuple, Optional

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from src.model_utils.util import end_by_signals, run_main
from src.texts import printable

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FOLDER = os.path.join("output", "check_device")
QUICK_START = os.path.join(FOLDER, "quickstart")
DEVICES = ("GPU", "CPU", "Ascend")
# What the GPU plug-ins of MindSpore 2.8.0 (CUDA 11.6) and mindspore-gpu 1.7.0 (CUDA 11.1) load.
GPU_LIBRARIES = (
    "libcuda.so.1",
    "libcudart.so.11.0",
    "libcublas.so.11",
    "libcudnn.so.8",
    "libcusolver.so.11",
    "libcufft.so.10",
    "libcurand.so.10",
)
ADVICE = {
    "GPU": "NVIDIA's driver and the CUDA 11 libraries (GPU in docs/installation.md)",
    "CPU": "the requirements: bash scripts/setup_env.sh",
    "Ascend": "Huawei's driver, CANN and MindSpore for Ascend (Ascend in docs/installation.md)",
}
# Options of the quick form's training.
TINY = (
    "network_G.nb=1",
    "network_G.nf=8",
    "network_G.gc=4",
    "datasets.val.dataroot=null",
    "datasets.train.HR_size=32",
    "train.niter=20",
    "train.print_freq=1",
)
# A process that computes a product of matrices, whose values it knows. What it says is its last line.
PRODUCT = """
import sys
sys.path.insert(0, sys.argv[1])
from src.model_utils.util import DeviceError, set_device
try:
    set_device(sys.argv[2], int(sys.argv[3]))
except DeviceError as error:
    print(" ".join(str(error).split()))
    sys.exit(3)
import numpy as np
from mindspore import Tensor, ops
x = np.random.RandomState(0).standard_normal((64, 64)).astype(np.float32)
difference = np.abs(ops.MatMul()(Tensor(x), Tensor(x)).asnumpy() - x @ x).max()
print(f"a product of matrices differs by {difference:.1e} from NumPy's")
sys.exit(int(difference > 1e-3))
"""
NO_DEVICE = 3  # its exit status where there is no such device


class Check(NamedTuple):
    """A check: a process that ends with status 0 if all is well.

    Attributes:
        name: as the table has it.
        command: list of program and arguments.
        limit: seconds after which it is ended.
        variables: environment variables besides those of this process.
    """

    name: str
    command: List[str]
    limit: float
    variables: Optional[Dict[str, str]] = None


class Result(NamedTuple):
    """How a check ended.

    Attributes:
        name: of the check.
        status: exit status; minus its number if a signal ended the process; None if it took too long.
        seconds: that it took.
        said: the last line that it wrote, or what is worth telling of its output.
    """

    name: str
    status: object
    seconds: float
    said: str

    @property
    def verdict(self):
        """PASS, or what happened."""
        if self.status is None:
            return "FAIL: took too long"
        if self.status < 0:
            return f"FAIL: {name_of_signal(-self.status)}"
        return "FAIL" if self.status else "PASS"


def main(argv=None):
    """Check the device of the command line and return the exit status."""
    target, number, quick = arguments(sys.argv[1:] if argv is None else argv)
    os.makedirs(FOLDER, exist_ok=True)
    path = os.path.join(FOLDER, "report.md")
    with contextlib.suppress(FileNotFoundError):  # it may be of another device
        os.remove(path)
    first = run_check(Check("device", [sys.executable, "-c", PRODUCT, ROOT, target, str(number)], 300))
    if first.status == NO_DEVICE:
        raise ValueError(f"{without_advice(first.said)}; install {ADVICE[target]}{missing_libraries(target)}")
    facts = environment(target)
    for name, value in facts:
        print(f"{name}: {value}", flush=True)
    show(first)
    if not quick:  # a quick start that was ended leaves what the next one would refuse to write over
        shutil.rmtree(QUICK_START, ignore_errors=True)
    results, device = [first], f"{target} {number}" + ", quick" * quick
    with tempfile.TemporaryDirectory() as scratch:
        remaining = checks(target, number, quick, scratch)
        while remaining:
            write_report(path, report(device, facts, results, len(remaining)))
            results.append(show(run_check(remaining.pop(0))))
    written = report(device, facts, results)
    write_report(path, written)
    print("\n" + written[written.index("| check") :])
    print(f"written to {path}; each check's log is beside it")
    return 1 if failed(results) else 0


def arguments(argv):
    """Return (device target, number, whether it is the quick form).

    Raises:
        ValueError: there is no such device target, or the number is none.
    """
    parser = argparse.ArgumentParser(prog="check_device.sh", description=__doc__.split("\n")[0])
    parser.add_argument("device", nargs="?", default="GPU", help="GPU, CPU or Ascend (default: GPU)")
    parser.add_argument("device_id", nargs="?", default="0", help="number of the device (default: 0)")
    parser.add_argument("--quick", action="store_true", help="the shortest form of each check")
    given = parser.parse_args(argv)
    if given.device not in DEVICES:
        raise ValueError(f"device: expected one of {', '.join(DEVICES)}, got {given.device!r}")
    if not given.device_id.isdecimal():
        raise ValueError(f"DEVICE_ID: expected an integer >= 0, got {given.device_id!r}")
    return given.device, int(given.device_id), given.quick


def checks(target, number, quick, scratch):
    """Return the Checks of a device after the first, in their order; scratch: a folder for what need not stay."""
    variables = {"SRFLOW_TEST_DEVICE": target, "DEVICE_ID": str(number)}
    options = ["--device_target", target, "--device_id", str(number)]

    def tests(name, file, chosen, limit=3600):
        path = os.path.join(ROOT, "tests", file)
        return Check(name, [sys.executable, "-m", "pytest", "-q", "-rf", path, "-k", chosen], limit, variables)

    recorded = "(nll_and_logdet or latents or decoded_images)"
    if quick:
        return [
            tests("recorded values, plain", "test_golden.py", f"{recorded} and seeded_8x-plain"),
            tests("both implementations alike", "test_cpu_network.py", "samplers"),
            tests("encode and decode", "test_golden.py", "gives_back and seeded_8x-plain"),
            tests("recorded gradients", "test_golden.py", "gradient_in_pynative and SeededTraining-plain"),
            tests("float16", "test_precision.py", "encoder_alone_in_half and plain"),
            *tiny_training(options, scratch),
            benchmark(options, ["determinants"], 1),
        ]
    return [
        tests("recorded values, plain", "test_golden.py", f"({recorded} or gradient) and seeded and plain"),
        tests("recorded values, cpu", "test_golden.py", f"({recorded} or gradient) and seeded and cpu"),
        tests("encode and decode", "test_golden.py", "gives_back and seeded"),
        tests("20 recorded steps", "test_golden.py", "twenty_steps and SeededTraining"),
        tests("both implementations alike", "test_cpu_network.py", "values_and_gradients or samplers or image_of"),
        tests("float16", "test_precision.py", "half"),
        quick_start(target, number),
        benchmark(options, ["sample_first", "sample_more", "encode", "train_1", "determinants"], 5),
    ]


def tiny_training(options, scratch):
    """Return the Checks that make the quick start's data and train a tiny encoder on them for 20 steps."""
    data, run = os.path.join(scratch, "data"), os.path.join(scratch, "training")
    training = [sys.executable, os.path.join(ROOT, "train.py"), *options, "--output_dir", run]
    training += ["--opt", os.path.join(ROOT, "configs", "RRDB_quickstart_4X.yml"), "--set", *TINY]
    training += [f"datasets.train.dataroot={os.path.join(data, 'train.mindrecord')}"]
    make_data = [sys.executable, os.path.join(ROOT, "scripts", "quickstart_data.py"), data]
    return [Check("data of the quick start", make_data, 600), Check("its training, shortened", training, 1800)]


def quick_start(target, number):
    """Return the Check that does the whole quick start on the device."""
    script = os.path.join(ROOT, "scripts", "run_quickstart.sh")
    command = ["bash", script, QUICK_START, f"device_target={target}", f"device_id={number}"]
    return Check("quick start", command, 3600, {"PYTHON": sys.executable})


def benchmark(options, cases, repeats):
    """Return the Check that measures some cases of the benchmark."""
    command = [sys.executable, os.path.join(ROOT, "benchmarks", "run.py"), *options, "--only", *cases]
    return Check("benchmark", command + ["--repeats", str(repeats)], 3600)


def run_check(check):
    """Run a check in a process of its own, whose output goes to a log.

    Returns:
        Result.
    """
    path = log_of(check.name)
    start = time.monotonic()
    with open(path, "wb") as log:
        process = subprocess.Popen(
            check.command,
            env=dict(os.environ, **(check.variables or {})),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(check.limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:  # also at a signal to this process; and what the check itself has started and left
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Result(check.name, status, time.monotonic() - start, told(path))


def log_of(name):
    """Return the path of a check's log."""
    return os.path.join(FOLDER, re.sub(r"\W+", "_", name) + ".log")


def told(path):
    """Return what of a log the table shows: the first line that names an error, or else the last line."""
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in re.split(r"[\r\n]", file.read()) if line.strip()]
    errors = [line for line in lines if re.match(r"(error: |FAILED |ERROR |[\w.]*Error: )", line)]
    return printable((errors or lines or ["wrote nothing"])[0 if errors else -1])[:160]


def show(result):
    """Print a line on a check that has ended, and return its result."""
    print(f"{result.name}: {result.verdict} ({result.seconds:.0f} s)", flush=True)
    return result


def failed(results):
    """Return the names of the checks that failed."""
    return [result.name for result in results if result.status != 0]


def write_report(path, text):
    """Write report.md."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def report(device, facts, results, remaining=0):
    """Return report.md: the environment, the table, and PASS or what failed.

    Args:
        device: what was checked.
        facts: pairs (name, text) of the environment.
        results: list of Result.
        remaining: number of checks that have not ended; PASS is not said before there is none.
    """
    lines = [f"# Check of {device}", ""] + [f"- {name}: {value}" for name, value in facts]
    lines += ["", "| check | result | seconds | what it said last |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {result.name} | {result.verdict} | {result.seconds:.0f} | {result.said.replace('|', '/')} |"
        for result in results
    ]
    bad = failed(results)
    verdict = f"FAIL: {', '.join(bad)}" if bad else "PASS"
    return "\n".join(lines + ["", f"not finished: {remaining} more to come" if remaining else verdict, ""])


def name_of_signal(number):
    """Return a signal's name, such as SIGSEGV."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def without_advice(message):
    """Return what a DeviceError says, without what it advises a program's user."""
    return message.split("; use --device_target")[0]


# ---------------------------------------------------------------------------------------------------------------------
# The environment


def environment(target):
    """Return pairs (name, text) of what is installed; nothing is computed."""
    facts = [
        ("system", platform.platform()),
        ("processor", f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}"),
        ("Python", f"{platform.python_version()} at {sys.executable}"),
        ("packages", ", ".join(versions_of("mindspore", "mindspore-gpu", "numpy", "torch", "onnxruntime"))),
    ]
    for program, query in (
        ("nvidia-smi", ["--query-gpu=index,name,driver_version,memory.total", "--format=csv,noheader"]),
        ("npu-smi", ["info"]),
    ):
        if shutil.which(program):
            facts.append((program, said_by([program, *query])))
    if target == "GPU":
        facts.append(("libraries", "; ".join(library(name) for name in GPU_LIBRARIES)))
        facts.append(("CUDA_HOME", os.environ.get("CUDA_HOME", "not set")))
    return [(name, printable(value)) for name, value in facts]


def versions_of(*packages):
    """Return those of these packages that are installed, with their versions."""
    if importlib.util.find_spec("importlib.metadata") is None:
        return ["unknown: Python 3.7 cannot tell"]
    from importlib import metadata  # here, as Python 3.7 has none

    found = []
    for package in packages:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return found or ["none of them"]


def said_by(command):
    """Return the output of a program in one line, or why there is none."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"did not answer ({error})"
    return "; ".join(line.strip() for line in done.stdout.decode(errors="replace").splitlines() if line.strip())


def library(name):
    """Return a library's name with whether it can be loaded."""
    return f"{name} {'found' if is_found(name) else 'missing'}"


def is_found(name):
    """Tell whether the system loads a library of this name."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def missing_libraries(target):
    """Say which of a GPU's libraries are missing; nothing for other devices, or if none is."""
    missing = [name for name in GPU_LIBRARIES if not is_found(name)] if target == "GPU" else []
    return f"; missing here: {', '.join(missing)}" if missing else ""


if __name__ == "__main__":
    end_by_signals(lambda number: 128 + number)  # so that the check that runs ends too
    run_main(main)
