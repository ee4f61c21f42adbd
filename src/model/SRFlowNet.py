# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole network, its likelihood, and the cells that training and its validation compile."""

import math

from mindspore import Tensor, nn, ops

from src.model.Flow import gaussian_logp
from src.model.FlowUpsamplerNet import FlowUpsamplerNet
from src.model.RRDBNet import RRDBNet
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
        self.flowUpsamplerNet = FlowUpsamplerNet(
            levels, K, n_transitions, split_levels, nf * (1 + len(blocks)), hidden, eps
        )

    def compute_in_half(self):
        """Compute RRDB and coupling networks in float16 from now on; parameters and log-dets stay float32."""
        self.RRDB.compute_in_half()
        self.flowUpsamplerNet.compute_in_half()

    def condition(self, lr):
        """What the low-resolution images contribute to the flow: the condition of `flowUpsamplerNet`."""
        return self.flowUpsamplerNet.condition(self.RRDB(lr))

    def construct(self, hr, lr):
        return self.flowUpsamplerNet(hr, self.condition(lr))

    def inverse(self, latents, lr):
        return self.flowUpsamplerNet.inverse(latents, self.condition(lr))


def initialise_actnorms(net, hr, lr):
    """Host side: sets every ActNorm of an SRFlowNet by one real batch, in layer order; once, before training starts.

    hr float32 (N, 3, s·h, s·w), dequantised if training is; lr float32 (N, 3, h, w).
    """
    with pynative_mode():
        net.flowUpsamplerNet.initialise(Tensor(hr), net.RRDB(Tensor(lr)))


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

    net: an SRFlowNet, or what an implementation makes of it, of the same construct.
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
    """(hr, lr) -> mean absolute error of the encoder's own image, float32 (N,): the loss of pre-training.

    encoder: an RRDBNet, or what an implementation makes of it, with the method `image`.
    """

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
