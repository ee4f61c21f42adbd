# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""benchmarks/quality.py, by a tiny network with seeded weights: its figures say nothing, but they are eval.py's."""

import json
import os
from unittest import mock

import numpy as np
import pytest
from mindspore import Tensor
from modules import load
from programs import SCALE, read_image, tiny_options, write_image
from seeded_weights import seeded_state
from skimage.data import astronaut, chelsea

from src.evaluation.figures import evaluate_image
from src.evaluation.metrics import lr_psnr, psnr
from src.images import from_uint8, to_uint8
from src.imresize import imresize
from src.model.RRDBNet import leaky_relu
from src.model.convolutions import nearest_up2
from src.model_utils.options import options_from_dict
from src.model_utils.util import pynative_mode
from src.network_names import IMAGE_ONLY, shapes_of
from src.training.loss_curve import COLOURS, LEFT
from src.weights.checkpoint import INFERENCE, TRAINING, Checkpoint, write_checkpoint

HEATS, N_SAMPLES, TILE = [0.0, 0.7], 2, 96
FIGURES = ("psnr", "ssim", "lpips", "lr_psnr", "lr_psnr_worst", "diversity", "pixel_std", "not_finite")


class Distance:
    """In the place of LPIPS."""

    def distance(self, a, b):
        return float(np.abs(a.astype(float) - b).mean())

    def spatial(self, a, b):
        return np.abs(a.astype(np.float32) - b).mean(axis=2)


quality = load("benchmarks", "quality")


def save(path, seed, step=0, kind=TRAINING):
    opt = options_from_dict(tiny_options(os.path.dirname(str(path))), source="test")
    shapes = {
        name: shape for name, shape in shapes_of(opt).items() if kind == TRAINING or not name.startswith(IMAGE_ONLY)
    }
    state = {"step": step, "actnorm_initialised": True}
    write_checkpoint(str(path), Checkpoint(kind, opt, seeded_state(shapes, seed), state))


class Programs:
    """Runs the program on two photographs, with a run of two checkpoints, in `folder`."""

    def __init__(self, folder):
        self.folder, self.models = folder, []
        for name in ("hr", "run"):
            (folder / name).mkdir()
        write_image(folder / "hr" / "a.png", astronaut()[100:139, 200:235])  # is cut to 32x32
        write_image(folder / "hr" / "b.png", chelsea()[100:132, 100:132])
        for step in (2, 4):
            save(folder / "run" / f"step_{step:07d}.ckpt", seed=step, step=step)
        (folder / "run" / "train.csv").write_text("step,loss,seconds\n1,0,400\n2,0,760\n3,0,1120\n4,0,14")

    def path(self, *names):
        return str(self.folder.joinpath(*names))

    def main(self, *arguments):
        """Run it with a stand-in for LPIPS, and remember the models that are made."""
        arguments = [*arguments, "--hr_dir", self.path("hr"), "--lpips", self.path("hr", "a.png")]
        make = quality.SRFlow

        def remember(*of_model):
            self.models.append(make(*of_model))
            return self.models[-1]

        with mock.patch.object(quality, "SRFlow", remember), mock.patch.object(
            quality.LPIPS, "from_jax_file", lambda _: Distance()
        ):
            return quality.main(arguments)

    def measure(self, out, *arguments):
        options = ["--heats", *map(str, HEATS), "--n_samples", str(N_SAMPLES), "--out", out]
        return self.main("--ckpt", self.path("run", "step_0000004.ckpt"), *options, *arguments)

    def pairs(self):
        """[(hr, lr)] as the program should make them."""
        images = [read_image(self.path("hr", name))[:32, :32] for name in ("a.png", "b.png")]
        return [(hr, imresize(hr, 1 / SCALE)) for hr in images]


@pytest.fixture(name="programs", scope="module")
def fixture_programs(tmp_path_factory):
    programs = Programs(tmp_path_factory.mktemp("quality"))
    programs.out = programs.path("result.json")
    assert not programs.measure(programs.out)
    return programs


