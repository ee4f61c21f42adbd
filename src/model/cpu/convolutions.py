# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Convolutions in the forms in which MindSpore's CPU kernels compute them fastest.

A convolution is unfolded into a matrix (each pixel's neighbourhood a column) and multiplied by the weights. Where few
multiplications share one unfolding, the unfolding is what costs time and memory. All of these keep the size of the map
and pad with zeros. None has a bias: to add one can take as long as a convolution, while one channel more, constantly 1,
whose weights are the biases, costs little. `winograd` has another form.
"""

import numpy as np
from mindspore import Tensor, ops

# Taps of a 3×3 kernel from the last to the first.
_REVERSAL = Tensor(np.eye(9, dtype=np.float32)[::-1].copy())

_CENTRE = Tensor(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32))


def with_one(x):
    """Maps (N, I, H, W) after a constant one: (N, 1 + I, H, W)."""
    return ops.Concat(1)((ops.Ones()((x.shape[0], 1) + x.shape[2:], x.dtype), x))


def with_biases(weights, biases):
    """Weights (..., O, I, k, k) and biases (..., O) -> weights (..., O, 1 + I, k, k) of maps after a constant one.

    k is 1 or 3. The biases are the weights of the kernel's centre.
    """
    of_one = ops.Reshape()(biases, biases.shape + (1, 1, 1))
    return ops.Concat(len(biases.shape))((of_one * _CENTRE if weights.shape[-1] == 3 else of_one, weights))


def conv2d(x, weight, group=1):
    """Convolution of (N, group·I, H, W) by weight (group·O, I, k, k), k odd -> (N, group·O, H, W)."""
    c_out, _, kernel, _ = weight.shape
    return ops.Conv2D(c_out, kernel, pad_mode="pad", pad=kernel // 2, group=group)(x, weight)


def biased_conv2d(x, values):
    """`conv2d` by a weight and a bias, the pair `values`."""
    weight, bias = values
    return ops.BiasAdd()(conv2d(x, weight), bias)


def transposed_weights(weights):
    """Weights with which `transposed_conv2d` does what `conv2d` does: K of them, (K, O, I, 3, 3) -> (K, I, O, 3, 3)."""
    count, c_out, c_in = weights.shape[:3]
    taps = ops.Transpose()(ops.Reshape()(weights, (count, c_out, c_in, 9)), (0, 2, 1, 3))
    taps = ops.MatMul()(ops.Reshape()(taps, (-1, 9)), _REVERSAL)
    return ops.Reshape()(taps, (count, c_in, c_out, 3, 3))


def transposed_conv2d(x, weight, group=1):
    """Convolution of (N, group·I, H, W) by weight (group·I, O, 3, 3) of `transposed_weights` -> (N, group·O, H, W).

    It unfolds its output instead of its input: the better way where O < I.
    """
    n, c_in, height, width = x.shape
    size = (n, group * weight.shape[1], height, width)
    return ops.Conv2DTranspose(c_in, 3, pad_mode="pad", pad=1, group=group)(x, weight, size)


def narrowing_weights(weights):
    """K layers' weights (K, O, I, 3, 3) as `narrowing_conv2d` takes them."""
    return transposed_weights(weights) if weights.shape[1] < weights.shape[2] else weights


def narrowing_conv2d(x, weight, c_out, group=1):
    """Convolution of (N, group·I, H, W) to (N, group·c_out, H, W): transposed where it narrows, which is cheaper."""
    narrows = c_out < x.shape[1] // group
    return transposed_conv2d(x, weight, group) if narrows else conv2d(x, weight, group)
