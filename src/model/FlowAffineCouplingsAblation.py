# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional affine coupling of SRFlow (section 3.4 of the paper): two small networks per flow step."""
import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.Flow import LOGSCALE_FACTOR, Conv2dZeros, Cut, FlowCell, Reciprocal, even_odd, sum_per_image
from src.model.FlowActNorms import ActNorm
from src.model.convolutions import conv2d, transposed_conv2d, transposed_weights, with_biases


class NormalisedConv2d(nn.Cell):
    """k×k convolution without bias, then ActNorm: (N, in_channels, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels, out_channels, kernel):
        super().__init__()
        weight = 0.05 * np.random.randn(out_channels, in_channels, kernel, kernel)
        self.weight = Parameter(Tensor(weight.astype(np.float32)), name="weight")
        self.actnorm = ActNorm(out_channels)

    def initialise(self, x):
        """Host side: sets the ActNorm for this batch; returns the output."""
        return self.actnorm.initialise(conv2d(x, self.weight))


class CouplingNet(nn.SequentialCell):
    """3×3 conv, ActNorm, ReLU, 1×1 conv, ActNorm, ReLU, zero-initialised 3×3 conv; the parameters of one network.

    All networks of a level run side by side or on prepared weights, which `fold` and `FlowLevel` make.
    """

    def __init__(self, in_channels, hidden, out_channels):
        first, second = NormalisedConv2d(in_channels, hidden, 3), NormalisedConv2d(hidden, hidden, 1)
        last = Conv2dZeros(hidden, out_channels)
        super().__init__(first, nn.ReLU(), second, nn.ReLU(), last)

    def parameters_in_order(self):
        """Its nine parameters, as `fold` takes them."""
        first, _, second, _, last = self.cell_list
        return (first.weight, first.actnorm.bias, first.actnorm.logs, second.weight, second.actnorm.bias,
                second.actnorm.logs, last.weight, last.bias, last.logs)

    def initialise(self, x):
        """Host side: sets both ActNorms in their order for this batch x (N, in_channels, H, W); returns the output."""
        first, relu, second, _, last = self.cell_list
        return last(relu(second.initialise(relu(first.initialise(x)))))


def fold(values):
    """K networks in few operations: their layers' weights and biases with ActNorms and scalings folded in.

    values: the networks' `parameters_in_order`, each stacked over the networks. Returns first (K·hidden, in, 3, 3) and
    its bias (K·hidden,), second (K, hidden, hidden, 1, 1) and its bias, last (K, out, hidden, 3, 3) and its bias
    (K, out).

    A scale is positive, so it may follow a ReLU: ReLU((w ∗ x + b)·e^s) = e^s·ReLU(w ∗ x + b). That of the first two
    layers is therefore moved into the columns of the layer after them. The last bias has 2 more for odd channels, of
    which `shift_scale` takes the sigmoid.
    """
    first, first_bias, first_logs, second, second_bias, second_logs, last, last_bias, last_logs = values
    count, hidden, out = first.shape[0], first.shape[1], last.shape[1]
    columns, rows = (count, 1, hidden, 1, 1), (count, out, 1, 1, 1)
    second = second * ops.Exp()(ops.Reshape()(first_logs, columns))
    scale = ops.Exp()(LOGSCALE_FACTOR * ops.Reshape()(last_logs, (count, out)))
    last = last * (ops.Reshape()(scale, rows) * ops.Exp()(ops.Reshape()(second_logs, columns)))
    last_bias = ops.Reshape()(last_bias * scale, (count, out // 2, 2)) + Tensor(np.array([0, 2], np.float32))
    return (ops.Reshape()(first, (count * hidden,) + first.shape[2:]), ops.Reshape()(first_bias, (-1,)), second,
            ops.Reshape()(second_bias, (count, hidden)), last, ops.Reshape()(last_bias, (count, out)))


def shift_scale(h, eps):
    """The (shift, scale) that a network's output h (N, 2C, H, W) means, both (N, C, H, W).

    shift = the even channels, scale = sigmoid(odd channels + 2) + eps, the 2 being in the last bias already (`fold`).
    """
    shift, odd = even_odd(h)
    return shift, ops.Sigmoid()(odd) + eps


class CondAffineSeparatedAndCond(FlowCell):
    """Affine injection, then affine coupling, both conditioned on the level's features ft (N, F, H, W).

    With (shift_ft, scale_ft) = fFeatures(ft) for all C channels, z = (z1, z2), z1 the first C//2 channels, and
    (shift, scale) = fAffine(z1, ft):

    construct: z  ← (z + shift_ft)·scale_ft      logdet = Σ log scale_ft + Σ log scale
               z2 ← (z2 + shift)·scale
    inverse:   z2 ← z2/scale − shift             logdet = −Σ log scale_ft − Σ log scale
               z  ← z/scale_ft − shift_ft

    cond = (features, weights), by `FlowLevel` for all its steps together.
    features = (shift_ft (N, C, H, W), scale_ft (N, C, H, W), hidden_ft (N, 1 + hidden, H, W)): all that the image
    contributes; hidden_ft is the features' part of fAffine's first layer, which is affine:
    w ∗ (z1, ft) + b = w_z ∗ z1 + (w_ft ∗ ft + b); before its channels it has one that is constantly 1. weights, by
    `affine_weights`: the rest of fAffine.
    """

    def __init__(self, channels, feature_channels, hidden, eps):
        super().__init__()
        self.kept = channels // 2
        self.out = 2 * (channels - self.kept)
        self.halves, self.reciprocal = Cut(self.kept), Reciprocal()
        self.eps = eps
        self.fAffine = CouplingNet(self.kept + feature_channels, hidden, self.out)
        self.fFeatures = CouplingNet(feature_channels, hidden, 2 * channels)

    def construct(self, x, cond):
        (shift_ft, scale_ft, hidden_ft), weights = cond
        z1, z2 = self.halves((x + shift_ft) * scale_ft)
        shift, scale = self._affine(z1, hidden_ft, weights)
        return ops.Concat(1)((z1, (z2 + shift) * scale)), _sum_of_logs(scale_ft, scale)

    def inverse(self, z, cond):
        (shift_ft, scale_ft, hidden_ft), weights = cond
        z1, z2 = self.halves(z)
        shift, scale = self._affine(z1, hidden_ft, weights)
        z = ops.Concat(1)((z1, z2 * self.reciprocal(scale) - shift))
        x = z * self.reciprocal(scale_ft) - shift_ft
        return x, -_sum_of_logs(scale_ft, scale)

    def initialise(self, x, features):
        """Host side: sets the ActNorms inside for this batch, fFeatures' first; returns the coupling's output."""
        shift_ft, scale_ft = self._initial_shift_scale(self.fFeatures.initialise(features))
        z1, z2 = self.halves((x + shift_ft) * scale_ft)
        shift, scale = self._initial_shift_scale(self.fAffine.initialise(ops.Concat(1)((z1, features))))
        return ops.Concat(1)((z1, (z2 + shift) * scale))

    def _initial_shift_scale(self, h):
        shift, odd = even_odd(h)
        return shift, ops.Sigmoid()(odd + 2.0) + self.eps

    def _affine(self, z1, hidden_ft, weights):
        """(shift, scale) for z2; the network computes in its weights' type."""
        first, second, last = weights
        h = conv2d(ops.Cast()(z1, first.dtype), first) + ops.Cast()(hidden_ft, first.dtype)
        h = last_conv2d(ops.ReLU()(conv2d(ops.ReLU()(h), second)), last, self.out)
        return shift_scale(ops.Cast()(h, mstype.float32), self.eps)


