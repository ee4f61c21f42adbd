# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MATLAB-like bicubic resizing against exact recorded cases."""

import os

import numpy as np
import pytest

from src.imresize import imresize

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "imresize.npz")


@pytest.mark.parametrize("case", range(5))
def test_equals_recorded_results_exactly(case):
    with np.load(GOLDEN) as golden:
        image, scale, expected = (golden[f"{name}_{case}"] for name in ("in", "scale", "out"))
    np.testing.assert_array_equal(imresize(image, float(scale)), expected)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 2, 3])
def test_a_constant_image_stays_constant(scale):
    image = np.full((12, 20, 3), 77, np.uint8)
    resized = imresize(image, scale)
    assert resized.dtype == np.uint8
    assert resized.shape == (int(np.ceil(12 * scale)), int(np.ceil(20 * scale)), 3)
    assert np.all(resized == 77)


def test_scale_one_is_the_identity():
    image = np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(imresize(image, 1), image)


def test_output_size_is_rounded_up_and_tiny_images_work():
    assert imresize(np.zeros((5, 9, 3), np.uint8), 0.25).shape == (2, 3, 3)
    assert imresize(np.full((1, 1, 3), 9, np.uint8), 0.25).tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize(
    "image, scale, named",
    [
        (np.zeros((4, 4, 3), np.float32), 0.5, "image"),
        (np.zeros((4, 4), np.uint8), 0.5, "image"),
        (np.zeros((0, 4, 3), np.uint8), 0.5, "image"),
        (np.zeros((4, 4, 3), np.uint8), 0, "scale"),
        (np.zeros((4, 4, 3), np.uint8), float("nan"), "scale"),
    ],
)
def test_bad_arguments_are_named(image, scale, named):
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        imresize(image, scale)
