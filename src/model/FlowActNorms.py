# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""ActNorm: a per-channel affine map that starts by normalising the first batch (Glow, section 3.1)."""
import numpy as np
from mindspore import Parameter, Tensor, nn, ops


class ActNorm(nn.Cell):
    """z = (x + bias)·exp(logs), bias and logs (1, C, 1, 1), x and z (N, C, H, W).

    Every ActNorm of SRFlow stands beside a convolution and is computed as a part of it: in a flow step by
    `InvertibleConv1x1`, which has its inverse and log-det too, and in the networks of a coupling by `CouplingNet`.
    """

    def __init__(self, channels):
        super().__init__()
        self.bias = Parameter(Tensor(np.zeros((1, channels, 1, 1), np.float32)), name="bias")
        self.logs = Parameter(Tensor(np.zeros((1, channels, 1, 1), np.float32)), name="logs")

    def construct(self, x):
        return (x + self.bias) * ops.Exp()(self.logs)

    def initialise(self, x):
        """Host side: makes the output for this batch have mean 0 and deviation 1 in each channel.

        x: float32 (N, C, H, W). bias = −mean, logs = −log(std + 1e-6), std the biased one over N, H, W.
        Returns construct(x).
        """
        values = x.asnumpy().astype(np.float64)
        mean = values.mean(axis=(0, 2, 3), keepdims=True)
        std = values.std(axis=(0, 2, 3), keepdims=True)
        self.bias.set_data(Tensor((-mean).astype(np.float32)))
        self.logs.set_data(Tensor(-np.log(std + 1e-6).astype(np.float32)))
        return self.construct(x)
