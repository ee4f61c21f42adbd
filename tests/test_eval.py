# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation through eval.py's own main, by a tiny network that is hardly trained: its pictures show nothing."""

import functools
import json
import os
import re
import shutil
import tempfile

import numpy as np
import pytest
from programs import (  # noqa: F401
    HR_SIZE,
    SCALE,
    VALIDATION_RECORDS,
    fixture_base,
    fixture_compiled,
    fixture_converted,
    fixture_evaluated,
    read_csv,
    read_image,
    run,
    tiny_options,
    write_config,
    write_image,
)
from skimage.data import astronaut

import eval as eval_program
from src.dataloader import image_folder
from src.dataloader.dataset import EvalData
from src.dataloader.prepare import prepare_images
from src.evaluation import run as evaluation_run
from src.evaluation.figures import evaluate_image, likelihood, mean_figures
from src.evaluation.metrics import lr_psnr, psnr, ssim, ssim_gaussian
from src.evaluation.picture import CAPTION, MARGIN, deviation_map
from src.image_sizes import few_sizes
from src.imresize import imresize
from src.locked_folder import locked_folder
from src.model.SRFlow import SRFlow
from src.model_utils.config import get_config
from src.training.run_folder import RunFolder
from src.weights.weight_files import write_any

STAND_INS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_ins")
LR_SIZE = HR_SIZE // SCALE
FIGURES = ["lr_psnr", "psnr", "ssim", "ssim_gaussian", "nll", "psnr_bicubic", "ssim_bicubic"]
SUMMARY = {
    "n",
    "averaged",
    "skipped",
    "not_finite",
    "not_finite_images",
    "heat",
    "heat_from",
    "n_samples",
    "seed",
    "tile",
    "cool",
    "consistent",
    "checkpoint",
    "data",
    "precision",
    "implementation",
    "allow_tf32",
    "device",
}
PAIR_LINE = re.compile(r"Get the number (\d+) data psnrloss: (\[[-+.\de]+\]), ssim_loss: (\[[-+.\de]+\])")


def evaluate(base, out, *arguments):
    """eval.py's exit status."""
    opt, checkpoint = (os.path.join(base, name) for name in ("SRFlow.yml", "SRFlow.ckpt"))
    return run("eval", "--opt", opt, "--ckpt", checkpoint, "--output_dir", out, *arguments)


def metrics_of(folder):
    """(metrics.json, rows of metrics.csv with their numbers as such)."""
    with open(os.path.join(str(folder), "metrics.json")) as file:
        summary = json.load(file)
    rows = [
        {key: value if key == "name" else float(value) for key, value in row.items()}
        for row in read_csv(os.path.join(str(folder), "metrics.csv"))
    ]
    return summary, rows


def old_form(value):
    """A number as the earlier port printed its arrays: [34.00094]."""
    return str(np.array([value], np.float32))


@pytest.fixture(name="folders")
def fixture_folders(base, tmp_path):
    """Folders lr and hr: two validation images, `even` as it is and `odd` with one LR row less."""
    for name, (_, hr, lr) in zip(("even", "odd"), EvalData(os.path.join(base, "valid.mindrecord"))):
        rows = LR_SIZE - (name == "odd")
        for folder, image in (("lr", lr[:rows]), ("hr", hr[: rows * SCALE])):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / (name + ".png"), image)
    return str(tmp_path / "lr"), str(tmp_path / "hr")


# ---------------------------------------------------------------------------------------------------------------------
# The MindRecord of datasets.val


def test_metrics_of_the_mindrecord(evaluated, converted, base):
    summary, rows = metrics_of(evaluated)
    assert list(rows[0]) == ["name"] + FIGURES + ["not_finite"]
    assert set(summary) == SUMMARY | set(FIGURES)
    assert [row["name"] for row in rows] == ["0", "1"] and summary["n"] == VALIDATION_RECORDS
    assert summary["averaged"] == dict.fromkeys(FIGURES, VALIDATION_RECORDS)
    assert (summary["not_finite"], summary["not_finite_images"], summary["skipped"]) == (0, 0, 0)
    for name in FIGURES:
        assert summary[name] == pytest.approx(np.mean([row[name] for row in rows]), rel=1e-12)
        assert np.isfinite(summary[name])
    assert {key: summary[key] for key in ("heat", "n_samples", "seed", "checkpoint")} == {
        "heat": 0.9,
        "n_samples": 1,
        "seed": 10,
        "checkpoint": converted,
    }
    assert summary["data"] == {"mindrecord": os.path.join(base, "valid.mindrecord")}
    assert (summary["precision"], summary["device"], summary["heat_from"]) == ("float32", "CPU", "configuration")
    assert summary["allow_tf32"] is False


def test_figures_belong_to_the_pictures(evaluated, base):
    _, rows = metrics_of(evaluated)
    for (index, hr, lr), row in zip(EvalData(os.path.join(base, "valid.mindrecord")), rows):
        pictures = os.path.join(evaluated, "pictures")
        sr, bicubic = read_image(os.path.join(pictures, f"{index}_sr.png")), imresize(lr, SCALE)
        np.testing.assert_array_equal(read_image(os.path.join(pictures, f"{index}_lr.png")), lr)
        assert sr.shape == hr.shape
        assert row["psnr"] == pytest.approx(psnr(sr, hr)) and row["ssim"] == pytest.approx(ssim(sr, hr))
        assert row["ssim_gaussian"] == pytest.approx(ssim_gaussian(sr / 255, hr / 255))
        assert row["lr_psnr"] == pytest.approx(lr_psnr(sr, lr, SCALE))
        assert row["psnr_bicubic"] == pytest.approx(psnr(bicubic, hr)) and row["psnr_bicubic"] > 15
        assert row["ssim_bicubic"] == pytest.approx(ssim(bicubic, hr))
    sheet = read_image(os.path.join(evaluated, "sheet.png"))
    assert sheet.shape[0] > VALIDATION_RECORDS * HR_SIZE and sheet.shape[1] > 7 * HR_SIZE
    assert sorted(os.listdir(evaluated)) == ["metrics.csv", "metrics.json", "pictures", "sheet.png"]


def test_lines_of_the_earlier_port(compiled, base, tmp_path, capfd):
    assert evaluate(base, tmp_path) == 0
    summary, rows = metrics_of(tmp_path)
    lines = capfd.readouterr().out.splitlines()
    found = [PAIR_LINE.fullmatch(line) for line in lines[:2]]
    for number, (match, row) in enumerate(zip(found, rows), start=1):
        assert match.groups() == (str(number), old_form(row["psnr"]), old_form(row["ssim_gaussian"]))
    assert lines[2] == "The mean of psnr is: " + old_form(summary["psnr"])
    assert lines[3] == "The mean of ssim is: " + old_form(summary["ssim_gaussian"])
    assert lines[4].startswith("2 images, heat 0.9: lr_psnr ")
    assert lines[5] == f"picture sheet: {tmp_path / 'sheet.png'}"
    assert len(lines) == 6


