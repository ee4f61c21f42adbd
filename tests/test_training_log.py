# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Logs that go on after an interruption without gaps, duplicates or torn lines; run.json; the loss curve."""

import io
import json
import os
import platform
import resource

import mindspore
import numpy as np
import pytest
from programs import read_csv, read_image

from src.model_utils.options import options_from_dict
from src.training import training_log
from src.training.loss_curve import loss_curve
from src.training.training_log import CsvLog, TrainingLog


@pytest.fixture(name="path")
def fixture_path(tmp_path):
    """A log of the steps 10, 20, 30."""
    path = str(tmp_path / "a.csv")
    log = CsvLog(path, 0)
    for step in (10, 20, 30):
        log.row(step=step, loss=step / 3)
    return path


@pytest.fixture(name="opt")
def fixture_opt(tmp_path):
    return options_from_dict({"scale": 4, "device_target": "CPU", "output_dir": str(tmp_path / "out")})


def steps(path):
    return [row["step"] for row in read_csv(path)]


def test_rows(path):
    with open(path) as file:
        assert file.read() == "step,loss\n10,3.33333\n20,6.66667\n30,10\n"


def test_a_resumed_run_cuts_off_what_it_will_do_again(path):
    log = CsvLog(path, 20)
    assert steps(path) == ["10", "20"]
    log.row(step=30, loss=1.0)
    assert steps(path) == ["10", "20", "30"]
    CsvLog(path, 5)
    assert steps(path) == []


def test_a_new_run_sets_an_old_log_aside(path):
    log = CsvLog(path, 0)
    assert not os.path.exists(path) and steps(path + ".old") == ["10", "20", "30"]
    log.row(step=1, loss=1.0)
    assert steps(path) == ["1"]


def test_old_logs_are_all_kept(path):
    for number, name in enumerate((".old", ".old2", ".old3"), start=1):
        log = CsvLog(path, 0)
        log.row(step=number, loss=1.0)
        assert os.path.exists(path + name)
    assert [steps(name) for name in (path + ".old", path + ".old2", path + ".old3", path)] == [
        ["10", "20", "30"],
        ["1"],
        ["2"],
        ["3"],
    ]


@pytest.mark.parametrize("torn", ["4", "40", "40,", "40,1.2", "40,1.2,5\n", "40\n", "\0\0\0\n", "x,y\n"])
def test_a_torn_line(path, torn):
    with open(path, "a") as file:
        file.write(torn)
    CsvLog(path, 50).row(step=50, loss=2.0)
    assert read_csv(path)[2:] == [{"step": "30", "loss": "10"}, {"step": "50", "loss": "2"}]


def test_a_row_costs_the_same_after_many(path, monkeypatch):
    """What it reads does not grow with the file, nor is the file written anew."""
    with open(path, "a") as file:
        file.writelines(f"{step},1.5\n" for step in range(31, 5000))
    log, read, rewritten = CsvLog(path, 5000), [], []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            count = super().readinto(buffer)
            read.append(count)
            return count

        def readall(self):
            content = super().readall()
            read.append(len(content))
            return content

    def counting_open(name, mode="r", buffering=-1, **settings):
        raw = Counting(name, mode.replace("b", ""))
        if buffering == 0:
            return raw
        binary = io.BufferedReader(raw) if "r" in mode else io.BufferedWriter(raw)
        return binary if "b" in mode else io.TextIOWrapper(binary, **settings)

    monkeypatch.setattr(training_log, "open", counting_open, raising=False)
    monkeypatch.setattr(log, "_rewrite", rewritten.append)
    costs = []
    for step in range(5001, 5011):
        log.row(step=step, loss=1 / 3)
        costs.append(sum(read))
        read.clear()
    assert not rewritten and os.path.getsize(path) > 40000 and len(steps(path)) == 4969 + 3 + 10
    assert 0 < max(costs) < 10000


@pytest.mark.parametrize(
    "change, expected",
    [
        ("remove", []),
        ("empty", []),
        ("tear", ["10", "20", "30"]),
        ("append", ["10", "20", "30", "35"]),
        ("replace", ["1"]),
    ],
)
def test_a_file_that_changes_under_us(path, change, expected):
    log = CsvLog(path, 30)
    if change == "remove":
        os.remove(path)
    else:
        text = {"empty": "", "tear": "35,1.", "append": "35,1.5\n", "replace": "step,psnr\n1,2\n"}[change]
        with open(path, "a" if change in ("tear", "append") else "w") as file:
            file.write(text)
    log.row(step=40, loss=1.0)
    log.row(step=50, loss=2.0)
    assert steps(path) == expected + ["40", "50"]
    assert [row["loss"] for row in read_csv(path)[-2:]] == ["1", "2"]


def test_validations_are_not_read_again(opt, monkeypatch):
    log = TrainingLog(opt, 0, "nll")
    log.validation(2, {"nll": 3.0}, np.zeros((4, 5, 3), np.uint8))
    log.close()
    resumed = TrainingLog(opt, 2, "nll")
    monkeypatch.setattr(CsvLog, "rows", lambda _: pytest.fail("the file was read"))
    assert resumed.figure_at(2) == 3.0 and resumed.has_validation(2) and not resumed.has_validation(4)


