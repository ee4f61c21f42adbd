# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional flow between images and latents: its levels, and layers one after the other (SRFlow, section 3.4)."""

import mindspore.common.dtype as mstype
from mindspore import nn, ops

from src.model.Flow import FlowCell, Squeeze, per_image
from src.model.FlowAffineCouplingsAblation import CondAffineSeparatedAndCond
from src.model.FlowStep import FlowStep
from src.model.Split import Split2d


class FlowLevel(FlowCell):
    """Level of the flow: a squeeze, transition steps, conditional steps, and in the first levels a split.

    construct: x (N, C/4, 2H, 2W) -> z (N, C, H, W), all layers in order, logdet = the sum of theirs
    inverse:   z -> x, their inverses from the last to the first, logdet = the sum of theirs

    condition = a tuple of the layers' conditions.
    """

    def __init__(self, layers, kept):
        """Take the layers.

        Args:
            layers: FlowCells in encoding order.
            kept: how many channels of z go on to the next level.
        """
        super().__init__()
        # A plain tuple: `FlowUpsamplerNet` owns the layers and names their parameters.
        self.layers, self.kept = tuple(layers), kept
        # Tuples of methods (docs/mindspore-1.7.md, 1).
        self._conditions = tuple(layer.condition for layer in layers)
        self._inverses = tuple(layer.inverse for layer in layers)

    def condition(self, ft):
        conditions = ()
        for condition in self._conditions:
            conditions = conditions + (condition(ft),)
        return conditions

    def construct(self, x, condition):
        logdet = per_image(0.0, x.shape[0])
        for i, layer in enumerate(self.layers):
            x, term = layer(x, condition[i])
            logdet = logdet + term
        return x, logdet

    def inverse(self, z, condition):
        logdet = per_image(0.0, z.shape[0])
        for i in range(len(self._inverses))[::-1]:
            z, term = self._inverses[i](z, condition[i])
            logdet = logdet + term
        return z, logdet

    def initialise(self, x, ft):
        """Set every ActNorm by this batch, on the host, each before the next layer sees its output.

        Args:
            x: float32 (N, C/4, 2H, 2W).
            ft: float32 (N, F, H, W), the level's features.

        Returns:
            z of this batch, float32 (N, C, H, W).
        """
        x, _ = self.layers[0].construct(x)
        for layer in self.layers[1:]:
            x = layer.initialise(x, ft)
        return x


class FlowUpsamplerNet(FlowCell):
    """Flow between image and latents: levels, one after the other (SRFlow, section 3.4).

    construct(x, condition)     -> (latents, logdet)    image to latents, logdet = log|det ∂latents/∂x|
    inverse(latents, condition) -> (x, logdet)          latents to image, logdet = log|det ∂x/∂latents|
    condition(features)         -> condition            a tuple of the levels' conditions

    x: float32 (N, 3, H, W). latents: a tuple, what the levels split off, in order, and last z, the rest. logdet:
    float32 (N,), nats. features: a tuple, ft of each level, level 1 first.

    `layers` holds all layers of all levels in encoding order, and thereby the parameters' names.
    """

    def __init__(self, n_levels, K, n_transitions, split_levels, feature_channels, hidden, eps):
        """Build the layers.

        Args:
            n_levels: number of levels; the first works at 2^(n_levels−2) times the low resolution.
            K: conditional steps of a level.
            n_transitions: transition steps of a level, which have no coupling.
            split_levels: how many levels, from the first, end in a split.
            feature_channels: F of each level's features.
            hidden: channels of the hidden layers of the couplings' networks.
            eps: what the couplings add to each scale.
        """
        super().__init__()
        self.n_levels, self.K, self.n_transitions, self.split_levels = n_levels, K, n_transitions, split_levels
        self.recomputes = False
        # Plain tuples, because the parameters are named by their places in `layers`.
        self.levels, self.steps, self.level_channels, self.kept, channels = (), (), (), (), 3
        for level in range(n_levels):
            channels *= 4
            steps = [FlowStep(channels) for _ in range(n_transitions)]
            steps += [
                FlowStep(channels, CondAffineSeparatedAndCond(channels, feature_channels, hidden, eps))
                for _ in range(K)
            ]
            split = [Split2d(channels)] if level < split_levels else []
            self.level_channels += (channels,)
            channels = channels // 2 if split else channels
            self.levels += (FlowLevel([Squeeze()] + steps + split, channels),)
            self.steps += tuple(steps)
            self.kept += (channels,)
        self.layers = nn.CellList([layer for level in self.levels for layer in level.layers])
        # Tuples of methods (docs/mindspore-1.7.md, 1).
        self._conditions = tuple(level.condition for level in self.levels)
        self._inverses = tuple(level.inverse for level in self.levels)

    def compute_in_half(self):
        """Compute the coupling networks in float16 from now on. The rest stays float32, the log-dets among it."""
        for step in self.steps:
            if step.affine is not None:
                step.affine.compute_type = mstype.float16

    def recompute_steps(self):
        """Let training compute the steps again in the backward pass instead of keeping their results, in graph mode."""
        self.recomputes = True
        for step in self.steps:
            step.recompute()

    def latent_shapes(self, height, width):
        """Compute the shapes of an image's latents.

        Args:
            height: of the high-resolution image, in pixels.
            width: of the same.

        Returns:
            A tuple of (C, H', W'), in `construct`'s order: those of the splits, z's last.
        """
        sizes = [(height >> (level + 1), width >> (level + 1)) for level in range(self.n_levels)]
        splits = [(self.level_channels[level] - self.kept[level],) + sizes[level] for level in range(self.split_levels)]
        return tuple(splits) + ((self.kept[-1],) + sizes[-1],)

    def condition(self, features):
        conditions = ()
        for i, condition in enumerate(self._conditions):
            conditions = conditions + (condition(features[i]),)
        return conditions

    def construct(self, x, condition):
        latents = ()
        logdet = per_image(0.0, x.shape[0])
        for i, level in enumerate(self.levels):
            x, term = level(x, condition[i])
            logdet = logdet + term
            if i < self.split_levels:
                latents = latents + (x[:, self.kept[i] :],)
                x = x[:, : self.kept[i]]
        return latents + (x,), logdet

    def inverse(self, latents, condition):
        x = latents[-1]
        logdet = per_image(0.0, x.shape[0])
        for i in range(self.n_levels)[::-1]:
            if i < self.split_levels:
                x = ops.Concat(1)((x, latents[i]))
            x, term = self._inverses[i](x, condition[i])
            logdet = logdet + term
        return x, logdet

    def initialise(self, x, features):
        """Set every ActNorm by this batch, on the host, each before the next layer sees its output.

        Args:
            x: float32 (N, 3, H, W), dequantised as in training.
            features: what RRDBNet returns for the batch's low-resolution images.
        """
        for level, ft in zip(self.levels, features):
            x = level.initialise(x, ops.Cast()(ft, mstype.float32))[:, : level.kept]
