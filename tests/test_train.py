# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Training through train.py's own main, with tiny networks."""

import functools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from helpers import together_in_one
from mindspore import Tensor, context
from programs import (  # noqa: F401
    HR_SIZE,
    RATE,
    REPO,
    fixture_base,
    fixture_converted,
    fixture_pretrained,
    fixture_trained,
    last_line,
    read_csv,
    read_image,
    run,
    tiny_options,
    train,
    write_config,
)
from sabotage import at_step
from test_weight_files import port_names, save_mindspore

import train as train_program
from src.dataloader.dataset import DataError
from src.model.SRFlowNet import NegativeLogLikelihood
from src.model_utils.options import load_options, options_from_dict
from src.network_names import IMAGE_ONLY
from src.training.progress import Progress
from src.training.run_folder import RunFolder
from src.weights.checkpoint import (
    TRAINING,
    Checkpoint,
    CheckpointError,
    parameter_arrays,
    read_checkpoint,
    write_checkpoint,
)
from src.weights.weight_files import metadata_of, write_any

STAND_INS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_ins")


EPS = "network_G.flow.CondAffineSeparatedAndCond.eps"
FAST = ["datasets.val.dataroot=null", "train.save_checkpoint_freq=1000"]  # no validation, one checkpoint at the end


def options(base, *overrides):
    return load_options(os.path.join(base, "SRFlow.yml"), overrides)


def read_bytes(path):
    with open(str(path), "rb") as file:
        return file.read()


def assert_same_arrays(first, second):
    assert sorted(first) == sorted(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def encoder_of(arrays):
    return {name: value for name, value in arrays.items() if name.startswith("RRDB.")}


def flow_of(arrays):
    return {name: value for name, value in arrays.items() if name.startswith("flowUpsamplerNet.")}


# ---------------------------------------------------------------------------------------------------------------------
# A run from beginning to end


def test_csv_log(trained, base):
    rows = read_csv(os.path.join(base, "trained", "train.csv"))
    assert list(rows[0]) == ["step", "loss", "lr", "grad_norm", "skipped", "seconds", "data_wait"]
    assert [row["step"] for row in rows] == ["1", "2", "3", "4"]
    assert all(np.isfinite(float(row["loss"])) and float(row["grad_norm"]) > 0 for row in rows)
    assert {float(row["lr"]) for row in rows} == {RATE}
    assert {row["skipped"] for row in rows} == {"0"}
    assert all(0 < float(row["data_wait"]) <= 1 for row in rows)


def test_validation_and_pictures(trained, base):
    rows = read_csv(os.path.join(base, "trained", "validation.csv"))
    assert list(rows[0]) == ["step", "nll", "psnr_heat_0", "psnr_heat_0.9"]
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    assert np.isfinite([[float(value) for value in row.values()] for row in rows]).all()
    assert rows[0]["nll"] != rows[2]["nll"]
    pictures = os.path.join(base, "trained", "pictures")
    assert sorted(os.listdir(pictures)) == ["step_0000000.png", "step_0000002.png", "step_0000004.png"]
    height, width = read_image(os.path.join(pictures, "step_0000004.png")).shape[:2]
    assert height > HR_SIZE and width > 5 * HR_SIZE  # LR, bicubic, two heats, HR


def test_checkpoint_holds_everything(trained, base):
    checkpoint = read_checkpoint(os.path.join(base, "trained", "latest.ckpt"))
    assert checkpoint.kind == TRAINING
    assert checkpoint.state.pop("seconds") > 0
    alarm = checkpoint.state.pop("loss_alarm")
    assert alarm["seen"] == 4 and np.isfinite(alarm["mean"])
    assert checkpoint.state == {
        "step": 4,
        "actnorm_initialised": True,
        "skipped": 0,
        "ranks": 1,
        "window": [],
        "saved": [2, 4],
    }
    assert checkpoint.options == options(base, "output_dir=" + os.path.join(base, "trained"))
    names = set(checkpoint.parameters())
    assert "RRDB.conv_first.weight" in names and "flowUpsamplerNet.layers.1.invconv.weight" in names
    unused = {
        "RRDB.upconv2.weight",
        "RRDB.upconv2.bias",
        "RRDB.HRconv.weight",
        "RRDB.HRconv.bias",
        "RRDB.conv_last.weight",
        "RRDB.conv_last.bias",
    }
    trained_names = {
        "encoder": {name for name in names if name.startswith("RRDB.")} - unused,
        "flow": {name for name in names if name.startswith("flowUpsamplerNet.")},
    }
    states = {
        f"optimizer.{part}.{moment}.{name}"
        for part, its_names in trained_names.items()
        for name in its_names
        for moment in "mv"
    }
    assert set(checkpoint.arrays) - names == states | {"optimizer.flow.steps", "optimizer.encoder.steps"}
    assert checkpoint.arrays["optimizer.flow.steps"] == checkpoint.arrays["optimizer.encoder.steps"] == 4
    assert checkpoint.arrays["optimizer.flow.v.flowUpsamplerNet.layers.1.invconv.weight"].max() > 0


def test_every_trained_parameter_moves(trained):
    before, after = trained.arrays(2), trained.arrays(4)
    still = {name for name in flow_of(after) if np.array_equal(before[name], after[name])}
    assert still == set()
    still = {name for name in encoder_of(after) if np.array_equal(before[name], after[name])}
    assert {name.rpartition(".")[0] for name in still} == {"RRDB.upconv2", "RRDB.HRconv", "RRDB.conv_last"}


def test_nothing_else_is_written(trained, base):
    assert sorted(os.listdir(os.path.join(base, "trained"))) == [
        "best.ckpt",
        "latest.ckpt",
        "loss.png",
        "pictures",
        "run.json",
        "step_0000002.ckpt",
        "step_0000004.ckpt",
        "train.csv",
        "validation.csv",
    ]


def test_a_killed_run_goes_on_as_if_nothing_had_happened(trained, base, tmp_path, capfd):
    """SIGKILL in the middle of step 3, the newest checkpoint being that of step 2."""
    folder = tmp_path / "killed"
    arguments = [
        "--opt",
        os.path.join(base, "SRFlow.yml"),
        "--output_dir",
        str(folder),
        "--set",
        "datasets.val.dataroot=null",
    ]
    assert in_a_process("sabotage = kill_at(3)", *arguments, "train.val_heats=[0.5]").returncode == -signal.SIGKILL
    assert sorted(os.listdir(str(folder))) == [".lock", "latest.ckpt", "run.json", "step_0000002.ckpt", "train.csv"]
    assert_same_arrays(read_checkpoint(folder / "latest.ckpt").arrays, trained.arrays(2))
    with open(str(folder / "train.csv"), "a") as file:
        file.write("3,9.9,0.1,1,0,1,0.5\n4,0.")  # a row of the future and a torn one, as a later moment had left them

    capfd.readouterr()
    resumed = train(base, folder, "--set", "datasets.val.dataroot=null")
    assert (
        f"resumed from {folder / 'latest.ckpt'} at step 2\nchanged since then: train.val_heats: [0.5] -> [0.0, 0.9]\n"
    ) in capfd.readouterr().out
    assert trained.initialisations == 1 and resumed.initialisations == 0
    assert list(resumed.paths) == [4]
    assert_same_arrays(trained.arrays(4), resumed.arrays(4))
    expected = read_csv(os.path.join(base, "trained", "train.csv"))
    rows = read_csv(folder / "train.csv")
    for column in ("step", "loss", "lr", "grad_norm", "skipped"):
        assert [row[column] for row in rows] == [row[column] for row in expected]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds) and not (folder / "validation.csv").exists()


