# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""One level of the flow, and what all of its steps share: their conditions and their weights."""
import math

import mindspore.common.dtype as mstype
from mindspore import ops

from src.model import winograd
from src.model.Flow import Cut, FlowCell, Squeeze, in_type, per_image
from src.model.FlowAffineCouplingsAblation import CondAffineSeparatedAndCond, affine_weights, fold, last_conv2d, \
    last_weights, shift_scale
from src.model.FlowStep import FlowStep
from src.model.InvertibleConv1x1 import mixing_weights
from src.model.Split import Split2d
from src.model.convolutions import conv2d, nearest_down2, nearest_up2, with_biases, with_one
from src.model.slogdet import SLogDet
from src.model.stacks import ParameterStacks, slices, unstack


class FlowLevel(FlowCell):
    """Squeeze, transition steps, K conditional steps and, where `split`, a split.

    construct(x, cond) -> (z, logdet)     x (N, C/4, 2H, 2W), z (N, C, H, W), in a level with split its ε included
    inverse(z, cond)   -> (x, logdet)

    cond = (weights, conditions): the second result of the method `weights`, and that of `conditions`. C `channels`; K,
    n_transitions: steps with and without coupling; hidden, eps: of the couplings. A level's features are `own_channels`
    of its own, at (H, W), and `stacked_channels` at the low resolution, which is `doublings` times smaller by half
    (−1: twice as large).

    What a step does to the low-resolution image's features is the same for all steps, so it is done for a group of
    steps at once: as one convolution each for the first layers of fFeatures and fAffine, as grouped ones for the rest of
    fFeatures. The larger a level's maps, the smaller its groups, which bounds the memory.
    """

    def __init__(self, channels, own_channels, stacked_channels, doublings, K, n_transitions, hidden, eps, split):
        super().__init__()
        self.kept = channels // 2 if split else channels
        self.doublings = doublings
        self.enlargements = max(doublings - 1, 0)
        self.coupling_channels, self.coupling_kept, self.eps = channels, channels // 2, eps
        self.K, self.n_transitions, self.splits = K, n_transitions, split
        self.group = math.gcd(K, 4 ** max(2 - doublings, 0))
        self.half = False
        self.slogdet = SLogDet()
        self.cut_kept, self.cut_own = Cut(self.coupling_kept), Cut(own_channels)
        # A plain tuple: `FlowUpsamplerNet` owns the layers and names their parameters.
        features = own_channels + stacked_channels
        self.layers = (Squeeze(),)
        self.layers += tuple(FlowStep(channels) for _ in range(n_transitions))
        self.layers += tuple(FlowStep(channels, CondAffineSeparatedAndCond(channels, features, hidden, eps))
                             for _ in range(K))
        self.layers += (Split2d(channels),) if split else ()
        # Steps of one kind differ by their weights only, which they are given: one of them computes for all of a level,
        # and the compiler reads it once. The transition may be missing and so may the split.
        self._kinds = (self.layers[0], self.steps()[0], self.steps()[-1]) + self.layers[1 + len(self.steps()):]
        # Bound methods, because graph mode in MindSpore 1.7 can call a method of a cell in a sequence only so.
        self._inverses = tuple(cell.inverse for cell in self._kinds)
        self._split_weights = tuple(cell.weights for cell in self._kinds[3:])

    def keep_parameters(self):
        """Collects the layers' parameters for `weights`; once, when they have their names."""
        couplings = [step.affine for step in self.steps()[self.n_transitions:]]
        self._mixings = (ParameterStacks([step.mixing_parameters() for step in self.steps()]),)
        self._feature_nets = (ParameterStacks([coupling.fFeatures.parameters_in_order() for coupling in couplings]),)
        self._affine_nets = (ParameterStacks([coupling.fAffine.parameters_in_order() for coupling in couplings]),)

    def parameter_stacks(self):
        """Its ParameterStacks."""
        return self._mixings + self._feature_nets + self._affine_nets

    def recompute_steps(self):
        """Marks what computes for all steps; see `FlowUpsamplerNet.recompute_steps`."""
        for i, cell in enumerate(self._kinds):
            if cell not in self._kinds[:i]:  # a level without transition steps has one kind of step
                cell.recompute()

    def steps(self):
        """The flow steps, transitions first."""
        return self.layers[1:1 + self.n_transitions + self.K]

    def weights(self):
        """(What `conditions` needs of the parameters, what construct and inverse need of them).

        The former: for each group of steps three members, fFeatures' first layers, fAffine's, the rest of fFeatures.
        The latter: (mixings, couplings, split), the `mixing_weights` of all steps, the `affine_weights` of the K
        couplings, and the split's cond or ().
        """
        affine_first, affine_bias, second, second_bias, last, last_bias = fold(self._affine_nets[0]())
        of_z1, of_features = self.cut_kept(affine_first)
        couplings = affine_weights(of_z1, second, second_bias, last, last_bias)
        features = self._features_weights(of_features, affine_bias)
        if self.half:
            features, (couplings,) = in_type((features, (couplings,)), mstype.float16)
        split = self._split_weights[0]() if self.splits else ()
        matrices, biases, logs = self._mixings[0]()
        return features, (mixing_weights(matrices, biases, logs, self.slogdet), couplings, split)

    def _features_weights(self, affine_first, affine_bias):
        first, first_bias, second, second_bias, last, last_bias = fold(self._feature_nets[0]())
        by_group = ()
        for values in (first, first_bias, affine_first, affine_bias):
            by_group = by_group + (ops.Reshape()(values, (self.K // self.group, -1) + values.shape[1:]),)
        for stack in (second, second_bias, last_weights(last), last_bias):
            by_group = by_group + (ops.Reshape()(stack, (self.K // self.group, -1) + stack.shape[2:]),)
        members = ()
        for first, first_bias, affine_first, affine_bias, second, second_bias, last, last_bias in unstack(by_group):
            members = members + (self._first_weights(first, first_bias), self._first_weights(affine_first, affine_bias),
                                 (second, second_bias, last, last_bias))
        return members

    def _first_weights(self, weights, biases):
        """A group's first layers over the features as one convolution, for `_tiles`."""
        own, stacked = self.cut_own(weights)
        own = with_biases(own, biases)
        both = ops.Concat(1)((own, stacked))
        if self.doublings > 0:
            return winograd.even_weights(both), winograd.odd_weights(own)
        return (winograd.weights(both),)

    def conditions(self, own, stacked, feature_weights):
        """Of each coupling the `features` that its cond takes: a tuple of K.

        own (N, own_channels, H, W), stacked (N, stacked_channels, h, w), the low resolution's size; both in the
        weights' type. Shifts and scales are float32 again.
        """
        tiles = self._tiles(own, stacked)
        conditions = ()
        for i in range(self.K // self.group):
            conditions = conditions + self._group_conditions(tiles, feature_weights[3 * i:3 * i + 3], own.shape)
            tiles = after(conditions[-1], tiles)
        return conditions

    def _group_conditions(self, tiles, weights, shape):
        features_first, affine_first, (second, second_bias, last, last_bias) = weights
        n, _, height, width = shape
        h = ops.ReLU()(_first(tiles, features_first, shape))
        h = ops.ReLU()(ops.BiasAdd()(conv2d(h, second, self.group), second_bias))
        h = ops.BiasAdd()(last_conv2d(h, last, 2 * self.coupling_channels, self.group), last_bias)
        shift, scale = shift_scale(ops.Cast()(h, mstype.float32), self.eps)
        by_step = (n, self.group, self.coupling_channels, height, width)
        shift, scale = ops.Reshape()(shift, by_step), ops.Reshape()(scale, by_step)
        hidden = with_one(ops.Reshape()(_first(tiles, affine_first, shape), (n * self.group, -1, height, width)))
        hidden = ops.Reshape()(hidden, (n, self.group, -1, height, width))
        conditions = ()
        for features in zip(slices(shift, 1), slices(scale, 1), slices(hidden, 1)):
            conditions = conditions + (features,)
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

    def construct(self, x, cond):
        (mixings, couplings, split), conditions = cond
        mixings = unstack(mixings)
        z, logdet = self.enter(x, mixings[:self.n_transitions])
        z, term = self.couple(z, mixings[self.n_transitions:], unstack(couplings), conditions)
        logdet = logdet + term
        if self.splits:
            z, term = self._kinds[3](z, split)
            logdet = logdet + term
        return z, logdet

    def inverse(self, z, cond):
        (mixings, couplings, split), conditions = cond
        mixings = unstack(mixings)
        logdet = per_image(0.0, z.shape[0])
        if self.splits:
            z, logdet = self._inverses[3](z, split)
        z, term = self.uncouple(z, mixings[self.n_transitions:], unstack(couplings), conditions)
        x, last_term = self.leave(z, mixings[:self.n_transitions])
        return x, logdet + term + last_term

    def enter(self, x, mixings):
        """The level up to its first coupling: (x, logdet); mixings: conds of the transition steps."""
        z, logdet = self._kinds[0](x)
        for mixing in mixings:
            z, term = self._kinds[1](z, (mixing, ()))
            logdet = logdet + term
        return z, logdet

    def leave(self, z, mixings):
        """The inverse of `enter`."""
        logdet = per_image(0.0, z.shape[0])
        for i in range(self.n_transitions):  # not over a reversed tuple, which may be empty, as no graph likes it
            z, term = self._inverses[1](z, (mixings[-1 - i], ()))
            logdet = logdet + term
        x, _ = self._inverses[0](z)
        return x, logdet

    def couple(self, x, mixings, couplings, conditions):
        """Some conditional steps: (z, logdet); of each the cond of its 1×1, and weights and features of its coupling."""
        z, logdet = x, per_image(0.0, x.shape[0])
        for mixing, coupling, features in zip(mixings, couplings, conditions):
            z, term = self._kinds[2](z, (mixing, (features, coupling)))
            logdet = logdet + term
        return z, logdet

    def uncouple(self, z, mixings, couplings, conditions):
        """The inverse of `couple`."""
        x, logdet = z, per_image(0.0, z.shape[0])
        for mixing, coupling, features in zip(mixings[::-1], couplings[::-1], conditions[::-1]):
            x, term = self._inverses[2](x, (mixing, (features, coupling)))
            logdet = logdet + term
        return x, logdet

    def initialise(self, x, own, stacked):
        """Host side: sets every ActNorm for this batch, layer after layer, each before the next sees its output.

        x (N, C/4, 2H, 2W); own, stacked: as for `conditions`. Returns the level's z.
        """
        for _ in range(self.doublings):
            stacked = nearest_up2(stacked)
        if self.doublings < 0:
            stacked = nearest_down2(stacked)
        features = ops.Cast()(ops.Concat(1)((own, stacked)), mstype.float32)
        z, _ = self.layers[0].construct(x)
        for step in self.steps():
            z = step.initialise(z, features)
        if self.splits:
            z, _ = self._kinds[3].construct(z, self._split_weights[0]())
        return z


def after(earlier, tensors):
    """The tensors, not to be used before `earlier` is computed: what is made of them waits and needs its memory later."""
    delayed = ()
    for tensor in tensors:
        delayed = delayed + (ops.Depend()(tensor, earlier),)
    return delayed


def _first(tiles, weights, shape):
    """A group's first layers, before their ReLU where they have one: (N, group·hidden, H, W); shape: (N, ·, H, W)."""
    n, _, height, width = shape
    products = winograd.products(tiles[0], weights[0])
    if len(tiles) == 2:
        products = ops.Concat(0)((products, winograd.products(tiles[1], weights[1])))
    return winograd.as_maps(products, n, height, width)
