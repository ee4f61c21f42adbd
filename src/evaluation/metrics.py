# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Image quality metrics, each with the protocol behind its name.

Published tables mix protocols: RGB or luma, a uniform or a Gaussian SSIM window, shaved borders or none. Numbers of
different protocols must not be compared, hence one function per protocol. Images are channels-last (H, W, 3) RGB.
"""

import inspect

import cv2
import numpy as np
from skimage.metrics import structural_similarity

from src.imresize import imresize

MIN_SIDE = 31  # pixels, for LPIPS, whose second pooling leaves nothing of smaller images
_UNIFORM_WINDOW = 7
_GAUSSIAN_WINDOW = 11
_GAUSSIAN_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03  # stabilising constants (Wang et al., 2004)
# scikit-image renamed the argument in 0.19.
_CHANNELS_LAST = (
    {"channel_axis": 2}
    if "channel_axis" in inspect.signature(structural_similarity).parameters
    else {"multichannel": True}
)


def psnr(a, b):
    """Compute the PSNR in dB on RGB: 10 log10(255² / mean squared error over pixels and channels).

    This is the protocol of the official SRFlow evaluation. It equals `skimage.metrics.peak_signal_noise_ratio`.

    Args:
        a, b: uint8 arrays (H, W, 3) of one shape.

    Returns:
        float; `inf` for identical images.

    Raises:
        ValueError: wrong dtype or rank, or different shapes.
    """
    a, b = _uint8_pair(a, b)
    return _psnr(a.astype(np.float64), b.astype(np.float64))


def psnr_y(a, b, border=0):
    """Compute the PSNR in dB on the luma of BT.601, as the classical benchmarks do (Set5, Set14, BSD100, ...).

    Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255, computed in float64 and not rounded.

    Args:
        a, b: uint8 arrays (H, W, 3) of one shape.
        border: pixels to leave out at every edge; those benchmarks leave out as many as the scale.

    Returns:
        float; `inf` for identical luma.

    Raises:
        ValueError: wrong dtype or rank, different shapes, or a border that leaves nothing.
    """
    a, b = _uint8_pair(a, b)
    height, width = a.shape[:2]
    if border < 0 or 2 * border >= min(height, width):
        raise ValueError(
            f"border: expected 0 to {(min(height, width) - 1) // 2} for images of shape {a.shape}, got {border}"
        )
    inside = np.s_[border : height - border, border : width - border]
    return _psnr(_luma(a[inside]), _luma(b[inside]))


def ssim(a, b):
    """Compute the structural similarity as scikit-image's default and the official SRFlow evaluation do.

    The window is uniform, 7×7, with K1 = 0.01, K2 = 0.03 and sample (co)variances. The result is the mean over channels
    and over all positions at least 3 pixels from the edge.

    Args:
        a, b: uint8 arrays (H, W, 3) of one shape, each side at least 7.

    Returns:
        float, 1.0 for identical images.

    Raises:
        ValueError: wrong dtype or rank, different shapes, or images smaller than the window.
    """
    a, b = _uint8_pair(a, b)
    _require_size(a, _UNIFORM_WINDOW)
    return float(structural_similarity(a, b, win_size=_UNIFORM_WINDOW, data_range=255, **_CHANNELS_LAST))


def ssim_gaussian(a, b):
    """Compute the structural similarity with a Gaussian window (Wang et al., "Image quality assessment", 2004).

    The window is Gaussian, 11×11 with sigma 1.5, with K1 = 0.01, K2 = 0.03 and data range 1. It weights the
    (co)variances. The result is the mean over channels and over the (H - 10) × (W - 10) positions whose whole window
    lies inside the image.

    Args:
        a, b: float arrays (H, W, 3) of one shape with values in [0, 1], each side at least 11.

    Returns:
        float, 1.0 for identical images.

    Raises:
        ValueError: wrong dtype, rank or range, different shapes, or images smaller than the window.
    """
    a, b = _float_pair(a, b)
    _require_size(a, _GAUSSIAN_WINDOW)
    mean_a, mean_b = _gaussian_mean(a), _gaussian_mean(b)
    variance_a = _gaussian_mean(a * a) - mean_a**2
    variance_b = _gaussian_mean(b * b) - mean_b**2
    covariance = _gaussian_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _K1**2) / (mean_a**2 + mean_b**2 + _K1**2)
    contrast_structure = (2 * covariance + _K2**2) / (variance_a + variance_b + _K2**2)
    return float(np.mean(luminance * contrast_structure))


def lr_psnr(sr, lr, scale):
    """Compute the PSNR in dB between the LR image and the downscaled SR image.

    It says how consistent the SR image is with its input. The SR image is downscaled by `imresize`, as the LR image
    itself was made.

    Args:
        sr: uint8 array (scale * h, scale * w, 3).
        lr: uint8 array (h, w, 3).
        scale: the super-resolution factor, e.g. 4.

    Returns:
        float; `inf` for perfect consistency.

    Raises:
        ValueError: wrong dtype or rank, or sizes that do not fit the scale.
    """
    sr, lr = _checked(sr, "sr"), _checked(lr, "lr")
    expected = (lr.shape[0] * scale, lr.shape[1] * scale, 3)
    if sr.shape != expected:
        raise ValueError(f"sr: expected shape {expected} for lr {lr.shape} at scale {scale}, got {sr.shape}")
    return psnr(imresize(sr, 1 / scale), lr)


def diversity(maps):
    """Compute the diversity score of a set of samples ("NTIRE 2021 Learning the Super-Resolution Space Challenge").

        100·(min_i mean_p d_i − mean_p min_i d_i)/min_i mean_p d_i

    It says by how many per cent the best sample's distance would fall if each pixel could be taken from the sample that
    is nearest there. All samples alike give 0, and a set in which each pixel is right in some sample gives 100.

    Args:
        maps: iterable of d_i, float32 (H, W) of one shape, >= 0: how far sample i is from the image at each pixel. One
            is held at a time, besides their minimum.

    Returns:
        float, 0 to 100; 0 where a sample is the image itself, which leaves nothing to gain.
    """
    best, nearest = float("inf"), None
    for distances in maps:
        best = min(best, distances.mean(dtype=np.float64))
        nearest = distances if nearest is None else np.minimum(nearest, distances)
    return 100 * float((best - nearest.mean(dtype=np.float64)) / best) if best > 0 else 0.0


def _psnr(a, b):
    error = np.mean((a - b) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))


def _luma(image):
    return 16 + image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def _gaussian_mean(image):
    """Return the weighted mean of every full window: (H, W, 3) -> (H - 10, W - 10, 3), float64."""
    window = cv2.getGaussianKernel(_GAUSSIAN_WINDOW, _GAUSSIAN_SIGMA, cv2.CV_64F)
    edge = _GAUSSIAN_WINDOW // 2
    return cv2.sepFilter2D(image, cv2.CV_64F, window, window)[edge:-edge, edge:-edge]


def _checked(image, name):
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"{name}: expected a uint8 array (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _uint8_pair(a, b):
    a, b = _checked(a, "a"), _checked(b, "b")
    _require_same_shape(a, b)
    return a, b


def _float_pair(a, b):
    pair = []
    for name, image in (("a", a), ("b", b)):
        image = np.asarray(image)
        if image.dtype.kind != "f" or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"{name}: expected a float array (H, W, 3), got {image.dtype} {image.shape}")
        if not (image.min() >= 0 and image.max() <= 1):  # also catches NaN
            raise ValueError(f"{name}: expected values in [0, 1], got {image.min():g} to {image.max():g}")
        pair.append(image.astype(np.float64))
    _require_same_shape(*pair)
    return pair


def _require_same_shape(a, b):
    if a.shape != b.shape:
        raise ValueError(f"b: expected the shape of a, {a.shape}, got {b.shape}")


def _require_size(image, window):
    if min(image.shape[:2]) < window:
        raise ValueError(f"a, b: expected sides of at least {window} pixels, got shape {image.shape}")
