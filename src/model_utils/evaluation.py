# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of one image: the pictures, and the figures that the paper and the earlier port report."""
import numpy as np

from src.dataloader.imresize import imresize
from src.model.SRFlow import from_uint8, pad_to_even
from src.model_utils.metrics import lr_psnr, psnr, ssim, ssim_gaussian

FULL_REFERENCE = ("psnr", "ssim", "ssim_gaussian", "nll", "psnr_bicubic", "ssim_bicubic")


def evaluate_image(model, lr, hr, heat, n_samples, seed):
    """(samples, figures) of one low-resolution image.

    model: SRFlow; lr uint8 (h, w, 3); hr uint8 (s·h, s·w, 3) or None. samples: uint8 (n, s·h, s·w, 3). figures: by
    name, each the mean over the samples: `lr_psnr` (dB); with hr also `psnr` (dB), `ssim`, `ssim_gaussian` (on the
    pixels divided by 255), `nll` (bits per pixel, with dequantisation noise), and `psnr_bicubic`, `ssim_bicubic`.
    """
    samples = model.sample(lr, heat, n_samples, seed)
    figures = {"lr_psnr": np.mean([lr_psnr(sample, lr, model.scale) for sample in samples])}
    if hr is not None:
        bicubic = imresize(lr, model.scale)
        figures.update(psnr=np.mean([psnr(sample, hr) for sample in samples]),
                       ssim=np.mean([ssim(sample, hr) for sample in samples]),
                       ssim_gaussian=np.mean([ssim_gaussian(sample / 255, hr / 255) for sample in samples]),
                       nll=likelihood(model, lr, hr, seed),
                       psnr_bicubic=psnr(bicubic, hr), ssim_bicubic=ssim(bicubic, hr))
    return samples, {name: float(value) for name, value in figures.items()}


def likelihood(model, lr, hr, seed):
    """NLL in bits per pixel of hr given lr, its dequantisation noise drawn from the seed.

    Odd sizes of lr are padded by reflection, and hr with them.
    """
    lr, hr = from_uint8(lr), from_uint8(hr)
    height, width = lr.shape[2:]
    lr = pad_to_even(lr)
    missing = [(padded - side) * model.scale for padded, side in zip(lr.shape[2:], (height, width))]
    hr = np.pad(hr, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), mode="reflect")
    noise = np.random.RandomState(seed).random_sample(hr.shape).astype(np.float32)
    return model.encode(hr, lr, noise)[1][0]


def mean_figures(rows):
    """The mean of every figure over images; rows: list of dicts as `evaluate_image` gives."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
