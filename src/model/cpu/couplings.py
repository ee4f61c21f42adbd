# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional affine coupling, with the ActNorms and scalings of its networks folded into their convolutions."""

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Tensor, nn, ops

from src.model.Flow import LOGSCALE_FACTOR, Conv2dZeros, even_odd
from src.model.FlowAffineCouplingsAblation import CondAffineSeparatedAndCond, CouplingNet, NormalisedConv2d
from src.model.cpu.convolutions import conv2d, narrowing_conv2d, narrowing_weights, with_biases
from src.model.cpu.operators import Cut, Reciprocal, sum_per_image

_KINDS = [NormalisedConv2d, nn.ReLU, NormalisedConv2d, nn.ReLU, Conv2dZeros]


class UnknownNetwork(ValueError):
    """Network with a layer that this arrangement does not compute."""


def require_known(coupling):
    """Refuse a coupling that computes something else than what is written here.

    Args:
        coupling: a FlowStep's `affine`.

    Raises:
        UnknownNetwork: its class, or the layers of its networks, are others.
    """
    if type(coupling) is not CondAffineSeparatedAndCond:
        raise UnknownNetwork(
            f"implementation cpu: knows CondAffineSeparatedAndCond, got the coupling "
            f"{type(coupling).__name__}; use implementation: plain"
        )
    for name in ("fAffine", "fFeatures"):
        net = getattr(coupling, name)
        kinds = [type(layer) for layer in net] if isinstance(net, nn.SequentialCell) else [type(net)]
        kernels = [layer.weight.shape[-1] for layer in net if hasattr(layer, "weight")] if len(kinds) == 5 else []
        if type(net) is not CouplingNet or kinds != _KINDS or kernels != [3, 1, 3]:
            raise UnknownNetwork(
                f"implementation cpu: knows a {name} of 3x3, 1x1 and 3x3 convolution, got "
                f"{', '.join(kind.__name__ for kind in kinds)}; use implementation: plain"
            )


def parameters_of(net):
    """List the nine parameters of a CouplingNet, in the order in which `fold` takes them."""
    first, _, second, _, last = net
    return (
        first.weight,
        first.actnorm.bias,
        first.actnorm.logs,
        second.weight,
        second.actnorm.bias,
        second.actnorm.logs,
        last.weight,
        last.bias,
        last.logs,
    )


