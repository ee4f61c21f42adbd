# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics against plain-numpy formulas written independently of them."""

import numpy as np
import pytest
from skimage.data import astronaut

from src.evaluation.metrics import diversity, lr_psnr, psnr, psnr_y, ssim, ssim_gaussian
from src.imresize import imresize


@pytest.fixture(name="pair", scope="module")
def fixture_pair():
    """A photograph (40, 48, 3) and a noisy copy."""
    image = np.ascontiguousarray(astronaut()[100:140, 200:248])
    noise = np.random.RandomState(0).randint(-20, 21, image.shape)
    return image, np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def reference_ssim(a, b, window, data_range, correction):
    """SSIM window by window, straight from the definition; a, b float64 (H, W, C)."""
    size = window.shape[0]
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for channel in range(a.shape[2]):
        for y in range(a.shape[0] - size + 1):
            for x in range(a.shape[1] - size + 1):
                p, q = a[y : y + size, x : x + size, channel], b[y : y + size, x : x + size, channel]
                mean_p, mean_q = (window * p).sum(), (window * q).sum()
                variance_p = (window * (p - mean_p) ** 2).sum() * correction
                variance_q = (window * (q - mean_q) ** 2).sum() * correction
                covariance = (window * (p - mean_p) * (q - mean_q)).sum() * correction
                values.append(
                    (2 * mean_p * mean_q + c1)
                    * (2 * covariance + c2)
                    / ((mean_p**2 + mean_q**2 + c1) * (variance_p + variance_q + c2))
                )
    return np.mean(values)


def test_psnr_is_the_formula(pair):
    a, b = pair
    squared_error = np.square(a.astype(float) - b.astype(float)).sum() / a.size
    assert psnr(a, b) == pytest.approx(20 * np.log10(255 / np.sqrt(squared_error)), abs=1e-9)
    assert psnr(np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)) == 0


def test_psnr_does_not_wrap_around_in_uint8():
    low, high = np.full((8, 8, 3), 1, np.uint8), np.full((8, 8, 3), 254, np.uint8)
    assert psnr(low, high) == psnr(high, low) == pytest.approx(20 * np.log10(255 / 253))


def test_psnr_y_is_the_psnr_of_bt601_luma(pair):
    a, b = pair

    def luma(image):
        red, green, blue = (image[4:-4, 4:-4, channel].astype(float) / 255 for channel in range(3))
        return 16 + 65.481 * red + 128.553 * green + 24.966 * blue

    expected = 10 * np.log10(255**2 / np.mean((luma(a) - luma(b)) ** 2))
    assert psnr_y(a, b, border=4) == pytest.approx(expected, abs=1e-9)
    white = np.full((8, 8, 3), 255, np.uint8)
    assert psnr_y(white, np.zeros_like(white)) == pytest.approx(20 * np.log10(255 / (235 - 16)))


def test_ssim_is_the_uniform_window_definition(pair):
    a, b = pair
    window = np.full((7, 7), 1 / 49)
    expected = reference_ssim(a.astype(float), b.astype(float), window, 255, correction=49 / 48)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)


def test_ssim_gaussian_is_the_weighted_definition(pair):
    a, b = (image / 255 for image in pair)
    profile = np.exp(-((np.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = np.outer(profile, profile)
    expected = reference_ssim(a, b, window / window.sum(), 1.0, correction=1)
    assert ssim_gaussian(a, b) == pytest.approx(expected, abs=1e-9)
    assert ssim_gaussian(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(expected, abs=1e-5)
    assert abs(expected - ssim(*pair)) > 1e-3  # the two protocols differ


def test_identical_images(pair):
    image = pair[0]
    assert psnr(image, image) == psnr_y(image, image) == float("inf")
    assert ssim(image, image) == pytest.approx(1, abs=1e-12)
    assert ssim_gaussian(image / 255, image / 255) == pytest.approx(1, abs=1e-12)


def test_lr_psnr_downscales_the_sr_image(pair):
    sr = pair[1]
    consistent = imresize(sr, 1 / 4)
    assert lr_psnr(sr, consistent, 4) == float("inf")
    off_by_one = np.where(consistent < 255, consistent + 1, consistent - 1).astype(np.uint8)
    assert lr_psnr(sr, off_by_one, 4) == pytest.approx(20 * np.log10(255))


@pytest.mark.parametrize(
    "call, named",
    [
        (lambda: psnr(np.zeros((8, 8, 3)), np.zeros((8, 8, 3))), "a: expected a uint8"),
        (lambda: psnr(np.zeros((8, 8, 3), np.uint8), np.zeros((3, 8, 8), np.uint8)), "b: expected a uint8"),
        (lambda: psnr(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)), "b: expected the shape of a"),
        (
            lambda: psnr_y(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), border=4),
            "border: expected 0 to 3",
        ),
        (lambda: ssim(np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8, 3), np.uint8)), "a, b: expected sides"),
        (lambda: ssim_gaussian(np.zeros((10, 20, 3)), np.zeros((10, 20, 3))), "a, b: expected sides"),
        (lambda: ssim_gaussian(np.zeros((20, 20, 3), np.uint8), np.zeros((20, 20, 3))), "a: expected a float"),
        (lambda: ssim_gaussian(np.full((20, 20, 3), 2.0), np.zeros((20, 20, 3))), "a: expected values in"),
        (lambda: ssim_gaussian(np.zeros((20, 20, 3)), np.full((20, 20, 3), np.nan)), "b: expected values in"),
        (lambda: lr_psnr(np.zeros((8, 8, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), 4), "sr: expected shape"),
    ],
)
def test_bad_arguments_are_named(call, named):
    with pytest.raises(ValueError, match="^" + named):
        call()


def test_diversity_is_its_formula():
    strengths = np.float32([2, 1, 3, 1, 1]).reshape(5, 1, 1)
    maps = strengths * np.random.RandomState(0).random_sample((5, 24, 40)).astype(np.float32)
    means = maps.mean(axis=(1, 2), dtype=np.float64)
    expected = 100 * (means.min() - maps.min(axis=0).mean(dtype=np.float64)) / means.min()
    kept = maps.copy()
    assert 0 < expected < 100
    assert diversity(iter(maps)) == pytest.approx(expected, rel=1e-6)
    assert diversity(maps[::-1]) == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(maps, kept)


def test_extremes_of_diversity():
    """Samples that are all alike give nothing to choose; of those that are each right in one half, the halves."""
    distances = np.random.RandomState(0).random_sample((16, 24)).astype(np.float32)
    assert diversity([distances] * 3) == 0
    assert diversity([distances, 2 * distances]) == 0  # one is the nearer everywhere
    left, right = distances.copy(), distances.copy()
    left[:, :12], right[:, 12:] = 0, 0
    assert diversity([left, right]) == 100
    assert diversity([np.zeros_like(distances), distances]) == 0  # one is the image itself
    even, uneven = np.full((8, 4), 3, np.float32), np.float32([[1, 1, 5, 5]] * 8)
    assert diversity([even, uneven]) == pytest.approx(100 / 3)