def test_another_implementation_goes_on(trained, base, tmp_path, capfd):
    """After two steps of the arrangement for the CPU two of the definition: as if it had been the same."""
    folder = tmp_path / "plain"
    settings = [f"path.resume_state={trained.paths[2]}", "implementation=plain", "datasets.val.dataroot=null"]
    resumed = train(base, folder, "--set", *settings)
    assert "changed since then: implementation: 'auto' -> 'plain'" in capfd.readouterr().out
    expected = {row["step"]: float(row["loss"]) for row in read_csv(os.path.join(base, "trained", "train.csv"))}
    losses = {row["step"]: float(row["loss"]) for row in read_csv(folder / "train.csv")}
    assert sorted(losses) == ["3", "4"]
    for step, loss in losses.items():
        np.testing.assert_allclose(loss, expected[step], rtol=1e-4)
    start, came, after = trained.arrays(2), resumed.arrays(4), trained.arrays(4)
    for name, value in after.items():
        moved = np.linalg.norm(value - start[name])
        assert np.linalg.norm(came[name] - value) <= 0.05 * moved, name


def in_a_process(sabotage, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE):
    """train.py in a process of its own, something being done to it at a step: `sabotage` of tests/sabotage.py."""
    code = (
        f"import sys; sys.path[:0] = [{os.path.dirname(STAND_INS)!r}, {REPO!r}]\n"
        "from sabotage import kill_at\n"
        "import train\n"
        f"{sabotage}\n"
        "train.pairs = sabotage(train.pairs)\n"
        "train.run_main(lambda: train.main(sys.argv[1:]))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code] + list(arguments), cwd=REPO, stdout=stdout, stderr=stderr, text=True, check=False
    )


def test_signals_save_and_the_run_goes_on(pretrained, base, tmp_path, capfd, monkeypatch):
    """SIGTERM after step 1, SIGINT after step 3: both between two saves."""
    real, folder = train_program.pairs, tmp_path / "stopped"
    for step, number, status in ((1, signal.SIGTERM, 0), (3, signal.SIGINT, 130)):
        monkeypatch.setattr(
            train_program, "pairs", at_step(step + 1, lambda number=number: os.kill(os.getpid(), number))(real)
        )
        stopped = train(base, folder, model="RRDB", status=status)
        assert max(stopped.paths) == step
        assert last_line(capfd.readouterr().err) == (
            f"stopped by {number.name} after step {step} of 4; the same command goes on from there"
        )
    monkeypatch.setattr(train_program, "pairs", real)
    finished = train(base, folder, model="RRDB")
    assert_same_arrays(finished.arrays(4), pretrained.arrays(4))
    for name, columns in (("train.csv", ("step", "loss", "skipped")), ("validation.csv", ("step", "l1", "psnr"))):
        rows, expected = (
            read_csv(os.path.join(str(where), name)) for where in (folder, os.path.join(base, "pretrained"))
        )
        assert [[row[column] for column in columns] for row in rows] == [
            [row[column] for column in columns] for row in expected
        ]
    assert ".lock" not in os.listdir(str(folder))
    with open(str(folder / "run.json")) as file:
        assert [start["step"] for start in json.load(file)["starts"]] == [0, 1, 3]


def test_nobody_reads_what_the_run_writes(base, tmp_path):
    """Neither its bar nor its warnings, as after `2>&1 | tee log` and Ctrl-C; it saves, and its status is 130."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = in_a_process(
            "import os, signal, sabotage as ways\n"
            "sabotage = ways.at_step(2, lambda: os.kill(os.getpid(), signal.SIGINT))",
            "--opt",
            os.path.join(base, "RRDB.yml"),
            "--output_dir",
            str(tmp_path / "out"),
            stdout=write,
            stderr=write,
        )
    finally:
        os.close(write)
    assert done.returncode == 130
    assert read_checkpoint(tmp_path / "out" / "latest.ckpt").state["step"] == 1


def test_a_full_disk_stops_no_run_but_fails_its_last_save(base, tmp_path, capfd, monkeypatch):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(
        train_program,
        "pairs",
        at_step(2, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard)))(train_program.pairs),
    )
    folder = tmp_path / "full"
    try:
        run = train(
            base, folder, "--set", "train.save_checkpoint_freq=1", "datasets.val.dataroot=null", model="RRDB", status=2
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(run.paths) == [1]
    assert read_checkpoint(folder / "latest.ckpt").state["step"] == 1
    assert sorted(os.listdir(str(folder))) == ["latest.ckpt", "run.json", "step_0000001.ckpt", "train.csv"]
    assert [row["step"] for row in read_csv(folder / "train.csv")] == ["1", "2", "3", "4"]
    err = capfd.readouterr().err
    for step in (2, 3, 4):
        assert f"warning: step {step} is not saved: {folder / f'step_{step:07d}.ckpt'}: could not be written: " in err
    assert last_line(err).startswith(f"error: {folder / 'step_0000004.ckpt'}: could not be written")


def test_the_newest_checkpoint_is_damaged(pretrained, base, tmp_path, capfd):
    folder = tmp_path / "torn"
    folder.mkdir()
    shutil.copy(pretrained.paths[4], str(folder / "step_0000004.ckpt"))
    os.truncate(str(folder / "step_0000004.ckpt"), 5000)
    os.link(str(folder / "step_0000004.ckpt"), str(folder / "latest.ckpt"))
    shutil.copy(pretrained.paths[2], str(folder / "step_0000002.ckpt"))
    run = train(base, folder, model="RRDB")
    captured = capfd.readouterr()
    for name in ("latest.ckpt", "step_0000004.ckpt"):
        assert f"warning: {folder / name}: not a MindSpore checkpoint, or a truncated one" in captured.err
    assert f"resumed from {folder / 'step_0000002.ckpt'} at step 2" in captured.out
    assert_same_arrays(run.arrays(4), pretrained.arrays(4))
    assert_same_arrays(read_checkpoint(folder / "latest.ckpt").arrays, pretrained.arrays(4))
    for name in ("latest.ckpt", "step_0000004.ckpt"):
        assert os.path.getsize(str(folder / "before_resume_at_0000002" / name)) == 5000


def contents(folder):
    """Path -> bytes of everything below a folder."""
    return {
        os.path.join(path, name): read_bytes(os.path.join(path, name))
        for path, _, names in os.walk(str(folder))
        for name in names
    }


def finished_run(base, folder):
    """A copy of the pre-training's whole folder, with the hard links that it has."""
    shutil.copytree(os.path.join(base, "pretrained"), str(folder))
    os.remove(str(folder / "latest.ckpt"))
    os.link(str(folder / "step_0000004.ckpt"), str(folder / "latest.ckpt"))
    return folder


