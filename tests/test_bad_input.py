# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Bad input to the programs: one line that says what is wrong, exit status 2, and nothing that was there is lost.

Some cases run in processes of their own, where nothing but that line may reach stderr, not even from the libraries'
native code; the others call the programs' mains and look at the same file descriptor.
"""

import glob
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from programs import (  # noqa: F401
    HR_SIZE,
    REPO,
    command,
    fixture_base,
    fixture_converted,
    fixture_pretrained,
    fixture_trained,
    run,
    write_image,
)

from src.model.SRFlow import SRFlow
from src.model_utils.options import load_options
from src.model_utils.util import _count_gpus
from src.weights.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

HAS_GPU = _count_gpus()[0] > 0


def config_of(base, model="SRFlow"):
    return os.path.join(base, model + ".yml")


def cut_off(source, target, share):
    """Copy the first part of a file."""
    with open(str(source), "rb") as file:
        content = file.read()
    with open(str(target), "wb") as file:
        file.write(content[: int(share * len(content))])


def contents(folder):
    """Path below the folder -> its bytes, for every file."""
    found = {}
    for parent, _, names in os.walk(str(folder)):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                found[os.path.relpath(os.path.join(parent, name), str(folder))] = file.read()
    return found


@pytest.fixture(name="out")
def fixture_out(tmp_path, trained):
    """An output folder with the results of earlier runs."""
    folder = tmp_path / "out"
    folder.mkdir()
    shutil.copy(trained.paths[2], str(folder / "latest.ckpt"))
    for name in ("train.csv", "validation.csv", "metrics.csv", "metrics.json", "sheet.png", "good.png"):
        (folder / name).write_text("of an earlier run")
    return folder


@pytest.fixture(name="images")
def fixture_images(tmp_path):
    """Folders lr and hr with the image `good`, 8x8 and 32x32."""
    random = np.random.RandomState(0)
    for folder, size in (("lr", 8), ("hr", 32)):
        (tmp_path / folder).mkdir()
        write_image(tmp_path / folder / "good.png", random.randint(0, 256, (size, size, 3)).astype(np.uint8))
    return tmp_path


@pytest.fixture(name="refused")
def fixture_refused(out, capfd):
    """Function: run a program in this process on bad input; returns its line, having checked all but its words."""

    def refused(program, *arguments):
        before = contents(out)
        capfd.readouterr()
        assert run(program, *arguments, "--output_dir", out) == 2
        captured = capfd.readouterr()
        assert contents(out) == before
        assert captured.out == ""
        assert captured.err.startswith("error: ") and captured.err.count("\n") == 1, captured.err
        return captured.err

    return refused


def refused_by_command(out, program, *arguments):
    """The same in a process of its own."""
    before = contents(out)
    result = command(program, *arguments, "--output_dir", out)
    assert result.returncode == 2, result.stderr
    assert contents(out) == before
    assert result.stdout == ""
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1, result.stderr
    return result.stderr


# ---------------------------------------------------------------------------------------------------------------------
# In processes of their own


def test_command_missing_mindrecord(base, out):
    line = refused_by_command(
        out, "train", "--opt", config_of(base), "--set", "datasets.train.dataroot=none.mindrecord"
    )
    assert "none.mindrecord: no such file" in line and "python -m src.dataloader.prepare" in line


def test_command_truncated_mindrecord(base, out, tmp_path):
    path = tmp_path / "train.mindrecord"
    cut_off(os.path.join(base, "train.mindrecord"), path, 0.5)
    shutil.copy(os.path.join(base, "train.mindrecord.db"), str(path) + ".db")
    line = refused_by_command(out, "train", "--opt", config_of(base), "--set", f"datasets.train.dataroot={path}")
    assert f"{path}: truncated" in line


def test_command_text_file_as_checkpoint(base, out, tmp_path):
    (tmp_path / "a.ckpt").write_text("weights, honestly\n" * 100)
    line = refused_by_command(out, "eval", "--opt", config_of(base), "--ckpt", tmp_path / "a.ckpt")
    assert f"{tmp_path / 'a.ckpt'}: no weight file: neither of PyTorch" in line


def test_command_checkpoint_of_another_network(base, out, converted):
    line = refused_by_command(
        out, "eval", "--opt", config_of(base), "--ckpt", converted, "--set", "scale=8", "network_G.flow.L=4"
    )
    assert f"scale: the configuration says 8, {converted} is one of 4" in line


# ---------------------------------------------------------------------------------------------------------------------
# MindRecord files and configurations


@pytest.mark.parametrize("program", ["train", "eval"])
def test_mindrecord_of_the_validation(refused, base, converted, out, tmp_path, program):
    """A run's validation file is looked at before it trains, and before eval.py compiles anything."""
    os.remove(os.path.join(str(out), "latest.ckpt"))  # a new run, which would be refused beside another's checkpoint
    path = tmp_path / "valid.mindrecord"
    arguments = ["--ckpt", converted] if program == "eval" else []
    arguments += ["--opt", config_of(base), "--set", "path.resume_state=null", f"datasets.val.dataroot={path}"]
    assert f"{path}: no such file" in refused(program, *arguments)
    shutil.copy(os.path.join(base, "valid.mindrecord"), str(path))
    assert f"{path}.db: no such file" in refused(program, *arguments)
    shutil.copy(os.path.join(base, "valid.mindrecord.db"), str(path) + ".db")
    cut_off(os.path.join(base, "valid.mindrecord"), path, 0.7)
    assert f"{path}: truncated" in refused(program, *arguments)
    path.write_text("not a MindRecord")
    assert f"{path}: not a MindRecord file" in refused(program, *arguments)


