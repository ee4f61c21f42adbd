# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The command lines of the three programs."""

import pytest

import eval as eval_program
import train as train_program
from src.model_utils.config import get_config
from src.model_utils.options import OptionsError


@pytest.fixture
def yml(tmp_path, monkeypatch):
    monkeypatch.delenv("DEVICE_ID", raising=False)
    path = tmp_path / "run.yml"
    path.write_text(
        "scale: 4\n"
        "datasets: {train: {dataroot: a/train.mindrecord}, val: {dataroot: a/valid.mindrecord}}\n"
        "test_pretrained_model_path: b/test.ckpt\n"
    )
    return str(path)


@pytest.mark.parametrize("flag", ["--opt", "--config_path"])
def test_train(yml, flag):
    args, opt = get_config("train", [flag, yml])
    assert args.opt == yml
    assert opt.datasets.train.dataroot == "a/train.mindrecord"
    assert (opt.device_target, opt.device_id, opt.output_dir) == ("GPU", 0, "output")


def test_flags_and_set_lie_over_the_yaml(yml):
    _, opt = get_config(
        "train",
        [
            "--opt",
            yml,
            "--device_target",
            "CPU",
            "--device_id",
            "3",
            "--output_dir",
            "a b: {c}",
            "--set",
            "train.niter=5",
            "heat=0",
            "--set",
            "train.lr_G=1e-3",
            "output_dir=x",
        ],
    )
    assert (opt.device_target, opt.device_id, opt.output_dir) == ("CPU", 3, "a b: {c}")
    assert (opt.train.niter, opt.heat, opt.train.lr_G) == (5, 0.0, 1e-3)


@pytest.mark.parametrize("kind", ["train", "eval"])
@pytest.mark.parametrize(
    "environment, argv, expected",
    [
        (None, [], 2),
        ("5", [], 5),
        ("5", ["--set", "train.niter=5"], 5),
        ("5", ["--device_id", "3"], 3),
        ("5", ["--set", "device_id=3"], 3),
        ("5", ["--set", "device_id=4", "--device_id", "3"], 3),
        ("5", ["--device_id", "0"], 0),
        ("first", ["--device_id", "3"], 3),
        ("5", ["--enable_modelarts", "true"], 5),
        ("5", ["--enable_modelarts", "true", "--device_id", "3"], 3),
    ],
)
def test_a_typed_device_wins_over_the_launchers_and_that_over_the_yaml(
    yml, monkeypatch, kind, environment, argv, expected
):
    with open(yml, "a") as file:
        file.write("device_id: 2\n")
    if environment is not None:
        monkeypatch.setenv("DEVICE_ID", environment)
    assert get_config(kind, ["--opt", yml] + argv)[1].device_id == expected


def test_impossible_device_of_the_launcher(yml, monkeypatch):
    monkeypatch.setenv("DEVICE_ID", "first")
    with pytest.raises(ValueError, match="environment variable DEVICE_ID: expected an integer >= 0, got 'first'"):
        get_config("train", ["--opt", yml])
    get_config("train2test", ["--opt", yml, "--train_path", "in.ckpt", "--test_path", "out.ckpt"])  # on the CPU


class Chosen(Exception):
    """Raised in the place of choosing a device; its arguments are (target, number)."""


def test_the_programs_use_the_device_of_the_options(yml, monkeypatch, tmp_path):
    def choose(target, device_id, allow_tf32):
        raise Chosen(target, device_id, allow_tf32)

    monkeypatch.setenv("DEVICE_ID", "5")
    monkeypatch.setattr(train_program, "set_device", choose)
    with pytest.raises(Chosen) as caught:
        train_program.main(["--opt", yml, "--output_dir", str(tmp_path / "out"), "--device_id", "3"])
    assert caught.value.args == ("GPU", 3, False)

    monkeypatch.setattr(eval_program, "describes_itself", lambda _: True)
    monkeypatch.setattr(
        eval_program.SRFlow, "from_checkpoint", lambda *arguments: choose(*arguments[2:4], arguments[6])
    )
    with pytest.raises(Chosen) as caught:
        eval_program.load_model(
            *get_config("eval", ["--opt", yml, "--ckpt", yml, "--device_id", "3", "--set", "allow_tf32=true"])
        )
    assert caught.value.args == ("GPU", 3, True)


