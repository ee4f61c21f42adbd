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
    """The whole network: RRDBNet and FlowUpsamplerNet.

    construct(hr, lr)    -> (latents, logdet)    image to latents, logdet = log|det ∂latents/∂hr|
    inverse(latents, lr) -> (hr, logdet)         latents to image, logdet = log|det ∂hr/∂latents|

    hr is float32 (N, 3, s·h, s·w) and lr float32 (N, 3, h, w), both in [0, 1], h and w even. The latents are a tuple as
    `FlowUpsamplerNet` says. logdet is float32 (N,), in nats. Names and shapes of the parameters are those of the
    official state dict.
    """

    def __init__(self, scale, nf, nb, gc, blocks, K, n_transitions, split_levels, hidden, eps):
        """Build encoder and flow.

        Args:
            scale: of super-resolution, s, a power of 2.
            nf: channels of the encoder's trunk.
            nb: number of its blocks.
            gc: growth of its dense blocks.
            blocks: numbers, from 0, of the blocks whose outputs are among the features.
            K: conditional steps of a level.
            n_transitions: transition steps of a level, which have no coupling.
            split_levels: how many levels, from the first, end in a split.
            hidden: channels of the hidden layers of the couplings' networks.
            eps: what the couplings add to each scale.
        """
        super().__init__()
        levels = int(math.log2(scale)) + 1
        self.scale = scale
        self.RRDB = RRDBNet(scale, nf, nb, gc, blocks)
        self.flowUpsamplerNet = FlowUpsamplerNet(
            levels, K, n_transitions, split_levels, nf * (1 + len(blocks)), hidden, eps
        )

    def compute_in_half(self):
        """Compute encoder and coupling networks in float16 from now on. Parameters and log-dets stay float32."""
        self.RRDB.compute_in_half()
        self.flowUpsamplerNet.compute_in_half()

    def condition(self, lr):
        """Compute what the low-resolution images contribute to the flow: the condition of `flowUpsamplerNet`."""
        return self.flowUpsamplerNet.condition(self.RRDB(lr))

    def construct(self, hr, lr):
        return self.flowUpsamplerNet(hr, self.condition(lr))

    def inverse(self, latents, lr):
        return self.flowUpsamplerNet.inverse(latents, self.condition(lr))


def initialise_actnorms(net, hr, lr):
    """Set every ActNorm by one real batch, in layer order, on the host. It is done once, before training starts.

    Args:
        net: SRFlowNet.
        hr: float32 NumPy (N, 3, s·h, s·w), dequantised if training is.
        lr: float32 NumPy (N, 3, h, w).
    """
    with pynative_mode():
        net.flowUpsamplerNet.initialise(Tensor(hr), net.RRDB(Tensor(lr)))


def bits_per_pixel(latents, logdet, pixels):
    """Compute −(log-det + Σ log N(latent; 0, 1)) in bits per pixel of the high-resolution image.

    It is the change of variables (SRFlow, eq. 2-3). The three colour channels of a pixel are summed.

    Args:
        latents: tuple of float32 (N, C, H', W').
        logdet: float32 (N,), nats, of the direction from image to latents.
        pixels: number of pixels of an image, s·h·s·w.

    Returns:
        float32 (N,), bits per pixel.
    """
    log_likelihood = logdet
    for latent in latents:
        log_likelihood = log_likelihood + gaussian_logp(latent)
    return -log_likelihood / (LOG_2 * pixels)


class NegativeLogLikelihood(nn.Cell):
    """The loss of training before its mean over the batch: (hr, lr) -> bits per pixel, float32 (N,)."""

    def __init__(self, net, quant=None):
        """Take the network.

        Args:
            net: an SRFlowNet, or what an implementation makes of it, with the same construct.
            quant: None, or where hr carries dequantisation noise of 1/quant, that number. The noise's density adds
                log2(quant) bits per pixel.
        """
        super().__init__(auto_prefix=False)
        self.net = net
        self.dequantisation_bits = math.log2(quant) if quant else 0.0

    def construct(self, hr, lr):
        latents, logdet = self.net(hr, lr)
        return bits_per_pixel(latents, logdet, hr.shape[2] * hr.shape[3]) + self.dequantisation_bits


class L1Loss(nn.Cell):
    """The loss of pre-training before its mean over the batch: (hr, lr) -> mean absolute error, float32 (N,).

    It compares hr with the encoder's own image. `encoder` is an RRDBNet, or what an implementation makes of it, with
    the method `image`.
    """

    def __init__(self, encoder):
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, hr, lr):
        return ops.ReduceMean()(ops.Abs()(self.encoder.image(lr) - hr), (1, 2, 3))


class EncoderImage(nn.Cell):
    """The encoder's own super-resolved image as a cell: lr (N, 3, h, w) -> float32 (N, 3, s·h, s·w)."""

    def __init__(self, encoder):
        super().__init__(auto_prefix=False)
        self.encoder = encoder

    def construct(self, lr):
        return self.encoder.image(lr)