def test_too_few_records(refused, base):
    line = refused("train", "--opt", config_of(base), "--set", "datasets.train.batch_size=9")
    assert "train.mindrecord: has 8 records, fewer than one batch (batch_size 9, accumulate 1, ranks 1)" in line
    line = refused("train", "--opt", config_of(base), "--set", "datasets.train.batch_size=3", "train.accumulate=3")
    assert "train.mindrecord: has 8 records, fewer than one batch (batch_size 3, accumulate 3, ranks 1)" in line


def test_patches_larger_than_the_records(refused, base):
    line = refused("train", "--opt", config_of(base), "--set", "datasets.train.HR_size=40")
    assert f"HR of record 0 is {HR_SIZE}x{HR_SIZE}, smaller than the HR patches of 40" in line


@pytest.mark.parametrize("program", ["train", "eval", "train2test"])
def test_configuration(refused, base, tmp_path, program):
    arguments = ["--train_path", "in.ckpt", "--test_path", "out.ckpt"] if program == "train2test" else []
    path = tmp_path / "c.yml"
    assert f"configuration file {path} does not exist" in refused(program, "--opt", path, *arguments)
    with open(config_of(base)) as file:
        good = file.read()
    path.write_text(good + "heats: 0.9\n")
    line = refused(program, "--opt", path, *arguments)
    assert f"{path}: heats: unknown key; did you mean heat?" in line
    path.write_text(good.replace("scale: 4", "scale: 3"))
    assert f"{path}: scale: expected one of 4, 8, got 3" in refused(program, "--opt", path, *arguments)
    path.write_text(good)
    line = refused(program, "--opt", path, *arguments, "--set", "network_G.flow.k=2")
    assert "network_G.flow.k: unknown key; did you mean network_G.flow.K?" in line


def test_no_data_configured(refused, base, converted):
    line = refused("train", "--opt", config_of(base), "--set", "datasets.train.dataroot=null")
    assert "datasets.train.dataroot: expected a string, got nothing" in line
    line = refused("eval", "--opt", config_of(base), "--ckpt", converted, "--set", "datasets.val.dataroot=null")
    assert "datasets.val.dataroot: expected a string, got nothing" in line
    assert "test_pretrained_model_path: expected a string, got nothing" in refused("eval", "--opt", config_of(base))


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints


