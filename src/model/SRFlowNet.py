# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole network, its likelihood, and the cells that are compiled: thin wrappers, one for each use."""
import math

import mindspore.common.dtype as mstype
from mindspore import Tensor, nn, ops

from src.model.Flow import gaussian_logp
from src.model.FlowUpsamplerNet import FlowUpsamplerNet
from src.model.RRDBNet import RRDBNet
from src.model.packed import nest, sizes_of
from src.model_utils.util import pynative_mode

LOG_2 = math.log(2)


class SRFlowNet(nn.Cell):
    """RRDBNet and FlowUpsamplerNet; parameter names and shapes are those of the official state dict.

    construct(hr, lr) -> (latents, logdet)       image to latents
    inverse(latents, lr) -> (hr, logdet)         latents to image

    hr float32 (N, 3, s·h, s·w), lr float32 (N, 3, h, w), both in [0, 1], h and w even; latents: a tuple as
    `FlowUpsamplerNet` says; logdet float32 (N,), nats.
    """

    def __init__(self, scale, nf, nb, gc, blocks, K, n_transitions, split_levels, hidden, eps):
        super().__init__()
        levels = int(math.log2(scale)) + 1
        self.scale = scale
        self.RRDB = RRDBNet(scale, nf, nb, gc, blocks)
        self.flowUpsamplerNet = FlowUpsamplerNet(levels, K, n_transitions, split_levels, nf, nf * len(blocks),
                                                 hidden, eps)

    def compute_in_half(self):
        """RRDB and coupling networks in float16 from now on; parameters, log-dets, determinants stay float32."""
        self.RRDB.compute_in_half()
        self.flowUpsamplerNet.compute_in_half()

    def construct(self, hr, lr):
        return self.flowUpsamplerNet(hr, self._cond(lr))

    def inverse(self, latents, lr):
        return self.flowUpsamplerNet.inverse(latents, self._cond(lr))

    def _cond(self, lr):
        feature_weights, weights = self.flowUpsamplerNet.weights()
        features = self.RRDB(lr, self.RRDB.weights())
        return weights, self.flowUpsamplerNet.conditions(features, feature_weights)


def initialise_actnorms(net, hr, lr):
    """Host side: sets every ActNorm of an SRFlowNet by one real batch, in layer order; once, before training starts.

    hr float32 (N, 3, s·h, s·w), dequantised if training is; lr float32 (N, 3, h, w).
    """
    with pynative_mode():
        net.flowUpsamplerNet.initialise(Tensor(hr), net.RRDB(Tensor(lr), net.RRDB.weights()))


def bits_per_pixel(latents, logdet, pixels):
    """−(log-det + Σ log N(latent; 0, 1)) in bits per pixel of the high-resolution image: float32 (N,).

    The change of variables (SRFlow, eq. 2-3), the three colour channels of a pixel summed.
    """
    log_likelihood = logdet
    for latent in latents:
        log_likelihood = log_likelihood + gaussian_logp(latent)
    return -log_likelihood / (LOG_2 * pixels)


class NegativeLogLikelihood(nn.Cell):
    """(hr, lr) -> bits per pixel, float32 (N,): the loss of training before its mean over the batch.

    quant: set where hr carries dequantisation noise of 1/quant, whose density adds log2(quant) bits per pixel.
    """

    def __init__(self, net, quant=None):
        super().__init__(auto_prefix=False)
        self.net = net
        self.dequantisation_bits = math.log2(quant) if quant else 0.0

    def construct(self, hr, lr):
        latents, logdet = self.net(hr, lr)
        return bits_per_pixel(latents, logdet, hr.shape[2] * hr.shape[3]) + self.dequantisation_bits


class L1Loss(nn.Cell):
    """(hr, lr) -> mean absolute error of the encoder's own image, float32 (N,): the loss of pre-training."""

    def __init__(self, encoder):
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, hr, lr):
        return ops.ReduceMean()(ops.Abs()(self.encoder.image(lr) - hr), (1, 2, 3))


class EncoderImage(nn.Cell):
    """lr -> the encoder's own super-resolved image, (N, 3, s·h, s·w)."""

    def __init__(self, encoder):
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, lr):
        return self.encoder.image(lr)


class Conditioner(nn.Cell):
    """(lr, weights...) -> all that encoding and decoding need of the low-resolution images: the conditions, flat.

    weights: the first part of `packed.flatten`, to the constructor nested as `make_weights` gives them, of which only
    the structure is kept. Flat arguments here and below, because MindSpore 1.7 takes a tuple argument for a constant and
    would compile anew for each.
    """

    def __init__(self, net, weights):
        super().__init__(auto_prefix=False)
        self.encoder, self.flow = net.RRDB, net.flowUpsamplerNet
        encoder_weights, feature_weights, _ = weights
        self.encoder_sizes, self.feature_sizes = sizes_of(encoder_weights), sizes_of(feature_weights)
        self.n_encoder = sum(sum(group) for group in self.encoder_sizes)

    def construct(self, *tensors):
        features = self.encoder(tensors[0], nest(tensors, 1, self.encoder_sizes))
        flat = ()
        for level in self.flow.conditions(features, nest(tensors, 1 + self.n_encoder, self.feature_sizes)):
            for shift, scale, log_scale, hidden in level:
                # float32: MindSpore 1.7 takes a graph's float16 output for something else when another graph reads it.
                flat = flat + (shift, scale, log_scale, ops.Cast()(hidden, mstype.float32))
        return flat


class _PackedFlow(nn.Cell):
    """The flow of a network, its cond taken from a flat tuple of tensors.

    weights: nested as `make_weights` gives them, of which only the structure is kept.
    """

    def __init__(self, net, weights):
        super().__init__(auto_prefix=False)
        self.flow = net.flowUpsamplerNet
        self.sizes = tuple(sizes_of(groups) for groups in weights[2])
        self.counts = tuple(sum(sum(group) for group in sizes) for sizes in self.sizes)

    def cond(self, tensors, at):
        """From `at` on: the second part of `packed.flatten`, then what `Conditioner` returned, four for a coupling."""
        weights, conditions = (), ()
        for level, level_sizes in enumerate(self.sizes):
            weights = weights + (nest(tensors, at, level_sizes),)
            at += self.counts[level]
        for _ in self.sizes:
            level_conditions = ()
            for _ in range(self.flow.K):
                level_conditions = level_conditions + (tensors[at:at + 4],)
                at += 4
            conditions = conditions + (level_conditions,)
        return weights, conditions


class Encoder(_PackedFlow):
    """(hr, weights..., what `Conditioner` returned...) -> latents..., logdet: one flat tuple."""

    def construct(self, *tensors):
        latents, logdet = self.flow(tensors[0], self.cond(tensors, 1))
        return latents + (logdet,)


class Decoder(_PackedFlow):
    """(latents..., weights..., what `Conditioner` returned...) -> hr."""

    def __init__(self, net, weights):
        super().__init__(net, weights)
        self.n_latents = self.flow.split_levels + 1

    def construct(self, *tensors):
        hr, _ = self.flow.inverse(tensors[:self.n_latents], self.cond(tensors, self.n_latents))
        return hr

    def first_not_finite(self, tensors):
        """Host side: the number of the level, from 1, at which decoding the same inputs first is not finite."""
        return self.flow.first_not_finite(tensors[:self.n_latents], self.cond(tuple(tensors), self.n_latents))