def results_of(path):
    with open(path) as file:
        return json.load(file)


def test_rows_are_those_of_an_evaluation(programs):
    """Of the same image, seed and heat, although all heats of an image are decoded together."""
    found = results_of(programs.out)
    assert list(found["finished"]) == ["a.png", "b.png"]
    (model,) = programs.models[:1]
    for seed, (rows, (hr, lr)) in enumerate(zip(found["finished"].values(), programs.pairs()), start=1):
        for heat in HEATS:
            _, expected = evaluate_image(model, lr, hr, heat, N_SAMPLES, seed, TILE, lr.shape[:2], Distance())
            row = rows[f"heat {heat:g}"]
            of_pair = {name: expected.pop(name) for name in ("nll", "psnr_bicubic", "ssim_bicubic")}
            assert set(FIGURES) < set(row) == set(expected) and row["not_finite"] == 0
            assert row == pytest.approx(expected, rel=1e-6, abs=1e-5)
            assert rows["nll"]["nll"] == pytest.approx(of_pair["nll"], rel=1e-6)
        assert rows["bicubic"]["psnr"] == pytest.approx(of_pair["psnr_bicubic"])
        bicubic = imresize(lr, SCALE)
        assert rows["bicubic"]["lr_psnr"] == pytest.approx(lr_psnr(bicubic, lr, SCALE))
        assert rows["bicubic"]["lpips"] == pytest.approx(Distance().distance(bicubic, hr))
        assert rows["heat 0.7"]["pixel_std"] > 0 == rows["heat 0"]["pixel_std"]


def test_means_over_the_images(programs):
    found = results_of(programs.out)
    assert list(found["means"]) == ["bicubic", quality.ENCODER, "heat 0", "heat 0.7"]
    for name, row in found["means"].items():
        for figure in row:
            values = [rows[name].get(figure, 0) for rows in found["finished"].values()]
            assert row[figure] == pytest.approx(sum(values) if "not_finite" in figure else np.mean(values))
    assert found["nll"] == pytest.approx(np.mean([rows["nll"]["nll"] for rows in found["finished"].values()]))


def test_the_encoders_own_image(programs):
    """conv_first's output is added behind the trunk, where SRFlow's definition adds the last block's."""
    (model,) = programs.models[:1]
    rrdb = model.net.RRDB
    for (hr, lr), rows in zip(programs.pairs(), results_of(programs.out)["finished"].values()):
        x = Tensor(from_uint8(lr))
        with pynative_mode():
            own, (last,) = rrdb.trunk(x)  # the tiny network has one block
            fea = rrdb.conv_first(x) + (own - last)
            for upconv in rrdb.upconvs:
                fea = leaky_relu(upconv(nearest_up2(fea)))
            image = rrdb.conv_last(leaky_relu(rrdb.HRconv(fea))).asnumpy()
            other = rrdb.image(x).asnumpy()
        np.testing.assert_allclose(quality.encoder_image(rrdb, from_uint8(lr), SCALE, TILE), image, atol=1e-5)
        assert np.abs(image - other).max() > 1e-3
        assert rows[quality.ENCODER]["psnr"] == pytest.approx(psnr(to_uint8(image)[0], hr), abs=0.1)


def test_the_encoders_image_in_tiles(programs, monkeypatch):
    (model,) = programs.models[:1]
    lr, sizes, itself = from_uint8(astronaut()[:48, :40]), [], quality.esrgan_image

    def record(rrdb, part):
        sizes.append(part.shape[2:])
        return itself(rrdb, part)

    monkeypatch.setattr(quality, "esrgan_image", record)
    tiled = quality.encoder_image(model.net.RRDB, lr, SCALE, tile=32)
    assert sizes == [(32, 32)] * 4
    whole = itself(model.net.RRDB, lr)
    np.testing.assert_allclose(tiled, whole, atol=0.02 * np.ptp(whole))


