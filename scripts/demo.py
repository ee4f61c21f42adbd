# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's kinds of figures, of photographs that come with scikit-image.

    python scripts/demo.py [--overwrite] CHECKPOINT FOLDER

FOLDER/heat.png: samples over temperature; variance.png: where samples of one image differ; transfer.png: the latents of
one image with the low resolution of another; restoration.png: the latents of a noisy image, given the prior's
statistics (SRFlow, section 4).
"""

import argparse
import os
import sys

import numpy as np
from skimage.data import astronaut, chelsea

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from src.evaluation.picture import deviation_map, sheet, write_png
from src.images import from_uint8, to_uint8
from src.imresize import imresize
from src.model.SRFlow import SRFlow, normalise_latents
from src.model_utils.util import run_main

SIDE = 192  # of the crops, a multiple of 2·scale
HEATS = (0.0, 0.3, 0.6, 0.9)
SAMPLES = 8
NOISE = 10  # standard deviation of the noise to be removed, of 255


def main():
    parser = argparse.ArgumentParser(description="Draw the paper's kinds of figures, of scikit-image's photographs.")
    parser.add_argument("checkpoint", help="any that eval.py reads")
    parser.add_argument("folder", help="where heat.png, variance.png, transfer.png and restoration.png are written")
    parser.add_argument("--overwrite", action="store_true", help="replace figures that are there already")
    args = parser.parse_args()
    figures = {
        os.path.join(args.folder, f"{figure.__name__}.png"): figure
        for figure in (heat, variance, transfer, restoration)
    }
    existing = [path for path in figures if os.path.lexists(path)]
    if existing and not args.overwrite:
        raise ValueError(f"{existing[0]}: exists already; give another folder or --overwrite")

    model = SRFlow.from_checkpoint(args.checkpoint)
    photographs = [astronaut()[20 : 20 + SIDE, 130 : 130 + SIDE], chelsea()[40 : 40 + SIDE, 110 : 110 + SIDE]]
    for path, figure in figures.items():
        write_png(path, figure(model, photographs))
        print(path)


def heat(model, photographs):
    """Rows: photographs; columns: samples from no temperature to 0.9, of the same noise."""
    rows = []
    for hr in photographs:
        lr = imresize(hr, 1 / model.scale)
        rows.append([lr, imresize(lr, model.scale)] + list(model.sample(lr, HEATS, seed=0)[:, 0]) + [hr])
    return sheet(rows, ["LR", "bicubic"] + [f"heat {value:g}" for value in HEATS] + ["HR"])


def variance(model, photographs):
    """The mean of several samples, and their standard deviation, the largest one white."""
    rows = []
    for hr in photographs:
        lr = imresize(hr, 1 / model.scale)
        samples = model.sample(lr, 0.9, SAMPLES, seed=0)
        rows.append([lr, samples[0], samples[1], np.uint8(samples.mean(axis=0)), deviation_map(samples), hr])
    return sheet(rows, ["LR", "sample", "another", f"mean of {SAMPLES}", "deviation", "HR"])


def transfer(model, photographs):
    """The detail of one photograph, as its latents have it, on the low resolution of the other."""
    rows = []
    for hr, other in (photographs, photographs[::-1]):
        lr, other_lr = imresize(hr, 1 / model.scale), imresize(other, 1 / model.scale)
        latents = model.encode(from_uint8(other), from_uint8(other_lr))[0]
        mixed = to_uint8(model.decode(from_uint8(lr), latents))[0]
        again = to_uint8(model.decode(from_uint8(other_lr), latents))[0]
        rows.append([lr, model.sample(lr, 0.9, seed=0)[0], other, again, mixed])
    return sheet(rows, ["LR", "its sample", "another HR", "its latents, its LR", "its latents, this LR"])


def restoration(model, photographs):
    """Noise in a high-resolution image is unlikely latents; given the prior's statistics, they decode to less of it."""
    rows = []
    for hr in photographs:
        noise = NOISE * np.random.RandomState(0).standard_normal(hr.shape)
        noisy = np.uint8(np.clip(hr + noise, 0, 255))
        lr = imresize(noisy, 1 / model.scale)
        latents = model.encode(from_uint8(noisy), from_uint8(lr))[0]
        restored = to_uint8(model.decode(from_uint8(lr), normalise_latents(latents, 0.9)))[0]
        rows.append([noisy, lr, restored, hr])
    return sheet(rows, ["noisy HR", "its LR", "restored", "clean HR"])


if __name__ == "__main__":
    run_main(main)
