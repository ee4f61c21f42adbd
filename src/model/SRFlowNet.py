# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The whole network, its likelihood, and the cells that are compiled: thin wrappers, one for each use."""
import math

import mindspore.common.dtype as mstype
from mindspore import Tensor, nn, ops

from src.model.Flow import gaussian_logp
from src.model.FlowUpsamplerNet import FlowUpsamplerNet
from src.model.RRDBNet import RRDBNet
from src.model.packed import leaves, nest, sizes_of
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


class Conditioner:
    """(lr, weights) -> all that encoding and decoding need of the low-resolution images: the conditions, flat.

    weights: nested as `make_weights` gives them; the constructor keeps their structure only.

    Three cells are compiled: what comes before the trunk's blocks, one block, which is called for each of them, and what
    comes after. In one cell, the blocks would take most of the compiler's time and memory.
    """

    def __init__(self, net, weights):
        self.blocks = net.RRDB.blocks
        self._head, self._block, self._tail = _Head(net.RRDB), _Block(net.RRDB), _Tail(net, weights)

    def __call__(self, lr, weights):
        ((first, trunk), upconvs, dense_blocks), features, _ = weights
        fea, block_outputs = self._head(lr, *first), []
        for i in range(len(dense_blocks) // 3):
            fea = self._block(fea, *leaves(dense_blocks[3 * i:3 * i + 3]))
            if i in self.blocks:
                block_outputs.append(fea)
        return self._tail(fea, *block_outputs, *trunk, *leaves(upconvs), *leaves(features))


# Of these and the cells below the arguments are flat, because MindSpore 1.7 takes a tuple for a constant and would
# compile anew for each. What they return is float32, because 1.7 takes a float16 output for something else when another
# cell reads it. They hold methods of the network in tuples, not the network: MindSpore 2 has something to say to each
# cell within a cell at every call, which takes 4 µs for each.


class _Head(nn.Cell):
    """(lr, weights...) -> what the first block of the trunk is fed."""

    def __init__(self, encoder):
        super().__init__()
        self.methods = (encoder.head,)

    def construct(self, *tensors):
        return ops.Cast()(self.methods[0](tensors[0], tensors[1:]), mstype.float32)


class _Block(nn.Cell):
    """(fea, weights...) -> fea after one block of the trunk."""

    def __init__(self, encoder):
        super().__init__()
        self.methods = (encoder.block,)

    def construct(self, *tensors):
        fea = ops.Cast()(tensors[0], tensors[1].dtype)
        return ops.Cast()(self.methods[0](fea, nest(tensors, 1, ((5, 5, 5),))[0]), mstype.float32)


class _Tail(nn.Cell):
    """(the last block's output, that of each of `blocks`..., weights...) -> the conditions, flat."""

    def __init__(self, net, weights):
        super().__init__()
        self.methods = (net.RRDB.tail, net.flowUpsamplerNet.conditions)
        (_, upconvs, _), features, _ = weights
        self.upconv_sizes, self.feature_sizes = sizes_of((upconvs,)), sizes_of(features)
        self.n_outputs = 1 + len(net.RRDB.blocks)
        self.features_at = self.n_outputs + 2 + len(leaves(upconvs))

    def construct(self, *tensors):
        trunk, outputs = tensors[self.n_outputs:self.n_outputs + 2], ()
        for output in tensors[:self.n_outputs]:
            outputs = outputs + (ops.Cast()(output, trunk[0].dtype),)
        upconvs = nest(tensors, self.n_outputs + 2, self.upconv_sizes)[0]
        features = self.methods[0](outputs[0], outputs[1:], trunk, upconvs)
        flat = ()
        for level in self.methods[1](features, nest(tensors, self.features_at, self.feature_sizes)):
            for shift, scale, hidden in level:
                flat = flat + (shift, scale, ops.Cast()(hidden, mstype.float32))
        return flat


class _PackedFlow(nn.Cell):
    """The flow of a network, its cond taken from a flat tuple of tensors.

    weights: nested as `make_weights` gives them, of which only the structure is kept.
    """

    def __init__(self, net, weights):
        super().__init__()
        flow = net.flowUpsamplerNet
        self.methods = (flow.construct, flow.inverse)
        self.n_latents = flow.split_levels + 1
        self.sizes, self.n_weights = sizes_of(weights[2]), len(leaves(weights[2]))
        self.condition_sizes = ((3,) * flow.K,) * flow.n_levels

    def cond(self, tensors, at):
        """From `at` on: the tensors of the flow's weights, then what `Conditioner` returned."""
        return nest(tensors, at, self.sizes), nest(tensors, at + self.n_weights, self.condition_sizes)


class Encoder(_PackedFlow):
    """(hr, weights..., what `Conditioner` returned...) -> latents..., logdet: one flat tuple."""

    def construct(self, *tensors):
        latents, logdet = self.methods[0](tensors[0], self.cond(tensors, 1))
        return latents + (logdet,)


class Decoder(_PackedFlow):
    """(latents..., weights..., what `Conditioner` returned...) -> hr."""

    def construct(self, *tensors):
        hr, _ = self.methods[1](tensors[:self.n_latents], self.cond(tensors, self.n_latents))
        return hr
