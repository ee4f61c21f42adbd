# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional flow between images and latents (SRFlow, section 3.4)."""
from mindspore import nn, ops

from src.model.Flow import FlowCell, per_image
from src.model.FlowLevel import FlowLevel, after


class FlowUpsamplerNet(FlowCell):
    """Levels of squeeze, transition steps, K conditional steps and, in the first levels, a split.

    construct(x, cond) -> (latents, logdet)      x (N, 3, H, W); latents: those split off, in order, z last
    inverse(latents, cond) -> (x, logdet)

    cond = (weights, conditions): the second result of the method `weights`, and that of `conditions`. `layers` holds
    all layers of all levels in encoding order, and with them the parameters' names.

    n_levels: of `levels`, the first at 2^(n_levels−2) times the low resolution; K, n_transitions: steps of a level with
    and without coupling; split_levels: how many levels, from the first, end in a split; own_channels,
    stacked_channels: of a level's conditional features; hidden, eps: of couplings.
    """

    def __init__(self, n_levels, K, n_transitions, split_levels, own_channels, stacked_channels, hidden, eps):
        super().__init__()
        self.n_levels, self.K, self.split_levels = n_levels, K, split_levels
        # A plain tuple, because the parameters are named by their places in `layers`.
        self.levels = ()
        channels, self.level_channels, self.kept = 3, (), ()
        for level in range(n_levels):
            channels *= 4
            self.levels += (FlowLevel(channels, own_channels, stacked_channels, n_levels - 2 - level, K, n_transitions,
                                      hidden, eps, level < split_levels),)
            self.level_channels += (channels,)
            channels = self.levels[level].kept
            self.kept += (channels,)
        self.layers = nn.CellList([layer for level in self.levels for layer in level.layers])
        for level in self.levels:
            level.keep_parameters()
        # Bound methods, because graph mode in MindSpore 1.7 can call a method of a cell in a sequence only so.
        self._inverses = tuple(level.inverse for level in self.levels)
        self._weights = tuple(level.weights for level in self.levels)
        self._conditions = tuple(level.conditions for level in self.levels)

    def parameter_stacks(self):
        """The ParameterStacks of all levels."""
        return [stacks for level in self.levels for stacks in level.parameter_stacks()]

    def compute_in_half(self):
        """The coupling networks in float16 from now on; the rest, log-dets among it, stays float32."""
        for level in self.levels:
            level.half = True

    def recompute_steps(self):
        """Training computes the steps again in the backward pass instead of keeping their results; graph mode only."""
        for level in self.levels:
            level.recompute_steps()

    def latent_shapes(self, height, width):
        """Shapes (C, H, W) of the latents of a (height, width) high-resolution image, in `construct`'s order."""
        sizes = [(height >> (level + 1), width >> (level + 1)) for level in range(self.n_levels)]
        splits = [(self.level_channels[level] - self.kept[level],) + sizes[level] for level in range(self.split_levels)]
        return tuple(splits) + ((self.kept[-1],) + sizes[-1],)

    def weights(self):
        """(What `conditions` needs of the parameters, what construct and inverse need of them), each by level."""
        features, flow = (), ()
        for level_weights in self._weights:
            of_features, of_flow = level_weights()
            features, flow = features + (of_features,), flow + (of_flow,)
        return features, flow

    def conditions(self, features, feature_weights):
        """What the low-resolution image contributes to the couplings; features: what RRDBNet returns."""
        own, stacked = features
        conditions = ()
        for level_conditions, own_features, weights in zip(self._conditions, own, feature_weights):
            if conditions:
                own_features, stacked = after(conditions[-1][-1], (own_features, stacked))
            conditions = conditions + (level_conditions(own_features, stacked, weights),)
        return conditions

    def construct(self, x, cond):
        weights, conditions = cond
        latents = ()
        logdet = per_image(0.0, x.shape[0])
        for i, level in enumerate(self.levels):
            x, term = level(x, (weights[i], conditions[i]))
            logdet = logdet + term
            if i < self.split_levels:
                latents = latents + (x[:, self.kept[i]:],)
                x = x[:, :self.kept[i]]
        return latents + (x,), logdet

    def inverse(self, z, cond):
        weights, conditions = cond
        x = z[-1]
        logdet = per_image(0.0, x.shape[0])
        for i in range(self.n_levels)[::-1]:
            if i < self.split_levels:
                x = ops.Concat(1)((x, z[i]))
            x, term = self._inverses[i](x, (weights[i], conditions[i]))
            logdet = logdet + term
        return x, logdet

    def initialise(self, x, features):
        """Host side: sets every ActNorm for this batch, layer after layer, each before the next sees its output.

        x: float32 (N, 3, H, W), dequantised as in training; features: what RRDBNet returns for its LR images.
        """
        own, stacked = features
        for level, own_features in zip(self.levels, own):
            x = level.initialise(x, own_features, stacked)[:, :level.kept]
