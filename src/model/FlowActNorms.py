# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""ActNorm: a per-channel affine map that starts by normalising the first batch (Glow, section 3.1)."""

import numpy as np
from mindspore import Parameter, Tensor, ops

from src.model.Flow import FlowCell, per_image


class ActNorm(FlowCell):
    """Shift and scale of each channel.

    construct: z = (x + bias)·exp(logs)     logdet = +H·W·Σ logs
    inverse:   x = z·exp(−logs) − bias      logdet = −H·W·Σ logs

    Parameters: bias and logs, both (1, C, 1, 1), zero until `initialise`.
    """

    def __init__(self, channels):
        super().__init__()
        self.bias = Parameter(Tensor(np.zeros((1, channels, 1, 1), np.float32)), name="bias")
        self.logs = Parameter(Tensor(np.zeros((1, channels, 1, 1), np.float32)), name="logs")

    def construct(self, x, condition=()):
        return self.normalise(x), self._logdet(x)

    def inverse(self, z, condition=()):
        return z * ops.Exp()(-self.logs) - self.bias, -self._logdet(z)

    def normalise(self, x):
        """Compute construct's z alone, in x's type."""
        return (x + ops.Cast()(self.bias, x.dtype)) * ops.Cast()(ops.Exp()(self.logs), x.dtype)

    def initialise(self, x):
        """Give the output for this batch mean 0 and deviation 1 in each channel, on the host.

        bias = −mean, logs = −log(std + 1e-6), where std is the biased one over N, H, W.

        Args:
            x: float32 (N, C, H, W).

        Returns:
            z of this batch, float32 (N, C, H, W).
        """
        values = x.asnumpy().astype(np.float64)
        mean = values.mean(axis=(0, 2, 3), keepdims=True)
        std = values.std(axis=(0, 2, 3), keepdims=True)
        self.bias.set_data(Tensor((-mean).astype(np.float32)))
        self.logs.set_data(Tensor(-np.log(std + 1e-6).astype(np.float32)))
        return self.normalise(x)

    def _logdet(self, x):
        return per_image(x.shape[2] * x.shape[3] * ops.ReduceSum()(self.logs), x.shape[0])
