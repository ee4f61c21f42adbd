# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional affine coupling of SRFlow (section 3.4 of the paper): two small networks per flow step."""
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.Flow import Conv2dZeros, FlowCell, conv2d, even_odd, sum_per_image
from src.model.FlowActNorms import ActNorm


class NormalisedConv2d(nn.Cell):
    """k×k convolution without bias, then ActNorm: (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels, out_channels, kernel):
        super().__init__()
        weight = 0.05 * np.random.randn(out_channels, in_channels, kernel, kernel)
        self.weight = Parameter(Tensor(weight.astype(np.float32)), name="weight")
        self.actnorm = ActNorm(out_channels)

    def folded(self):
        """The two as one convolution: its weight (out_channels, in_channels, k, k) and bias (out_channels,).

        (w ∗ x + b)·exp(logs) = (w·exp(logs)) ∗ x + b·exp(logs), over far fewer elements than x has.
        """
        scale = ops.Exp()(self.actnorm.logs)
        weight = self.weight * ops.Reshape()(scale, (-1, 1, 1, 1))
        return weight, ops.Reshape()(self.actnorm.bias * scale, (-1,))

    def construct(self, x):
        weight, bias = self.folded()
        return ops.BiasAdd()(conv2d(x, weight), bias)


class CouplingNet(nn.SequentialCell):
    """3×3 conv, ActNorm, ReLU, 1×1 conv, ActNorm, ReLU, zero-initialised 3×3 conv.

    The first convolution is not called here: it is linear, and its part over the conditional features is the
    same kind of work for all steps of a level, so `FlowUpsamplerNet` does it for all of them at once. What
    enters `construct` is its result after its ActNorm: (N, hidden, H, W) -> (N, out_channels, H, W).
    """

    def __init__(self, in_channels, hidden, out_channels):
        first = NormalisedConv2d(in_channels, hidden, 3)
        super().__init__(first, nn.ReLU(), NormalisedConv2d(hidden, hidden, 1), nn.ReLU(),
                         Conv2dZeros(hidden, out_channels))
        # A bound method, because graph mode in MindSpore 1.7 cannot look up a member of a cell in a sequence.
        self.first = first.folded

    def construct(self, first):
        _, relu, second, _, last = self.cell_list
        return last(relu(second(relu(first))))

    def initialise(self, first):
        """Host side, with the first convolution of a real batch, before its ActNorm: sets both ActNorms in their
        order, returns the output."""
        first_conv, relu, second_conv, _, last_conv = self.cell_list
        h = relu(first_conv.actnorm.initialise(first))
        h = relu(second_conv.actnorm.initialise(conv2d(h, second_conv.weight)))
        return last_conv(h)


class CondAffineSeparatedAndCond(FlowCell):
    """Affine injection, then affine coupling, both conditioned on the level's features ft (N, F, H, W).

    With (shift_ft, scale_ft) = fFeatures(ft) for all C channels, z = (z1, z2), z1 the first C//2 channels, and
    (shift, scale) = fAffine(z1, ft):

    construct: z  ← (z + shift_ft)·scale_ft      logdet = Σ log scale_ft + Σ log scale
               z2 ← (z2 + shift)·scale
    inverse:   z2 ← z2/scale − shift             logdet = −Σ log scale_ft − Σ log scale
               z  ← z/scale_ft − shift_ft

    A network's output h means shift = h[even channels], scale = sigmoid(h[odd channels] + 2) + eps.

    cond = (shift_ft (N, C, H, W), scale_ft (N, C, H, W), hidden_ft (N, hidden, H, W)), by `condition`; hidden_ft is
    the features' part of fAffine's first layer, which is affine: w ∗ (z1, ft) + b = w_z ∗ z1 + (w_ft ∗ ft + b).
    None of them depends on z, so for one low-resolution image they are computed once.
    """

    def __init__(self, channels, feature_channels, hidden, eps):
        super().__init__()
        self.kept = channels // 2
        self.eps = eps
        self.fAffine = CouplingNet(self.kept + feature_channels, hidden, 2 * (channels - self.kept))
        self.fFeatures = CouplingNet(feature_channels, hidden, 2 * channels)

    def feature_layers(self):
        """The two layers that meet ft, fFeatures' first and the features' part of fAffine's first.

        Returns (weight, weight, bias, bias), weights (hidden, F, 3, 3), biases (hidden,).
        """
        weight_features, bias_features = self.fFeatures.first()
        weight_affine, bias_affine = self.fAffine.first()
        return weight_features, weight_affine[:, self.kept:], bias_features, bias_affine

    def condition(self, first_features, first_affine):
        """cond, from the results of `feature_layers`, both (N, hidden, H, W)."""
        shift, scale = self._shift_scale(self.fFeatures(first_features))
        return shift, scale, first_affine

    def construct(self, x, cond):
        shift_ft, scale_ft, hidden_ft = cond
        z = (x + shift_ft) * scale_ft
        z1, z2 = self._halves(z)
        shift, scale = self._shift_scale(self.fAffine(self._first(z1, hidden_ft)))
        z2 = (z2 + shift) * scale
        return ops.Concat(1)((z1, z2)), self._logdet(scale_ft, scale)

    def inverse(self, z, cond):
        shift_ft, scale_ft, hidden_ft = cond
        z1, z2 = self._halves(z)
        shift, scale = self._shift_scale(self.fAffine(self._first(z1, hidden_ft)))
        z2 = z2 / scale - shift
        x = ops.Concat(1)((z1, z2)) / scale_ft - shift_ft
        return x, -self._logdet(scale_ft, scale)

    def initialise(self, x, features):
        """Host side: sets the ActNorms inside for this batch, fFeatures' first; returns the coupling's output."""
        features_net, affine_net = self.fFeatures.cell_list[0], self.fAffine.cell_list[0]
        shift_ft, scale_ft = self._shift_scale(self.fFeatures.initialise(conv2d(features, features_net.weight)))
        z1, z2 = self._halves((x + shift_ft) * scale_ft)
        first = conv2d(ops.Concat(1)((z1, features)), affine_net.weight)
        shift, scale = self._shift_scale(self.fAffine.initialise(first))
        return ops.Concat(1)((z1, (z2 + shift) * scale))

    def _first(self, z1, hidden_ft):
        weight, _ = self.fAffine.first()
        return conv2d(z1, weight[:, :self.kept]) + hidden_ft

    def _halves(self, z):
        return z[:, :self.kept], z[:, self.kept:]

    def _shift_scale(self, h):
        shift, odd = even_odd(h)
        return shift, ops.Sigmoid()(odd + 2.0) + self.eps

    def _logdet(self, scale_ft, scale):
        return sum_per_image(ops.Log()(scale_ft)) + sum_per_image(ops.Log()(scale))
