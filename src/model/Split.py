# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Split: takes half of the channels out of the flow as Gaussian noise (RealNVP, section 3.6; Glow, section 3.4)."""

from mindspore import ops

from src.model.Flow import Conv2dZeros, FlowCell, even_odd, sum_per_image


class Split2d(FlowCell):
    """Standardises the second half of the channels by a Gaussian predicted from the first half.

    With z1 the first `kept` channels, z2 the rest, and (mean, logs) = conv(z1):

    construct: ε = (z2 − mean)/exp(logs)      logdet = −Σ logs
    inverse:   z2 = mean + exp(logs)·ε        logdet = +Σ logs

    The output is (z1, ε) in one tensor; `FlowUpsamplerNet` takes ε off as a latent. Since
    log N(z2; mean, exp(logs)²) = log N(ε; 0, 1) − Σ logs, the likelihood of the split is that of ε as any latent's.
    """

    def __init__(self, channels):
        super().__init__()
        self.kept = channels // 2
        self.conv = Conv2dZeros(self.kept, 2 * (channels - self.kept))

    def construct(self, x, condition=()):
        z1, z2 = x[:, : self.kept], x[:, self.kept :]
        mean, logs = even_odd(self.conv(z1))
        eps = (z2 - mean) * ops.Exp()(-logs)
        return ops.Concat(1)((z1, eps)), -sum_per_image(logs)

    def inverse(self, z, condition=()):
        z1, eps = z[:, : self.kept], z[:, self.kept :]
        mean, logs = even_odd(self.conv(z1))
        return ops.Concat(1)((z1, mean + ops.Exp()(logs) * eps)), sum_per_image(logs)

    def initialise(self, x, ft):
        """Host side: there is nothing to set; returns the output."""
        return self.construct(x)[0]
