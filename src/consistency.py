# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Images that, reduced, are the low-resolution image they were made from.

A flow has to learn that its samples agree with their input. But the reduction D, `imresize` by 1/s, is known and linear
but for its rounding, so what a network has not learnt of it can be computed. Of all images that D reduces to y, the
nearest to x is its orthogonal projection onto them,

    x + D⁺ (y - D x),    D⁺ = Dᵀ (D Dᵀ)⁻¹.

By Pythagoras it is nearer than x to each of these images, and one of them is the photograph itself, up to the rounding
of y. It is known as the consistency enforcing module (Bahat and Michaeli, "Explorable Super Resolution", CVPR 2020).
"""

import functools

import numpy as np

from src.imresize import reduction


def make_consistent(images, lr, scale):
    """Project images onto those that `imresize` reduces to lr, before clipping and rounding.

    Args:
        images: float32 (..., s·h, s·w), finite.
        lr: float32 (..., h, w), on the same scale of values.
        scale: s, an integer.

    Returns:
        float32 (..., s·h, s·w), not clipped.

    Raises:
        ValueError: the images are not s times as large as lr.
    """
    expected, came = tuple(scale * side for side in lr.shape[-2:]), images.shape[-2:]
    if came != expected:
        raise ValueError(f"images: expected (height, width) {expected}, {scale} times that of lr, got {came}")
    # D reduces rows, then columns: it is the Kronecker product of both, and its inverse that of their inverses.
    (rows, rows_inverse), (columns, columns_inverse) = (_reduction_of(side, scale) for side in came)
    missing = lr - rows @ images @ columns.T
    return images + rows_inverse @ missing @ columns_inverse.T


@functools.lru_cache(maxsize=16)
def _reduction_of(length, scale):
    """Return D and D⁺ of one axis of `length` pixels: float32 (length/s, length) and its transpose's shape."""
    matrix = reduction(length, 1 / scale)
    inverse = np.linalg.solve(matrix @ matrix.T, matrix).T
    return matrix.astype(np.float32), inverse.astype(np.float32)