def test_checkpoints_for_evaluation(refused, base, converted, trained, pretrained, tmp_path):
    arguments = ["eval", "--opt", config_of(base), "--ckpt"]
    assert "none.ckpt: no such file" in refused(*arguments, tmp_path / "none.ckpt")
    assert "a folder" in refused(*arguments, tmp_path)
    assert "an RRDB checkpoint, expected one of SRFlow" in refused(*arguments, pretrained.paths[4])
    cut = tmp_path / "cut.ckpt"
    for share in (0, 0.1, 0.5, 0.99):
        cut_off(converted, cut, share)
        line = refused(*arguments, cut)
        assert f"{cut}: " in line and any(
            words in line for words in ("an empty file", "not a MindSpore checkpoint, or a truncated one", "damaged")
        )
    with pytest.raises(CheckpointError, match="weights of another network than the configuration's; .* network_G.nf"):
        SRFlow.from_checkpoint(trained.paths[4], load_options(config_of(base), ["network_G.nf=12"]))


def test_a_checkpoint_with_a_flipped_bit(refused, base, converted, tmp_path):
    with open(converted, "rb") as file:
        content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    (tmp_path / "flipped.ckpt").write_bytes(bytes(content))
    line = refused("eval", "--opt", config_of(base), "--ckpt", tmp_path / "flipped.ckpt")
    assert "flipped.ckpt: damaged" in line or "flipped.ckpt: not a MindSpore checkpoint" in line


def test_an_inference_checkpoint_with_a_value_that_is_not_finite(refused, base, converted, tmp_path):
    checkpoint, name = read_checkpoint(converted), "RRDB.RRDB_trunk.0.RDB1.conv1.weight"
    damaged = checkpoint.arrays[name].copy()
    damaged.flat[0] = np.nan
    write_checkpoint(tmp_path / "nan", checkpoint._replace(arrays={**checkpoint.arrays, name: damaged}))
    line = refused("eval", "--opt", config_of(base), "--ckpt", tmp_path / "nan")
    assert f"{tmp_path / 'nan'}: {name}: has values that are not finite" in line


@pytest.mark.parametrize("program", ["eval", "train2test", "train"])
def test_a_checkpoint_that_is_a_pipe(refused, base, out, tmp_path, program):
    os.remove(os.path.join(str(out), "latest.ckpt"))
    pipe = str(tmp_path / "pipe.pth")
    os.mkfifo(pipe)
    arguments = {
        "eval": ["--ckpt", pipe],
        "train2test": ["--train_path", pipe, "--test_path", tmp_path / "a.ckpt"],
        "train": ["--set", "path.resume_state=null", "path.train_pretrain_model_G=" + pipe],
    }[program]
    assert "pipe.pth: no regular file" in refused(program, "--opt", config_of(base), *arguments)


def test_checkpoints_for_training(refused, base, trained, out, tmp_path):
    """A run that cannot load what it is told to leaves the output folder alone."""
    os.remove(os.path.join(str(out), "latest.ckpt"))  # a new run, which would be refused beside another's checkpoint
    arguments = ["train", "--opt", config_of(base), "--set", "network_G.nb=2", "path.resume_state=null"]
    line = refused(*arguments, "path.train_pretrain_model_G=" + trained.paths[4])
    assert "weights of another network: 30 missing: RRDB.RRDB_trunk.1" in line
    assert "none.ckpt: no such file" in refused(*arguments, "path.train_pretrain_model_G=none.ckpt")
    cut_off(trained.paths[4], tmp_path / "cut.ckpt", 0.5)
    line = refused("train", "--opt", config_of(base), "--set", f"path.resume_state={tmp_path / 'cut.ckpt'}")
    assert f"error: {tmp_path / 'cut.ckpt'}: " in line


# ---------------------------------------------------------------------------------------------------------------------
# Folders of images


