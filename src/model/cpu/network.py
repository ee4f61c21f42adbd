# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole network, arranged: its functions of the parameters, and of weights made of them once."""

from mindspore import nn, ops

from src.model.Flow import per_image
from src.model.cpu.encoder import Encoder
from src.model.cpu.level import Level
from src.model.cpu.operators import after


class Network(nn.Cell):
    """SRFlowNet's construct and inverse, computed from its parameters in each call.

    construct(hr, lr)    -> (latents, logdet)    image to latents, logdet = log|det ∂latents/∂hr|
    inverse(latents, lr) -> (hr, logdet)         latents to image, logdet = log|det ∂hr/∂latents|

    It owns no parameter. A sampler computes two things apart: weights once for all images, by `flow_weights`, and
    `conditions` once for an image.
    """

    def __init__(self, net):
        """Arrange an SRFlowNet.

        Args:
            net: SRFlowNet, which goes on owning the parameters.

        Raises:
            UnknownNetwork: it has a coupling of a kind that is not known here.
        """
        super().__init__(auto_prefix=False)
        flow = net.flowUpsamplerNet
        self.n_levels, self.split_levels, self.kept = flow.n_levels, flow.split_levels, flow.kept
        self.encoder = Encoder(net.RRDB)
        own_channels = net.RRDB.trunk_conv.weight.shape[0]
        # A plain tuple, as its methods are called by way of others (docs/mindspore-1.7.md, 1).
        self.levels = tuple(
            Level(level, flow.n_transitions, flow.K, own_channels, flow.n_levels - 2 - i)
            for i, level in enumerate(flow.levels)
        )
        if flow.recomputes:
            for level in self.levels:
                level.recompute_steps()
        self._inverses = tuple(level.inverse for level in self.levels)
        self._weights = tuple(level.weights for level in self.levels)
        self._conditions = tuple(level.conditions for level in self.levels)

    def flow_stacks(self):
        """List the ParameterStacks of the flow."""
        return [stacks for level in self.levels for stacks in level.stacks()]

    def encoder_stacks(self):
        """List the ParameterStacks of the encoder."""
        return self.encoder.encoder_stacks()

    def flow_weights(self):
        """Make what is needed of the flow's parameters.

        Returns:
            Two tuples with an item for each level: what `conditions` needs, and what the levels' construct and inverse
            need.
        """
        of_conditions, of_levels = (), ()
        for weights in self._weights:
            of_condition, of_level = weights()
            of_conditions, of_levels = of_conditions + (of_condition,), of_levels + (of_level,)
        return of_conditions, of_levels

    def conditions(self, features, weights):
        """Compute what the low-resolution image contributes to the couplings.

        Args:
            features: the encoder's result, (own, stacked).
            weights: the first result of `flow_weights`.

        Returns:
            A tuple with an item for each level: its couplings' conditions.
        """
        own, stacked = features
        conditions = ()
        for level_conditions, own_features, level_weights in zip(self._conditions, own, weights):
            if conditions:
                own_features, stacked = after(conditions[-1][-1], (own_features, stacked))
            conditions = conditions + (level_conditions(own_features, stacked, level_weights),)
        return conditions

    def construct(self, hr, lr):
        of_levels, conditions = self._prepare(lr)
        x, latents, logdet = hr, (), per_image(0.0, hr.shape[0])
        for i, level in enumerate(self.levels):
            x, term = level(x, of_levels[i], conditions[i])
            logdet = logdet + term
            if i < self.split_levels:
                latents = latents + (x[:, self.kept[i] :],)
                x = x[:, : self.kept[i]]
        return latents + (x,), logdet

    def inverse(self, latents, lr):
        of_levels, conditions = self._prepare(lr)
        x = latents[-1]
        logdet = per_image(0.0, x.shape[0])
        for i in range(self.n_levels)[::-1]:
            if i < self.split_levels:
                x = ops.Concat(1)((x, latents[i]))
            x, term = self._inverses[i](x, of_levels[i], conditions[i])
            logdet = logdet + term
        return x, logdet

    def _prepare(self, lr):
        of_conditions, of_levels = self.flow_weights()
        features = self.encoder(lr, self.encoder.weights())
        return of_levels, self.conditions(features, of_conditions)
