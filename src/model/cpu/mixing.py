# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""ActNorm and the invertible 1×1 convolution as one affine map of each pixel, made for all steps of a level at once."""

from mindspore import nn, ops

from src.model.Flow import per_image
from src.model.cpu.convolutions import biased_conv2d
from src.model.slogdet import matrix_inverse


class Mixing(nn.Cell):
    """ActNorm and 1×1 convolution of one step: W·((x + bias)·exp(logs)) = A·x + A·bias with A = W·diag(exp(logs)).

    construct: z = A·x + A·bias     logdet = +H·W·log|det A|, where H·W is the number of pixels
    inverse:   x = A⁻¹·z − bias     logdet = −H·W·log|det A|

    weights: what `mixing_weights` made for the step.
    """

    def construct(self, x, weights):
        matrix, shift, _, _, log_abs_det = weights
        return biased_conv2d(x, (matrix, shift)), per_image(x.shape[2] * x.shape[3] * log_abs_det, x.shape[0])

    def inverse(self, z, weights):
        _, _, matrix, shift, log_abs_det = weights
        return biased_conv2d(z, (matrix, shift)), per_image(-z.shape[2] * z.shape[3] * log_abs_det, z.shape[0])


def parameters_of(step):
    """List the parameters of a FlowStep, in the order in which `mixing_weights` takes them."""
    return step.invconv.weight, step.actnorm.bias, step.actnorm.logs


def mixing_weights(values, slogdet):
    """Make the weights of S steps' mixings.

    Args:
        values: the steps' `parameters_of`, each stacked over the steps: (S, C, C), twice (S, 1, C, 1, 1).
        slogdet: SLogDet.

    Returns:
        Five tensors: A (S, C, C, 1, 1), A·bias (S, C), A⁻¹ (S, C, C, 1, 1), −bias (S, C), log|det A| (S,) in nats.
    """
    weights, biases, logs = values
    count, channels = weights.shape[:2]
    matrices = weights * ops.Exp()(ops.Reshape()(logs, (count, 1, channels)))
    shifts = ops.Reshape()(ops.BatchMatMul()(matrices, ops.Reshape()(biases, (count, channels, 1))), (count, channels))
    inverses = matrix_inverse(matrices)
    _, log_abs_dets = slogdet(weights)
    log_abs_dets = log_abs_dets + ops.ReduceSum()(logs, (1, 2, 3, 4))
    as_kernels = (count, channels, channels, 1, 1)
    return (
        ops.Reshape()(matrices, as_kernels),
        shifts,
        ops.Reshape()(inverses, as_kernels),
        -ops.Reshape()(biases, (count, channels)),
        log_abs_dets,
    )
