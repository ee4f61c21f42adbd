# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Invertible 1×1 convolution: a learned mixing of the channels (Glow, section 3.2)."""
import numpy as np
from mindspore import Parameter, Tensor, ops

from src.model.Flow import FlowCell, conv2d, per_image


class InvertibleConv1x1(FlowCell):
    """Mixes the channels of every pixel by one matrix W (C, C), at first a random rotation.

    construct: z = W x      logdet = +H·W·log|det W|
    inverse:   x = W⁻¹ z    logdet = −H·W·log|det W|

    cond = (W⁻¹ (C, C), log|det W| scalar). They come from outside because matrices of one size are inverted
    together (`slogdet.py`), and because a sampler takes the inverse once, in float64 (`FlowUpsamplerNet.mixers`).
    """

    def __init__(self, channels):
        super().__init__()
        rotation = np.linalg.qr(np.random.randn(channels, channels))[0]
        self.weight = Parameter(Tensor(rotation.astype(np.float32)), name="weight")

    def construct(self, x, cond):
        _, log_abs_det = cond
        return mix_channels(x, self.weight), per_image(x.shape[2] * x.shape[3] * log_abs_det, x.shape[0])

    def inverse(self, z, cond):
        inverse_weight, log_abs_det = cond
        return mix_channels(z, inverse_weight), per_image(-z.shape[2] * z.shape[3] * log_abs_det, z.shape[0])


def mix_channels(x, matrix):
    """matrix (C, C) times every pixel of x (N, C, H, W)."""
    channels = matrix.shape[0]
    return conv2d(x, ops.Reshape()(matrix, (channels, channels, 1, 1)))
