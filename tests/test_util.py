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
from src.model_utils.util import DeviceError, atomic_write, name_behind, run_main, set_device, set_seed


def status_of(main):
    with pytest.raises(SystemExit) as caught:
        run_main(main)
    return caught.value.code


def raising(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("first\n  second"), "error: first second\n"),
        (FileNotFoundError("no a.yml"), "error: no a.yml\n"),
        (OSError(2, "No such file or directory", "a.ckpt"), "error: [Errno 2] No such file or directory: 'a.ckpt'\n"),
        (ValueError(), "error: ValueError\n"),
    ],
)
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


@pytest.mark.parametrize(
    "name",
    ["a" * 250 + ".ckpt", "\u0436" * 125 + ".ckpt", "\udce9" * 251 + ".png"],
    ids=["ASCII", "Cyrillic", "not UTF-8"],
)
def test_atomic_write_of_the_longest_names(tmp_path, name):
    with atomic_write(str(tmp_path / name)) as temporary:
        assert os.path.splitext(temporary)[1] == os.path.splitext(name)[1]
        assert name_behind(temporary) == name[:16] + os.path.splitext(name)[1]
        with open(temporary, "w") as file:
            file.write("whole")
    assert os.listdir(str(tmp_path)) == [name]


@pytest.mark.parametrize(
    "name, expected",
    [
        (".latest.0123456789ab.ckpt", "latest.ckpt"),
        (".a.b c.0123456789ab.png", "a.b c.png"),
        (".config.0123456789ab", "config"),
        (f".{'n' * 200}.0123456789ab.ckpt", f"{'n' * 200}.ckpt"),
        (".two\nlines.0123456789ab.png", "two\nlines.png"),
        ("latest.0123456789ab.ckpt", None),
        (".latest.ckpt", None),
        (".latest.0123456789.ckpt", None),
        (".latest.0123456789AB.ckpt", None),
    ],
)
def test_temporary_names(name, expected):
    assert name_behind(os.path.join("folder", name)) == expected


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


@pytest.mark.parametrize(
    "driver, expected",
    [
        (FakeDriver(0, 2), (2, None)),
        (FakeDriver(0, 0), (0, "the NVIDIA driver sees no GPU")),
        (FakeDriver(100, 2), (0, "the NVIDIA driver answers with CUDA error 100")),
        (object(), (0, "libcuda.so.1 is a stand-in without a driver behind it")),
    ],
)
def test_count_gpus(monkeypatch, driver, expected):
    monkeypatch.setattr(util.ctypes, "CDLL", lambda name: driver)
    assert util._count_gpus() == expected


def test_count_gpus_without_driver(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(util.ctypes, "CDLL", missing)
    assert util._count_gpus() == (0, "no NVIDIA driver: libcuda.so.1 not found")


class ModernMindSpore:
    """MindSpore 2.5 or later as set_device sees it; calls: what was called, in order."""

    GRAPH_MODE = 0

    def __init__(self):
        self.calls, self.device_context = [], self
        self.gpu = self.op_precision = self  # mindspore.device_context.gpu.op_precision

    def set_context(self, **settings):
        self.calls.append(("set_context", settings))

    def set_device(self, target, device_id):
        self.calls.append(("set_device", target, device_id))

    def conv_allow_tf32(self, value):
        self.calls.append(("conv_allow_tf32", value))

    def matmul_allow_tf32(self, value):
        self.calls.append(("matmul_allow_tf32", value))


class EarlierContext:
    """mindspore.context before 2.5; gpu_keys: those that set_context(gpu_config=...) knows, None where it has none."""

    GRAPH_MODE = 0

    def __init__(self, gpu_keys):
        self.gpu_keys, self.calls = gpu_keys, []

    def get_context(self, name):
        return {"device_id": 0}[name]

    def set_context(self, **settings):
        if "gpu_config" in settings and self.gpu_keys is None:
            raise ValueError("For 'context.set_context', the keyword argument gpu_config is not recognized!")
        if not set(settings.get("gpu_config", ())) <= set(self.gpu_keys or ()):
            raise ValueError("For 'context.set_context', the key of argument 'gpu_config' must be one of ...")
        self.calls.append(settings)


class EarlierMindSpore:
    __version__ = "2.3.0"

    def __init__(self, gpu_keys):
        self.context = EarlierContext(gpu_keys)


@pytest.fixture(name="gpu_with")
def fixture_gpu_with(monkeypatch):
    """Function that puts a stand-in in MindSpore's place, on a machine with two GPUs."""
    monkeypatch.setattr(util, "_count_gpus", lambda: (2, None))
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "to be restored")
    monkeypatch.delenv("NVIDIA_TF32_OVERRIDE")

    def put(module):
        monkeypatch.setitem(sys.modules, "mindspore", module)
        return module

    return put