def test_image_folders(refused, base, converted, images):
    lr_dir, hr_dir = images / "lr", images / "hr"
    (images / "empty").mkdir()
    arguments = ["eval", "--opt", config_of(base), "--ckpt", converted, "--lr_dir"]
    assert f"{images / 'empty'}: has no image files" in refused(*arguments, images / "empty")
    assert f"{images / 'none'}: no such folder of images" in refused(*arguments, images / "none")
    line = refused(*arguments, lr_dir, "--hr_dir", images / "empty")
    assert f"{images / 'empty'}: has no image files" in line

    write_image(hr_dir / "good.png", np.zeros((28, 32, 3), np.uint8))
    line = refused(*arguments, lr_dir, "--hr_dir", hr_dir)
    assert f"{hr_dir / 'good.png'}: is 28x32, expected 4 times its LR image: 32x32" in line

    (lr_dir / "good.png").write_text("no picture")  # the only one: with others beside it, it would be skipped
    assert f"{lr_dir / 'good.png'}: cannot be read as an image" in refused(*arguments, lr_dir)


def test_command_line(base, capfd):
    """argparse's own answers: usage and a line."""
    for program, arguments, words in (
        ("eval", ["--hr_dir", "x"], "--hr_dir needs --lr_dir"),
        ("eval", ["--n_samples", "0"], "--n_samples"),
        ("eval", ["--seed", "-1"], "--seed"),
        ("train", ["--what"], "--what"),
        ("train2test", [], "--train_path"),
    ):
        assert run(program, "--opt", config_of(base), *arguments) == 2
        lines = capfd.readouterr().err.splitlines()
        assert lines[0].startswith("usage: ") and "error: " in lines[-1] and words in lines[-1]


# ---------------------------------------------------------------------------------------------------------------------
# The scripts of the earlier port's users


def script(program, config, *arguments, **environment):
    """scripts/run_standalone_PROGRAM_gpu.sh with this Python, on device 0; returns the finished process."""
    line = ["bash", os.path.join("scripts", f"run_standalone_{program}_gpu.sh"), config, "0"]
    return subprocess.run(
        line + [str(argument) for argument in arguments],
        cwd=REPO,
        env=dict(os.environ, PYTHON=sys.executable, **environment),
        capture_output=True,
        text=True,
    )


def log_of(folder):
    (path,) = glob.glob(os.path.join(str(folder), "*.log"))
    with open(path) as file:
        return path, file.read()


def test_training_script_on_the_cpu(base, tmp_path):
    result = script(
        "train",
        config_of(base, "RRDB"),
        "--device_target",
        "CPU",
        "--output_dir",
        tmp_path / "out",
        LOG_DIR=str(tmp_path / "logs"),
    )
    assert (result.returncode, result.stderr) == (0, "")
    path, log = log_of(tmp_path / "logs")
    assert os.path.basename(path).startswith("train_") and path.endswith("_device0.log")
    assert result.stdout == f"log file: {path}\n{log}"
    assert "validation at step 4: l1 " in log and "4/4" in log
    assert read_checkpoint(tmp_path / "out" / "latest.ckpt").state["step"] == 4


def test_evaluation_script_on_the_cpu(base, converted, images):
    arguments = ["--device_target", "CPU", "--ckpt", converted, "--lr_dir", images / "lr"]
    result = script("eval", config_of(base), *arguments, "--output_dir", images / "out", LOG_DIR=str(images / "logs"))
    assert (result.returncode, result.stderr) == (0, "")
    path, log = log_of(images / "logs")
    assert result.stdout == f"log file: {path}\n{log}" and "1 images, heat 0.9: lr_psnr " in log
    assert sorted(os.listdir(str(images / "out"))) == ["good.png", "metrics.csv", "metrics.json", "sheet.png"]


@pytest.mark.skipif(HAS_GPU, reason="needs a machine without a GPU")
@pytest.mark.parametrize("program", ["train", "eval"])
def test_scripts_without_a_gpu(base, converted, out, tmp_path, program):
    before = contents(out)
    arguments = ["--ckpt", converted] if program == "eval" else []
    result = script(program, config_of(base), *arguments, "--output_dir", out, LOG_DIR=str(tmp_path / "logs"))
    assert (result.returncode, result.stderr) == (2, "")
    _, log = log_of(tmp_path / "logs")
    assert log.startswith("error: device_target GPU: ") and log.count("\n") == 1
    assert "use --device_target CPU" in log
    assert contents(out) == before