def test_another_course_from_an_earlier_step(pretrained, base, tmp_path, capfd):
    """What the finished run left of steps 3 and 4 is set aside, as a folder that a run can go on in."""
    folder = finished_run(base, tmp_path / "back")
    before = contents(folder)
    named = "path.resume_state=" + os.path.relpath(str(folder / "step_0000002.ckpt"))
    again = train(base, folder, "--set", named, model="RRDB")
    out = capfd.readouterr().out
    aside = folder / "before_resume_at_0000002"
    assert f"set aside in {aside}: latest.ckpt, step_0000004.ckpt" in out
    assert_same_arrays(again.arrays(4), pretrained.arrays(4))
    assert [row["step"] for row in read_csv(folder / "train.csv")] == ["1", "2", "3", "4"]
    assert set(before.values()) <= set(contents(folder).values())
    for name in ("latest.ckpt", "train.csv", "validation.csv", "pictures/step_0000004.png"):
        assert read_bytes(aside / name) == before[str(folder / name)]

    shutil.rmtree(str(tmp_path / "back_steps"))
    assert train(base, aside, model="RRDB").paths == {}  # it is finished
    assert f"resumed from {aside / 'latest.ckpt'} at step 4" in capfd.readouterr().out


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["network_G.nf=16"], "another network"),
        (["datasets.train.dataroot=none.mindrecord"], "none.mindrecord"),
        (["datasets.val.dataroot=none.mindrecord"], "none.mindrecord"),
        (["device_target=Ascend"], "device_target Ascend"),
        (["path.resume_state={folder}/step_0000003.ckpt"], "step_0000003.ckpt: damaged"),
    ],
)
def test_nothing_is_set_aside_by_a_run_that_is_refused(pretrained, base, tmp_path, capfd, overrides, words):
    folder = finished_run(base, tmp_path / "back")
    content = bytearray(read_bytes(folder / "step_0000004.ckpt"))
    content[len(content) // 2] ^= 1
    (folder / "step_0000003.ckpt").write_bytes(bytes(content))
    before = contents(folder)
    capfd.readouterr()
    overrides = ["path.resume_state={folder}/step_0000002.ckpt"] + overrides
    train(base, folder, "--set", *[override.format(folder=folder) for override in overrides], model="RRDB", status=2)
    line = last_line(capfd.readouterr().err)
    assert line.startswith("error: ") and words in line
    assert contents(folder) == before


@pytest.mark.parametrize("left", [["best.ckpt"], ["step_0000002.ckpt"], ["train.csv"], ["run.json"], None])
def test_a_checkpoint_from_outside_a_folder_with_a_run(pretrained, base, tmp_path, capfd, left):
    """Refused before anything is touched, however the checkpoint is spelt and whatever of a run is left there."""
    folder = finished_run(base, tmp_path / "there")
    for name in set(os.listdir(str(folder))) - set(left or os.listdir(str(folder))):
        shutil.rmtree(str(folder / name)) if name == "pictures" else os.remove(str(folder / name))
    os.symlink(pretrained.paths[2], str(folder / "soft.ckpt"))
    os.mkdir(str(folder / "below"))
    shutil.copy(pretrained.paths[4], str(folder / "below" / "latest.ckpt"))
    before = contents(folder)
    for path in (
        pretrained.paths[2],
        os.path.relpath(pretrained.paths[4]),
        folder / "soft.ckpt",
        folder / "below" / "latest.ckpt",
    ):
        capfd.readouterr()
        train(base, folder, "--set", f"path.resume_state={path}", model="RRDB", status=2)
        err = capfd.readouterr().err
        assert (
            err.startswith(f"error: {path}: does not lie in output_dir itself, which holds a run already ({folder}")
            and err.count("\n") == 1
        )
        assert "path.resume_state=auto, or give another output_dir" in err
        assert contents(folder) == before


def test_a_checkpoint_from_outside_begins_a_new_folder(pretrained, base, tmp_path):
    """Which goes on by itself even if it is killed before its first step."""
    folder, before = tmp_path / "new", read_bytes(pretrained.paths[2])
    arguments = [
        "--opt",
        os.path.join(base, "RRDB.yml"),
        "--output_dir",
        str(folder),
        "--set",
        "datasets.val.dataroot=null",
    ]
    killed = in_a_process("sabotage = kill_at(3)", *arguments, "path.resume_state=" + pretrained.paths[2])
    assert killed.returncode == -signal.SIGKILL
    assert sorted(os.listdir(str(folder))) == [".lock", "latest.ckpt", "run.json", "step_0000002.ckpt"]
    assert_same_arrays(read_checkpoint(folder / "latest.ckpt").arrays, pretrained.arrays(2))
    finished = train(base, folder, "--set", "datasets.val.dataroot=null", model="RRDB")
    assert_same_arrays(finished.arrays(4), pretrained.arrays(4))
    assert [row["step"] for row in read_csv(folder / "train.csv")] == ["3", "4"]
    assert read_bytes(pretrained.paths[2]) == before


def test_a_new_run_beside_a_best_checkpoint_alone(pretrained, base, tmp_path, capfd):
    shutil.copy(pretrained.paths[2], str(tmp_path / "best.ckpt"))
    train(base, tmp_path, "--set", "path.resume_state=null", model="RRDB", status=2)
    assert f"holds the run of {tmp_path / 'best.ckpt'}" in capfd.readouterr().err
    assert os.listdir(str(tmp_path)) == ["best.ckpt"]


def test_two_runs_in_one_folder(base, tmp_path, capfd):
    folder = tmp_path / "shared"
    with RunFolder(str(folder), 3).locked():
        train(base, folder, status=2)
        assert os.listdir(str(folder)) == [".lock"]
    err = capfd.readouterr().err
    assert err.startswith("error: output_dir: another run (process ") and err.count("\n") == 1


def test_the_best_checkpoint(trained, base):
    rows = read_csv(os.path.join(base, "trained", "validation.csv"))[1:]
    best = min(rows, key=lambda row: float(row["nll"]))
    assert read_checkpoint(os.path.join(base, "trained", "best.ckpt")).state["step"] == int(best["step"])


def test_only_a_better_validation_is_the_best(tmp_path):
    validated = Validated(tmp_path)
    assert [validated(step, nll) for step, nll in enumerate((5.0, 6.0, 6.5, 3.0, -1.0, 0.5))] == [
        None,
        1,
        1,
        3,
        4,
        4,
    ]  # there is no checkpoint of step 0


@pytest.mark.parametrize(
    "what, expected",
    [("nothing", 1), ("worse", 1), ("log deleted", 3), ("row lost", 3), ("other figure", 3), ("other data", 3)],
)
def test_a_better_best_is_never_overwritten(tmp_path, what, expected):
    """After a resume from step 2, of which the best is that of step 1, with 4.0."""
    before = Validated(tmp_path)
    for step, nll in enumerate((5.0, 4.0, 4.5)):
        before(step, nll)
    log, settings = str(tmp_path / "validation.csv"), {}
    if what == "log deleted":
        os.remove(log)
    if what == "row lost":
        with open(log) as file:
            lines = file.readlines()
        with open(log, "w") as file:
            file.writelines(line for line in lines if not line.startswith("1,"))
    if what == "other figure":
        with open(log) as file:
            text = file.read()
        with open(log, "w") as file:
            file.write(text.replace("nll", "l1"))
    if what == "other data":
        settings = {"datasets": {"train": {"quant": 8}}}
    after = Validated(tmp_path, resumed=2, **settings)
    assert after(3, 4.2 if what == "worse" else np.nan) == 1
    assert after(3, 4.2) == expected
    assert after(4, 3.0) == 4
    aside = tmp_path / "before_best_at_0000003"
    assert aside.exists() == (expected == 3)
    if expected == 3:
        assert read_checkpoint(aside / "best.ckpt").state["step"] == 1


class Validated:
    """A run without training. Calling it saves and validates a step; the step of best.ckpt, None without one."""

    def __init__(self, folder, resumed=None, **settings):
        self.opt = options_from_dict(dict({"scale": 4, "device_target": "CPU", "output_dir": str(folder)}, **settings))
        self.folder, progress = RunFolder(str(folder), 9), Progress(self.opt, {"step": resumed or 0})
        if resumed:
            self.folder.go_on_from(self.folder.step_path(resumed), progress.state())
        self.log = train_program.start_log(self.opt, self.folder, None, {}, progress)

    def __call__(self, step, nll):
        if step > 0:
            self.folder.save(Checkpoint(TRAINING, self.opt, {"a": np.zeros(3, np.float32)}, {"step": step}))
        train_program.validate(lambda: ({"nll": nll}, np.zeros((4, 4, 3), np.uint8)), self.folder, self.log, step)
        best = self.folder.best
        return read_checkpoint(best).state["step"] if os.path.exists(best) else None


def test_a_matrix_near_singularity_is_named(base, tmp_path, capfd):
    opt = options(base)
    net = train_program.build(opt)[0]
    name = "flowUpsamplerNet.layers.1.invconv.weight"
    (weight,) = [parameter for parameter in net.get_parameters() if parameter.name == name]
    weight.set_data(Tensor(np.diag([1.0] * (weight.shape[0] - 1) + [1e-7]).astype(np.float32)))
    folder = RunFolder(str(tmp_path), 3)
    train_program.save(opt, folder, net, {}, Progress(opt, {"step": 7}))
    err = capfd.readouterr().err
    assert f"warning: step 7: {name} is near singular, condition number 1.0e+07" in err
    assert err.count("near singular") == 1 and os.path.exists(folder.step_path(7))


def test_a_checkpoint_says_nothing_of_where_to_write(pretrained, base, tmp_path):
    """Not even one that was made to: its own output_dir is elsewhere, and its arrays bear names of files."""
    checkpoint = read_checkpoint(pretrained.paths[4])
    elsewhere = tmp_path / "elsewhere"
    values = dict(checkpoint.options.to_dict(), output_dir=str(elsewhere))
    folder = tmp_path / "here"
    arrays = dict(checkpoint.arrays, **{"optimizer.../../elsewhere/a.ckpt": np.zeros(3, np.float32)})
    write_checkpoint(folder / "latest.ckpt", checkpoint._replace(options=options_from_dict(values), arrays=arrays))
    assert train(base, folder, "--set", "datasets.val.dataroot=null", model="RRDB").paths == {}
    assert sorted(os.listdir(str(folder))) == ["latest.ckpt", "run.json"]
    assert not elsewhere.exists()


def test_a_finished_run_stays_as_it_is(trained, base):
    latest = os.path.join(base, "trained", "latest.ckpt")
    before = read_bytes(latest)
    assert train(base, "trained").paths == {}
    assert read_bytes(latest) == before
    assert len(read_csv(os.path.join(base, "trained", "train.csv"))) == 4


# ---------------------------------------------------------------------------------------------------------------------
# The encoder: pre-training, delay, frozen


def test_pretraining(pretrained, base):
    checkpoint = read_checkpoint(pretrained.paths[4])
    assert checkpoint.options.model == "RRDB"
    assert pretrained.initialisations == 0
    assert not any(name.startswith(("RRDB.", "flowUpsamplerNet.")) for name in checkpoint.parameters())
    assert {"conv_first.weight", "RRDB_trunk.0.RDB3.conv5.bias", "conv_last.weight"} <= set(checkpoint.parameters())
    losses = [float(row["loss"]) for row in read_csv(os.path.join(base, "pretrained", "train.csv"))]
    assert len(losses) == 4 and all(0 < loss < 1 for loss in losses)
    rows = read_csv(os.path.join(base, "pretrained", "validation.csv"))
    assert list(rows[0]) == ["step", "l1", "psnr"] and [row["step"] for row in rows] == ["0", "2", "4"]
    before = pretrained.arrays(2)
    assert all(not np.array_equal(before[name], value) for name, value in checkpoint.parameters().items())


def test_encoder_is_loaded_frozen_and_then_trained_afresh(pretrained, base):
    run = train(
        base,
        "delayed",
        "--set",
        "path.train_pretrain_model_G=" + pretrained.paths[4],
        "network_G.train_RRDB_delay=0.5",
        "train.save_checkpoint_freq=1",
        "datasets.val.dataroot=null",
    )
    loaded = {"RRDB." + name: value for name, value in read_checkpoint(pretrained.paths[4]).parameters().items()}
    for step in (1, 2):
        assert_same_arrays(encoder_of(run.arrays(step)), loaded)
        assert run.arrays(step)["optimizer.encoder.steps"] == 0
        assert run.arrays(step)["optimizer.flow.steps"] == step
    before, after = run.arrays(2), run.arrays(3)
    assert after["optimizer.encoder.steps"] == 1 and after["optimizer.flow.steps"] == 3
    moved = []
    for name in encoder_of(after):
        if "optimizer.encoder.m." + name not in after:
            np.testing.assert_array_equal(before[name], after[name])  # of the image that the flow does not need
            continue
        gradient = after["optimizer.encoder.m." + name] / np.float32(1 - 0.9)
        np.testing.assert_allclose(after["optimizer.encoder.v." + name], (1 - 0.999) * gradient**2, rtol=1e-3)
        moved.append(np.abs(after[name] - before[name])[np.abs(gradient) > 1e-4])
    moved = np.concatenate(moved)
    # Adam's first step, its state being fresh, is the rate itself wherever there is a gradient.
    assert moved.size > 1000
    np.testing.assert_allclose(moved, RATE, rtol=2e-3)


def test_frozen_encoder_and_steps_that_are_not_finite(base, capfd, monkeypatch):
    """train_RRDB false never touches the encoder; NaN steps are skipped and counted, and ten in a row stop the run."""
    real = train_program.pairs  # and not at_step, as batches are to be poisoned, and more than one

    def poisoned(opt, data, step):
        for number, (hr, lr) in enumerate(real(opt, data, step), start=1):
            yield (np.full_like(hr, np.nan) if number == 3 or number > 4 else hr), lr

    monkeypatch.setattr(train_program, "pairs", poisoned)
    run = train(
        base,
        "frozen",
        "--set",
        "network_G.train_RRDB=false",
        "train.save_checkpoint_freq=1",
        "train.niter=20",
        "datasets.val.dataroot=null",
        status=2,
    )
    latest = os.path.join(base, "frozen", "latest.ckpt")

    line = last_line(capfd.readouterr().err)
    assert line.startswith("error: step 14: ") and "10 steps in a row" in line and latest in line
    assert list(run.paths) == list(range(1, 14))
    assert read_checkpoint(latest).state["step"] == 13
    assert_same_arrays(run.arrays(3), run.arrays(2))  # a skipped step leaves everything as it was
    assert_same_arrays(run.arrays(13), run.arrays(4))
    assert_same_arrays(read_checkpoint(latest).arrays, run.arrays(4))
    assert_same_arrays(parameter_arrays(run.net), read_checkpoint(latest).parameters())

    assert run.arrays(4)["optimizer.flow.steps"] == 3
    assert not any(name.startswith("optimizer.encoder") for name in run.arrays(4))
    assert_same_arrays(encoder_of(run.arrays(1)), encoder_of(run.arrays(4)))
    assert any((run.arrays(1)[name] != value).any() for name, value in flow_of(run.arrays(4)).items())

    rows = read_csv(os.path.join(base, "frozen", "train.csv"))
    assert [row["skipped"] for row in rows[:5]] == ["0", "0", "1", "1", "2"]
    assert [row["loss"] == "nan" for row in rows[:5]] == [False, False, True, False, True]


def test_a_rate_that_blows_up(base, capfd):
    run = train(
        base,
        "blown_up",
        "--set",
        "train.lr_G=1e30",
        "train.niter=30",
        "train.save_checkpoint_freq=30",
        "train.max_bad_steps=3",
        "datasets.val.dataroot=null",
        model="RRDB",
        status=2,
    )
    line = last_line(capfd.readouterr().err)
    assert line.startswith("error: step ") and "3 steps in a row" in line
    assert "no checkpoint yet" in line and "train.lr_G" in line
    assert run.paths == {} and sorted(os.listdir(os.path.join(base, "blown_up"))) == ["run.json", "train.csv"]


@pytest.mark.parametrize(
    "model, delay, niter, start",
    [
        ("SRFlow", 0.0, 100, 0),
        ("SRFlow", 0.5, 100, 50),
        ("SRFlow", 0.5, 3, 2),
        ("SRFlow", 1.0, 100, 100),
        ("RRDB", 0.5, 100, 0),
    ],
)
def test_when_the_encoder_starts(base, model, delay, niter, start):
    opt = options(base, "model=" + model, f"network_G.train_RRDB_delay={delay}", f"train.niter={niter}")
    assert train_program.encoder_start(opt) == start
    both = {"flow": "flow's", "encoder": "encoder's"}
    if start:
        assert train_program.trained_at(start - 1, opt, both) == ["flow's"]
    assert train_program.trained_at(start, opt, both) == ["flow's", "encoder's"]


# ---------------------------------------------------------------------------------------------------------------------
# Data


def test_noise_is_added_and_paid_for(base):
    """hr + (u - 1/2)/quant, u uniform: log2(quant) bits per pixel more than the density of the noisy image."""
    noisy, plain = options(base, "datasets.train.add_noise=true"), options(base)
    pairs = [train_program.pairs(opt, train_program.make_data(opt, 0, 1), 0) for opt in (noisy, plain)]
    differences = []
    for _ in range(3):
        (noisy_hr, noisy_lr), (hr, lr) = next(pairs[0]), next(pairs[1])
        np.testing.assert_array_equal(noisy_lr, lr)
        assert noisy_hr.dtype == np.float32
        differences.append(noisy_hr - hr)
    differences = np.concatenate(differences)
    assert np.abs(differences).max() <= 0.5 / 32 + 1e-6 and abs(differences.mean()) < 1e-3
    assert abs(differences.std() - 1 / 32 / np.sqrt(12)) < 2e-4

    losses = []
    context.set_context(mode=context.PYNATIVE_MODE)
    for opt in (noisy, plain, options(base, "datasets.train.add_noise=true", "datasets.train.quant=256")):
        np.random.seed(0)
        losses.append(train_program.build(opt)[2](Tensor(noisy_hr), Tensor(noisy_lr)).asnumpy())
    np.testing.assert_allclose(losses[0] - losses[1], np.log2(32), rtol=1e-5)
    np.testing.assert_allclose(losses[2] - losses[1], np.log2(256), rtol=1e-5)


def test_batches_go_on_over_epochs_and_from_any_step(base):
    opt = options(base)
    data = train_program.make_data(opt, 0, 1)
    assert data.len_batches == 4
    whole = train_program.pairs(opt, data, 0)
    batches = [next(whole) for _ in range(7)]
    later = train_program.pairs(opt, data, 3)
    for hr, lr in batches[3:]:
        for expected, came in zip((hr, lr), next(later)):
            np.testing.assert_array_equal(expected, came)
    assert any(not np.array_equal(batches[0][0], hr) for hr, _ in batches[4:])


def test_damaged_records_are_counted_and_named(base, tmp_path, capfd):
    for suffix in ("", ".db"):
        shutil.copy(os.path.join(base, "train.mindrecord" + suffix), str(tmp_path))
    path = tmp_path / "train.mindrecord"
    content = bytearray(path.read_bytes())
    place = content.index(b"\x89PNG") + 500
    content[place] ^= 1  # in the first image's compressed pixels
    path.write_bytes(bytes(content))
    overrides = f"datasets.train.dataroot={path}", "datasets.train.skip_damaged=true"
    data = train_program.make_data(options(base, *overrides), 0, 1)
    assert data.records == 7 and data.len_batches == 3
    first, second = capfd.readouterr().err.splitlines()[-2:]
    assert first == f"warning: {path}: 1 of 8 records are damaged and left out:"
    assert second.startswith(f"warning: record 0: {path}: HR of record 0 cannot be read as an image")
    with pytest.raises(DataError, match="HR of record 0 cannot be read as an image"):
        train_program.make_data(options(base, overrides[0]), 0, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints that do not fit


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["network_G.flow.K=2"], "another network (network_G.flow.K: 1 -> 2)"),
        (["model=RRDB"], "another network (model: 'SRFlow' -> 'RRDB')"),
        (["path.resume_state={folder}/none.ckpt"], "none.ckpt: no such checkpoint file"),
        (["path.resume_state={outside}"], "does not lie in output_dir itself, which holds a run"),
        (["path.resume_state=null"], "holds the run of"),  # a new run may not replace another
    ],
)
def test_resuming_what_does_not_fit(trained, base, tmp_path, capfd, overrides, words):
    shutil.copy(trained.paths[2], str(tmp_path / "latest.ckpt"))
    before = read_bytes(tmp_path / "latest.ckpt")
    capfd.readouterr()
    overrides = [override.format(folder=tmp_path, outside=trained.paths[4]) for override in overrides]
    config = write_config(tmp_path / "c.yml", tiny_options(base))
    assert run("train", "--opt", config, "--output_dir", tmp_path, "--set", *overrides) == 2
    err = capfd.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and words in err
    assert read_bytes(tmp_path / "latest.ckpt") == before
    assert sorted(os.listdir(str(tmp_path))) == ["c.yml", "latest.ckpt"]


