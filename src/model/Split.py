# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The split: half of the channels leaves the flow as a latent (RealNVP, section 3.6; Glow, figure 2)."""

from mindspore import ops

from src.model.Flow import Conv2dZeros, FlowCell, even_odd, sum_per_image


class Split2d(FlowCell):
    """Standardisation of the second half of the channels by a Gaussian that is predicted from the first half.

    z1 is the first `kept` channels, z2 the rest. mean is the even channels of conv(z1), logs the odd ones.

    construct: ε = (z2 − mean)/exp(logs)      logdet = −Σ logs
    inverse:   z2 = mean + exp(logs)·ε        logdet = +Σ logs

    The output is (z1, ε) in one tensor, and `FlowUpsamplerNet` takes ε off as a latent. The likelihood of z2 is

    log N(z2; mean, exp(logs)²) = log N(ε; 0, 1) − Σ logs,

    of which the first term is that of any latent, and the second one is the log-det.
    """

    def __init__(self, channels):
        super().__init__()
        self.kept = channels // 2
        self.conv = Conv2dZeros(self.kept, 2 * (channels - self.kept))

    def construct(self, x, condition=()):
        z1, z2 = x[:, : self.kept], x[:, self.kept :]
        mean, logs = even_odd(self.conv(z1))
        latent = (z2 - mean) * ops.Exp()(-logs)
        return ops.Concat(1)((z1, latent)), -sum_per_image(logs)

    def inverse(self, z, condition=()):
        z1, latent = z[:, : self.kept], z[:, self.kept :]
        mean, logs = even_odd(self.conv(z1))
        return ops.Concat(1)((z1, mean + ops.Exp()(logs) * latent)), sum_per_image(logs)

    def initialise(self, x, ft):
        """Return the output, as there is nothing to set."""
        return self.construct(x)[0]
