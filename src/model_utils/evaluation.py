# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of images: the pictures, the figures that the paper and the earlier port report, what is finished."""
import contextlib
import json
import os

import numpy as np

from src.dataloader.imresize import imresize
from src.model.SRFlow import from_uint8, pad_to_even
from src.model_utils.metrics import lr_psnr, psnr, ssim, ssim_gaussian
from src.model_utils.tiling import tiles
from src.model_utils.util import atomic_write


def evaluate_image(model, lr, hr, heat, n_samples, seed, tile=None, lpips=None):
    """(samples, figures) of one low-resolution image.

    model: SRFlow; lr uint8 (h, w, 3); hr uint8 (s·h, s·w, 3) or None; tile: as `SRFlow.sample` takes it; lpips: LPIPS
    or None. samples: uint8 (n, s·h, s·w, 3). figures: by name, those of samples averaged over them: `lr_psnr` (dB);
    with hr also `psnr` (dB), `ssim`, `ssim_gaussian` (on the pixels divided by 255), `lpips`, `nll` (bits per pixel,
    with dequantisation noise), and `psnr_bicubic`, `ssim_bicubic`; with several samples `pixel_std`, the mean over
    pixels and colours of the samples' standard deviation (of 255), and with hr `psnr_best`, the best sample's.
    """
    samples = model.sample(lr, heat, n_samples, seed, tile=tile)
    figures = {"lr_psnr": np.mean([lr_psnr(sample, lr, model.scale) for sample in samples])}
    if n_samples > 1:
        figures["pixel_std"] = samples.astype(np.float32).std(axis=0).mean()
    if hr is not None:
        bicubic, psnrs = imresize(lr, model.scale), [psnr(sample, hr) for sample in samples]
        figures.update(psnr=np.mean(psnrs), ssim=np.mean([ssim(sample, hr) for sample in samples]),
                       ssim_gaussian=np.mean([ssim_gaussian(sample / 255, hr / 255) for sample in samples]),
                       nll=likelihood(model, lr, hr, seed, tile),
                       psnr_bicubic=psnr(bicubic, hr), ssim_bicubic=ssim(bicubic, hr))
        if n_samples > 1:
            figures["psnr_best"] = max(psnrs)
        if lpips is not None:
            figures["lpips"] = np.mean([lpips.distance(sample, hr) for sample in samples])
    return samples, {name: float(value) for name, value in figures.items()}


def likelihood(model, lr, hr, seed, tile=None):
    """NLL in bits per pixel of hr given lr, its dequantisation noise drawn from the seed.

    Odd sizes of lr are padded by reflection, and hr with them. An image larger than a tile is taken apart, each tile
    an image of its own: the mean over the tiles.
    """
    lr, hr = from_uint8(lr), from_uint8(hr)
    height, width = lr.shape[2:]
    lr = pad_to_even(lr)
    missing = [(padded - side) * model.scale for padded, side in zip(lr.shape[2:], (height, width))]
    hr = np.pad(hr, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), mode="reflect")
    noise = np.random.RandomState(seed).random_sample(hr.shape).astype(np.float32)
    height, width = lr.shape[2:]
    if tile is None or max(height, width) <= tile:
        return model.encode(hr, lr, noise)[1][0]
    return np.mean([model.encode(part.cut(hr, model.scale), part.cut(lr), part.cut(noise, model.scale))[1][0]
                    for part in tiles(height, width, tile, overlap=0)])


def mean_figures(rows):
    """The mean of every figure over images; rows: list of dicts as `evaluate_image` gives."""
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


class Progress:
    """What is finished, so that an interrupted evaluation goes on after its last finished image.

    A file of JSON lines, the settings first, then a row per image; one of other settings is not continued. It is
    removed when the block ends well. rows: those of the images finished so far, in order.
    """

    def __init__(self, path, settings):
        self.path, self.settings, self.rows = path, settings, []

    def __enter__(self):
        self.rows = self._finished()
        with atomic_write(self.path) as temporary, open(temporary, "w") as file:
            file.writelines(json.dumps(entry) + "\n" for entry in [self.settings] + self.rows)
        self.file = open(self.path, "a")
        return self

    def __exit__(self, kind, *_):
        self.file.close()
        if kind is None:
            os.remove(self.path)

    def add(self, row):
        """The figures of the next image, all that is written of it being written."""
        self.rows.append(row)
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()

    def _finished(self):
        if not os.path.exists(self.path):
            return []
        entries = []
        with open(self.path) as file:
            for line in file:
                with contextlib.suppress(ValueError):  # the last line may have been cut off
                    entries.append(json.loads(line))
        return entries[1:] if entries and entries[0] == json.loads(json.dumps(self.settings)) else []
