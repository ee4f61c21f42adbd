# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""One-line errors, the device, seeds, and files that appear whole or not at all."""
import ctypes
import os
import random
import stat
import subprocess
import sys

import mindspore
import numpy as np
import pytest
from mindspore import context

from src.model_utils import util
from src.model_utils.util import DeviceError, atomic_write, is_temporary, run_main, set_device, set_seed


def status_of(main):
    with pytest.raises(SystemExit) as caught:
        run_main(main)
    return caught.value.code


def raising(error):
    def main():
        raise error
    return main


@pytest.mark.parametrize("error, line", [
    (ValueError("first\n  second"), "error: first second\n"),
    (FileNotFoundError("no a.yml"), "error: no a.yml\n"),
    (OSError(2, "No such file or directory", "a.ckpt"), "error: [Errno 2] No such file or directory: 'a.ckpt'\n"),
    (ValueError(), "error: ValueError\n"),
])
def test_errors_in_one_line(error, line, capsys, monkeypatch):
    monkeypatch.delenv("SRFLOW_TRACEBACK", raising=False)
    assert status_of(raising(error)) == 2
    assert capsys.readouterr().err == line


def test_traceback_on_request(capsys, monkeypatch):
    monkeypatch.setenv("SRFLOW_TRACEBACK", "1")
    assert status_of(raising(ValueError("x"))) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback") and printed.endswith("\nerror: x\n")


def test_other_exits(capsys):
    assert status_of(lambda: None) is None
    assert status_of(lambda: 3) == 3
    assert status_of(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"
    with pytest.raises(KeyError):  # a bug keeps its traceback
        run_main(raising(KeyError("x")))


def test_atomic_write(tmp_path):
    path = tmp_path / "new" / "a.ckpt"
    with atomic_write(path) as temporary:
        assert os.path.dirname(temporary) == str(path.parent)
        assert temporary.endswith(".ckpt")
        with open(temporary, "w") as file:
            file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    with atomic_write(path) as temporary:
        with open(temporary, "w") as file:
            file.write("newer")
    assert path.read_text() == "newer"
    assert os.listdir(str(path.parent)) == ["a.ckpt"]
    plain = tmp_path / "plain"
    plain.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@pytest.mark.parametrize("error", [RuntimeError("half way"), KeyboardInterrupt()])
def test_atomic_write_keeps_the_old_file_when_it_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error)):
        with atomic_write(str(path)) as temporary:
            with open(temporary, "w") as file:
                file.write("hal")
            raise error
    assert path.read_text() == "old"
    assert os.listdir(str(tmp_path)) == ["a.txt"]


def test_atomic_write_of_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="a.txt: nothing was written"):
        with atomic_write(tmp_path / "a.txt"):
            pass
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("name", ["a" * 250 + ".ckpt", "\u0436" * 125 + ".ckpt", "\udce9" * 251 + ".png"],
                         ids=["ASCII", "Cyrillic", "not UTF-8"])
def test_atomic_write_of_the_longest_names(tmp_path, name):
    with atomic_write(str(tmp_path / name)) as temporary:
        assert os.path.splitext(temporary)[1] == os.path.splitext(name)[1]
        assert is_temporary(temporary)
        with open(temporary, "w") as file:
            file.write("whole")
    assert os.listdir(str(tmp_path)) == [name]


@pytest.mark.parametrize("name, expected", [
    (".latest.0123456789ab.ckpt", True), (".a.b c.0123456789ab.png", True), (".config.0123456789ab", True),
    (".{}.0123456789ab.ckpt".format("n" * 200), True), (".two\nlines.0123456789ab.png", True),
    ("latest.0123456789ab.ckpt", False), (".latest.ckpt", False), (".latest.0123456789.ckpt", False),
    (".latest.0123456789AB.ckpt", False)])
def test_temporary_names(name, expected):
    assert is_temporary(os.path.join("folder", name)) == expected


def test_set_seed():
    def draw():
        set_seed(7)
        return random.random(), float(np.random.rand()), mindspore.get_seed()
    first = draw()
    assert first[2] == 7
    assert draw() == first


def test_set_device_cpu():
    set_device("CPU", 3)  # the CPU has no number
    assert context.get_context("device_target") == "CPU"
    assert context.get_context("mode") == context.GRAPH_MODE


def test_set_device_gpu_number(monkeypatch):
    monkeypatch.setattr(util, "_count_gpus", lambda: (2, None))
    with pytest.raises(DeviceError, match=r"finds no usable device 2 here \(the machine has 2 GPUs, numbered from 0\)"):
        set_device("GPU", 2)


def test_set_device_ascend_missing(monkeypatch):
    monkeypatch.setattr(util.glob, "glob", lambda pattern: [])
    with pytest.raises(DeviceError, match=r"device_target Ascend: .*no /dev/davinci.*; use --device_target CPU"):
        set_device("Ascend", 0)


class FakeDriver:
    """libcuda.so.1 with a status of cuInit and a number of GPUs."""

    def __init__(self, status, count):
        self.status, self.count = status, count

    def cuInit(self, flags):
        return self.status

    def cuDeviceGetCount(self, pointer):
        ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = self.count
        return 0


@pytest.mark.parametrize("driver, expected", [
    (FakeDriver(0, 2), (2, None)),
    (FakeDriver(0, 0), (0, "the NVIDIA driver sees no GPU")),
    (FakeDriver(100, 2), (0, "the NVIDIA driver answers with CUDA error 100")),
    (object(), (0, "libcuda.so.1 is a stand-in without a driver behind it")),
])
def test_count_gpus(monkeypatch, driver, expected):
    monkeypatch.setattr(util.ctypes, "CDLL", lambda name: driver)
    assert util._count_gpus() == expected


def test_count_gpus_without_driver(monkeypatch):
    def missing(name):
        raise OSError(name)
    monkeypatch.setattr(util.ctypes, "CDLL", missing)
    assert util._count_gpus() == (0, "no NVIDIA driver: libcuda.so.1 not found")


def test_no_gpu_is_one_line(repo, tmp_path):
    program = "from src.model_utils.util import run_main, set_device; run_main(lambda: set_device('GPU', 0))"
    environment = dict(os.environ, PYTHONPATH=repo, CUDA_VISIBLE_DEVICES="", GLOG_v="3")  # hides the GPUs, if any
    result = subprocess.run([sys.executable, "-c", program], env=environment, cwd=str(tmp_path),
                            capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: device_target GPU: this MindSpore ({}) finds no usable device 0 here ("
                                    .format(mindspore.__version__))
    assert "--device_target CPU" in result.stderr
