# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional affine coupling of SRFlow (section 3.4 of the paper): two small networks per flow step."""

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.Flow import Conv2dZeros, FlowCell, even_odd, sum_per_image
from src.model.FlowActNorms import ActNorm
from src.model.convolutions import conv2d


class NormalisedConv2d(nn.Cell):
    """k×k convolution without bias, then ActNorm: (N, in_channels, H, W) -> (N, out_channels, H, W), in x's type.

    Parameters: weight (out, in, k, k), at first of N(0, 0.05²), and those of the ActNorm.
    """

    def __init__(self, in_channels, out_channels, kernel):
        super().__init__()
        weight = 0.05 * np.random.randn(out_channels, in_channels, kernel, kernel)
        self.weight = Parameter(Tensor(weight.astype(np.float32)), name="weight")
        self.actnorm = ActNorm(out_channels)

    def construct(self, x):
        return self.actnorm.normalise(self.convolve(x))

    def convolve(self, x, start=0):
        """What the input channels from `start` on contribute to the convolution; x has those that are at hand."""
        return conv2d(x, self.weight[:, start : start + x.shape[1]])

    def initialise(self, x):
        """Host side: set the ActNorm for this batch; returns the output."""
        return self.actnorm.initialise(self.convolve(x))


class CouplingNet(nn.SequentialCell):
    """3×3 conv, ActNorm, ReLU, 1×1 conv, ActNorm, ReLU, zero-initialised 3×3 conv.

    (N, in_channels, H, W) -> (N, out_channels, H, W), in x's type.
    """

    def __init__(self, in_channels, hidden, out_channels):
        first, second = NormalisedConv2d(in_channels, hidden, 3), NormalisedConv2d(hidden, hidden, 1)
        last = Conv2dZeros(hidden, out_channels)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), last)
        # Plain tuples, since the cells are registered already; of methods (docs/mindspore-1.7.md, 1).
        self._convolve, self._normalise = (first.convolve,), (first.actnorm.normalise,)
        self._rest = (second, last)

    def construct(self, x):
        return self.after_first(self.first(x))

    def first(self, x, start=0):
        """What the input channels from `start` on, x (N, ·, H, W), contribute to the first convolution.

        It is linear: what several parts of the input contribute may be computed apart and added.
        """
        return self._convolve[0](x, start)

    def after_first(self, h):
        """The network's output, from that of its first convolution."""
        second, last = self._rest
        return last(ops.ReLU()(second(ops.ReLU()(self._normalise[0](h)))))

    def initialise(self, x):
        """Host side: set both ActNorms in their order for this batch x (N, in_channels, H, W); returns the output."""
        first, relu, second, _, last = self.cell_list
        return last(relu(second.initialise(relu(first.initialise(x)))))


class CondAffineSeparatedAndCond(FlowCell):
    """Affine injection, then affine coupling, both conditioned on the level's features ft.

    Two networks give a shift and a scale each, from their output h: shift = h's even channels, scale =
    sigmoid(h's odd channels + 2) + eps. (shift_ft, scale_ft) of fFeatures(ft) are for all C channels, and with
    z = (z1, z2), z1 the first C//2 channels, (shift, scale) of fAffine(z1, ft) are for z2:

    construct: z  ← (z + shift_ft)·scale_ft      logdet = Σ log scale_ft + Σ log scale
               z2 ← (z2 + shift)·scale
    inverse:   z2 ← z2/scale − shift             logdet = −Σ log scale_ft − Σ log scale
               z  ← z/scale_ft − shift_ft

    condition = (shift_ft (N, C, H, W), scale_ft (N, C, H, W), hidden_ft (N, hidden, H, W)), the last one the features'
    part of fAffine's first convolution: w ∗ (z1, ft) = w_z ∗ z1 + w_ft ∗ ft. The networks compute in `compute_type`,
    everything else in float32.
    """

    def __init__(self, channels, feature_channels, hidden, eps):
        super().__init__()
        self.kept, self.eps = channels // 2, eps
        self.compute_type = mstype.float32
        self.fAffine = CouplingNet(self.kept + feature_channels, hidden, 2 * (channels - self.kept))
        self.fFeatures = CouplingNet(feature_channels, hidden, 2 * channels)

    def condition(self, ft):
        ft = ops.Cast()(ft, self.compute_type)
        shift_ft, scale_ft = self._shift_scale(self.fFeatures(ft))
        return shift_ft, scale_ft, self.fAffine.first(ft, self.kept)

    def construct(self, x, condition=()):
        shift_ft, scale_ft, hidden_ft = condition
        z = (x + shift_ft) * scale_ft
        z1, z2 = z[:, : self.kept], z[:, self.kept :]
        shift, scale = self._affine(z1, hidden_ft)
        return ops.Concat(1)((z1, (z2 + shift) * scale)), _sum_of_logs(scale_ft, scale)

    def inverse(self, z, condition=()):
        shift_ft, scale_ft, hidden_ft = condition
        z1, z2 = z[:, : self.kept], z[:, self.kept :]
        shift, scale = self._affine(z1, hidden_ft)
        x = ops.Concat(1)((z1, z2 / scale - shift)) / scale_ft - shift_ft
        return x, -_sum_of_logs(scale_ft, scale)

    def initialise(self, x, ft):
        """Host side: set the ActNorms inside for this batch, fFeatures' first; returns the coupling's output."""
        shift_ft, scale_ft = self._shift_scale(self.fFeatures.initialise(ft))
        z = (x + shift_ft) * scale_ft
        self.fAffine.initialise(ops.Concat(1)((z[:, : self.kept], ft)))
        return self.construct(x, (shift_ft, scale_ft, self.fAffine.first(ft, self.kept)))[0]

    def _affine(self, z1, hidden_ft):
        """(shift, scale) for z2."""
        hidden = self.fAffine.first(ops.Cast()(z1, self.compute_type)) + ops.Cast()(hidden_ft, self.compute_type)
        return self._shift_scale(self.fAffine.after_first(hidden))

    def _shift_scale(self, h):
        shift, odd = even_odd(ops.Cast()(h, mstype.float32))
        return shift, ops.Sigmoid()(odd + 2.0) + self.eps


def _sum_of_logs(scale_ft, scale):
    return sum_per_image(ops.Log()(scale_ft)) + sum_per_image(ops.Log()(scale))