def test_columns_come_and_go(path):
    log = CsvLog(path, 30)
    log.row(step=40, loss=1.0, psnr=2.0)
    log.row(step=50, psnr=3.0)
    with open(path) as file:
        assert file.read().splitlines() == ["step,loss,psnr", "10,3.33333,", "20,6.66667,", "30,10,", "40,1,2", "50,,3"]


def test_rows_that_the_disk_does_not_take_come_later(path, capsys):
    log = CsvLog(path, 30)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = os.path.getsize(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 3, hard))
    try:
        log.row(step=40, loss=1.0)
        log.row(step=50, loss=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.path.getsize(path) == size and steps(path) == ["10", "20", "30"]
    assert capsys.readouterr().err.count(f"warning: {path}: ") == 2
    log.row(step=60, loss=1.0)
    assert steps(path) == ["10", "20", "30", "40", "50", "60"]


def test_validations(opt):
    log = TrainingLog(opt, 0, "nll")
    assert log.figure_at(0) is None and not log.has_validation(0)
    for step in range(1, 6):
        log.train(step, loss=5.0 - step, lr=1e-3)
    picture = np.full((8, 12, 3), 77, np.uint8)
    for step, nll in ((0, 3.5), (2, -1.25), (4, 2.0)):
        log.validation(step, {"nll": nll, "psnr": 20.0}, picture)
    log.close()
    assert log.figure_at(2) == -1.25 and log.has_validation(2) and not log.has_validation(3)
    np.testing.assert_array_equal(read_image(os.path.join(opt.output_dir, "pictures", "step_0000002.png")), picture)
    curve = read_image(os.path.join(opt.output_dir, "loss.png"))
    assert curve.shape == (480, 800, 3) and len(np.unique(curve.reshape(-1, 3), axis=0)) > 10
    resumed = TrainingLog(opt, 1, "nll")
    assert resumed.figure_at(0) == 3.5 and resumed.figure_at(2) is None and not resumed.has_validation(2)
    assert TrainingLog(opt, 1, "l1").figure_at(0) is None  # another model's
    assert steps(os.path.join(opt.output_dir, "train.csv")) == ["1"]


def test_run_json(opt):
    TrainingLog(opt, 0, "nll")
    TrainingLog(opt, 20, "nll")
    path = os.path.join(opt.output_dir, "run.json")
    with open(path) as file:
        content = json.load(file)
    assert content["options"] == opt.to_dict()
    assert [start["step"] for start in content["starts"]] == [0, 20]
    start = content["starts"][1]
    assert start["versions"]["mindspore"] == mindspore.__version__
    assert start["versions"]["python"] == platform.python_version()
    assert start["device"]["target"] == "CPU" and start["device"]["host"]
    assert start["revision"] is None or len(start["revision"]) >= 7
    with open(path, "w") as file:
        file.write("[1, 2")
    TrainingLog(opt, 30, "nll")
    with open(path) as file:
        assert [start["step"] for start in json.load(file)["starts"]] == [30]


class Writer:
    """In SummaryWriter's place."""

    made = []  # noqa: RUF012  # of all writers

    def __init__(self, folder, purge_step):
        self.folder, self.purge_step, self.scalars, self.images, self.closed = folder, purge_step, [], [], False
        self.made.append(self)

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def add_image(self, name, image, step, dataformats):
        assert dataformats == "HWC"
        self.images.append((name, image.shape, step))

    def close(self):
        self.closed = True


def test_tensorboard(opt, monkeypatch):
    monkeypatch.setattr(training_log, "SummaryWriter", Writer)
    log = TrainingLog(opt, 4, "nll")
    log.train(5, loss=2.0, lr=1e-3)
    log.validation(6, {"nll": 1.0}, np.zeros((4, 5, 3), np.uint8))
    log.close()
    (writer,) = Writer.made
    assert writer.folder == os.path.join(opt.output_dir, "tensorboard") and writer.purge_step == 5
    assert writer.scalars == [("train/loss", 2.0, 5), ("train/lr", 1e-3, 5), ("validation/nll", 1.0, 6)]
    assert writer.images == [("validation", (4, 5, 3), 6)] and writer.closed


def test_without_tensorboard(opt, monkeypatch):
    monkeypatch.setattr(training_log, "SummaryWriter", None)
    log = TrainingLog(opt, 0, "nll")
    log.train(1, loss=2.0)
    log.close()
    assert sorted(os.listdir(opt.output_dir)) == ["run.json", "train.csv"]


def colour_places(image, colour):
    """(rows, columns) of the pixels that are nearly of a colour."""
    return np.nonzero((np.abs(image.astype(int) - colour) < 20).all(axis=2))


def test_the_curve_shows_the_values():
    falling = loss_curve({"training": [(step, 10 - step) for step in range(11)]})
    rows, columns = colour_places(falling, (31, 119, 180))
    inside = rows > 40  # below the legend
    assert np.corrcoef(rows[inside], columns[inside])[0, 1] > 0.99  # rows count downwards
    assert columns[inside].min() < 90 and columns[inside].max() > 770
    assert (loss_curve({"training": []}) == 255).all()
    assert loss_curve({"training": [(3, -2.0)]}).min() < 100
    wild = loss_curve({"training": [(step, 1e9 if step == 50 else step % 5) for step in range(500)]})
    rows, _ = colour_places(wild, (31, 119, 180))
    assert rows[rows > 40].max() - rows[rows > 40].min() > 300  # one wild step flattens nothing
