# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional affine coupling of SRFlow (section 3.4 of the paper): two small networks per flow step.

The file is named as in the official code. Nothing is ablated here.
"""

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.Flow import Conv2dZeros, FlowCell, even_odd, sum_per_image
from src.model.FlowActNorms import ActNorm
from src.model.convolutions import conv2d


class NormalisedConv2d(nn.Cell):
    """k×k convolution without bias, then ActNorm.

    x (N, in_channels, H, W) -> (N, out_channels, H, W), in x's type. Parameters: weight (out, in, k, k), which starts
    as N(0, 0.05²), and those of the ActNorm.
    """

    def __init__(self, in_channels, out_channels, kernel):
        super().__init__()
        weight = 0.05 * np.random.randn(out_channels, in_channels, kernel, kernel)
        self.weight = Parameter(Tensor(weight.astype(np.float32)), name="weight")
        self.actnorm = ActNorm(out_channels)

    def construct(self, x):
        return self.actnorm.normalise(self.convolve(x))

    def convolve(self, x, start=0):
        """Convolve a part of the input channels, as if the others were zero.

        Args:
            x: (N, ·, H, W), the part.
            start: number of its first channel in the whole input.

        Returns:
            (N, out_channels, H, W), before the ActNorm.
        """
        return conv2d(x, self.weight[:, start : start + x.shape[1]])

    def initialise(self, x):
        """Set the ActNorm by this batch, on the host, and return the output."""
        return self.actnorm.initialise(self.convolve(x))


class CouplingNet(nn.SequentialCell):
    """Network of a coupling: 3×3 conv, ActNorm, ReLU, 1×1 conv, ActNorm, ReLU, Conv2dZeros.

    x (N, in_channels, H, W) -> h (N, out_channels, H, W), in x's type.
    """

    def __init__(self, in_channels, hidden, out_channels):
        first, second = NormalisedConv2d(in_channels, hidden, 3), NormalisedConv2d(hidden, hidden, 1)
        last = Conv2dZeros(hidden, out_channels)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), last)
        # Plain tuples, as the cells are registered already, and of methods (docs/mindspore-1.7.md, 1).
        self._convolve, self._normalise = (first.convolve,), (first.actnorm.normalise,)
        self._rest = (second, last)

    def construct(self, x):
        return self.after_first(self.first(x))

    def first(self, x, start=0):
        """Convolve a part of the input channels by the first convolution.

        The convolution is linear. What several parts of the input contribute may be computed apart and added.

        Args:
            x: (N, ·, H, W), the part.
            start: number of its first channel in the whole input.

        Returns:
            (N, hidden, H, W), before the first ActNorm.
        """
        return self._convolve[0](x, start)

    def after_first(self, h):
        """Compute the network's output from that of its first convolution, (N, hidden, H, W)."""
        second, last = self._rest
        return last(ops.ReLU()(second(ops.ReLU()(self._normalise[0](h)))))

    def initialise(self, x):
        """Set both ActNorms by this batch x (N, in_channels, H, W), on the host, and return the output."""
        first, relu, second, _, last = self.cell_list
        return last(relu(second.initialise(relu(first.initialise(x)))))


class CondAffineSeparatedAndCond(FlowCell):
    """Affine injection, then affine coupling, both conditioned on the level's features ft.

    Two networks give a shift and a scale each. Of a network's output h the shift is the even channels, and the scale is
    sigmoid(odd channels + 2) + eps. z1 is the first C//2 channels of z, and z2 the rest. fFeatures(ft) gives shift_ft
    and scale_ft for all C channels. fAffine(z1, ft) gives shift and scale for z2:

    construct: z  ← (z + shift_ft)·scale_ft      logdet = +Σ log scale_ft + Σ log scale
               z2 ← (z2 + shift)·scale
    inverse:   z2 ← z2/scale − shift             logdet = −Σ log scale_ft − Σ log scale
               z  ← z/scale_ft − shift_ft

    condition = (shift_ft (N, C, H, W), scale_ft (N, C, H, W), hidden_ft (N, hidden, H, W)). hidden_ft is what ft
    contributes to fAffine's first convolution, which is linear: w ∗ (z1, ft) = w_z ∗ z1 + w_ft ∗ ft. The networks
    compute in `compute_type`, everything else is float32 (SRFlow, section 3.4).
    """

    def __init__(self, channels, feature_channels, hidden, eps):
        """Build the two networks.

        Args:
            channels: C of x.
            feature_channels: F of ft.
            hidden: channels of the networks' hidden layers.
            eps: what is added to each scale, so that none is zero.
        """
        super().__init__()
        self.kept, self.eps = channels // 2, eps
        self.compute_type = mstype.float32
        self.fAffine = CouplingNet(self.kept + feature_channels, hidden, 2 * (channels - self.kept))
        self.fFeatures = CouplingNet(feature_channels, hidden, 2 * channels)

    def condition(self, ft):
        ft = ops.Cast()(ft, self.compute_type)
        shift_ft, scale_ft = self._shift_scale(self.fFeatures(ft))
        return shift_ft, scale_ft, ops.Cast()(self.fAffine.first(ft, self.kept), mstype.float32)

    def construct(self, x, condition):
        shift_ft, scale_ft, hidden_ft = condition
        z = (x + shift_ft) * scale_ft
        z1, z2 = z[:, : self.kept], z[:, self.kept :]
        shift, scale = self._affine(z1, hidden_ft)
        return ops.Concat(1)((z1, (z2 + shift) * scale)), _sum_of_logs(scale_ft, scale)

    def inverse(self, z, condition):
        shift_ft, scale_ft, hidden_ft = condition
        z1, z2 = z[:, : self.kept], z[:, self.kept :]
        shift, scale = self._affine(z1, hidden_ft)
        x = ops.Concat(1)((z1, z2 / scale - shift)) / scale_ft - shift_ft
        return x, -_sum_of_logs(scale_ft, scale)

    def initialise(self, x, ft):
        """Set the ActNorms of both networks by this batch, on the host, fFeatures' first.

        Args:
            x: float32 (N, C, H, W).
            ft: float32 (N, F, H, W), the level's features.

        Returns:
            z of this batch, float32 (N, C, H, W).
        """
        shift_ft, scale_ft = self._shift_scale(self.fFeatures.initialise(ft))
        z = (x + shift_ft) * scale_ft
        self.fAffine.initialise(ops.Concat(1)((z[:, : self.kept], ft)))
        return self.construct(x, (shift_ft, scale_ft, self.fAffine.first(ft, self.kept)))[0]

    def _affine(self, z1, hidden_ft):
        """Compute (shift, scale) for z2."""
        hidden = self.fAffine.first(ops.Cast()(z1, self.compute_type)) + ops.Cast()(hidden_ft, self.compute_type)
        return self._shift_scale(self.fAffine.after_first(hidden))

    def _shift_scale(self, h):
        shift, odd = even_odd(ops.Cast()(h, mstype.float32))
        return shift, ops.Sigmoid()(odd + 2.0) + self.eps


def _sum_of_logs(scale_ft, scale):
    return sum_per_image(ops.Log()(scale_ft)) + sum_per_image(ops.Log()(scale))