def fold(values):
    """Fold ActNorms and scalings of K networks into the weights and biases of their layers.

    A scale is positive, so it may follow a ReLU: ReLU((w ∗ x + b)·e^s) = e^s·ReLU(w ∗ x + b). The scales of the first
    two layers are therefore moved into the columns of the layer after them. To the last bias 2 is added for odd
    channels, of which `shift_scale` takes the sigmoid.

    Args:
        values: the networks' `parameters_of`, each stacked over the networks.

    Returns:
        Six tensors, weights and bias of each layer:

        first (K·hidden, in, 3, 3), its bias (K·hidden,)
        second (K, hidden, hidden, 1, 1), its bias (K, hidden)
        last (K, out, hidden, 3, 3), its bias (K, out)
    """
    first, first_bias, first_logs, second, second_bias, second_logs, last, last_bias, last_logs = values
    count, hidden, out = first.shape[0], first.shape[1], last.shape[1]
    columns, rows = (count, 1, hidden, 1, 1), (count, out, 1, 1, 1)
    second = second * ops.Exp()(ops.Reshape()(first_logs, columns))
    scale = ops.Exp()(LOGSCALE_FACTOR * ops.Reshape()(last_logs, (count, out)))
    last = last * (ops.Reshape()(scale, rows) * ops.Exp()(ops.Reshape()(second_logs, columns)))
    last_bias = ops.Reshape()(last_bias * scale, (count, out // 2, 2)) + Tensor(np.array([0, 2], np.float32))
    return (
        ops.Reshape()(first, (count * hidden,) + first.shape[2:]),
        ops.Reshape()(first_bias, (-1,)),
        second,
        ops.Reshape()(second_bias, (count, hidden)),
        last,
        ops.Reshape()(last_bias, (count, out)),
    )


def affine_weights(first, second, second_bias, last, last_bias):
    """Make what `Coupling` needs of K fAffines, stacked over the couplings.

    The network has one hidden channel more, its first, to which the condition's constant 1 is passed on. The weights of
    that channel are the biases of the next layer.

    Args:
        first: (K·hidden, C//2, 3, 3), the folded first layer's part for z1.
        second: (K, hidden, hidden, 1, 1), folded.
        second_bias: (K, hidden).
        last: (K, out, hidden, 3, 3), folded.
        last_bias: (K, out).

    Returns:
        The weights of the three layers: (K, 1 + hidden, C//2, 3, 3), (K, 1 + hidden, 1 + hidden, 1, 1), and
        (K, out, 1 + hidden, 3, 3) as `narrowing_weights` arranges it.
    """
    count, hidden, dtype = second.shape[0], second.shape[1], second.dtype
    first = ops.Reshape()(first, (count, hidden) + first.shape[1:])
    nothing = ops.Zeros()((count, 1) + first.shape[2:], dtype)
    one_of_one = ops.Concat(2)((ops.Ones()((count, 1, 1, 1, 1), dtype), ops.Zeros()((count, 1, hidden, 1, 1), dtype)))
    return (
        ops.Concat(1)((nothing, first)),
        ops.Concat(1)((one_of_one, with_biases(second, second_bias))),
        narrowing_weights(with_biases(last, last_bias)),
    )


def shift_scale(h, eps):
    """Read shift and scale from a network's output.

    shift = even channels, scale = sigmoid(odd channels) + eps. The 2 that the definition adds is in the last bias
    already, see `fold`.

    Args:
        h: float32 (N, 2C, H, W), the network's output.
        eps: number.

    Returns:
        shift and scale, both float32 (N, C, H, W).
    """
    shift, odd = even_odd(h)
    return shift, ops.Sigmoid()(odd) + eps


class Coupling(nn.Cell):
    """CondAffineSeparatedAndCond's construct and inverse as functions of weights.

    construct: z  ← (z + shift_ft)·scale_ft      logdet = +Σ log scale_ft + Σ log scale
               z2 ← (z2 + shift)·scale
    inverse:   z2 ← z2/scale − shift             logdet = −Σ log scale_ft − Σ log scale
               z  ← z/scale_ft − shift_ft

    condition = (shift_ft, scale_ft, hidden_ft (N, 1 + hidden, H, W)). hidden_ft has the biases of the first layer in
    it, and before its channels one that is constantly 1. weights: what `affine_weights` made for one coupling.
    """

    def __init__(self, channels, eps):
        super().__init__()
        kept = channels // 2
        self.out, self.eps = 2 * (channels - kept), eps
        self.halves, self.reciprocal = Cut(kept), Reciprocal()

    def construct(self, x, condition, weights):
        shift_ft, scale_ft, hidden_ft = condition
        z1, z2 = self.halves((x + shift_ft) * scale_ft)
        shift, scale = self._affine(z1, hidden_ft, weights)
        return ops.Concat(1)((z1, (z2 + shift) * scale)), _sum_of_logs(scale_ft, scale)

    def inverse(self, z, condition, weights):
        shift_ft, scale_ft, hidden_ft = condition
        z1, z2 = self.halves(z)
        shift, scale = self._affine(z1, hidden_ft, weights)
        z = ops.Concat(1)((z1, z2 * self.reciprocal(scale) - shift))
        return z * self.reciprocal(scale_ft) - shift_ft, -_sum_of_logs(scale_ft, scale)

    def _affine(self, z1, hidden_ft, weights):
        """Compute (shift, scale) for z2. The network computes in its weights' type."""
        first, second, last = weights
        h = conv2d(ops.Cast()(z1, first.dtype), first) + ops.Cast()(hidden_ft, first.dtype)
        h = narrowing_conv2d(ops.ReLU()(conv2d(ops.ReLU()(h), second)), last, self.out)
        return shift_scale(ops.Cast()(h, mstype.float32), self.eps)


def _sum_of_logs(scale_ft, scale):
    return sum_per_image(ops.Log()(scale_ft)) + sum_per_image(ops.Log()(scale))