@pytest.mark.parametrize("arguments, allowed", [((), False), ((False,), False), ((True,), True)])
def test_tf32_from_2_5_on(gpu_with, arguments, allowed):
    module = gpu_with(ModernMindSpore())
    set_device("GPU", 1, *arguments)
    assert module.calls == [
        ("set_context", {"mode": 0}),
        ("set_device", "GPU", 1),
        ("conv_allow_tf32", allowed),
        ("matmul_allow_tf32", allowed),
    ]
    assert "NVIDIA_TF32_OVERRIDE" not in os.environ


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_before_2_5(gpu_with, allowed):
    module = gpu_with(EarlierMindSpore(("conv_fprop_algo", "conv_allow_tf32", "matmul_allow_tf32")))
    set_device("GPU", 1, allowed)
    assert module.context.calls == [
        {"mode": 0, "device_target": "GPU"},
        {"device_id": 1},
        {"gpu_config": {"conv_allow_tf32": allowed, "matmul_allow_tf32": allowed}},
    ]
    assert "NVIDIA_TF32_OVERRIDE" not in os.environ


@pytest.mark.parametrize("gpu_keys", [None, ("conv_fprop_algo",)], ids=["1.7", "2.0"])
@pytest.mark.parametrize("allowed, before, after", [(False, None, "0"), (False, "1", "1"), (True, None, None)])
def test_tf32_where_mindspore_has_no_say(gpu_with, monkeypatch, gpu_keys, allowed, before, after):
    """CUDA's libraries are told instead, unless the user has told them something."""
    if before is not None:
        monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", before)
    module = gpu_with(EarlierMindSpore(gpu_keys))
    set_device("GPU", 1, allowed)
    assert module.context.calls == [{"mode": 0, "device_target": "GPU"}, {"device_id": 1}]
    assert os.environ.get("NVIDIA_TF32_OVERRIDE") == after


@pytest.mark.parametrize("module", [ModernMindSpore(), EarlierMindSpore(None)], ids=["2.5", "1.7"])
def test_tf32_is_no_matter_of_the_cpu(gpu_with, module):
    gpu_with(module)
    set_device("CPU")
    assert "tf32" not in str(getattr(module, "calls", None) or module.context.calls)
    assert "NVIDIA_TF32_OVERRIDE" not in os.environ


def test_tf32_is_true_or_false():
    with pytest.raises(ValueError, match=r"allow_tf32: expected True or False, got 'no'$"):
        set_device("CPU", 0, "no")


def test_no_gpu_is_one_line(repo, tmp_path):
    program = "from src.model_utils.util import run_main, set_device; run_main(lambda: set_device('GPU', 0))"
    environment = dict(os.environ, PYTHONPATH=repo, CUDA_VISIBLE_DEVICES="", GLOG_v="3")  # hides the GPUs, if any
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=str(tmp_path), capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(
        f"error: device_target GPU: this MindSpore ({mindspore.__version__}) finds no usable device 0 here ("
    )
    assert "--device_target CPU" in result.stderr
