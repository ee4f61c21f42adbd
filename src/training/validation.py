# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Validation while training: NLL and PSNR over a few images, and a sheet of pictures."""

import numpy as np
from mindspore import Tensor

from src.dataloader.dataset import EvalData
from src.evaluation.metrics import psnr
from src.evaluation.picture import SHEET_ROWS, sheet
from src.images import from_uint8, to_uint8
from src.imresize import imresize
from src.model.SRFlow import SRFlow
from src.model.SRFlowNet import EncoderImage


def make_validation(opt, net, computed):
    """Make the validation that fits the model of the options.

    Args:
        opt: Options of the run.
        net: the network.
        computed: what the implementation makes of the network; for model RRDB it gives the encoder's image.

    Returns:
        a function without arguments, as FlowValidation and EncoderValidation describe it; None where no validation file
        is configured.
    """
    if not opt.datasets.val.dataroot:
        return None
    pairs = _centre_patches(opt)
    return FlowValidation(opt, net, pairs) if opt.model == "SRFlow" else EncoderValidation(computed, pairs)


class FlowValidation:
    """A validation of the flow; a call returns ({"nll": …, "psnr_heat_…": …}, picture sheet).

    The NLL is in bits per pixel, with dequantisation noise as the likelihood of 8-bit images needs it. The PSNR, in dB,
    is that of one sample at each of `train.val_heats`. The noise and the latents are the same at every validation.

    Args:
        opt: Options of the run.
        net: SRFlowNet.
        pairs: list of (hr, lr), uint8 (H, W, 3) and (h, w, 3).
    """

    def __init__(self, opt, net, pairs):
        self.heats, self.seed, self.pairs = opt.train.val_heats, opt.train.manual_seed, pairs
        self.model = SRFlow(net, opt.datasets.train.quant, opt.implementation)

    def __call__(self):
        self.model.refresh()
        noise = np.random.RandomState(self.seed)
        nll, quality, rows = [], [], []
        for index, (hr, lr) in enumerate(self.pairs):
            hr_batch, lr_batch = from_uint8(hr), from_uint8(lr)
            nll.append(self.model.encode(hr_batch, lr_batch, noise.random_sample(hr_batch.shape))[1][0])
            samples = [self.model.sample(lr, heat, seed=self.seed + index)[0] for heat in self.heats]
            quality.append([psnr(sample, hr) for sample in samples])
            if index < SHEET_ROWS:
                rows.append([lr, imresize(lr, self.model.scale)] + samples + [hr])
        figures = {"nll": float(np.mean(nll))}
        for heat, value in zip(self.heats, np.mean(quality, axis=0)):
            figures[f"psnr_heat_{heat:g}"] = float(value)
        titles = ["LR", "bicubic"] + [f"heat {heat:g}" for heat in self.heats] + ["HR"]
        return figures, sheet(rows, titles)


class EncoderValidation:
    """A validation of L1 pre-training; a call returns ({"l1": …, "psnr": …}, picture sheet).

    Both figures, and the sheet, are of the encoder's own image. `l1` is in units of [0, 1], `psnr` in dB.

    Args:
        encoder: what the implementation makes of an RRDBNet.
        pairs: list of (hr, lr), uint8 (H, W, 3) and (h, w, 3).
    """

    def __init__(self, encoder, pairs):
        self.pairs, self.image = pairs, EncoderImage(encoder)

    def __call__(self):
        l1, quality, rows = [], [], []
        for index, (hr, lr) in enumerate(self.pairs):
            image = self.image(Tensor(from_uint8(lr))).asnumpy()
            picture = to_uint8(image)[0]
            l1.append(np.abs(image - from_uint8(hr)).mean())
            quality.append(psnr(picture, hr))
            if index < SHEET_ROWS:
                rows.append([lr, imresize(lr, hr.shape[0] // lr.shape[0]), picture, hr])
        return {"l1": float(np.mean(l1)), "psnr": float(np.mean(quality))}, sheet(rows, ["LR", "bicubic", "SR", "HR"])


def _centre_patches(opt):
    """Return the first `train.val_images` pairs, cut to their centre of at most HR_size.

    Images that are large enough all have that size, so that it is compiled once.
    """
    pairs = []
    for _, hr, lr in EvalData(opt.datasets.val.dataroot, opt.scale, limit=opt.train.val_images):
        size = min(opt.datasets.train.HR_size // opt.scale, *(side - side % 2 for side in lr.shape[:2]))
        top, left = ((side - size) // 2 for side in lr.shape[:2])
        lr = lr[top : top + size, left : left + size]
        hr = hr[top * opt.scale : (top + size) * opt.scale, left * opt.scale : (left + size) * opt.scale]
        pairs.append((np.ascontiguousarray(hr), np.ascontiguousarray(lr)))
    return pairs
