# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What the tests of train.py, eval.py and train2test.py share: tiny data, tiny networks, runs of the programs.

Compiling is what costs time here, so a run that several tests look at is made once per session. The fixtures are
imported by the test modules that need them; as each import is a fixture of its own to pytest, the runs themselves are
remembered by the functions behind them. Where SRFLOW_TEST_RUNS names a folder, they are kept there, and processes that
follow each other make them once.
"""

import csv
import functools
import json
import os
import shutil
import subprocess
import sys
from unittest import mock

import cv2
import device
import numpy as np
import pytest
import yaml
from skimage.data import astronaut, chelsea, coffee

import eval as eval_program
import train as train_program
import train2test as train2test_program
from src.dataloader.prepare import prepare_images
from src.model_utils.util import run_main
from src.weights.checkpoint import read_checkpoint

REPO = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAINS = {"train": train_program.main, "eval": eval_program.main, "train2test": train2test_program.main}

SCALE, HR_SIZE, RATE = 4, 32, 2.5e-4
TRAINING_RECORDS, VALIDATION_RECORDS = 8, 2


# ---------------------------------------------------------------------------------------------------------------------
# Data and configurations


def write_image(path, rgb):
    """uint8 RGB (H, W, 3) -> an image file of the kind that its suffix names."""
    assert cv2.imwrite(str(path), np.ascontiguousarray(rgb[:, :, ::-1]))


def read_image(path):
    """Image file -> uint8 RGB (H, W, 3)."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return image[:, :, ::-1]


def read_csv(path):
    """A CSV file with a header as a list of dicts of text."""
    with open(str(path), newline="") as file:
        return list(csv.DictReader(file))


def tiny_options(base, model="SRFlow"):
    """Nested dict of options: the smallest network of the kind, on the data of `make_data`."""
    network = {"nf": 8, "nb": 1, "gc": 4}
    if model == "SRFlow":
        network["flow"] = {
            "K": 1,
            "additionalFlowNoAffine": 0,
            "stackRRDB": {"blocks": [0]},
            "CondAffineSeparatedAndCond": {"hidden_channels": 8},
        }
    return {
        "model": model,
        "scale": SCALE,
        "device_target": device.TARGET,
        "output_dir": os.path.join(base, "unused"),
        "datasets": {
            "train": {
                "dataroot": os.path.join(base, "train.mindrecord"),
                "batch_size": 2,
                "HR_size": HR_SIZE,
                "num_workers": 1,
            },
            "val": {"dataroot": os.path.join(base, "valid.mindrecord")},
        },
        "network_G": network,
        "path": {"resume_state": "auto"},
        "train": {
            "lr_G": RATE,
            "lr_steps_rel": [],
            "niter": 4,
            "val_freq": 2,
            "val_heats": [0.0, 0.9],
            "val_images": 1,
            "save_checkpoint_freq": 2,
            "print_freq": 1,
        },
    }


def write_config(path, options):
    with open(str(path), "w") as file:
        yaml.safe_dump(options, file)
    return str(path)


