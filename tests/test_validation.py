# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Validation while training, with simple models in the networks' place."""

import os

import numpy as np
import pytest
from mindspore import nn
from programs import SCALE, fixture_base  # noqa: F401
from skimage.data import astronaut

from src.dataloader.dataset import EvalData
from src.dataloader.prepare import prepare_images
from src.evaluation.metrics import psnr
from src.imresize import imresize
from src.model.convolutions import nearest_up2
from src.model_utils.options import load_options
from src.training import validation


class ModelOfKnownFigures:
    """In SRFlow's place: samples are the enlarged image, darker with the heat; the NLL is the mean of the noise."""

    scale = SCALE

    def __init__(self, net, quant, implementation):
        assert (net, quant, implementation) == ("network", 32, "auto")
        self.refreshed, self.encoded, self.sampled = 0, [], []

    def refresh(self):
        self.refreshed += 1

    def sample(self, lr, heat=0.9, n=1, seed=None):
        assert lr.dtype == np.uint8 and n == 1
        self.sampled.append((heat, seed))
        return (imresize(lr, SCALE) * (1 - heat / 2)).astype(np.uint8)[None]

    def encode(self, hr, lr, noise):
        assert hr.shape == noise.shape == (1, 3, SCALE * lr.shape[2], SCALE * lr.shape[3])
        assert hr.dtype == lr.dtype == np.float32 and hr.max() <= 1
        assert noise.min() >= 0 and noise.max() < 1 and len(np.unique(noise)) > 100
        self.encoded.append(noise)
        return (), np.array([noise.mean()]), np.zeros(1)


class EnlargingEncoder(nn.Cell):
    """In RRDBNet's place: its image is the enlarged one."""

    def image(self, lr):
        return nearest_up2(nearest_up2(lr))

    def construct(self, lr):
        return self.image(lr)


def options(base, *overrides):
    return load_options(os.path.join(base, "SRFlow.yml"), overrides)


def test_no_validation_file(base):
    assert validation.make_validation(options(base, "datasets.val.dataroot=null"), None, None) is None


def test_figures_of_the_flow(base, monkeypatch):
    monkeypatch.setattr(validation, "SRFlow", ModelOfKnownFigures)
    opt = options(base, "train.val_images=2", "train.val_heats=[0.0, 0.5, 1.0]")
    validate = validation.make_validation(opt, "network", None)
    figures, picture = validate()
    model = validate.model
    assert list(figures) == ["nll", "psnr_heat_0", "psnr_heat_0.5", "psnr_heat_1"]
    pairs = [(hr, lr) for _, hr, lr in EvalData(opt.datasets.val.dataroot, SCALE)]
    for heat in (0.0, 0.5, 1.0):
        expected = np.mean([psnr((imresize(lr, SCALE) * (1 - heat / 2)).astype(np.uint8), hr) for hr, lr in pairs])
        assert figures[f"psnr_heat_{heat:g}"] == pytest.approx(expected)
    assert figures["nll"] == pytest.approx(np.mean([noise.mean() for noise in model.encoded]))
    assert not np.array_equal(model.encoded[0], model.encoded[1])
    assert picture.dtype == np.uint8 and picture.shape[0] > 2 * 32 and picture.shape[1] > 6 * 32

    # Every validation reads the weights anew and draws the same noise and latents.
    assert model.refreshed == 1
    again, same_picture = validate()
    assert again == figures and model.refreshed == 2
    np.testing.assert_array_equal(picture, same_picture)
    assert model.sampled[:6] == model.sampled[6:] and len(set(model.sampled)) == 6
    np.testing.assert_array_equal(model.encoded[0], model.encoded[2])


def test_the_seed_decides(base, monkeypatch):
    monkeypatch.setattr(validation, "SRFlow", ModelOfKnownFigures)
    figures = [
        validation.make_validation(options(base, f"train.manual_seed={seed}"), "network", None)()[0]
        for seed in (1, 1, 2)
    ]
    assert figures[0] == figures[1] and figures[0]["nll"] != figures[2]["nll"]


def test_figures_of_the_encoder(base):
    opt = options(base, "model=RRDB", "train.val_images=2")
    figures, picture = validation.make_validation(opt, None, EnlargingEncoder())()
    l1, quality = [], []
    for _, hr, lr in EvalData(opt.datasets.val.dataroot, SCALE):
        enlarged = lr.repeat(SCALE, 0).repeat(SCALE, 1)
        l1.append(np.abs(enlarged / 255 - hr / 255).mean())
        quality.append(psnr(enlarged, hr))
    assert figures["l1"] == pytest.approx(np.mean(l1), rel=1e-5)
    assert figures["psnr"] == pytest.approx(np.mean(quality), abs=0.05)  # truncation to 8 bits
    assert picture.shape[1] > 4 * 32


@pytest.mark.parametrize(
    "size, expected",
    [
        ((96, 80), 32),  # larger than the training patches: their centre
        ((24, 40), 24),  # smaller: as much as there is
    ],
)
def test_centre_patches(base, tmp_path, size, expected):
    image = astronaut()[: size[0], : size[1]]
    prepare_images([("astronaut", image)], str(tmp_path / "valid.mindrecord"), SCALE, whole=True, progress=False)
    opt = options(base, f"datasets.val.dataroot={tmp_path / 'valid.mindrecord'}")
    ((hr, lr),) = validation._centre_patches(opt)
    assert hr.shape == (expected, expected, 3) and lr.shape == (expected // SCALE, expected // SCALE, 3)
    top, left = ((side // SCALE - expected // SCALE) // 2 for side in size)
    np.testing.assert_array_equal(
        hr, image[top * SCALE : top * SCALE + expected, left * SCALE : left * SCALE + expected]
    )
    np.testing.assert_array_equal(
        lr,
        imresize(np.ascontiguousarray(image), 1 / SCALE)[
            top : top + expected // SCALE, left : left + expected // SCALE
        ],
    )


def test_as_many_images_as_configured(base):
    opt = options(base, "train.val_images=1")
    assert len(validation._centre_patches(opt)) == 1
    assert len(validation._centre_patches(options(base, "train.val_images=50"))) == 2
