# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""One level of the flow: its weights made together, its steps' conditions computed in groups."""

import math

import mindspore.common.dtype as mstype
from mindspore import nn, ops

from src.model.Flow import LOGSCALE_FACTOR, Squeeze, even_odd, per_image
from src.model.convolutions import nearest_down2, nearest_up2
from src.model.cpu import couplings, mixing, winograd
from src.model.cpu.convolutions import conv2d, narrowing_conv2d, narrowing_weights, with_biases, with_one
from src.model.cpu.encoder import Values
from src.model.cpu.operators import Cut, after, cast, in_type, sum_per_image
from src.model.cpu.stacks import ParameterStacks, slices, unstack
from src.model.slogdet import SLogDet


class Step(nn.Cell):
    """A FlowStep with coupling: construct(x, mixing, condition, coupling) and inverse, of given weights."""

    def __init__(self, channels, eps):
        super().__init__()
        self.mixing, self.coupling = mixing.Mixing(), couplings.Coupling(channels, eps)

    def construct(self, x, mixing_weights, condition, coupling_weights):
        z, logdet = self.mixing(x, mixing_weights)
        z, term = self.coupling(z, condition, coupling_weights)
        return z, logdet + term

    def inverse(self, z, mixing_weights, condition, coupling_weights):
        x, logdet = self.coupling.inverse(z, condition, coupling_weights)
        x, term = self.mixing.inverse(x, mixing_weights)
        return x, logdet + term


class Split(nn.Cell):
    """Split2d's construct and inverse, of the folded weight and bias of its convolution."""

    def __init__(self, channels):
        super().__init__()
        self.kept = channels // 2
        self.halves = Cut(self.kept)

    def construct(self, x, weights):
        z1, z2 = self.halves(x)
        mean, logs = self._gaussian(z1, weights)
        return ops.Concat(1)((z1, (z2 - mean) * ops.Exp()(-logs))), -sum_per_image(logs)

    def inverse(self, z, weights):
        z1, eps = self.halves(z)
        mean, logs = self._gaussian(z1, weights)
        return ops.Concat(1)((z1, mean + ops.Exp()(logs) * eps)), sum_per_image(logs)

    def _gaussian(self, z1, weights):
        weight, bias = weights
        return even_odd(ops.BiasAdd()(conv2d(z1, weight), bias))