def test_a_new_folder_is_not_made_for_what_does_not_fit(trained, converted, base, tmp_path, capfd):
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(read_bytes(trained.paths[4])[:5000])
    for path, words in (
        (converted, "an inference checkpoint; training resumes from a training checkpoint"),
        (cut, "cut.ckpt: not a MindSpore checkpoint, or a truncated one"),
    ):
        capfd.readouterr()
        train(base, tmp_path / "new", "--set", f"path.resume_state={path}", status=2)
        line = last_line(capfd.readouterr().err)
        assert line.startswith("error: ") and words in line
        assert not (tmp_path / "new").exists()


def test_which_checkpoint_a_run_resumes(trained, base, tmp_path):
    def found(*overrides):
        opt = options(base, f"output_dir={tmp_path}", *overrides)
        result = train_program.find_checkpoint(opt, RunFolder(opt.output_dir, 3))
        return result and (result[0], result[1].state["step"])

    assert found() is None
    shutil.copy(trained.paths[4], str(tmp_path / "latest.ckpt"))
    assert found() == (str(tmp_path / "latest.ckpt"), 4)
    assert found("path.resume_state=null") is None
    assert found("path.resume_state=" + trained.paths[2]) == (trained.paths[2], 2)


def test_an_encoder_of_another_size(pretrained, base, capsys):
    path = pretrained.paths[4]
    strict, lax = (
        options(base, "network_G.nb=2", "path.train_pretrain_model_G=" + path, "path.strict_load=" + value)
        for value in ("true", "false")
    )
    net = train_program.build(strict)[0]
    before = parameter_arrays(net.RRDB)
    with pytest.raises(CheckpointError, match="weights of another network: 30 missing: RRDB.RRDB_trunk.1"):
        train_program.load_encoder(strict, net)
    assert_same_arrays(parameter_arrays(net.RRDB), before)

    train_program.load_encoder(lax, net)
    expected = dict(before)
    expected.update({"RRDB." + name: value for name, value in read_checkpoint(path).parameters().items()})
    assert_same_arrays(parameter_arrays(net.RRDB), expected)
    first, guess = capsys.readouterr().out.splitlines()
    assert first.startswith(path + ": 30 missing: RRDB.RRDB_trunk.1.RDB1.conv1.weight, ")
    assert guess == path + ": file: nb 1; network: nb 2; left as it was"


