# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Invertible 1×1 convolution: a learned mixing of the channels (Glow, section 3.2), with the ActNorm before it."""
import numpy as np
from mindspore import Parameter, Tensor, ops

from src.model.Flow import FlowCell, per_image
from src.model.convolutions import conv2d
from src.model.slogdet import matrix_inverse


class InvertibleConv1x1(FlowCell):
    """Mixes the channels of every pixel by a matrix W (C, C), at first a random rotation; ActNorm comes with it.

    z = W·((x + bias)·exp(logs)) = A·x + A·bias with A = W·diag(exp(logs)):

    construct: z = A·x + A·bias     logdet = +H·W·(log|det W| + Σ logs)
    inverse:   x = A⁻¹·z − bias     logdet = −H·W·(log|det W| + Σ logs)

    cond = (A (C, C, 1, 1), A·bias (C,), A⁻¹ (C, C, 1, 1), −bias (C,), log|det A| scalar), by `mixing_weights`, which
    makes those of all steps of a level together.
    """

    def __init__(self, channels):
        super().__init__()
        rotation = np.linalg.qr(np.random.randn(channels, channels))[0]
        self.weight = Parameter(Tensor(rotation.astype(np.float32)), name="weight")

    def construct(self, x, cond):
        matrix, shift, _, _, log_abs_det = cond
        return _affine(x, matrix, shift), per_image(x.shape[2] * x.shape[3] * log_abs_det, x.shape[0])

    def inverse(self, z, cond):
        _, _, matrix, shift, log_abs_det = cond
        return _affine(z, matrix, shift), per_image(-z.shape[2] * z.shape[3] * log_abs_det, z.shape[0])

    def mix(self, x):
        """W alone times every pixel of x (N, C, H, W)."""
        return conv2d(x, ops.Reshape()(self.weight, self.weight.shape + (1, 1)))


def _affine(x, matrix, shift):
    return ops.BiasAdd()(conv2d(x, matrix), shift)


def mixing_weights(weights, biases, logs, slogdet):
    """The conds of S steps, stacked. weights (S, C, C), biases and logs (S, 1, C, 1, 1) of their ActNorms."""
    count, channels = weights.shape[:2]
    matrices = weights * ops.Exp()(ops.Reshape()(logs, (count, 1, channels)))
    shifts = ops.Reshape()(ops.BatchMatMul()(matrices, ops.Reshape()(biases, (count, channels, 1))),
                           (count, channels))
    inverses = matrix_inverse(matrices)
    _, log_abs_dets = slogdet(weights)
    log_abs_dets = log_abs_dets + ops.ReduceSum()(logs, (1, 2, 3, 4))
    as_kernels = (count, channels, channels, 1, 1)
    return (ops.Reshape()(matrices, as_kernels), shifts, ops.Reshape()(inverses, as_kernels),
            -ops.Reshape()(biases, (count, channels)), log_abs_dets)
