# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional flow between images and latents (SRFlow, section 3.4)."""
from mindspore import nn, ops

from src.model.Flow import FlowCell, Squeeze, conv2d, per_image
from src.model.FlowAffineCouplingsAblation import CondAffineSeparatedAndCond
from src.model.FlowStep import FlowStep
from src.model.RRDBNet import level_features
from src.model.slogdet import SLogDet, matrix_inverse
from src.model.Split import Split2d


class FlowUpsamplerNet(FlowCell):
    """Levels of squeeze, transition steps, K conditional steps and, in the first levels, a split.

    construct(x, cond) -> (latents, logdet)      x (N, 3, H, W); latents: those split off, in order, z last
    inverse(latents, cond) -> (x, logdet)

    cond = `conditions(couplings, mixers)`: for each level, one entry for each of its layers. `layers` holds all
    layers of all levels in encoding order, and with them the parameters' names.

    levels: their number; K, n_transitions: steps of a level with and without coupling; split_levels: how many levels,
    from the first, end in a split; feature_channels: of one level's conditional features; hidden, eps: of couplings.
    """

    def __init__(self, levels, K, n_transitions, split_levels, feature_channels, hidden, eps):
        super().__init__()
        self.n_levels, self.K, self.n_transitions, self.split_levels = levels, K, n_transitions, split_levels
        self.slogdet = SLogDet()
        # Plain tuples of the layers: slicing a CellList would make a new one and rename its parameters.
        self._levels = ()
        channels, self.level_channels, self.kept = 3, (), ()
        for level in range(levels):
            channels *= 4
            self.level_channels += (channels,)
            layers = [Squeeze()]
            layers += [FlowStep(channels) for _ in range(n_transitions)]
            layers += [FlowStep(channels, CondAffineSeparatedAndCond(channels, feature_channels, hidden, eps))
                       for _ in range(K)]
            if level < split_levels:
                layers.append(Split2d(channels))
                channels //= 2
            self._levels += (tuple(layers),)
            self.kept += (channels,)
        self.layers = nn.CellList([layer for layers in self._levels for layer in layers])
        self._bind_methods()

    def _bind_methods(self):
        """Keeps the layers' methods as attributes: graph mode in MindSpore 1.7 can call a method of a cell in a
        sequence only so."""
        self._inverses = tuple(tuple(layer.inverse for layer in layers) for layers in self._levels)
        steps = [self.steps(level) for level in range(self.n_levels)]
        self._mixing_weights = tuple(tuple(step.mixing_weight for step in level) for level in steps)
        couplings = [[step.affine for step in level[self.n_transitions:]] for level in steps]
        self._feature_layers = tuple(tuple(affine.feature_layers for affine in level) for level in couplings)
        self._coupling_conditions = tuple(tuple(affine.condition for affine in level) for level in couplings)

    def steps(self, level):
        """The flow steps of a level (0-based), transitions first, as a tuple of cells."""
        return self._levels[level][1:1 + self.n_transitions + self.K]

    def latent_shapes(self, height, width):
        """Shapes (C, H, W) of the latents of a (height, width) high-resolution image, in `construct`'s order."""
        sizes = [(height >> (level + 1), width >> (level + 1)) for level in range(self.n_levels)]
        splits = [(self.level_channels[level] - self.kept[level],) + sizes[level] for level in range(self.split_levels)]
        return tuple(splits) + ((self.kept[-1],) + sizes[-1],)

    def mixers(self):
        """For each level ((S, C, C) inverses, (S,) log|det|) of its S steps' 1×1 weights; one call per size."""
        mixers = ()
        for level in self._mixing_weights:
            weights = ()
            for weight in level:  # a comprehension over calls crashes MindSpore 1.7's compiler
                weights = weights + (weight(),)
            weights = ops.Stack(0)(weights)
            _, log_abs_det = self.slogdet(weights)
            mixers = mixers + ((matrix_inverse(weights), log_abs_det),)
        return mixers

    def couplings(self, features):
        """For each level, each coupling's cond, in order. features: what RRDBNet returns.

        This is the part of the flow that does not depend on the image to encode or the latents to decode.
        """
        own, stacked = features
        couplings = ()
        for own_features, layers, conditions in zip(own, self._feature_layers, self._coupling_conditions):
            first = _first_layers(level_features(own_features, stacked), layers)
            level = ()
            for k, condition in enumerate(conditions):
                level = level + (condition(first[2 * k], first[2 * k + 1]),)
            couplings = couplings + (level,)
        return couplings

    def conditions(self, couplings, mixers):
        """The cond of `construct` and `inverse`, from what `couplings` and `mixers` return."""
        conditions = ()
        for coupling, (inverses, log_abs_dets) in zip(couplings, mixers):
            level = ((),)  # the squeeze
            transitions = ((),) * self.n_transitions
            for inverse, log_abs_det, cond in zip(ops.Unstack(0)(inverses), ops.Unstack(0)(log_abs_dets),
                                                  transitions + coupling):
                level = level + (((inverse, log_abs_det), cond),)
            conditions = conditions + (level + ((),),)  # the split, where there is one
        return conditions

    def construct(self, x, cond):
        latents = ()
        logdet = per_image(0.0, x.shape[0])
        for level, layers in enumerate(self._levels):
            for layer, layer_cond in zip(layers, cond[level]):
                x, term = layer(x, layer_cond)
                logdet = logdet + term
            if level < self.split_levels:
                latents = latents + (x[:, self.kept[level]:],)
                x = x[:, :self.kept[level]]
        return latents + (x,), logdet

    def inverse(self, z, cond):
        x = z[-1]
        logdet = per_image(0.0, x.shape[0])
        for level in range(self.n_levels)[::-1]:
            if level < self.split_levels:
                x = ops.Concat(1)((x, z[level]))
            inverses = self._inverses[level]
            for inverse, layer_cond in zip(inverses[::-1], cond[level][:len(inverses)][::-1]):
                x, term = inverse(x, layer_cond)
                logdet = logdet + term
        return x, logdet

    def initialise(self, x, features):
        """Host side: sets every ActNorm for this batch, layer after layer, each before the next sees its output.

        x: float32 (N, 3, H, W), dequantised as in training; features: what RRDBNet returns for its LR images.
        """
        own, stacked = features
        for level, layers in enumerate(self._levels):
            x, _ = layers[0].construct(x)
            ft = level_features(own[level], stacked)
            for step in self.steps(level):
                x = step.initialise(x, ft)
            if level < self.split_levels:
                x, _ = layers[-1].construct(x)
                x = x[:, :self.kept[level]]


def _first_layers(ft, feature_layers):
    """Both feature layers of every step over ft (N, F, H, W), as one convolution: two (N, hidden, H, W) per step."""
    weights, biases = (), ()
    for layers in feature_layers:
        layer = layers()
        weights = weights + layer[:2]
        biases = biases + layer[2:]
    return ops.Split(1, len(weights))(ops.BiasAdd()(conv2d(ft, ops.Concat(0)(weights)), ops.Concat(0)(biases)))