@functools.lru_cache(maxsize=None)
def make_data(base):
    """train.mindrecord, valid.mindrecord, SRFlow.yml and RRDB.yml in the folder `base`, unless they are there."""
    if os.path.exists(os.path.join(base, "RRDB.yml")):  # which is written last
        return base
    sources = {
        "train": ([("coffee", coffee()), ("chelsea", chelsea())], TRAINING_RECORDS // 2),
        "valid": ([("astronaut", astronaut()[:256])], VALIDATION_RECORDS),
    }
    for name, (photographs, per_image) in sources.items():
        result = prepare_images(
            photographs, os.path.join(base, name + ".mindrecord"), SCALE, HR_SIZE, per_image, progress=False
        )
        assert result.skipped == 0
    for model in ("SRFlow", "RRDB"):
        write_config(os.path.join(base, model + ".yml"), tiny_options(base, model))
    return base


# ---------------------------------------------------------------------------------------------------------------------
# Running programs


def run(program, *arguments):
    """Run a program in this process as its command line does; returns the exit status, 0 for success."""
    arguments = [str(argument) for argument in arguments]
    with pytest.raises(SystemExit) as caught:
        run_main(lambda: MAINS[program](arguments))
    return caught.value.code or 0


def command(program, *arguments, **environment):
    """Run a program in a process of its own; returns the finished process."""
    line = [sys.executable, os.path.join(REPO, program + ".py")] + [str(argument) for argument in arguments]
    return subprocess.run(line, cwd=REPO, env=dict(os.environ, **environment), capture_output=True, text=True)


def last_line(text):
    """The last line of what a program wrote, a progress bar's returns to the line's beginning being no line ends."""
    assert text.endswith("\n")
    return text.split("\n")[-2]


class Recorder:
    """While it is active, keeps a copy of every checkpoint that training writes, and counts ActNorm initialisations.

    paths: step -> copy of the checkpoint; initialisations: number of calls; net: the network of the last run.
    """

    def __init__(self, folder):
        self.folder, self.paths, self.initialisations, self.net = str(folder), {}, 0, None
        self._patches = [
            mock.patch.object(train_program, name, getattr(self, "_" + name))
            for name in ("save", "initialise_actnorms", "build")
        ]
        self._save_itself, self._initialise_itself = train_program.save, train_program.initialise_actnorms
        self._build_itself = train_program.build

    def _save(self, opt, folder, net, optimizers, progress):
        self._save_itself(opt, folder, net, optimizers, progress)
        self.paths[progress.step] = os.path.join(self.folder, f"step_{progress.step}.ckpt")
        shutil.copy(folder.latest, self.paths[progress.step])

    def _initialise_actnorms(self, *arguments):
        self.initialisations += 1
        self._initialise_itself(*arguments)

    def _build(self, opt):
        self.net, computed, loss = self._build_itself(opt)
        return self.net, computed, loss

    def __enter__(self):
        os.makedirs(self.folder, exist_ok=True)
        for patch in self._patches:
            patch.start()
        return self

    def __exit__(self, *_):
        for patch in self._patches:
            patch.stop()

    def arrays(self, step):
        """Parameters and optimizer states of the checkpoint of a step."""
        return read_checkpoint(self.paths[step]).arrays


def train(base, name, *arguments, **settings):
    """A recorded training run into the folder `base`/`name`; settings: model="RRDB", status=2 for a run to fail."""
    config, folder = os.path.join(base, settings.get("model", "SRFlow") + ".yml"), os.path.join(base, str(name))
    with Recorder(folder + "_steps") as recorder:
        status = run("train", "--opt", config, "--output_dir", folder, *arguments)
    assert status == settings.get("status", 0)
    return recorder


# ---------------------------------------------------------------------------------------------------------------------
# Runs that several tests look at


def once(base, name, model):
    """The run into the folder `base`/`name`, or what an earlier process recorded of it."""
    record = os.path.join(make_data(base), name + ".json")
    if os.path.exists(record):
        with open(record) as file:
            told = json.load(file)
        recorder = Recorder(told["folder"])
        recorder.initialisations = told["initialisations"]
        recorder.paths = {int(step): path for step, path in told["paths"].items()}
        return recorder
    shutil.rmtree(os.path.join(base, name), ignore_errors=True)  # of a process that was ended
    recorder = train(base, name, model=model)
    told = {key: getattr(recorder, key) for key in ("folder", "initialisations", "paths")}
    with open(record, "w") as file:
        json.dump(told, file)
    return recorder


@functools.lru_cache(maxsize=None)
def make_trained(base):
    """Four steps of SRFlow in `base`/trained, with a checkpoint and a validation at steps 2 and 4."""
    return once(base, "trained", "SRFlow")


@functools.lru_cache(maxsize=None)
def make_pretrained(base):
    """Four steps of the encoder's pre-training in `base`/pretrained."""
    return once(base, "pretrained", "RRDB")


@functools.lru_cache(maxsize=None)
def make_converted(base):
    """The inference checkpoint of the trained network."""
    path = os.path.join(base, "SRFlow.ckpt")
    if os.path.exists(path):  # of an earlier process
        return path
    assert (
        run(
            "train2test",
            "--opt",
            os.path.join(base, "SRFlow.yml"),
            "--train_path",
            make_trained(base).paths[4],
            "--test_path",
            path,
        )
        == 0
    )
    return path


@functools.lru_cache(maxsize=None)
def make_evaluated(base):
    """(folder, model): an evaluation of the MindRecord in `base`/evaluated, and the network that it compiled."""
    folder, models = os.path.join(base, "evaluated"), []
    from_checkpoint = eval_program.SRFlow.from_checkpoint

    def remember(*arguments):
        models.append(from_checkpoint(*arguments))
        return models[0]

    with mock.patch.object(eval_program.SRFlow, "from_checkpoint", remember):
        assert (
            run(
                "eval",
                "--opt",
                os.path.join(base, "SRFlow.yml"),
                "--ckpt",
                make_converted(base),
                "--output_dir",
                folder,
            )
            == 0
        )
    return folder, models[0]


@pytest.fixture(name="base", scope="session")
def fixture_base(tmp_path_factory):
    """Folder with train.mindrecord, valid.mindrecord, SRFlow.yml, RRDB.yml."""
    folder = os.environ.get("SRFLOW_TEST_RUNS") or str(tmp_path_factory.getbasetemp() / "programs")
    os.makedirs(folder, exist_ok=True)
    return make_data(folder)


@pytest.fixture(name="trained", scope="session")
def fixture_trained(base):
    return make_trained(base)


@pytest.fixture(name="pretrained", scope="session")
def fixture_pretrained(base):
    return make_pretrained(base)


@pytest.fixture(name="converted", scope="session")
def fixture_converted(base):
    return make_converted(base)


@pytest.fixture(name="evaluated", scope="session")
def fixture_evaluated(base):
    return make_evaluated(base)[0]


@pytest.fixture(name="compiled")
def fixture_compiled(base, monkeypatch):
    """eval.py uses a network that is compiled already, and its weights, whatever checkpoint it is given."""
    model = make_evaluated(base)[1]
    monkeypatch.setattr(eval_program, "load_model", lambda *_: model)
    return model