@pytest.mark.parametrize("text", ["2024", "true", "1e3", "it's", 'a"b', "ä/ö", "#no comment", "- x", "\\n"])
def test_a_path_on_the_command_line_is_taken_literally(yml, text):
    _, opt = get_config("train", ["--opt", yml, "--output_dir=" + text])
    assert opt.output_dir == text


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--device_target", "TPU"], "device_target: expected one of GPU, CPU, Ascend, got 'TPU'"),
        (["--device_id", "-1"], "device_id: expected an integer >= 0, got -1"),
        (["--device_id", "first"], "device_id: expected an integer >= 0, got 'first'"),
        (["--enable_modelarts", "maybe"], "enable_modelarts: expected true or false, got 'maybe'"),
        (["--set", "train.nither=5"], "train.nither: unknown key; did you mean train.niter"),
        (["--set", "datasets.train.dataroot=null"], "datasets.train.dataroot: expected a string, got nothing"),
    ],
)
def test_impossible_values(yml, argv, message):
    with pytest.raises(OptionsError, match=message):
        get_config("train", ["--opt", yml] + argv)


def test_missing_configuration(tmp_path):
    with pytest.raises(OptionsError, match="configuration file .*none.yml does not exist"):
        get_config("train", ["--opt", str(tmp_path / "none.yml")])


@pytest.mark.parametrize(
    "kind, argv",
    [
        ("train", []),
        ("train", ["--opt", "x.yml", "--unknown", "1"]),
        ("train", ["--opt", "x.yml", "--device", "CPU"]),  # no abbreviations
        ("train", ["--opt", "x.yml", "--heat", "1"]),  # a flag of eval
        ("train", ["--opt", "x.yml", "--set"]),
        ("eval", ["--opt", "x.yml", "--hr_dir", "d"]),
        ("eval", ["--opt", "x.yml", "--n_samples", "0"]),
        ("eval", ["--opt", "x.yml", "--seed", "-1"]),
        ("train2test", ["--opt", "x.yml", "--train_path", "a"]),
    ],
)
def test_wrong_command_lines(kind, argv, capsys):
    with pytest.raises(SystemExit) as caught:
        get_config(kind, argv)
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_eval_defaults_come_from_the_options(yml):
    args, opt = get_config("eval", ["--opt", yml])
    assert args.ckpt == opt.test_pretrained_model_path == "b/test.ckpt"
    assert (args.seed, args.n_samples, args.lr_dir, args.hr_dir) == (10, 1, None, None)
    assert opt.heat == 0.9


def test_eval_flags(yml):
    args, opt = get_config(
        "eval",
        [
            "--opt",
            yml,
            "--ckpt",
            "c.ckpt",
            "--heat",
            "0.5",
            "--seed",
            "7",
            "--n_samples",
            "3",
            "--lr_dir",
            "lr",
            "--hr_dir",
            "hr",
            "--output_dir",
            "o",
        ],
    )
    assert args.ckpt == opt.test_pretrained_model_path == "c.ckpt"
    assert (opt.heat, opt.output_dir) == (0.5, "o")
    assert (args.seed, args.n_samples, args.lr_dir, args.hr_dir) == (7, 3, "lr", "hr")
    with pytest.raises(OptionsError, match="heat: expected a number >= 0, got -1"):
        get_config("eval", ["--opt", yml, "--heat", "-1"])


def test_eval_needs_images_and_a_checkpoint(yml):
    no_images = ["--opt", yml, "--set", "datasets.val.dataroot=null"]
    with pytest.raises(OptionsError, match="datasets.val.dataroot: expected a string, got nothing"):
        get_config("eval", no_images)
    get_config("eval", no_images + ["--lr_dir", "lr"])
    with pytest.raises(OptionsError, match="test_pretrained_model_path: expected a string, got nothing"):
        get_config("eval", ["--opt", yml, "--set", "test_pretrained_model_path=null"])


def test_train2test(yml):
    args, opt = get_config("train2test", ["--opt", yml, "--train_path", "in.ckpt", "--test_path", "out.ckpt"])
    assert (args.train_path, args.test_path, opt.scale) == ("in.ckpt", "out.ckpt", 4)


def test_modelarts_flags(yml):
    argv = ["--opt", yml, "--enable_modelarts", "True", "--data_url", "obs://b/data/", "--train_url", "obs://b/out/"]
    _, opt = get_config("train", argv)
    assert opt.enable_modelarts is True
    assert (opt.data_url, opt.train_url) == ("obs://b/data/", "obs://b/out/")
    assert opt.datasets.train.dataroot == "/cache/data/train.mindrecord"
    assert opt.output_dir == "/cache/train/output"