def test_the_encoder_of_a_whole_network(trained, base):
    opt = options(base, "path.train_pretrain_model_G=" + trained.paths[4])
    net = train_program.build(opt)[0]
    train_program.load_encoder(opt, net)
    assert_same_arrays(parameter_arrays(net.RRDB), encoder_of(trained.arrays(4)))


def test_the_encoder_of_the_earlier_ports_starting_weights(trained, base, tmp_path):
    weights = {name: value for name, value in trained.arrays(4).items() if not name.startswith("optimizer.")}
    path = save_mindspore(tmp_path / "DF2K_4X_train.ckpt", port_names(weights, [3, 2, 2], False))
    opt = options(base, "path.train_pretrain_model_G=" + path)
    net = train_program.build(opt)[0]
    flow_before = parameter_arrays(net.flowUpsamplerNet)
    train_program.load_encoder(opt, net)
    for name, value in parameter_arrays(net.RRDB).items():
        if not name.startswith(IMAGE_ONLY):
            np.testing.assert_array_equal(value, weights[name])
    assert_same_arrays(parameter_arrays(net.flowUpsamplerNet), flow_before)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_encoder_of_another_program(suffix, pretrained, base, tmp_path):
    """As the official pre-training has it, for a flow and for more pre-training."""
    weights = read_checkpoint(pretrained.paths[4]).parameters()
    path = str(tmp_path / ("RRDB" + suffix))
    write_any(path, {"RRDB." + name: value for name, value in weights.items()})
    for model in ("SRFlow", "RRDB"):
        opt = load_options(os.path.join(base, model + ".yml"), ["path.train_pretrain_model_G=" + path])
        net = train_program.build(opt)[0]
        train_program.load_encoder(opt, net)
        encoder = net if model == "RRDB" else net.RRDB
        for parameter in encoder.get_parameters():
            expected = weights[parameter.name.replace("RRDB.", "", 1) if model == "SRFlow" else parameter.name]
            np.testing.assert_array_equal(parameter.asnumpy(), expected)


