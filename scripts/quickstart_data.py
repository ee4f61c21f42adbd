# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the quick start's MindRecord files from photographs that come with scikit-image.

    python scripts/quickstart_data.py FOLDER

FOLDER/train.mindrecord and FOLDER/valid.mindrecord: patches of different photographs. Files that are there are kept.
"""

import os
import sys

import skimage

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from src.dataloader.prepare import prepare_images
from src.model_utils.util import run_main

PHOTOGRAPHS = os.path.join(os.path.dirname(skimage.__file__), "data")
TRAINING = ("coffee.png", "motorcycle_left.png", "rocket.jpg", "hubble_deep_field.jpg", "grass.png", "gravel.png")
VALIDATION = ("astronaut.png", "chelsea.png")


def main():
    if len(sys.argv) != 2:
        raise ValueError("usage: python scripts/quickstart_data.py FOLDER")
    # Sheets show the first four patches. With this order and seed these are a face, a flag, and a cat's nose and eye.
    for name, photographs, patch, per_image, seed in (
        ("train", TRAINING, 96, 60, 10),
        ("valid", 2 * VALIDATION, 128, 2, 12),
    ):
        out = os.path.join(sys.argv[1], f"{name}.mindrecord")
        if os.path.exists(out):
            print(f"{out}: there already")
            continue
        files = [os.path.join(PHOTOGRAPHS, photograph) for photograph in photographs]
        result = prepare_images(files, out, patch=patch, per_image=per_image, seed=seed)
        print(f"{out}: {result.records} patches of {patch}x{patch} from {len(set(photographs))} photographs")


if __name__ == "__main__":
    run_main(main)
