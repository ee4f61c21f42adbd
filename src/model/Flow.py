# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The parts that every layer of the flow is made of: the contract, Squeeze, the Gaussian, Conv2dZeros.

Notation of this package: N is the batch, C the channels, (H, W) the size of the map at hand. `ft` are the conditional
features of a level, which the encoder makes of the low-resolution image: (N, F, H, W), or (1, F, H, W) where a batch
shares them.
"""

import math

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.convolutions import conv2d

LOG_2PI = math.log(2 * math.pi)
LOGSCALE_FACTOR = 3.0  # of Conv2dZeros


class FlowCell(nn.Cell):
    """Invertible layer, conditioned on the low-resolution image.

    construct(x, condition) -> (z, logdet)    image to latent, logdet = log|det ∂z/∂x|
    inverse(z, condition)   -> (x, logdet)    latent to image, logdet = log|det ∂x/∂z|
    condition(ft)           -> condition      what ft alone contributes, computed once for all samples of an image

    x and z are float32 (N, C, H, W). logdet is float32 (N,), in nats. It is always that of the direction called, so the
    two log-dets of one layer sum to zero. The condition is a tuple that each layer documents. It is () where ft
    contributes nothing.
    """

    def condition(self, ft):
        return ()

    def construct(self, x, condition=()):
        raise NotImplementedError

    def inverse(self, z, condition=()):
        raise NotImplementedError


def per_image(value, n):
    """Repeat a log-det that all images share.

    Args:
        value: number or float32 scalar, nats.
        n: number of images, N.

    Returns:
        float32 (N,), nats.
    """
    return value * ops.Ones()((n,), mstype.float32)


def sum_per_image(x):
    """Sum over everything but the batch: (N, C, H, W) -> (N,)."""
    return ops.ReduceSum()(x, (1, 2, 3))


def gaussian_logp(x):
    """Compute log N(x; 0, 1) of each image: (N, C, H, W) -> float32 (N,), nats."""
    dims = x.shape[1] * x.shape[2] * x.shape[3]
    return -0.5 * (sum_per_image(x * x) + dims * LOG_2PI)


def even_odd(h):
    """Separate the even channels from the odd ones: (N, 2C, H, W) -> twice (N, C, H, W).

    It is not written as h[:, 0::2]: the gradient of a strided slice fails on the CPU in MindSpore 2.7 to 2.9.
    """
    n, c, height, width = h.shape
    return ops.Unstack(2)(ops.Reshape()(h, (n, c // 2, 2, height, width)))


class Squeeze(FlowCell):
    """Exchange of resolution for channels: z[c·4 + dy·2 + dx, i, j] = x[c, 2i + dy, 2j + dx].

    construct: x (N, C, H, W)      -> z (N, 4C, H/2, W/2)    logdet = 0
    inverse:   z (N, 4C, H/2, W/2) -> x (N, C, H, W)         logdet = 0

    H and W are even. It is a permutation, so both log-dets are 0 (RealNVP, section 3.6).
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
    """3×3 convolution that starts as zero and scales its output: y = (w ∗ x + b)·exp(3·logs).

    x (N, in_channels, H, W) -> y (N, out_channels, H, W), in x's type. The factor 3 makes `logs` learn faster than `w`
    (Glow, section 3.3). Parameters: weight (out, in, 3, 3), bias (out,) and logs (out, 1, 1), all zero at first.
    """

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.weight = Parameter(Tensor(np.zeros((out_channels, in_channels, 3, 3), np.float32)), name="weight")
        self.bias = Parameter(Tensor(np.zeros(out_channels, np.float32)), name="bias")
        self.logs = Parameter(Tensor(np.zeros((out_channels, 1, 1), np.float32)), name="logs")

    def construct(self, x):
        y = ops.BiasAdd()(conv2d(x, self.weight), ops.Cast()(self.bias, x.dtype))
        return y * ops.Cast()(ops.Exp()(self.logs * LOGSCALE_FACTOR), x.dtype)