def test_a_checkpoint_without_the_encoders_last_layers(programs, tmp_path, monkeypatch, capsys):
    save(tmp_path / "inference.ckpt", seed=4, kind=INFERENCE)
    rows = [quality.BICUBIC, "heat 0"]
    monkeypatch.setattr(
        quality, "measure", lambda *told: [(quality.NLL, {"nll": told[-1]})] + [(name, {}) for name in rows]
    )
    programs.main("--ckpt", str(tmp_path / "inference.ckpt"), "--heats", "0")
    text = capsys.readouterr().out
    assert "without HRconv and conv_last, so there is no row of the encoder's own image" in text
    assert quality.ENCODER not in text and "NLL 0.000" in text  # measure was told so


def test_what_is_finished_is_kept(programs, tmp_path, monkeypatch, capsys):
    """After an interruption only the other image is measured; other settings leave the file as it is."""
    found, out, measured = results_of(programs.out), tmp_path / "result.json", []

    def interrupted(model, pair, *arguments):
        measured.append(pair.name)
        if pair.name == "b.png" and len(measured) == 2:
            raise KeyboardInterrupt
        for name in found["finished"][pair.name]:
            yield name, found["finished"][pair.name][name]

    monkeypatch.setattr(quality, "measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        programs.measure(str(out))
    assert list(results_of(str(out))["finished"]) == ["a.png"]
    assert not programs.measure(str(out))
    assert measured == ["a.png", "b.png", "b.png"]
    assert results_of(str(out)) == found
    assert "| heat 0.7 |" in capsys.readouterr().out

    with pytest.raises(ValueError, match="result.json holds results with another seed; name another"):
        programs.measure(str(out), "--seed", "3")
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(ValueError, match="other.json is there and holds no results of this program"):
        programs.measure(str(tmp_path / "other.json"))
    assert results_of(str(out)) == found and (tmp_path / "other.json").read_text() == "[]"


def test_pixels_that_are_not_finite(programs):
    """They are counted, and the image is left out of the means."""
    ((hr, lr), _) = programs.pairs()
    pair = quality.Pair("a", hr, lr, lr.shape[:2], 1)
    images = np.stack([hr, hr]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    whole = quality.figures_at_heat(images, 2, pair, SCALE, Distance())
    images[1, :, 3, 4:9] = np.inf
    broken = quality.figures_at_heat(images, 2, pair, SCALE, Distance())
    assert list(broken) == list(whole) and broken["not_finite"] == 5
    assert all(np.isnan(value) for name, value in broken.items() if name != "not_finite")
    mean = quality.mean_row([whole, broken])
    assert mean == {**whole, "not_finite": 5, "not_finite_images": 1}
    text = quality.table({"heat 1": mean}, "two images")
    assert "| 5 (in 1 images, which the means leave out) |" in text


def test_curve_of_a_run(programs, capsys):
    """One model is made; its second checkpoint's figures are those of a model of its own."""
    before, out = len(programs.models), programs.path("curve.json")
    arguments = ["--curve", programs.path("run"), "--heat", "0.7", "--out", out]
    (programs.folder / "run" / "step_0000005.ckpt").write_bytes(b"damaged")
    assert not programs.main(*arguments)
    assert len(programs.models) == before + 1
    lines = capsys.readouterr().out.splitlines()
    first, second = results_of(out)["finished"].values()
    alone = results_of(programs.out)
    assert second["nll"] == pytest.approx(alone["nll"], rel=1e-6)
    assert second["psnr_heat_0"] == pytest.approx(alone["means"]["heat 0"]["psnr"], rel=1e-6)
    assert abs(first["nll"] - second["nll"]) > 1e-3
    expected = [
        evaluate_image(programs.models[-1], lr, hr, 0.7, 1, seed, TILE, lr.shape[:2], Distance())[1]
        for seed, (hr, lr) in enumerate(programs.pairs(), start=1)
    ]
    for name in ("psnr", "lpips", "lr_psnr"):
        assert second[name] == pytest.approx(np.mean([figures[name] for figures in expected]), rel=1e-6)
    assert (first["step"], first["seconds"], second["seconds"]) == (2, 760, 1120)
    title = "| step | hours | NLL | PSNR, heat 0 | PSNR, heat 0.7 | LPIPS, heat 0.7 | LR-PSNR, heat 0.7 | not finite |"
    assert title in lines
    assert any(line.startswith(f"| 4 | 0.31 | {second['nll']:.3f} | {second['psnr_heat_0']:.2f} |") for line in lines)
    assert read_image(programs.path("curve.png")).shape == (480, 800, 3)

    with mock.patch.object(quality, "measure", None):  # nothing is measured again
        assert not programs.main(*arguments)
    assert len(programs.models) == before + 1


def test_the_curves_picture():
    """A line of its own colour for each figure, from the left axis to the right one; none for what is not there."""
    rows = [{"hours": hours, "nll": -hours, "lpips": 1 / (1 + hours)} for hours in (0.0, 1.0, 3.0)]
    without = [{"hours": row["hours"], "nll": row["nll"]} for row in rows]
    for picture, colours in ((quality.quality_curve(rows, 0.8), 2), (quality.quality_curve(without, 0.8), 1)):
        drawn = [(np.abs(picture[:, LEFT:-LEFT] - np.array(colour)).sum(axis=2) < 40) for colour in COLOURS[:2]]
        columns = [found.any(axis=0).mean() for found in drawn]
        assert all(share > 0.9 for share in columns[:colours]) and not any(columns[colours:])


def test_hours_without_pauses(tmp_path):
    """A row that took half as long again as those around counts as these; a slower part of the run is no pause."""
    path = tmp_path / "train.csv"
    rows, seconds = [], 0
    for row in range(1, 101):
        pace = 1 if row <= 60 else 3
        seconds += {1: 200, 30: 500, 80: 500}.get(row, pace * 20)
        rows.append(f"{20 * row},0,{seconds}")
    path.write_text("step,loss,seconds\n" + "\n".join(rows) + "\n2020,0,")
    times = quality.training_times(str(path))
    hours = [quality.time_at(times, step)["hours"] for step in (20, 600, 1200, 2000)]
    assert hours == pytest.approx([20 / 3600, 600 / 3600, 1200 / 3600, 3600 / 3600], rel=0.02)
    assert quality.time_at(times, 2000)["seconds"] == seconds


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--ckpt", "none.ckpt", "--hr_dir", "."], "ckpt: none.ckpt: no such file; give a checkpoint"),
        (
            ["--curve", "nowhere", "--hr_dir", ".", "--out", "a.json"],
            "curve: nowhere: has no step_.*; give the output_dir",
        ),
        (["--curve", "nowhere", "--hr_dir", "."], "out: expected a name that ends in .json, got None"),
    ],
)
def test_wrong_arguments(arguments, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=problem):
        quality.main(arguments)
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("content", [None, "step,loss\n", "step,seconds\n"])
def test_a_run_without_times(tmp_path, content):
    path = tmp_path / "train.csv"
    if content:
        path.write_text(content)
    with pytest.raises(ValueError, match="train.csv: not there, or without steps and seconds"):
        quality.training_times(str(path))


def test_images_that_cannot_be_used(tmp_path, capsys):
    args = quality.parse(["--ckpt", "a", "--hr_dir", str(tmp_path), "--limit", "2"])
    with pytest.raises(ValueError, match="has no image files"):
        quality.read_pairs(args, SCALE)
    (tmp_path / "a.png").write_bytes(b"no picture")
    write_image(tmp_path / "b.png", astronaut()[:30, :64])
    with pytest.raises(ValueError, match="none of its images can be used"):
        quality.read_pairs(args, SCALE)
    assert len(capsys.readouterr().err.splitlines()) == 2
    write_image(tmp_path / "c.png", astronaut()[:64, :64])
    args.limit = None
    (pair,) = quality.read_pairs(args, SCALE)
    assert (pair.name, pair.hr.shape, pair.lr.shape, pair.size, pair.seed) == (
        "c.png",
        (64, 64, 3),
        (16, 16, 3),
        (16, 16),
        1,
    )
