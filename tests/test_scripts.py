# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The shell scripts, with a program in Python's place where Python itself does not matter."""
import ctypes
import glob
import importlib.util
import os
import shutil
import subprocess
import sys

import pytest

FAKE_PYTHON = """#!/bin/sh
echo "arguments: $*"
echo "some progress" >&2
exit ${FAKE_STATUS:-0}
"""


def bash(repo, *command, **environment):
    """Run a script of the repository; returns the finished process."""
    return subprocess.run(["bash"] + [str(part) for part in command], cwd=str(environment.pop("cwd", repo)),
                          env=dict(os.environ, **environment), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


@pytest.fixture
def fake_python(tmp_path):
    path = tmp_path / "python"
    path.write_text(FAKE_PYTHON)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def checkout(repo, tmp_path):
    """A copy of what setup_env.sh and run_tests.sh need, without environments."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    shutil.copytree(os.path.join(repo, "scripts"), str(folder / "scripts"))
    shutil.copy(os.path.join(repo, "requirements.txt"), str(folder))
    return folder


def one_line(result, start):
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(start)


@pytest.mark.parametrize("name", ["train", "eval"])
def test_usage(repo, name):
    script = "scripts/run_standalone_{}_gpu.sh".format(name)
    for arguments in ([], ["SRFlow_DF2K_4X.yml"], ["--help"]):
        one_line(bash(repo, script, *arguments), "Usage: bash {} [CONFIG_PATH] [DEVICE_ID]".format(script))


@pytest.mark.parametrize("name", ["train", "eval"])
def test_wrong_arguments(repo, name, fake_python):
    script = "scripts/run_standalone_{}_gpu.sh".format(name)
    one_line(bash(repo, script, "none.yml", "0", PYTHON=fake_python),
             "error: configuration file none.yml does not exist")
    one_line(bash(repo, script, "SRFlow_DF2K_4X.yml", "x", PYTHON=fake_python), "error: DEVICE_ID: expected an integer")
    one_line(bash(repo, script, "SRFlow_DF2K_4X.yml", "0", PYTHON="/no/python"),
             "error: PYTHON=/no/python is no program")


@pytest.mark.parametrize("name", ["train", "eval"])
@pytest.mark.parametrize("status", [0, 2, 7])
def test_exit_status_log_and_further_options(repo, tmp_path, name, status, fake_python):
    config = tmp_path / "a b.yml"
    config.write_text("scale: 4")
    script = os.path.join(repo, "scripts", "run_standalone_{}_gpu.sh".format(name))
    result = bash(repo, script, "a b.yml", "1", "--device_target", "CPU", cwd=tmp_path, PYTHON=fake_python,
                  LOG_DIR=str(tmp_path / "logs"), FAKE_STATUS=str(status))
    assert result.returncode == status
    expected = "arguments: {}.py --opt {} --device_target GPU --device_id 1 --device_target CPU\n".format(name, config)
    assert expected in result.stdout
    (log,) = glob.glob(str(tmp_path / "logs" / "{}_*_device1.log".format(name)))
    with open(log) as file:
        assert file.read() == expected + "some progress\n"


def test_tests_want_a_known_mindspore(checkout):
    one_line(bash(checkout, "scripts/run_tests.sh", "--mindspore", "3.0"),
             "error: --mindspore: expected 2.8.0 or 1.7.0, got '3.0'")
    one_line(bash(checkout, "scripts/run_tests.sh", "--mindspore"), "error: --mindspore")
    one_line(bash(checkout, "scripts/setup_env.sh", "--python"), "Usage: bash scripts/setup_env.sh")
    one_line(bash(checkout, "scripts/setup_env.sh", "--mindspore", "3.0"), "error: --mindspore: expected")


@pytest.mark.parametrize("version, pythons", [("2.8.0", "3.11 3.10 3.12 3.9"), ("1.7.0", "3.8 3.7")])
def test_no_python_fits(checkout, tmp_path, version, pythons):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "ls", "cmp"):
        os.symlink(shutil.which(name), str(tools / name))
    os.symlink(shutil.which("false"), str(tools / "python3"))  # a pyenv shim without a version, say
    result = bash(checkout, "scripts/setup_env.sh", "--mindspore", version, PATH=str(tools),
                  PYENV_ROOT=str(tmp_path / "none"), PYTHON="")
    one_line(result, "error: MindSpore {} needs one of Python {} with the venv module".format(version, pythons))
    assert not (checkout / ".venv").exists()


def test_named_python_does_not_fit(checkout, fake_python):
    one_line(bash(checkout, "scripts/setup_env.sh", PYTHON=fake_python),
             "error: PYTHON={} is not one of".format(fake_python))


def test_environment_that_is_ready(checkout):
    """A second call changes nothing, and the tests run in that environment."""
    environment = checkout / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").write_text(FAKE_PYTHON)
    (environment / "python").chmod(0o755)
    shutil.copy(str(checkout / "requirements.txt"), str(checkout / ".venv" / "installed_requirements.txt"))
    result = bash(checkout, "scripts/setup_env.sh")
    ready = "environment ready: {}".format(checkout / ".venv")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, ready)
    assert "installing" not in result.stdout
    result = bash(checkout, "scripts/run_tests.sh", "-k", "a or b")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "arguments: -m pytest -k a or b")


def test_requirements_fit_both_stacks(repo):
    """Every package is pinned, and exactly one line holds for each Python."""
    from packaging.requirements import Requirement
    with open(os.path.join(repo, "requirements.txt")) as file:
        wanted = [Requirement(line.strip()) for line in file if line.strip() and not line.startswith("#")]
    for python in ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12"):
        valid = [requirement for requirement in wanted
                 if requirement.marker is None or requirement.marker.evaluate({"python_version": python})]
        names = [requirement.name for requirement in valid]
        assert len(set(names)) == len(names)
        assert {"numpy", "opencv-python-headless", "PyYAML", "scikit-image", "tqdm", "pytest"} <= set(names)
        assert ("mindspore-gpu" if python in ("3.7", "3.8") else "mindspore") in names
        assert all([pin.operator for pin in requirement.specifier] == ["=="] for requirement in valid)


def stand_ins_module(repo):
    path = os.path.join(repo, "scripts", "make_cuda_stand_ins.py")
    spec = importlib.util.spec_from_file_location("make_cuda_stand_ins", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name, version, library", [
    ("cublasCreate_v2", "libcublas.so.11", "libcublas.so.11"),
    ("cublasCreate_v2", "", "libcublas.so.11"),
    ("cudaMalloc", "libcudart.so.11.0", "libcudart.so.11.0"),
    ("__cudaRegisterFatBinary", "", "libcudart.so.11.0"),
    ("cudnnCreate", "libcudnn.so.8", "libcudnn.so.8"),
    ("cuLaunchKernel", "", "libcuda.so.1"),
    ("cufftPlanMany", "", "libcufft.so.10"),
    ("curl_easy_init", "", None),
    ("malloc", "GLIBC_2.2.5", None),
])
def test_library_of_a_cuda_function(repo, name, version, library):
    assert stand_ins_module(repo).library_of(name, version) == library


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("nm") is None, reason="needs a C compiler and nm")
def test_stand_ins_are_built_for_what_a_wheel_wants(repo, tmp_path):
    wheel, out = tmp_path / "mindspore", tmp_path / "out"
    wheel.mkdir()
    (tmp_path / "a.c").write_text("int cudaGetDeviceCount(int *); int cuMemAlloc(void); int curses(void);\n"
                                  "int f(void) { return cudaGetDeviceCount(0) + cuMemAlloc() + curses(); }\n")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(wheel / "a.so"), str(tmp_path / "a.c")], check=True)
    script = os.path.join(repo, "scripts", "make_cuda_stand_ins.py")
    subprocess.run([sys.executable, script, str(wheel), str(out)], check=True, stdout=subprocess.DEVNULL)
    assert sorted(os.listdir(str(out))) == sorted(stand_ins_module(repo).LIBRARIES)
    assert ctypes.CDLL(str(out / "libcudart.so.11.0")).cudaGetDeviceCount(None) == 100
    assert ctypes.CDLL(str(out / "libcuda.so.1")).cuMemAlloc() == 100
    assert not hasattr(ctypes.CDLL(str(out / "libcuda.so.1")), "curses")


def test_stand_ins_want_a_mindspore(repo, tmp_path, capsys):
    assert stand_ins_module(repo).main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