# ---------------------------------------------------------------------------------------------------------------------
# Fine-tuning: a flow to begin with


def first_loss(folder):
    return float(read_csv(os.path.join(str(folder), "train.csv"))[0]["loss"])


def saved_as(form, checkpoint, folder):
    """The parameters of a Checkpoint in a file of another form."""
    path = os.path.join(str(folder), "weights." + form)
    write_any(path, checkpoint.parameters(), metadata_of(checkpoint) if form == "safetensors" else None)
    return path


def test_fine_tuning_begins_with_the_loss_of_the_trained_network(trained, base, tmp_path):
    """It is below that of the fresh network, on the same batch, whose ActNorms that batch has initialised."""
    checkpoint = read_checkpoint(trained.paths[4])
    path = saved_as("safetensors", checkpoint, tmp_path)
    opt = options(base, "path.train_pretrain_model_G=" + path, "path.train_pretrain_flow=true")
    net = train_program.build(opt)[0]
    train_program.load_whole(opt, net)
    assert_same_arrays(parameter_arrays(net), checkpoint.parameters())
    hr, lr = next(train_program.pairs(opt, train_program.make_data(opt, 0, 1), 0))
    context.set_context(mode=context.PYNATIVE_MODE)
    expected = NegativeLogLikelihood(net)(Tensor(hr), Tensor(lr)).asnumpy().mean()
    context.set_context(mode=context.GRAPH_MODE)

    overrides = ["path.train_pretrain_model_G=" + path, "path.train_pretrain_flow=true", "train.niter=1"]
    tuned = train(base, tmp_path / "tuned", "--set", *FAST, *overrides)
    assert tuned.initialisations == 0
    assert first_loss(tmp_path / "tuned") == pytest.approx(expected, rel=1e-4)
    assert expected < first_loss(os.path.join(base, "trained")) - 0.1  # bits per pixel
    after = tuned.arrays(1)
    assert after["optimizer.flow.steps"] == after["optimizer.encoder.steps"] == 1
    before, moved = checkpoint.parameters(), flow_of(after)
    for name, value in moved.items():  # Adam's first step, its state being fresh, is at most the rate
        np.testing.assert_allclose(value, before[name], rtol=0, atol=1.01 * RATE, err_msg=name)
    assert any(not np.array_equal(value, before[name]) for name, value in moved.items())


