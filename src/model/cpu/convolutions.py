# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Convolutions in the forms in which MindSpore's CPU kernels compute them fastest.

A convolution is unfolded into a matrix, each pixel's neighbourhood a column, and multiplied by the weights. Where few
multiplications share one unfolding, the unfolding is what costs time and memory. `winograd` has another form.

All functions here keep the size of the map and pad with zeros. None but `biased_conv2d` has a bias: to add one can take
as long as a convolution. One channel more, constantly 1, whose weights are the biases, costs little.
"""

import numpy as np
from mindspore import Tensor, ops

# Taps of a 3×3 kernel from the last to the first.
_REVERSAL = Tensor(np.eye(9, dtype=np.float32)[::-1].copy())

_CENTRE = Tensor(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32))


def with_one(x):
    """Put a constant one before the channels of maps: (N, I, H, W) -> (N, 1 + I, H, W)."""
    return ops.Concat(1)((ops.Ones()((x.shape[0], 1) + x.shape[2:], x.dtype), x))


def with_biases(weights, biases):
    """Make biases the weights of a constant one that comes before the other input channels.

    They are the weights of the kernel's centre.

    Args:
        weights: (..., O, I, k, k), k 1 or 3.
        biases: (..., O).

    Returns:
        (..., O, 1 + I, k, k), the weights for maps that `with_one` made.
    """
    of_one = ops.Reshape()(biases, biases.shape + (1, 1, 1))
    return ops.Concat(len(biases.shape))((of_one * _CENTRE if weights.shape[-1] == 3 else of_one, weights))


def conv2d(x, weight, group=1):
    """Convolve without changing the size of the map.

    Args:
        x: (N, group·I, H, W).
        weight: (group·O, I, k, k), k odd, of x's type.
        group: number of parts of the channels, of which each is convolved by weights of its own.

    Returns:
        (N, group·O, H, W).
    """
    c_out, _, kernel, _ = weight.shape
    return ops.Conv2D(c_out, kernel, pad_mode="pad", pad=kernel // 2, group=group)(x, weight)


def biased_conv2d(x, values):
    """Convolve by `conv2d`, then add a bias.

    Args:
        x: (N, I, H, W).
        values: the pair of weight (O, I, k, k) and bias (O,).

    Returns:
        (N, O, H, W).
    """
    weight, bias = values
    return ops.BiasAdd()(conv2d(x, weight), bias)


def transposed_weights(weights):
    """Make the weights with which `transposed_conv2d` does what `conv2d` does.

    Args:
        weights: (K, O, I, 3, 3), of K layers.

    Returns:
        (K, I, O, 3, 3).
    """
    count, c_out, c_in = weights.shape[:3]
    taps = ops.Transpose()(ops.Reshape()(weights, (count, c_out, c_in, 9)), (0, 2, 1, 3))
    taps = ops.MatMul()(ops.Reshape()(taps, (-1, 9)), _REVERSAL)
    return ops.Reshape()(taps, (count, c_in, c_out, 3, 3))


def transposed_conv2d(x, weight, group=1):
    """Convolve by a transposed convolution, which unfolds its output instead of its input.

    It is the better way where O < I.

    Args:
        x: (N, group·I, H, W).
        weight: (group·I, O, 3, 3), made by `transposed_weights`.
        group: number of parts of the channels.

    Returns:
        (N, group·O, H, W).
    """
    n, c_in, height, width = x.shape
    size = (n, group * weight.shape[1], height, width)
    return ops.Conv2DTranspose(c_in, 3, pad_mode="pad", pad=1, group=group)(x, weight, size)


def narrowing_weights(weights):
    """Make the weights of K layers (K, O, I, 3, 3) those that `narrowing_conv2d` takes."""
    return transposed_weights(weights) if weights.shape[1] < weights.shape[2] else weights


def narrowing_conv2d(x, weight, c_out, group=1):
    """Convolve, by a transposed convolution where there are fewer outputs than inputs.

    Args:
        x: (N, group·I, H, W).
        weight: of a layer or a group of layers, made by `narrowing_weights`.
        c_out: O.
        group: number of parts of the channels.

    Returns:
        (N, group·O, H, W).
    """
    narrows = c_out < x.shape[1] // group
    return transposed_conv2d(x, weight, group) if narrows else conv2d(x, weight, group)