def _sum_of_logs(scale_ft, scale):
    return sum_per_image(ops.Log()(scale_ft)) + sum_per_image(ops.Log()(scale))


def affine_weights(first, second, second_bias, last, last_bias):
    """`weights` of K couplings, stacked, from their folded fAffine; first: its part for z1 alone.

    A first channel, to which the condition's constant 1 is passed on, has the biases of the next layer as weights.
    """
    count, hidden, dtype = second.shape[0], second.shape[1], second.dtype
    first = ops.Reshape()(first, (count, hidden) + first.shape[1:])
    nothing = ops.Zeros()((count, 1) + first.shape[2:], dtype)
    one_of_one = ops.Concat(2)((ops.Ones()((count, 1, 1, 1, 1), dtype), ops.Zeros()((count, 1, hidden, 1, 1), dtype)))
    return (ops.Concat(1)((nothing, first)), ops.Concat(1)((one_of_one, with_biases(second, second_bias))),
            last_weights(with_biases(last, last_bias)))


def last_weights(weights):
    """K last layers' weights (K, out, hidden, 3, 3) as `last_conv2d` takes them."""
    return transposed_weights(weights) if weights.shape[1] < weights.shape[2] else weights


def last_conv2d(h, weight, out, group=1):
    """The last layer of `group` networks of `out` channels each: transposed where it narrows, which is cheaper."""
    narrows = out < h.shape[1] // group
    return transposed_conv2d(h, weight, group) if narrows else conv2d(h, weight, group)
