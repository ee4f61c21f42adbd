# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""One level of the flow: its weights are made together, and its steps' conditions computed in groups."""

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
    """FlowStep with coupling: construct(x, mixing_weights, condition, coupling_weights), and inverse of the same.

    construct: mixing, then coupling, logdet = the sum of theirs
    inverse:   their inverses in the opposite order, logdet = the sum of theirs
    """

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
    """Split2d's construct and inverse as functions of weights.

    construct: ε = (z2 − mean)/exp(logs)      logdet = −Σ logs
    inverse:   z2 = mean + exp(logs)·ε        logdet = +Σ logs

    weights: weight and bias of its convolution, with the scaling folded in.
    """

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
    """A FlowLevel's construct and inverse as functions of weights.

    construct(x, weights, conditions) -> (z, logdet)    all layers in order, logdet = the sum of theirs
    inverse(z, weights, conditions)   -> (x, logdet)    their inverses in the opposite order, logdet = the sum of theirs

    x is (N, C/4, 2H, 2W). z is (N, C, H, W), a split's ε included. weights: the second result of the method `weights`.
    conditions: the result of the method `conditions`.

    What a step does to the features is the same for all steps. It is therefore done for a group of steps at once. The
    first layers of fFeatures are one convolution, those of fAffine another. The rest of fFeatures are grouped
    convolutions. The larger a level's maps, the smaller its groups, which bounds the memory.
    """

    def __init__(self, level, n_transitions, K, own_channels, doublings):
        """Build the cells, of which each computes all layers of its kind.

        Args:
            level: FlowLevel of a squeeze, transition steps, conditional steps, and maybe a split.
            n_transitions: number of the transition steps.
            K: number of the conditional steps.
            own_channels: how many of the features, from the first, are the level's own.
            doublings: the level's maps are 2 to this power times the low resolution.

        Raises:
            UnknownNetwork: a coupling is of a kind that is not known here.
        """
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
        # Steps of one kind differ only by the weights that they are given. One cell computes for all of them, and the
        # compiler reads it once.
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
        """List the level's ParameterStacks."""
        return list(self._mixings + self._feature_nets + self._affine_nets)

    def recompute_steps(self):
        """Do what `FlowUpsamplerNet.recompute_steps` does."""
        for cell in (self.transition, self.step):
            cell.recompute()

    def weights(self):
        """Make what the level needs of its parameters.

        Returns:
            Two things. What `conditions` needs: for each group of steps three members, for fFeatures' first layers,
            fAffine's first layers, and the rest of fFeatures. And what construct and inverse need, (mixings, couplings,
            split): the `mixing_weights` of all steps, the `affine_weights` of the K couplings, and the split's folded
            weight and bias, or ().
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
        """Make the first layers of a group of steps one convolution of `_patches`."""
        own, stacked = self.cut_own(weights)
        own = with_biases(own, biases)
        both = ops.Concat(1)((own, stacked))
        if self.doublings > 0:
            return winograd.kernels_for_even(both), winograd.kernels_for_odd(own)
        return (winograd.kernels_for_all(both),)

    def conditions(self, own, stacked, weights):
        """Compute the condition that each coupling takes.

        Args:
            own: (N, own_channels, H, W), the features that are the level's own, in the weights' type.
            stacked: (N, ·, h, w), the other features, at the low resolution, in the same type.
            weights: the first result of the method `weights`.

        Returns:
            A tuple of K conditions, see `couplings.Coupling`. Shifts and scales are float32, hidden_ft is in the
            weights' type.
        """
        patches = self._patches(own, stacked)
        conditions = ()
        for i in range(self.K // self.group):
            conditions = conditions + self._group_conditions(patches, weights[3 * i : 3 * i + 3], own.shape)
            patches = after(conditions[-1], patches)
        return conditions

    def _group_conditions(self, patches, weights, shape):
        features_first, affine_first, (second, second_bias, last, last_bias) = weights
        n, _, height, width = shape
        h = ops.ReLU()(_first(patches, features_first, shape))
        h = ops.ReLU()(ops.BiasAdd()(conv2d(h, second, self.group), second_bias))
        h = ops.BiasAdd()(narrowing_conv2d(h, last, 2 * self.coupling_channels, self.group), last_bias)
        shift, scale = couplings.shift_scale(ops.Cast()(h, mstype.float32), self.eps)
        by_step = (n, self.group, self.coupling_channels, height, width)
        shift, scale = ops.Reshape()(shift, by_step), ops.Reshape()(scale, by_step)
        hidden = with_one(ops.Reshape()(_first(patches, affine_first, shape), (n * self.group, -1, height, width)))
        hidden = ops.Reshape()(hidden, (n, self.group, -1, height, width))
        conditions = ()
        for condition in zip(slices(shift, 1), slices(scale, 1), slices(hidden, 1)):
            conditions = conditions + (condition,)
        return conditions

    def _patches(self, own, stacked):
        """Make the patches of the features, after a constant 1 for the biases.

        The arguments are those of `conditions`. The result is (even, odd) for the two kinds of products. At the last
        two levels, where `stacked` is not enlarged, it is a tuple of one, for all products.
        """
        own = with_one(own)
        for _ in range(self.enlargements):
            stacked = nearest_up2(stacked)
        if self.doublings > 0:
            even = ops.Concat(1)((winograd.even_patches(own), winograd.enlarged_patches(stacked)))
            return even, winograd.odd_patches(own)
        if self.doublings < 0:
            stacked = nearest_down2(stacked)
        return (winograd.patches(ops.Concat(1)((own, stacked))),)

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
        """Compute the level up to its first coupling.

        Args:
            x: (N, C/4, 2H, 2W).
            mixings: tuple of the transition steps' mixing weights.

        Returns:
            z (N, C, H, W), and the log-det, float32 (N,), in nats.
        """
        z, logdet = self.squeeze(x)
        for weights in mixings:
            z, term = self.transition(z, weights)
            logdet = logdet + term
        return z, logdet

    def leave(self, z, mixings):
        """Compute the inverse of `enter`: (x, logdet)."""
        logdet = per_image(0.0, z.shape[0])
        for i in range(self.n_transitions):  # MindSpore 2.8's graph mode reverses no empty tuple
            z, term = self.transition.inverse(z, mixings[-1 - i])
            logdet = logdet + term
        x, _ = self.squeeze.inverse(z)
        return x, logdet

    def couple(self, x, mixings, of_couplings, conditions):
        """Compute some of the conditional steps.

        Args:
            x: (N, C, H, W).
            mixings: tuple, of each step its mixing's weights.
            of_couplings: tuple, of each step its coupling's weights.
            conditions: tuple, of each step its coupling's condition.

        Returns:
            z (N, C, H, W), and the log-det, float32 (N,), in nats.
        """
        z, logdet = x, per_image(0.0, x.shape[0])
        for mixing_weights, coupling, condition in zip(mixings, of_couplings, conditions):
            z, term = self.step(z, mixing_weights, condition, coupling)
            logdet = logdet + term
        return z, logdet

    def uncouple(self, z, mixings, of_couplings, conditions):
        """Compute the inverse of `couple`: (x, logdet)."""
        x, logdet = z, per_image(0.0, z.shape[0])
        for mixing_weights, coupling, condition in zip(mixings[::-1], of_couplings[::-1], conditions[::-1]):
            x, term = self.step.inverse(x, mixing_weights, condition, coupling)
            logdet = logdet + term
        return x, logdet


def _folded(values):
    """Fold Conv2dZeros' scaling into its weight and bias, which have far fewer elements than its output."""
    weight, bias, logs = values
    scale = ops.Exp()(logs * LOGSCALE_FACTOR)
    return weight * ops.Reshape()(scale, (-1, 1, 1, 1)), bias * ops.Reshape()(scale, (-1,))


def _first(patches, weights, shape):
    """Compute the first layers of a group of steps, up to the ReLU.

    Args:
        patches: what `Level._patches` returned.
        weights: what `Level._first_weights` returned.
        shape: (N, ·, H, W), of the level's own features.

    Returns:
        (N, group·hidden, H, W).
    """
    n, _, height, width = shape
    products = winograd.products(patches[0], weights[0])
    if len(patches) == 2:
        products = ops.Concat(0)((products, winograd.products(patches[1], weights[1])))
    return winograd.as_maps(products, n, height, width)