class Level(nn.Cell):
    """A FlowLevel's construct and inverse, of the weights that `weights` makes of its parameters.

    construct(x, weights, conditions) -> (z, logdet)     x (N, C/4, 2H, 2W), z (N, C, H, W), a split's ε included
    inverse(z, weights, conditions)   -> (x, logdet)

    weights: the second result of the method; conditions: that of `conditions`. `doublings`: the level's maps are 2 to
    that power times the low resolution.

    What a step does to the low-resolution image's features is the same for all steps, so it is done for a group of
    steps at once: as one convolution each for the first layers of fFeatures and fAffine, as grouped ones for the rest
    of fFeatures. The larger a level's maps, the smaller its groups, which bounds the memory.
    """

    def __init__(self, level, n_transitions, K, own_channels, doublings):
        """level: FlowLevel of a squeeze, n_transitions steps, K steps with coupling, and maybe a split."""
        super().__init__(auto_prefix=False)
        steps = level.layers[1 : 1 + n_transitions + K]
        conditional = [step.affine for step in steps[n_transitions:]]
        for coupling in conditional:
            couplings.require_known(coupling)
        channels = steps[0].actnorm.bias.shape[1]
        self.K, self.n_transitions, self.doublings = K, n_transitions, doublings
        self.enlargements = max(doublings - 1, 0)
        self.coupling_channels, self.eps = channels, conditional[0].eps
        self.half = conditional[0].compute_type == mstype.float16
        self.group = math.gcd(self.K, 4 ** max(2 - doublings, 0))
        self.slogdet, self.cut_own = SLogDet(), Cut(own_channels)
        self.cut_kept = Cut(channels // 2)
        # Steps of one kind differ by their weights only, which they are given: one computes for all, and the compiler
        # reads it once.
        self.squeeze, self.transition, self.step = Squeeze(), mixing.Mixing(), Step(channels, self.eps)
        self.kept, self.splits = level.kept, len(level.layers) > 1 + len(steps)
        self.split = Split(channels) if self.splits else None
        # Plain tuples: the parameters are the FlowLevel's.
        conv = level.layers[-1].conv if self.splits else None
        self._split_values = (Values([conv.weight, conv.bias, conv.logs]),) if self.splits else ()
        self._mixings = (ParameterStacks([mixing.parameters_of(step) for step in steps]),)
        self._feature_nets = (ParameterStacks([couplings.parameters_of(c.fFeatures) for c in conditional]),)
        self._affine_nets = (ParameterStacks([couplings.parameters_of(c.fAffine) for c in conditional]),)

    def stacks(self):
        """Its ParameterStacks."""
        return list(self._mixings + self._feature_nets + self._affine_nets)

    def recompute_steps(self):
        """See `FlowUpsamplerNet.recompute_steps`."""
        for cell in (self.transition, self.step):
            cell.recompute()

    def weights(self):
        """(What `conditions` needs of the parameters, what construct and inverse need of them).

        The former: for each group of steps three members, fFeatures' first layers, fAffine's, the rest of fFeatures.
        The latter: (mixings, couplings, split), the `mixing_weights` of all steps, the `affine_weights` of the K
        couplings, and the split's folded convolution or ().
        """
        affine_first, affine_bias, second, second_bias, last, last_bias = couplings.fold(self._affine_nets[0]())
        of_z1, of_features = self.cut_kept(affine_first)
        of_couplings = couplings.affine_weights(of_z1, second, second_bias, last, last_bias)
        of_conditions = self._condition_weights(of_features, affine_bias)
        if self.half:
            of_conditions = in_type((of_conditions,), mstype.float16)[0]
            of_couplings = cast(of_couplings, mstype.float16)
        split = _folded(self._split_values[0]()) if self.splits else ()
        return of_conditions, (mixing.mixing_weights(self._mixings[0](), self.slogdet), of_couplings, split)

    def _condition_weights(self, affine_first, affine_bias):
        first, first_bias, second, second_bias, last, last_bias = couplings.fold(self._feature_nets[0]())
        by_group = ()
        for values in (first, first_bias, affine_first, affine_bias):
            by_group = by_group + (ops.Reshape()(values, (self.K // self.group, -1) + values.shape[1:]),)
        for stack in (second, second_bias, narrowing_weights(last), last_bias):
            by_group = by_group + (ops.Reshape()(stack, (self.K // self.group, -1) + stack.shape[2:]),)
        members = ()
        for first, first_bias, affine_first, affine_bias, second, second_bias, last, last_bias in unstack(by_group):
            members = members + (
                self._first_weights(first, first_bias),
                self._first_weights(affine_first, affine_bias),
                (second, second_bias, last, last_bias),
            )
        return members

    def _first_weights(self, weights, biases):
        """A group's first layers over the features as one convolution, for `_tiles`."""
        own, stacked = self.cut_own(weights)
        own = with_biases(own, biases)
        both = ops.Concat(1)((own, stacked))
        if self.doublings > 0:
            return winograd.even_weights(both), winograd.odd_weights(own)
        return (winograd.weights(both),)

    def conditions(self, own, stacked, weights):
        """Of each coupling the condition that `couplings.Coupling` takes: a tuple of K.

        own (N, own_channels, H, W), stacked (N, stacked_channels, h, w), the low resolution's size; both in the
        weights' type. Shifts and scales are float32 again.
        """
        tiles = self._tiles(own, stacked)
        conditions = ()
        for i in range(self.K // self.group):
            conditions = conditions + self._group_conditions(tiles, weights[3 * i : 3 * i + 3], own.shape)
            tiles = after(conditions[-1], tiles)
        return conditions

    def _group_conditions(self, tiles, weights, shape):
        features_first, affine_first, (second, second_bias, last, last_bias) = weights
        n, _, height, width = shape
        h = ops.ReLU()(_first(tiles, features_first, shape))
        h = ops.ReLU()(ops.BiasAdd()(conv2d(h, second, self.group), second_bias))
        h = ops.BiasAdd()(narrowing_conv2d(h, last, 2 * self.coupling_channels, self.group), last_bias)
        shift, scale = couplings.shift_scale(ops.Cast()(h, mstype.float32), self.eps)
        by_step = (n, self.group, self.coupling_channels, height, width)
        shift, scale = ops.Reshape()(shift, by_step), ops.Reshape()(scale, by_step)
        hidden = with_one(ops.Reshape()(_first(tiles, affine_first, shape), (n * self.group, -1, height, width)))
        hidden = ops.Reshape()(hidden, (n, self.group, -1, height, width))
        conditions = ()
        for condition in zip(slices(shift, 1), slices(scale, 1), slices(hidden, 1)):
            conditions = conditions + (condition,)
        return conditions

    def _tiles(self, own, stacked):
        """The features, with a constant 1 for the biases, as first layers take them: even and odd tiles, or all."""
        own = with_one(own)
        for _ in range(self.enlargements):
            stacked = nearest_up2(stacked)
        if self.doublings > 0:
            even = ops.Concat(1)((winograd.even_tiles(own), winograd.enlarged_tiles(stacked)))
            return even, winograd.odd_tiles(own)
        if self.doublings < 0:
            stacked = nearest_down2(stacked)
        return (winograd.tiles(ops.Concat(1)((own, stacked))),)

    def construct(self, x, weights, conditions):
        mixings, of_couplings, split = weights
        mixings = unstack(mixings)
        z, logdet = self.enter(x, mixings[: self.n_transitions])
        z, term = self.couple(z, mixings[self.n_transitions :], unstack(of_couplings), conditions)
        logdet = logdet + term
        if self.splits:
            z, term = self.split(z, split)
            logdet = logdet + term
        return z, logdet

    def inverse(self, z, weights, conditions):
        mixings, of_couplings, split = weights
        mixings = unstack(mixings)
        logdet = per_image(0.0, z.shape[0])
        if self.splits:
            z, logdet = self.split.inverse(z, split)
        z, term = self.uncouple(z, mixings[self.n_transitions :], unstack(of_couplings), conditions)
        x, last_term = self.leave(z, mixings[: self.n_transitions])
        return x, logdet + term + last_term

    def enter(self, x, mixings):
        """The level up to its first coupling: (z, logdet); mixings: weights of the transition steps."""
        z, logdet = self.squeeze(x)
        for weights in mixings:
            z, term = self.transition(z, weights)
            logdet = logdet + term
        return z, logdet

    def leave(self, z, mixings):
        """The inverse of `enter`."""
        logdet = per_image(0.0, z.shape[0])
        for i in range(self.n_transitions):  # graph mode reverses no tuple that may be empty
            z, term = self.transition.inverse(z, mixings[-1 - i])
            logdet = logdet + term
        x, _ = self.squeeze.inverse(z)
        return x, logdet

    def couple(self, x, mixings, of_couplings, conditions):
        """Some steps with coupling: (z, logdet); of each the mixing's weights, the coupling's, and the condition."""
        z, logdet = x, per_image(0.0, x.shape[0])
        for mixing_weights, coupling, condition in zip(mixings, of_couplings, conditions):
            z, term = self.step(z, mixing_weights, condition, coupling)
            logdet = logdet + term
        return z, logdet

    def uncouple(self, z, mixings, of_couplings, conditions):
        """The inverse of `couple`."""
        x, logdet = z, per_image(0.0, z.shape[0])
        for mixing_weights, coupling, condition in zip(mixings[::-1], of_couplings[::-1], conditions[::-1]):
            x, term = self.step.inverse(x, mixing_weights, condition, coupling)
            logdet = logdet + term
        return x, logdet


def _folded(values):
    """Conv2dZeros' (weight, bias) with its scaling, over far fewer elements than its output has."""
    weight, bias, logs = values
    scale = ops.Exp()(logs * LOGSCALE_FACTOR)
    return weight * ops.Reshape()(scale, (-1, 1, 1, 1)), bias * ops.Reshape()(scale, (-1,))


def _first(tiles, weights, shape):
    """A group's first layers, before their ReLU where they have one: (N, group·hidden, H, W); shape: (N, ·, H, W)."""
    n, _, height, width = shape
    products = winograd.products(tiles[0], weights[0])
    if len(tiles) == 2:
        products = ops.Concat(0)((products, winograd.products(tiles[1], weights[1])))
    return winograd.as_maps(products, n, height, width)
