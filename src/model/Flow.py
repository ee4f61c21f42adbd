# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""What every layer of the flow is made of: the contract, Squeeze, the Gaussian, Conv2dZeros.

Notation of this package: N batch, C channels, (H, W) the size of the map at hand. `ft` are the features of the
low-resolution image that condition a layer: (N, F, H, W), or (1, F, H, W) where a batch shares them.
"""

import math

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.convolutions import conv2d

LOG_2PI = math.log(2 * math.pi)
LOGSCALE_FACTOR = 3.0  # of Conv2dZeros


class FlowCell(nn.Cell):
    """An invertible layer, conditioned on the low-resolution image.

    condition(ft)           -> condition      what the image alone contributes, computed once for all its samples
    construct(x, condition) -> (z, logdet)    image to latent
    inverse(z, condition)   -> (x, logdet)    latent to image

    x, z: float32 (N, C, H, W). logdet: float32 (N,), log|det ∂output/∂input| in nats. It is always that of the
    direction called, so the two directions' log-dets of one layer sum to zero. condition: a tuple of tensors that each
    layer documents, () where the image contributes nothing.
    """

    def condition(self, ft):
        return ()

    def construct(self, x, condition=()):
        raise NotImplementedError

    def inverse(self, z, condition=()):
        raise NotImplementedError


def per_image(value, n):
    """A log-det that all images share, as float32 (N,)."""
    return value * ops.Ones()((n,), mstype.float32)


def sum_per_image(x):
    """Sum over everything but the batch: (N, C, H, W) -> (N,)."""
    return ops.ReduceSum()(x, (1, 2, 3))


def gaussian_logp(x):
    """log N(x; 0, 1) of each image: (N, C, H, W) -> float32 (N,), nats."""
    dims = x.shape[1] * x.shape[2] * x.shape[3]
    return -0.5 * (sum_per_image(x * x) + dims * LOG_2PI)


def even_odd(h):
    """Even and odd channels of (N, 2C, H, W), each (N, C, H, W).

    Not h[:, 0::2]: the gradient of a strided slice fails on MindSpore 2.7-2.9's CPU backend.
    """
    n, c, height, width = h.shape
    return ops.Unstack(2)(ops.Reshape()(h, (n, c // 2, 2, height, width)))


class Squeeze(FlowCell):
    """Trades resolution for channels (RealNVP, section 3.6): z[c·4 + dy·2 + dx, i, j] = x[c, 2i + dy, 2j + dx].

    (N, C, H, W) <-> (N, 4C, H/2, W/2), H and W even; a permutation, so both log-dets are 0.
    """

    def construct(self, x, condition=()):
        n, c, h, w = x.shape
        z = ops.Reshape()(x, (n, c, h // 2, 2, w // 2, 2))
        z = ops.Transpose()(z, (0, 1, 3, 5, 2, 4))
        return ops.Reshape()(z, (n, c * 4, h // 2, w // 2)), per_image(0.0, n)

    def inverse(self, z, condition=()):
        n, c, h, w = z.shape
        x = ops.Reshape()(z, (n, c // 4, 2, 2, h, w))
        x = ops.Transpose()(x, (0, 1, 4, 2, 5, 3))
        return ops.Reshape()(x, (n, c // 4, h * 2, w * 2)), per_image(0.0, n)


class Conv2dZeros(nn.Cell):
    """3×3 convolution that starts as zero, its output scaled: y = (w ∗ x + b)·exp(3·logs) (Glow, section 3.3).

    (N, in_channels, H, W) -> (N, out_channels, H, W), in x's type. The factor makes `logs` learn faster than `w`.
    Parameters: weight (out, in, 3, 3), bias (out,), logs (out, 1, 1), all zero at first.
    """

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((out_channels, in_channels, 3, 3), np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")
        self.logs = Parameter(Tensor(np.zeros((out_channels, 1, 1), np.float32)), name="logs")

    def construct(self, x):
        y = ops.BiasAdd()(conv2d(x, self.weight), ops.Cast()(self.bias, x.dtype))
        return y * ops.Cast()(ops.Exp()(self.logs * LOGSCALE_FACTOR), x.dtype)