@pytest.mark.parametrize("form", ["ckpt", "inference", "pth", "safetensors"])
def test_a_whole_network_of_any_form(form, trained, converted, base, tmp_path):
    checkpoint = read_checkpoint(trained.paths[4])
    path = {"ckpt": trained.paths[4], "inference": converted}.get(form) or saved_as(form, checkpoint, tmp_path)
    opt = options(
        base, "path.train_pretrain_model_G=" + path, "path.train_pretrain_flow=true", f"output_dir={tmp_path}"
    )
    net, computed, _ = train_program.build(opt)
    progress, optimizers = train_program.begin_or_resume(opt, RunFolder(opt.output_dir, 3), net, computed, None, 1)
    assert (progress.step, progress.actnorm_initialised) == (0, True) and set(optimizers) == {"flow", "encoder"}
    for name, value in parameter_arrays(net).items():
        if form != "inference" or not name.startswith(IMAGE_ONLY):
            np.testing.assert_array_equal(value, checkpoint.arrays[name], err_msg=name)


@pytest.mark.parametrize(
    "form, overrides, words",
    [
        ("encoder's ckpt", [], "has an encoder alone; expected a whole network, or false"),
        ("encoder's pth", [], "has an encoder alone; expected a whole network, or false"),
        ("ckpt", ["network_G.flow.K=2"], "has another network (network_G.flow.K: 1 -> 2)"),
        ("safetensors", [f"{EPS}=0.05"], f"has another network ({EPS}: 0.0001 -> 0.05)"),
        ("pth", ["network_G.flow.K=2", "path.strict_load=false"], "file: K 1; network: K 2"),
        ("nan", [], "flowUpsamplerNet.layers.1.invconv.weight: has values that are not finite"),
        ("none", [], "path.train_pretrain_model_G: none.pth: no such file"),
    ],
)
def test_a_flow_that_cannot_be_begun_with(form, overrides, words, trained, pretrained, base, tmp_path, capfd):
    """One line, and no folder is made."""
    checkpoint, path = read_checkpoint(trained.paths[4]), {"none": "none.pth", "ckpt": trained.paths[4]}.get(form)
    if form == "nan":
        singular = dict(checkpoint.arrays)
        singular["flowUpsamplerNet.layers.1.invconv.weight"] = np.full((12, 12), np.nan, np.float32)
        checkpoint, form = checkpoint._replace(arrays=singular), "pth"
    if form == "encoder's ckpt":
        path = pretrained.paths[4]
    elif form == "encoder's pth":
        path = saved_as("pth", checkpoint._replace(arrays=encoder_of(checkpoint.arrays)), tmp_path)
    path = path or saved_as(form, checkpoint, tmp_path)
    capfd.readouterr()
    arguments = ["path.train_pretrain_model_G=" + path, "path.train_pretrain_flow=true", *overrides]
    train(base, tmp_path / "new", "--set", *arguments, status=2)
    line = last_line(capfd.readouterr().err)
    assert line.startswith("error: ") and words in line
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------------------------------------------------------------
# ModelArts


