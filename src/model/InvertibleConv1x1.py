# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The invertible 1×1 convolution: a learned mixing of the channels (Glow, section 3.2)."""

import numpy as np
from mindspore import Parameter, Tensor, ops

from src.model.Flow import FlowCell, per_image
from src.model.convolutions import conv2d
from src.model.slogdet import SLogDet, matrix_inverse


class InvertibleConv1x1(FlowCell):
    """Mixing of the channels of each pixel by a matrix W.

    construct: z = W·x       logdet = +H·W·log|det W|, where H·W is the number of pixels
    inverse:   x = W⁻¹·z     logdet = −H·W·log|det W|

    The inverse matrix is computed in float64. Parameter: weight (C, C), the matrix, at first a random orthogonal one.
    """

    def __init__(self, channels):
        super().__init__()
        rotation = np.linalg.qr(np.random.randn(channels, channels))[0]
        self.weight = Parameter(Tensor(rotation.astype(np.float32)), name="weight")
        self.slogdet = SLogDet()

    def construct(self, x, condition=()):
        return self.mix(x), self._logdet(x)

    def inverse(self, z, condition=()):
        matrix = matrix_inverse(ops.ExpandDims()(self.weight, 0))
        return conv2d(z, ops.Reshape()(matrix, self.weight.shape + (1, 1))), -self._logdet(z)

    def mix(self, x):
        """Compute construct's z alone."""
        return conv2d(x, ops.Reshape()(self.weight, self.weight.shape + (1, 1)))

    def _logdet(self, x):
        _, log_abs_det = self.slogdet(self.weight)
        return per_image(x.shape[2] * x.shape[3] * log_abs_det, x.shape[0])