def test_the_seed_decides(evaluated, compiled, base, tmp_path):
    for name, seed in (("same", 10), ("other", 11)):
        assert evaluate(base, tmp_path / name, "--seed", seed) == 0
    (first, first_rows), (same, same_rows), (other, _) = (
        metrics_of(folder) for folder in (evaluated, tmp_path / "same", tmp_path / "other")
    )
    assert same_rows == first_rows
    assert {**same, "checkpoint": ""} == {**first, "checkpoint": ""}
    assert other["seed"] == 11
    for name in ("psnr", "ssim", "ssim_gaussian", "lr_psnr", "nll"):
        assert other[name] != first[name]
    assert other["psnr_bicubic"] == first["psnr_bicubic"]
    np.testing.assert_array_equal(
        read_image(os.path.join(evaluated, "sheet.png")), read_image(tmp_path / "same" / "sheet.png")
    )


def test_limit_heat_and_samples(compiled, base, tmp_path):
    """At heat 0 all samples are one; at another they differ, and the figures are the samples' means."""
    for name, heat in (("cold", 0), ("warm", 0.8)):
        assert evaluate(base, tmp_path / name, "--heat", heat, "--n_samples", 2, "--set", "datasets.val.limit=1") == 0
        summary, rows = metrics_of(tmp_path / name)
        assert (summary["n"], summary["heat"], summary["n_samples"], len(rows)) == (1, heat, 2, 1)
        assert summary["heat_from"] == "command line"
        samples = [read_image(tmp_path / name / "pictures" / f"0_sr_{k}.png") for k in range(2)]
        assert np.array_equal(*samples) == (heat == 0)
        ((_, hr, lr),) = EvalData(os.path.join(base, "valid.mindrecord"), limit=1)
        assert rows[0]["psnr"] == pytest.approx(np.mean([psnr(sample, hr) for sample in samples]))
        assert rows[0]["lr_psnr"] == pytest.approx(np.mean([lr_psnr(sample, lr, SCALE) for sample in samples]))


@pytest.mark.parametrize("allowed", [False, True])
def test_tf32_is_among_the_settings(base, converted, allowed):
    """An evaluation that was interrupted goes on with the same alone."""
    args, opt = get_config(
        "eval",
        ["--opt", os.path.join(base, "SRFlow.yml"), "--ckpt", converted, "--set", f"allow_tf32={str(allowed).lower()}"],
    )
    assert eval_program.settings_of(args, opt)["allow_tf32"] is allowed


# ---------------------------------------------------------------------------------------------------------------------
# Folders


def test_folder_with_hr(compiled, folders, base, tmp_path, capfd):
    assert evaluate(base, tmp_path / "out", "--lr_dir", folders[0], "--hr_dir", folders[1]) == 0
    summary, rows = metrics_of(tmp_path / "out")
    assert list(rows[0]) == ["name"] + FIGURES + ["not_finite"] and [row["name"] for row in rows] == ["even", "odd"]
    assert summary["data"] == {"lr_dir": folders[0], "hr_dir": folders[1]}
    assert summary["n"] == 2 and np.isfinite([summary[name] for name in FIGURES]).all()
    assert len([line for line in capfd.readouterr().out.splitlines() if PAIR_LINE.fullmatch(line)]) == 2
    pictures = ["even.png", "metrics.csv", "metrics.json", "odd.png", "sheet.png"]
    assert sorted(os.listdir(str(tmp_path / "out"))) == pictures
    sheet = read_image(tmp_path / "out" / "sheet.png")
    assert sheet.shape == (CAPTION + 2 * (HR_SIZE + MARGIN) - SCALE, 3 * (HR_SIZE + MARGIN), 3)
    columns = [sheet[CAPTION : CAPTION + HR_SIZE, left : left + HR_SIZE] for left in (0, HR_SIZE + MARGIN)]
    np.testing.assert_array_equal(columns[0], imresize(read_image(os.path.join(folders[0], "even.png")), SCALE))
    np.testing.assert_array_equal(columns[1], read_image(tmp_path / "out" / "even.png"))
    for row in rows:
        sr, hr = (
            read_image(os.path.join(str(folder), row["name"] + ".png")) for folder in (tmp_path / "out", folders[1])
        )
        assert sr.shape == hr.shape and row["psnr"] == pytest.approx(psnr(sr, hr))


def test_folder_without_hr(compiled, folders, base, tmp_path, capfd):
    assert evaluate(base, tmp_path / "out", "--lr_dir", folders[0], "--n_samples", 2) == 0
    out = capfd.readouterr().out
    assert "psnrloss" not in out and "The mean of" not in out
    assert out.startswith("2 images, heat 0.9: lr_psnr ") and out.count("\n") == 3
    pictures = [str(tmp_path / "out" / f"{name}_{k}.png") for name in ("even", "odd") for k in (0, 1)]
    assert out.splitlines()[1:] == [
        f"pictures: {', '.join(pictures)}",
        f"picture sheet: {tmp_path / 'out' / 'sheet.png'}",
    ]
    summary, rows = metrics_of(tmp_path / "out")
    assert list(rows[0]) == ["name", "lr_psnr", "lr_psnr_worst", "pixel_std", "not_finite"]
    assert set(summary) == SUMMARY | {"lr_psnr", "lr_psnr_worst", "pixel_std"}
    assert sorted(os.listdir(str(tmp_path / "out"))) == [
        "even_0.png",
        "even_1.png",
        "metrics.csv",
        "metrics.json",
        "odd_0.png",
        "odd_1.png",
        "sheet.png",
    ]
    for k in range(2):
        assert read_image(tmp_path / "out" / f"even_{k}.png").shape == (HR_SIZE, HR_SIZE, 3)
        assert read_image(tmp_path / "out" / f"odd_{k}.png").shape == (HR_SIZE - SCALE, HR_SIZE, 3)


def test_a_folders_images_are_read_twice(compiled, folders, base, tmp_path, monkeypatch):
    """To check them all before the work begins, and for the work."""
    paths, itself = [], image_folder.read_image
    monkeypatch.setattr(image_folder, "read_image", lambda path: paths.append(path) or itself(path))
    assert evaluate(base, tmp_path / "out", "--lr_dir", folders[0], "--hr_dir", folders[1]) == 0
    files = [os.path.join(folder, name) for folder in folders for name in ("even.png", "odd.png")]
    assert sorted(paths) == sorted(2 * files)


