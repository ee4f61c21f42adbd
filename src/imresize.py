# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""MATLAB-like bicubic resizing, the downscaling by which super-resolution data sets define their LR images.

OpenCV's and Pillow's bicubic filters differ (no antialiasing, another `a`). A network trained on one kind of LR image
performs poorly on another. So every LR image of this project comes from here.
"""

import numpy as np

_KERNEL_WIDTH = 4  # support of the cubic kernel, in pixels of the coarser image


def imresize(image, scale):
    """Resize an image as MATLAB's `imresize(image, scale, 'bicubic')` does.

    This is cubic convolution with a = -0.5 (Keys, "Cubic convolution interpolation for digital image processing", 1981)
    and symmetric borders. When shrinking, the kernel is widened by 1/scale (antialiasing). Rows are resized first, then
    columns. Each pass is computed in float64, clipped, and rounded half to even to uint8.

    Args:
        image: uint8 array (H, W, C).
        scale: positive factor; 1/4 makes a quarter of each side.

    Returns:
        uint8 array (ceil(H * scale), ceil(W * scale), C).

    Raises:
        ValueError: wrong dtype, rank or scale, or an empty image.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"image: expected a uint8 array (H, W, C), got {image.dtype} {image.shape}")
    if image.size == 0:
        raise ValueError(f"image: expected at least one pixel, got shape {image.shape}")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"scale: expected a positive number, got {scale!r}")
    rows_done = _resize_rows(image, scale)
    return np.ascontiguousarray(_resize_rows(rows_done.transpose(1, 0, 2), scale).transpose(1, 0, 2))


def _resize_rows(image, scale):
    """Resize along the first axis: every output row is a weighted sum of a few input rows."""
    weights, indices = _contributions(image.shape[0], scale)
    image = np.ascontiguousarray(image)
    total = np.zeros((len(weights),) + image.shape[1:], np.float64)
    for tap in range(weights.shape[1]):
        total += weights[:, tap, None, None] * image[indices[:, tap]]
    return np.rint(np.clip(total, 0, 255)).astype(np.uint8)


def reduction(length, scale):
    """Return what `imresize` does to one axis, before clipping and rounding, as a matrix.

    Args:
        length: of the axis, in pixels.
        scale: positive factor.

    Returns:
        float64 (ceil(length * scale), length).
    """
    weights, indices = _contributions(length, scale)
    matrix = np.zeros((len(weights), length))
    np.add.at(matrix, (np.arange(len(weights))[:, None], indices), weights)  # an index occurs twice at the borders
    return matrix


def _contributions(in_size, scale):
    """Return the weights and 0-based input indices, both (out_size, taps), of every output sample along one axis."""
    out_size = int(np.ceil(in_size * scale))
    stretch = min(scale, 1.0)  # below 1 the kernel is widened, which is the antialiasing
    taps = int(np.ceil(_KERNEL_WIDTH / stretch)) + 2
    # The centre of output sample i lies at input coordinate (i + 1/2) / scale - 1/2.
    centres = (np.arange(out_size) + 0.5) / scale - 0.5
    first = np.floor(centres - _KERNEL_WIDTH / stretch / 2).astype(np.int64)
    indices = first[:, None] + np.arange(taps)
    weights = _cubic((centres[:, None] - indices) * stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    indices = indices % (2 * in_size)  # symmetric border: ... 1 0 | 0 1 ... n-1 | n-1 n-2 ...
    indices = np.where(indices < in_size, indices, 2 * in_size - 1 - indices)
    used = np.any(weights != 0, axis=0)
    return weights[:, used], indices[:, used]


def _cubic(x):
    """Compute Keys' cubic convolution kernel with a = -0.5."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