def test_modelarts_copies_data_in_and_results_out(base, tmp_path, monkeypatch):
    for name in ("DEVICE_ID", "RANK_SIZE", "RANK_ID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    reports = tmp_path / "reports"
    reports.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(reports))
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.setenv("MOXING_LOG", str(tmp_path / "moxing.log"))
    remote, cache = tmp_path / "remote", tmp_path / "cache"
    (remote / "data").mkdir(parents=True)
    for name in ("train.mindrecord", "train.mindrecord.db"):
        shutil.copy(os.path.join(base, name), str(remote / "data"))

    settings = tiny_options(base, "RRDB")
    settings.update(
        enable_modelarts=True,
        output_dir="run1",
        data_url=str(remote / "data"),
        data_path=str(cache / "data"),
        train_url=str(remote / "results"),
        output_path=str(cache / "train"),
        load_path=str(cache / "load"),
    )
    settings["datasets"]["train"]["dataroot"] = "anywhere/train.mindrecord"
    settings["datasets"]["val"]["dataroot"] = None
    config = write_config(tmp_path / "c.yml", settings)
    assert run("train", "--opt", config, "--set", "train.niter=1") == 0
    assert sorted(os.listdir(str(remote / "results" / "run1"))) == [
        "latest.ckpt",
        "run.json",
        "step_0000001.ckpt",
        "train.csv",
    ]
    assert read_checkpoint(remote / "results" / "run1" / "latest.ckpt").state["step"] == 1

    shutil.rmtree(str(cache))  # the next job gets another machine, and goes on where this one stopped
    assert run("train", "--opt", config, "--set", "train.niter=2") == 0
    rows = read_csv(remote / "results" / "run1" / "train.csv")
    assert [row["step"] for row in rows] == ["1", "2"]
    assert read_checkpoint(remote / "results" / "run1" / "latest.ckpt").state["step"] == 2


def test_half_precision_with_recomputation(trained, base):
    """The run goes as one in float32 does, and keeps its loss scale; its parameters are float32."""
    half = train(base, "half", "--set", "precision=float16", "train.recompute=true", "datasets.val.dataroot=null")
    checkpoint = read_checkpoint(half.paths[4])
    assert checkpoint.state["loss_scale"] == {"value": 2.0**15, "finite_steps": 4}
    assert "loss_scale" not in read_checkpoint(trained.paths[4]).state
    assert {value.dtype for value in checkpoint.arrays.values()} == {np.dtype(np.float32)}
    rows, expected = (read_csv(os.path.join(base, name, "train.csv")) for name in ("half", "trained"))
    assert len(rows) == len(expected) == 4
    for row, plain in zip(rows, expected):
        assert float(row["loss"]) == pytest.approx(float(plain["loss"]), rel=0.02)
        assert float(row["grad_norm"]) == pytest.approx(float(plain["grad_norm"]), rel=0.05)


# ---------------------------------------------------------------------------------------------------------------------
# A batch in slices

# Sums in another order may change so much in four steps of Adam; it depends on the kernels of the CPU. Here it is 1e-5.
ROUNDING = 2e-4
IN_SLICES = ("datasets.train.batch_size=1", "train.accumulate=2")
COLUMNS = ("loss", "lr", "grad_norm", "skipped")


@functools.lru_cache(maxsize=None)
def encoder_in_slices(base):
    """The run of `pretrained` with two slices of one pair instead of two pairs at once."""
    return train(base, "encoder_in_slices", "--set", *IN_SLICES, model="RRDB")


def columns(base, name, log="train.csv", names=COLUMNS):
    """Columns of a run's log as an array (rows, columns)."""
    return np.array([[float(row[name]) for name in names] for row in read_csv(os.path.join(base, name, log))])


def test_slices_train_as_the_whole_batch(pretrained, base):
    """Bar, logs, validations and checkpoints count steps, not slices."""
    sliced = encoder_in_slices(base)
    came, expected = (columns(base, name) for name in ("encoder_in_slices", "pretrained"))
    np.testing.assert_allclose(came, expected, rtol=ROUNDING)
    names = ("step", "l1", "psnr")
    came, expected = (columns(base, name, "validation.csv", names) for name in ("encoder_in_slices", "pretrained"))
    np.testing.assert_allclose(came, expected, rtol=ROUNDING)
    assert list(sliced.paths) == list(pretrained.paths) == [2, 4]
    assert set(sliced.arrays(4)) == set(pretrained.arrays(4))
    values, wanted = (read_checkpoint(run.paths[4]).parameters() for run in (sliced, pretrained))
    for name, value in wanted.items():
        assert np.linalg.norm(values[name] - value) <= ROUNDING * np.linalg.norm(value), name


def test_slices_go_on_as_if_nothing_had_happened(base, tmp_path):
    begun = encoder_in_slices(base)
    start = f"path.resume_state={begun.paths[2]}"
    resumed = train(base, tmp_path / "on", "--set", start, *IN_SLICES, "datasets.val.dataroot=null", model="RRDB")
    assert list(resumed.paths)[-1] == 4
    assert_same_arrays(resumed.arrays(4), begun.arrays(4))


def test_other_slices_are_told(pretrained, base, tmp_path, capfd):
    start = f"path.resume_state={pretrained.paths[4]}"  # which is the run's end
    train(base, tmp_path / "on", "--set", start, *IN_SLICES, "datasets.val.dataroot=null", model="RRDB")
    told = capfd.readouterr().out
    assert "changed since then: datasets.train.batch_size: 2 -> 1\n" in told
    assert "changed since then: train.accumulate: 1 -> 2\n" in told


def test_slices_of_a_flow(trained, base):
    """The ActNorms are set by the whole batch, so loss and gradient of the first step are the whole batch's.

    The gradient of a flow's ActNorm bias is 0 in that step, but for rounding, as the mean is 0 then. Adam makes a whole
    step of any gradient at first, of rounding too. So the biases part there, and the rest follows a little: the
    parameters are compared all together.
    """
    sliced = train(base, "flow_in_slices", "--set", *IN_SLICES, "datasets.val.dataroot=null")
    assert sliced.initialisations == 1
    came, expected = (columns(base, name) for name in ("flow_in_slices", "trained"))
    np.testing.assert_allclose(came[0], expected[0], rtol=ROUNDING)
    np.testing.assert_allclose(came, expected, rtol=3e-2)
    start, values, wanted = (
        together_in_one(read_checkpoint(path).parameters())
        for path in (trained.paths[2], sliced.paths[4], trained.paths[4])
    )
    assert np.linalg.norm(values - wanted) <= 0.2 * np.linalg.norm(wanted - start)