def test_one_image(compiled, folders, base, tmp_path):
    """It gives the picture that it gives in a folder of its own; HR may be another file's name."""
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(os.path.join(folders[0], "odd.png"), str(alone / "sheet.png"))
    shutil.copy(str(alone / "sheet.png"), str(tmp_path / "sheet.of.any.suffix"))
    assert evaluate(base, tmp_path / "folder", "--lr_dir", alone) == 0
    hr = os.path.join(folders[1], "odd.png")
    assert evaluate(base, tmp_path / "image", "--lr_dir", tmp_path / "sheet.of.any.suffix", "--hr_dir", hr) == 0
    assert sorted(os.listdir(str(tmp_path / "folder"))) == ["_sheet.png", "metrics.csv", "metrics.json", "sheet.png"]
    sample = read_image(tmp_path / "image" / "sheet.of.any.png")
    np.testing.assert_array_equal(sample, read_image(tmp_path / "folder" / "sheet.png"))
    assert metrics_of(tmp_path / "image")[0]["psnr"] == pytest.approx(psnr(sample, read_image(hr)))
    assert evaluate(base, tmp_path, "--lr_dir", tmp_path / "sheet.of.any.suffix") == 2  # its own folder


def test_parts_that_are_not_finite_are_cooled(compiled, folders, base, tmp_path, monkeypatch, capfd):
    """At 0.9 the second sample of one tile breaks, at 3/4 of it too; the picture has half the heat there."""
    itself = SRFlow._decode

    def decode(self, conditions, latents, may_fail=False):
        images = itself(self, conditions, latents, may_fail)
        heat = float(np.std(latents[0]))
        decoded.append(heat)
        if len(decoded) in (2, 3):
            images[0, :, 1, 2] = np.nan
        return images

    arguments = ["--lr_dir", os.path.join(folders[0], "even.png"), "--n_samples", 2]
    decoded = []
    monkeypatch.setattr(SRFlow, "_decode", decode)
    assert evaluate(base, tmp_path / "cooled", *arguments, "--cool") == 0
    assert np.allclose(decoded, [0.9, 0.9, 0.675, 0.45], rtol=0.2)
    err = capfd.readouterr().err
    size = f"{HR_SIZE}x{HR_SIZE} pixels at row 0, column 0"
    assert f"even: sample 1: {size}: exploded at heat 0.9, decoded at 0.45" in err
    assert "1 of 1 images have parts that exploded and were decoded again at lower heats: even" in err
    summary, rows = metrics_of(tmp_path / "cooled")
    assert summary["exploded"] == rows[0]["exploded"] == 0
    assert summary["cooled"] == rows[0]["cooled"] == 1 and summary["not_finite"] == 0 and summary["cool"] is True
    monkeypatch.setattr(SRFlow, "_decode", itself)
    for name, heat in (("hot", 0.9), ("half", 0.45)):
        assert evaluate(base, tmp_path / name, *arguments, "--heat", heat) == 0
    for k, name in enumerate(("hot", "half")):
        expected = read_image(tmp_path / name / f"even_{k}.png")
        np.testing.assert_array_equal(read_image(tmp_path / "cooled" / f"even_{k}.png"), expected)


@pytest.mark.parametrize("value", [np.inf, 1e5])
def test_what_explodes_at_all_heats_is_told(value, compiled, folders, base, tmp_path, monkeypatch, capfd):
    itself = SRFlow._decode

    def decode(*arguments, **options):
        images = itself(*arguments, **options)
        images[:, :, 1, 2] = value
        return images

    monkeypatch.setattr(SRFlow, "_decode", decode)
    assert evaluate(base, tmp_path / "out", "--lr_dir", os.path.join(folders[0], "even.png"), "--cool") == 1
    err = capfd.readouterr().err
    assert "exploded at heat 0.9, and at all lower ones" in err
    assert "1 parts of its samples exploded at all heats" in err and "were decoded again" not in err
    assert ("1 pixels of its samples are not finite" in err) == np.isinf(value)
    summary, rows = metrics_of(tmp_path / "out")
    assert (rows[0]["cooled"], rows[0]["exploded"], summary["exploded"]) == (0, 1, 1)


def test_folder_needs_no_mindrecord(compiled, folders, base, tmp_path):
    assert evaluate(base, tmp_path / "out", "--lr_dir", folders[0], "--set", "datasets.val.dataroot=null") == 0
    assert evaluate(base, tmp_path / "out2", "--set", "datasets.val.dataroot=null") == 2


@pytest.mark.parametrize("index", [0, 1])
def test_images_are_not_overwritten(compiled, folders, base, capfd, index):
    arguments = ["--lr_dir", folders[0], "--hr_dir", folders[1]]
    before = {name: read_image(os.path.join(folders[index], name)) for name in os.listdir(folders[index])}
    assert evaluate(base, os.path.join(folders[index], "..", os.path.basename(folders[index])), *arguments) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and f"--{('lr', 'hr')[index]}_dir, whose images would be overwritten" in err
    assert sorted(os.listdir(folders[index])) == sorted(before)
    for name, image in before.items():
        np.testing.assert_array_equal(read_image(os.path.join(folders[index], name)), image)


def test_modelarts_copies_in_and_out(compiled, base, tmp_path, monkeypatch):
    for name in ("DEVICE_ID", "RANK_SIZE", "RANK_ID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "reports").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "reports"))
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.setenv("MOXING_LOG", str(tmp_path / "moxing.log"))
    (tmp_path / "remote").mkdir()
    for name in ("valid.mindrecord", "valid.mindrecord.db"):
        shutil.copy(os.path.join(base, name), str(tmp_path / "remote"))
    settings = tiny_options(base)
    settings.update(
        enable_modelarts=True,
        output_dir=".",
        data_url=str(tmp_path / "remote"),
        data_path=str(tmp_path / "cache" / "data"),
        train_url=str(tmp_path / "results"),
        output_path=str(tmp_path / "cache" / "out"),
        load_path=base,
        test_pretrained_model_path="SRFlow.ckpt",
    )
    settings["datasets"]["val"]["dataroot"] = "valid.mindrecord"
    assert run("eval", "--opt", write_config(tmp_path / "c.yml", settings)) == 0
    assert metrics_of(tmp_path / "results")[0]["n"] == VALIDATION_RECORDS


# ---------------------------------------------------------------------------------------------------------------------
# One image


class RecordingModel(SRFlow):
    """An SRFlow without a network: bicubic samples, each a little brighter than the one before.

    broken: how many pixels of the last one are not finite.
    """

    scale, quant = SCALE, 32

    def __init__(self, broken=0):
        self.arguments, self.encodings, self.broken = [], [], broken

    def sample(self, lr, heat=0.9, n=1, seed=None, tile=None, size=None, cool=False, consistent=False, progress=None):
        self.arguments.append((heat, n, seed))
        bicubic = imresize(np.rint(255 * lr[0].transpose(1, 2, 0)).astype(np.uint8), SCALE)
        samples = np.stack([np.clip(bicubic.astype(int) + 5 * k, 0, 255) for k in range(n)])
        images = ((samples + 0.5) / 255).astype(np.float32).transpose(0, 3, 1, 2)[:, None]
        images[-1, 0, 1].reshape(-1)[: self.broken] = np.inf
        images[-1, 0, 2].reshape(-1)[: self.broken] = np.nan
        return images

    def encode(self, hr, lr, noise=None):
        self.encoded = hr, lr, noise
        self.encodings.append(self.encoded)
        return (), np.array([noise.sum()]), None


def test_figures_are_means_over_samples(base):
    ((_, hr, lr),) = EvalData(os.path.join(base, "valid.mindrecord"), limit=1)
    model = RecordingModel()
    samples, figures = evaluate_image(model, lr, hr, heat=0.7, n_samples=3, seed=4)
    assert model.arguments == [(0.7, 3, 4)] and samples.shape == (3,) + hr.shape
    assert sorted(figures) == sorted(FIGURES + ["lr_psnr_worst", "pixel_std", "psnr_best", "not_finite"])
    assert figures["not_finite"] == 0
    assert figures["pixel_std"] == pytest.approx(samples.astype(float).std(axis=0).mean(), rel=1e-5)
    assert figures["psnr_best"] == max(psnr(sample, hr) for sample in samples) > figures["psnr"]
    lr_psnrs = [lr_psnr(sample, lr, SCALE) for sample in samples]
    assert figures["lr_psnr_worst"] == min(lr_psnrs) < figures["lr_psnr"] == np.mean(lr_psnrs)
    assert figures["psnr"] == pytest.approx(np.mean([psnr(sample, hr) for sample in samples]))
    assert figures["ssim_gaussian"] == pytest.approx(
        np.mean([ssim_gaussian(sample / 255, hr / 255) for sample in samples])
    )
    assert figures["psnr_bicubic"] == psnr(samples[0], hr) and figures["psnr_bicubic"] != figures["psnr"]
    without_hr = evaluate_image(model, lr, None, 0.7, 3, 4, lpips=Distance())[1]
    assert set(without_hr) == {"lr_psnr", "lr_psnr_worst", "pixel_std", "not_finite"}
    assert set(evaluate_image(model, lr, None, 0.7, 1, 4)[1]) == {"lr_psnr", "not_finite"}


def test_pixels_that_are_not_finite_are_counted(base):
    """What is measured on samples is no number then; the rest is what it is."""
    ((_, hr, lr),) = EvalData(os.path.join(base, "valid.mindrecord"), limit=1)
    whole, broken = (evaluate_image(RecordingModel(count), lr, hr, 0.7, 2, 4, lpips=Distance())[1] for count in (0, 70))
    assert broken["not_finite"] == 70 and list(broken) == list(whole)
    for name in ("nll", "psnr_bicubic", "ssim_bicubic"):
        assert broken[name] == whole[name]
    of_samples = ["lr_psnr", "lr_psnr_worst", "pixel_std", "psnr", "ssim", "ssim_gaussian", "psnr_best"]
    for name in of_samples + ["lpips", "diversity"]:
        assert np.isnan(broken[name]) and np.isfinite(whole[name])


class Distance:
    """In the place of LPIPS."""

    def distance(self, a, b):
        return float(a.astype(int).sum() - b.astype(int).sum())

    def spatial(self, a, b):
        return abs(a.astype(np.float32) - b).mean(axis=2)


def test_lpips_is_a_mean_over_samples(base):
    ((_, hr, lr),) = EvalData(os.path.join(base, "valid.mindrecord"), limit=1)
    samples, figures = evaluate_image(RecordingModel(), lr, hr, 0.7, 2, 4, lpips=Distance())
    expected = [Distance().distance(sample, hr) for sample in samples]
    assert expected[0] != expected[1] and figures["lpips"] == np.mean(expected)


@pytest.mark.parametrize("height, width", [(12, 12), (10, 13), (8, 9)])
def test_diversity_is_that_of_whole_eights(height, width):
    """Of HR images that are cut at the bottom and right; the other figures are of whole images."""
    random = np.random.RandomState(0)
    lr = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
    hr = random.randint(0, 256, (height * SCALE, width * SCALE, 3)).astype(np.uint8)
    samples, figures = evaluate_image(RecordingModel(), lr, hr, 0.7, 3, 4, lpips=Distance())
    cut = tuple(slice(0, side // 8 * 8) for side in hr.shape[:2])
    maps = np.stack([Distance().spatial(sample[cut], hr[cut]) for sample in samples])
    nearest = maps.mean(axis=(1, 2)).min()
    assert figures["diversity"] == pytest.approx(100 * (nearest - maps.min(axis=0).mean()) / nearest, rel=1e-4)
    assert 0 < figures["diversity"] < 100
    assert figures["psnr_best"] == max(psnr(sample, hr) for sample in samples)
    assert "diversity" not in evaluate_image(RecordingModel(), lr, hr, 0.7, 1, 4, lpips=Distance())[1]
    assert "diversity" not in evaluate_image(RecordingModel(), lr, hr, 0.7, 3, 4)[1]


def test_images_too_small_for_lpips_have_no_diversity():
    """At a scale of 4 the largest of them is 28 pixels high; of 32 nothing is cut."""
    lr, hr = np.zeros((7, 20, 3), np.uint8), np.zeros((28, 80, 3), np.uint8)
    figures = evaluate_image(RecordingModel(), lr, hr, 0.7, 2, 4, lpips=Distance())[1]
    assert figures["lpips"] is None and figures["diversity"] is None and np.isfinite(figures["lr_psnr_worst"])
    assert evaluate_image(RecordingModel(), lr, hr, 0.7, 1, 4, lpips=Distance())[1]["lpips"] is None
    means, counts = mean_figures([figures, {**figures, "diversity": 20.0}])
    assert means["diversity"] == 20 and counts["diversity"] == 1


def test_likelihood_of_a_tiled_image_is_the_mean_of_its_tiles():
    random = np.random.RandomState(0)
    lr = random.randint(0, 256, (7, 12, 3)).astype(np.uint8)
    hr = random.randint(0, 256, (7 * SCALE, 12 * SCALE, 3)).astype(np.uint8)
    model = RecordingModel()
    nll = likelihood(model, lr, hr, seed=1, tile=8)
    assert [encoded[1].shape for encoded in model.encodings] == [(1, 3, 8, 8)] * 2
    assert [encoded[0].shape for encoded in model.encodings] == [(1, 3, 8 * SCALE, 8 * SCALE)] * 2
    assert nll == np.mean([encoded[2].sum() for encoded in model.encodings])
    np.testing.assert_array_equal(model.encodings[1][1][0, :, :7], lr.transpose(2, 0, 1)[:, :, 4:] / np.float32(255))


@pytest.mark.parametrize("height, width", [(8, 8), (7, 8), (7, 5)])
def test_likelihood_pads_odd_sizes_by_reflection(height, width):
    random = np.random.RandomState(0)
    lr = random.randint(0, 256, (height, width, 3)).astype(np.uint8)
    hr = random.randint(0, 256, (height * SCALE, width * SCALE, 3)).astype(np.uint8)
    model = RecordingModel()
    first = likelihood(model, lr, hr, seed=1)
    padded_hr, padded_lr, noise = model.encoded
    even = height + height % 2, width + width % 2
    assert padded_lr.shape == (1, 3) + even and padded_lr.dtype == np.float32
    assert padded_hr.shape == noise.shape == (1, 3, even[0] * SCALE, even[1] * SCALE)
    assert noise.min() >= 0 and noise.max() < 1 and noise.std() > 0.25
    np.testing.assert_array_equal(
        padded_hr[0, :, : height * SCALE, : width * SCALE], hr.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    )
    if height % 2:  # without repeating the last row of lr, nor the rows of hr that belong to it
        np.testing.assert_array_equal(padded_lr[:, :, height], padded_lr[:, :, height - 2])
        last = height * SCALE - 1
        np.testing.assert_array_equal(
            padded_hr[:, :, last + 1 :], padded_hr[:, :, last - SCALE : last - 2 * SCALE : -1]
        )
    assert likelihood(model, lr, hr, seed=1) == first != likelihood(model, lr, hr, seed=2)


def test_mean_figures():
    assert mean_figures([{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 2.0}]) == ({"a": 2.0, "b": 2.0}, {"a": 2, "b": 2})


def test_means_are_of_what_there_is():
    rows = [{"a": 1.0, "b": None, "c": np.inf, "d": np.nan}, {"a": np.nan, "b": 3.0, "c": 2.0, "d": np.nan}]
    means, averaged = mean_figures(rows)
    assert (means["a"], means["b"], means["c"]) == (1.0, 3.0, np.inf) and np.isnan(means["d"])
    assert averaged == {"a": 1, "b": 1, "c": 2, "d": 0}


def test_results_appear_whole_or_not_at_all(compiled, base, tmp_path, monkeypatch):
    assert evaluate(base, tmp_path) == 0
    before = metrics_of(tmp_path)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("json.dump", full_disk)
    assert evaluate(base, tmp_path, "--seed", 3) == 2
    assert metrics_of(tmp_path) == before
    assert not [name for name in os.listdir(str(tmp_path)) if name.startswith(".")]


# ---------------------------------------------------------------------------------------------------------------------
# An interrupted evaluation


def interrupt_after(monkeypatch, count):
    """evaluate_image is interrupted when it is called once more than `count` times; returns the list of its calls."""
    calls, itself = [], evaluate_image

    def interrupted(*arguments, **named):
        calls.append(arguments)
        if len(calls) > count:
            raise KeyboardInterrupt
        return itself(*arguments, **named)

    monkeypatch.setattr("src.evaluation.run.evaluate_image", interrupted)
    return calls


def test_an_interrupted_evaluation_goes_on(evaluated, compiled, base, tmp_path, monkeypatch, capfd):
    interrupt_after(monkeypatch, 1)
    assert evaluate(base, tmp_path) == 130
    assert sorted(os.listdir(str(tmp_path))) == ["metrics.progress.jsonl", "pictures"]
    with open(str(tmp_path / "metrics.progress.jsonl"), "a") as file:
        file.write('{"name": "1", "psn')  # torn off
    monkeypatch.undo()
    monkeypatch.setattr(eval_program, "load_model", lambda *_: compiled)
    calls = interrupt_after(monkeypatch, 1)
    capfd.readouterr()
    assert evaluate(base, tmp_path) == 0
    assert len(calls) == VALIDATION_RECORDS - 1
    assert "goes on after 1 finished images" in capfd.readouterr().out
    assert metrics_of(tmp_path)[1] == metrics_of(evaluated)[1]
    assert sorted(os.listdir(str(tmp_path))) == ["metrics.csv", "metrics.json", "pictures", "sheet.png"]


def test_other_settings_begin_anew(evaluated, compiled, base, tmp_path, monkeypatch):
    interrupt_after(monkeypatch, 1)
    assert evaluate(base, tmp_path, "--seed", 3) == 130
    monkeypatch.undo()
    monkeypatch.setattr(eval_program, "load_model", lambda *_: compiled)
    calls = interrupt_after(monkeypatch, VALIDATION_RECORDS)
    assert evaluate(base, tmp_path) == 0
    assert len(calls) == VALIDATION_RECORDS
    assert metrics_of(tmp_path)[1] == metrics_of(evaluated)[1]


def test_progress_belongs_to_the_network_and_the_device(compiled, base, tmp_path, monkeypatch, capfd):
    """The configuration says the network of a file that does not; of our own files it has no say."""
    foreign = str(tmp_path / "foreign.pth")
    write_any(foreign, {"RRDB.conv_first.weight": np.zeros((4, 3, 3, 3), np.float32)})
    other, elsewhere = ("--set", "datasets.train.quant=64"), ("--device_target", "Ascend")
    for checkpoint, arguments, told in (
        (foreign, other, "another network; begins anew"),
        (foreign, ("--heat", 0.7), "another heat; begins anew"),
        (foreign, (*elsewhere, *other), "another device and network; begins anew"),
        (None, other, "goes on after 1 finished images"),
        (None, elsewhere, "another device; begins anew"),
    ):
        out = tmp_path / "out"
        for more in ((), arguments):
            with monkeypatch.context() as patch:
                interrupt_after(patch, 0 if more else 1)
                assert evaluate(base, out, *(["--ckpt", checkpoint] if checkpoint else []), *more) == 130
        assert told in capfd.readouterr().out
        shutil.rmtree(str(out))


def test_another_option_by_mistake_loses_nothing(evaluated, compiled, base, tmp_path, monkeypatch, capfd):
    """The progress is set aside; put back, it goes on, but for pictures that were written anew in between."""
    progress = str(tmp_path / "metrics.progress.jsonl")

    def start(count, *arguments):
        with monkeypatch.context() as patch:
            calls = interrupt_after(patch, count)
            status = evaluate(base, tmp_path, *arguments)
        return status, len(calls), capfd.readouterr().out

    assert start(1)[0] == 130
    told = start(0, "--seed", 3)[2]
    assert f"{progress}: is of an evaluation with another seed; begins anew; its 1 finished images are kept in " in told
    assert told.splitlines()[0].endswith(f" kept in {progress}.old")
    assert "another seed; begins anew\n" in start(1, "--seed", 4)[2]  # nothing was finished with 3
    assert f"its 1 finished images are kept in {progress}.old2\n" in start(0)[2]

    os.replace(progress + ".old", progress)
    status, calls, told = start(VALIDATION_RECORDS)
    assert (status, calls) == (0, VALIDATION_RECORDS) and "is done again: 0\n" in told  # its picture was that of seed 4
    assert metrics_of(tmp_path)[1] == metrics_of(evaluated)[1]
    pictures = (os.path.join(folder, "pictures") for folder in (str(tmp_path), evaluated))
    assert files_of(next(pictures)) == files_of(next(pictures))


def test_progress_put_back_goes_on(compiled, base, tmp_path, monkeypatch, capfd):
    progress = str(tmp_path / "metrics.progress.jsonl")
    for count, arguments in ((1, ()), (0, ("--seed", 3))):
        with monkeypatch.context() as patch:
            interrupt_after(patch, count)
            assert evaluate(base, tmp_path, *arguments) == 130
    os.replace(progress + ".old", progress)
    assert evaluate(base, tmp_path) == 0
    assert f"{progress}: goes on after 1 finished images" in capfd.readouterr().out


def files_of(folder):
    """Name -> content."""
    found = {}
    for name in os.listdir(str(folder)):
        with open(os.path.join(str(folder), name), "rb") as file:
            found[name] = file.read()
    return found


def rename(folder, old, new):
    os.rename(os.path.join(folder, old), os.path.join(folder, new))


def later(path):
    """As if the file had been written a minute later."""
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 60 * 10**9))


CHANGES = {  # what happens while a, b and not yet c are finished: (how, what is computed then)
    "nothing": (lambda lr, hr, out: None, ["c"]),
    "renamed": (lambda lr, hr, out: [rename(folder, "b.png", "bb.png") for folder in (lr, hr)], ["bb", "c"]),
    "moved": (lambda lr, hr, out: [rename(folder, "a.png", "d.png") for folder in (lr, hr)], ["b", "c", "d"]),
    "removed": (lambda lr, hr, out: os.remove(os.path.join(lr, "a.png")), ["b", "c"]),
    "added": (
        lambda lr, hr, out: [
            shutil.copy(os.path.join(folder, "a.png"), os.path.join(folder, "aa.png")) for folder in (lr, hr)
        ],
        ["aa", "b", "c"],
    ),
    "lr replaced": (lambda lr, hr, out: shutil.copy(os.path.join(lr, "c.png"), os.path.join(lr, "b.png")), ["b", "c"]),
    "hr replaced": (lambda lr, hr, out: later(os.path.join(hr, "a.png")), ["a", "c"]),
    "picture replaced": (lambda lr, hr, out: later(os.path.join(out, "b.png")), ["b", "c"]),
    "picture removed": (lambda lr, hr, out: os.remove(os.path.join(out, "a.png")), ["a", "c"]),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_progress_belongs_to_the_images(compiled, base, tmp_path, monkeypatch, capfd, change):
    """What still fits is kept, the rest is computed; the end is that of an evaluation without interruption."""
    images = list(EvalData(os.path.join(base, "valid.mindrecord")))
    for name, (_, hr, lr) in zip("abc", images + [images[0]]):
        for folder, image in (("lr", lr), ("hr", hr)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_image(tmp_path / folder / (name + ".png"), image)
    lr_dir, hr_dir, out = (str(tmp_path / name) for name in ("lr", "hr", "out"))
    folders = ["--lr_dir", lr_dir, "--hr_dir", hr_dir]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2)
        assert evaluate(base, out, *folders) == 130
    how, names = CHANGES[change]
    how(lr_dir, hr_dir, out)
    capfd.readouterr()
    with monkeypatch.context() as patch:
        calls = interrupt_after(patch, 9)
        assert evaluate(base, out, *folders) == 0
    told = capfd.readouterr().out
    assert evaluate(base, tmp_path / "whole", *folders) == 0
    rows = metrics_of(out)[1]
    assert rows == metrics_of(tmp_path / "whole")[1]
    assert [row["name"] for row in rows] == sorted(name[:-4] for name in os.listdir(lr_dir))
    seeds = [10 + 1 + [row["name"] for row in rows].index(name) for name in names]
    assert [arguments[5] for arguments in calls] == seeds
    pictures = {name: content for name, content in files_of(out).items() if name.endswith(".png")}
    for name, content in files_of(tmp_path / "whole").items():
        if name.endswith(".png"):
            assert pictures[name] == content
    assert (f"goes on after {len(rows) - len(names)} finished images" in told) == (len(rows) > len(names))
    assert ("done again" in told) == (change != "nothing")


def test_progress_belongs_to_the_mindrecord(evaluated, compiled, base, tmp_path, monkeypatch, capfd):
    for name in ("valid.mindrecord", "valid.mindrecord.db"):
        shutil.copy(os.path.join(base, name), str(tmp_path))
    arguments = ["--set", f"datasets.val.dataroot={tmp_path / 'valid.mindrecord'}"]
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        assert evaluate(base, tmp_path / "out", *arguments) == 130
    later(str(tmp_path / "valid.mindrecord"))
    calls = interrupt_after(monkeypatch, 9)
    assert evaluate(base, tmp_path / "out", *arguments) == 0
    assert len(calls) == VALIDATION_RECORDS and "is done again: 0\n" in capfd.readouterr().out
    assert metrics_of(tmp_path / "out")[1] == metrics_of(evaluated)[1]


def test_shards_belong_to_a_mindrecord(tmp_path):
    for name in ("a.mindrecord0", "a.mindrecord0.db", "a.mindrecord1", "a.mindrecord1.db", "b.mindrecord0", "a.png"):
        (tmp_path / name).write_text("")
    assert [os.path.basename(path) for path in eval_program.mindrecord_files(str(tmp_path / "a.mindrecord1"))] == [
        "a.mindrecord0",
        "a.mindrecord0.db",
        "a.mindrecord1",
        "a.mindrecord1.db",
    ]


def test_a_damaged_progress_begins_anew(evaluated, compiled, base, tmp_path, capfd):
    for content in (b"\xff\xfe\n5\n", b"", b'{"heat": 1}\n{"image": 3}\n[]\n'):
        (tmp_path / "metrics.progress.jsonl").write_bytes(content)
        assert evaluate(base, tmp_path) == 0
        assert metrics_of(tmp_path)[1] == metrics_of(evaluated)[1]
    assert "is of an evaluation with another heat and " in capfd.readouterr().out


def test_the_sheet_belongs_to_the_evaluation(compiled, base, tmp_path, monkeypatch):
    """Nothing is computed twice because the last picture could not be written."""

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation_run, "write_sheet", full_disk)
        assert evaluate(base, tmp_path) == 2
    calls = interrupt_after(monkeypatch, 0)
    assert evaluate(base, tmp_path) == 0 and not calls
    assert sorted(os.listdir(str(tmp_path))) == ["metrics.csv", "metrics.json", "pictures", "sheet.png"]


def test_one_evaluation_at_a_time(compiled, base, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(evaluation_run, "evaluate_image", None)
    with locked_folder(str(tmp_path), eval_program.LOCK):
        assert evaluate(base, tmp_path) == 2
    line = capfd.readouterr().err
    assert line.startswith(f"error: output_dir: another run (process {os.getpid()} on ")
    assert line.count("\n") == 1
    assert os.listdir(str(tmp_path)) == []


def test_a_run_can_be_evaluated_while_it_trains(compiled, base, tmp_path):
    with RunFolder(str(tmp_path), keep=1).locked():
        assert evaluate(base, tmp_path) == 0


# ---------------------------------------------------------------------------------------------------------------------
# What is not whole is told


def test_pictures_that_are_not_finite(compiled, base, tmp_path, capfd):
    """Each image is named, all is written, and the exit status tells."""
    assert evaluate(base, tmp_path, "--heat", "1e30") == 1
    summary, rows = metrics_of(tmp_path)
    lines = [line for line in capfd.readouterr().err.split("\n") if "warning: " in line]
    for row in rows:
        words = f"warning: {row['name']}: {row['not_finite']:.0f} pixels of its samples are not finite"
        assert row["not_finite"] > 0 and len([line for line in lines if words in line]) == 1
        assert np.isnan(row["psnr"]) and np.isnan(row["lr_psnr"]) and np.isfinite(row["nll"])
    assert lines[-1] == "warning: 2 of 2 images have pixels or an nll that are not finite, or exploded: 0, 1"
    assert (summary["not_finite"], summary["not_finite_images"]) == (sum(row["not_finite"] for row in rows), 2)
    assert (summary["psnr"], summary["averaged"]["psnr"], summary["averaged"]["nll"]) == ("NaN", 0, 2)
    assert sorted(os.listdir(str(tmp_path))) == ["metrics.csv", "metrics.json", "pictures", "sheet.png"]
    assert len(os.listdir(str(tmp_path / "pictures"))) == 2 * VALIDATION_RECORDS


def test_infinity_and_nan_are_told_apart(compiled, base, tmp_path, monkeypatch, capfd):
    values = iter([np.nan, 3.0])
    monkeypatch.setattr("src.evaluation.figures.likelihood", lambda *_: next(values))
    monkeypatch.setattr("src.evaluation.figures.psnr", lambda *_: np.inf)
    assert evaluate(base, tmp_path) == 1
    summary, rows = metrics_of(tmp_path)
    assert (summary["psnr"], summary["averaged"]["psnr"]) == ("Infinity", 2)
    assert (summary["nll"], summary["averaged"]["nll"]) == (3.0, 1)
    assert np.isnan(rows[0]["nll"]) and rows[0]["psnr"] == np.inf and rows[0]["not_finite"] == 0
    out, err = capfd.readouterr()
    assert "nll 3.0000 (of 1)" in out and "warning: 0: its nll is nan" in err


def test_images_that_cannot_be_used_are_skipped(compiled, folders, base, tmp_path, capfd):
    for name in ("._even.png", "bad.png"):
        with open(os.path.join(folders[0], name), "wb") as file:
            file.write(b"no picture")
    write_image(os.path.join(folders[0], "tiny.png"), np.zeros((1, 9, 3), np.uint8))
    assert evaluate(base, tmp_path / "out", "--lr_dir", folders[0]) == 1
    summary, rows = metrics_of(tmp_path / "out")
    assert (summary["n"], summary["skipped"], [row["name"] for row in rows]) == (2, 2, ["even", "odd"])
    lines = capfd.readouterr().err.split("\n")
    bad, tiny = (os.path.join(folders[0], name) for name in ("bad.png", "tiny.png"))
    assert lines[0].startswith(f"warning: skipped {bad}: cannot be read as an image: ")
    assert lines[1] == f"warning: skipped {tiny}: is 1x9, expected at least 2x2"
    assert lines[-2].startswith(f"warning: 2 of 4 images were skipped: {bad}: ")
    for name in ("even.png", "odd.png"):
        os.remove(os.path.join(folders[0], name))
    assert evaluate(base, tmp_path / "none", "--lr_dir", folders[0]) == 2
    assert "none of its 2 images can be used" in capfd.readouterr().err and not os.path.exists(str(tmp_path / "none"))


def test_hr_too_small_for_lpips(compiled, folders, base, tmp_path, capfd, monkeypatch):
    """It is named before anything is computed; its other figures are there."""
    monkeypatch.setattr(eval_program.LPIPS, "from_files", lambda *_: Distance())
    arguments = ["--lr_dir", folders[0], "--hr_dir", folders[1], "--lpips_alexnet", "a.pth", "--lpips_linear", "b.pth"]
    assert evaluate(base, tmp_path / "out", *arguments) == 1
    even, odd = read_csv(tmp_path / "out" / "metrics.csv")
    assert odd["lpips"] == "" and np.isfinite(float(odd["psnr"]))
    with open(str(tmp_path / "out" / "metrics.json")) as file:
        summary = json.load(file)
    assert summary["lpips"] == float(even["lpips"]) and summary["averaged"]["lpips"] == 1
    lines = capfd.readouterr().err.split("\n")
    assert lines[0] == "warning: odd: LPIPS needs HR images of at least 31x31; its lpips stays empty"
    assert lines[-2] == "warning: 1 of 2 images have no LPIPS: odd"


# ---------------------------------------------------------------------------------------------------------------------
# Names


def name_them(folder, *names):
    """The images even.png and odd.png get these names, which are bytes."""
    for old, new in zip((b"even.png", b"odd.png"), names):
        os.rename(os.path.join(os.fsencode(folder), old), os.path.join(os.fsencode(folder), new))


def test_names_that_are_not_utf8(compiled, folders, base, tmp_path, capfd):
    for folder in folders:
        name_them(folder, b"caf\xe9.png", "\u00e9\u756b.png".encode())
    lr_dir = os.path.join(os.fsencode(str(tmp_path)), b"d\xe9")
    os.rename(folders[0], lr_dir)
    arguments = ["--lr_dir", os.fsdecode(lr_dir), "--hr_dir", folders[1], "--heat", "1e30"]  # which are warned of
    out = os.path.join(os.fsencode(str(tmp_path)), b"out\xe9")
    assert evaluate(base, os.fsdecode(out), *arguments) == 1
    summary, rows = metrics_of(os.fsdecode(out))
    assert [row["name"] for row in rows] == ["caf\\xe9", "\u00e9\u756b"]
    assert summary["data"]["lr_dir"] == str(tmp_path / "d\\xe9")
    assert sorted(name for name in os.listdir(out) if name.endswith(b".png")) == [
        b"caf\xe9.png",
        b"sheet.png",
        "\u00e9\u756b.png".encode(),
    ]
    assert "warning: caf\\xe9: " in capfd.readouterr().err


def test_long_names(compiled, folders, base, tmp_path, capfd, monkeypatch):
    name = b"n" * 251 + b".png"
    name_them(folders[0], name)
    assert evaluate(base, tmp_path / "out", "--lr_dir", folders[0]) == 0
    assert os.path.exists(os.path.join(os.fsencode(str(tmp_path / "out")), name))
    capfd.readouterr()
    monkeypatch.setattr(evaluation_run, "evaluate_image", None)
    assert evaluate(base, tmp_path / "several", "--lr_dir", folders[0], "--n_samples", 2) == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "n_0.png: the picture's name would have 257 bytes, more than the 255 that" in line
    assert not os.path.exists(str(tmp_path / "several"))


# ---------------------------------------------------------------------------------------------------------------------
# Large images


def test_an_image_larger_than_a_tile(compiled, base, tmp_path, monkeypatch):
    """Neither the evaluation nor the sheet, which shows the middle, computes more than a tile at once."""
    path = str(tmp_path / "large.mindrecord")
    prepare_images([("astronaut", astronaut()[:160, 100:244])], path, SCALE, whole=True, progress=False)
    shapes, condition = [], compiled._condition

    def record(lr):
        shapes.append(lr.shape)
        return condition(lr)

    monkeypatch.setattr(compiled, "_condition", record)
    assert evaluate(base, tmp_path / "out", "--tile", 32, "--set", "datasets.val.dataroot=" + path) == 0
    ((_, hr, lr),) = EvalData(path)
    assert lr.shape == (40, 36, 3) and max(max(shape[2:]) for shape in shapes) == 32
    picture = read_image(tmp_path / "out" / "sheet.png")
    np.testing.assert_array_equal(picture[CAPTION : CAPTION + 128 : 4, :128:4], lr[4:36, 2:34])
    np.testing.assert_array_equal(picture[CAPTION : CAPTION + 128, -128 - MARGIN : -MARGIN], hr[16:144, 8:136])
    assert picture.shape == (CAPTION + 128 + MARGIN, 7 * (128 + MARGIN), 3)
    samples = compiled.sample(lr[4:36, 2:34], 0.9, evaluation_run.DEVIATION_SAMPLES, seed=10)
    left = 5 * (128 + MARGIN)
    np.testing.assert_array_equal(picture[CAPTION : CAPTION + 128, left : left + 128], deviation_map(samples))
    assert read_image(tmp_path / "out" / "pictures" / "0_sr.png").shape == (160, 144, 3)


def allow_two_sizes(monkeypatch):
    """Instead of six, each of which has to be compiled."""
    monkeypatch.setattr(evaluation_run, "few_sizes", functools.partial(few_sizes, limit=2))
    monkeypatch.setattr(evaluation_run, "MAX_SIZES", 2)


def test_a_folder_of_many_sizes_compiles_a_handful(compiled, base, tmp_path, monkeypatch, capfd):
    """Images of more sizes than that are padded, cut back, and done again where the folder's sizes are others now."""
    allow_two_sizes(monkeypatch)
    lr_dir, out = tmp_path / "lr", tmp_path / "out"
    lr_dir.mkdir()
    for number in range(4):
        write_image(lr_dir / f"{number}.png", astronaut()[: 6 + 2 * number, :8])
    shapes, condition = set(), compiled._condition

    def record(lr):
        shapes.add(lr.shape)
        return condition(lr)

    monkeypatch.setattr(compiled, "_condition", record)
    assert evaluate(base, out, "--lr_dir", lr_dir) == 0
    assert len(shapes) == 2
    assert "2 of 4 images are padded by reflection" in capfd.readouterr().out
    sizes = [read_image(out / f"{number}.png").shape[:2] for number in range(4)]
    assert sizes == [((6 + 2 * number) * SCALE, 8 * SCALE) for number in range(4)]

    interrupt_after(monkeypatch, 3)
    assert evaluate(base, tmp_path / "again", "--lr_dir", lr_dir) == 130
    os.remove(str(lr_dir / "3.png"))  # the last one: no other image's place changes, but some need no padding now
    os.remove(str(lr_dir / "2.png"))
    monkeypatch.undo()
    allow_two_sizes(monkeypatch)
    monkeypatch.setattr(eval_program, "load_model", lambda *_: compiled)
    capfd.readouterr()
    assert evaluate(base, tmp_path / "again", "--lr_dir", lr_dir) == 0
    assert "padded" not in capfd.readouterr().out
    shutil.rmtree(str(out))
    assert evaluate(base, out, "--lr_dir", lr_dir) == 0
    os.remove(str(tmp_path / "again" / "2.png"))  # of an image that is gone
    assert files_of(tmp_path / "again") == files_of(out)


def test_sets_of_samples(compiled, folders, base, tmp_path, capfd, monkeypatch):
    """Both columns reach the table and the summary; an interrupted evaluation knows an empty one."""
    monkeypatch.setattr(eval_program.LPIPS, "from_jax_file", lambda *_: Distance())
    arguments = ["--lr_dir", folders[0], "--hr_dir", folders[1], "--lpips", "all.ckpt", "--n_samples", 2]
    interrupt_after(monkeypatch, 1)
    assert evaluate(base, tmp_path / "again", *arguments) == 130
    monkeypatch.undo()
    monkeypatch.setattr(eval_program, "load_model", lambda *_: compiled)
    monkeypatch.setattr(eval_program.LPIPS, "from_jax_file", lambda *_: Distance())
    for out in (tmp_path / "again", tmp_path / "out"):
        assert evaluate(base, out, *arguments) == 1
    even, odd = read_csv(tmp_path / "out" / "metrics.csv")
    assert 0 <= float(even["diversity"]) <= 100 and odd["diversity"] == odd["lpips"] == ""
    with open(str(tmp_path / "out" / "metrics.json")) as file:
        summary = json.load(file)
    assert summary["diversity"] == float(even["diversity"]) and summary["averaged"]["diversity"] == 1
    worst = [float(row["lr_psnr_worst"]) for row in (even, odd)]
    assert summary["lr_psnr_worst"] == pytest.approx(np.mean(worst)) and summary["lr_psnr_worst"] <= summary["lr_psnr"]
    assert "goes on after 1 finished images" in capfd.readouterr().out
    assert files_of(tmp_path / "again") == files_of(tmp_path / "out")


@pytest.mark.parametrize("flag", ["--lpips_alexnet", "--lpips_linear"])
def test_lpips_in_one_file_or_in_two(base, tmp_path, capfd, flag):
    assert evaluate(base, tmp_path / "out", "--lpips", "all.ckpt", flag, "b.pth") == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "lpips: all.ckpt has all weights of LPIPS; leave --lpips_alexnet and" in line


def test_lpips_file_that_is_another(base, tmp_path, capfd):
    (tmp_path / "all.ckpt").write_bytes(b"\x80\x03cos\nsystem\nX\x02\x00\x00\x00id\x85R.")
    assert evaluate(base, tmp_path / "out", "--lpips", tmp_path / "all.ckpt") == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "all.ckpt: refused os.system" in line and "scripts/get_lpips.sh" in line
    assert evaluate(base, tmp_path / "out", "--lpips", tmp_path / "none.ckpt") == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "none.ckpt: no such file" in line and "scripts/get_lpips.sh" in line


def test_lpips_without_its_files(compiled, base, tmp_path, capfd):
    assert evaluate(base, tmp_path, "--lpips_linear", tmp_path / "none.pth") == 2
    line = capfd.readouterr().err
    assert line.count("\n") == 1 and "AlexNet's weights: no file given" in line
    assert "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth" in line
