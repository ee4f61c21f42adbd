# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""RRDBNet, the encoder of the low-resolution image (ESRGAN's generator, section 3.1 there; SRFlow, section 3.4)."""
import math

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model import winograd
from src.model.Flow import in_type
from src.model.convolutions import conv2d, nearest_up2, with_biases, with_one
from src.model.stacks import ParameterStacks, as_tensor, unstack

RESIDUAL_SCALE = 0.2
SLOPE = 0.2  # of LeakyReLU


def _lrelu(x):
    """LeakyReLU."""
    return SLOPE * _lrelu_over_slope(x)


def _lrelu_over_slope(x):
    """LeakyReLU divided by its slope; by ReLU, because the gradient of a maximum takes three times as long."""
    return x + (1 / SLOPE - 1) * ops.ReLU()(x)


def mean_down2(x):
    """Mean of every 2×2, which is what bilinear ×½ does to even sizes: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return ops.AvgPool(kernel_size=2, strides=2)(x)


class Conv2d(nn.Cell):
    """3×3 convolution with bias that keeps the size; weights and biases start as U(−r, r), r = fan_in^−½."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        reach = 1 / math.sqrt(9 * in_channels)
        weight = np.random.uniform(-reach, reach, (out_channels, in_channels, 3, 3))
        bias = np.random.uniform(-reach, reach, out_channels)
        self.weight = Parameter(Tensor(weight.astype(np.float32)), name="weight")
        self.bias = Parameter(Tensor(bias.astype(np.float32)), name="bias")

    def values(self):
        """weight and bias."""
        return as_tensor(self.weight), as_tensor(self.bias)

    def construct(self, x):
        """In x's type."""
        return _biased_conv2d(x, (ops.Cast()(self.weight, x.dtype), ops.Cast()(self.bias, x.dtype)))


class SmallConv2d(Conv2d):
    """Conv2d that starts as Kaiming normal (fan-in) × 0.1 without bias, so that deep residuals start near identity."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        weight = 0.1 * math.sqrt(2 / (9 * in_channels)) * np.random.randn(out_channels, in_channels, 3, 3)
        self.weight.set_data(Tensor(weight.astype(np.float32)))
        self.bias.set_data(Tensor(np.zeros(out_channels, np.float32)))


class ResidualDenseBlock(nn.Cell):
    """Five convolutions, each fed the block's input and all earlier outputs; the last one is the scaled residual.

    What a convolution and the next ones are fed is made into tiles once: instead of maps, their tiles are concatenated.
    """

    def __init__(self, nf, gc):
        super().__init__()
        self.conv1 = SmallConv2d(nf, gc)
        self.conv2 = SmallConv2d(nf + gc, gc)
        self.conv3 = SmallConv2d(nf + 2 * gc, gc)
        self.conv4 = SmallConv2d(nf + 3 * gc, gc)
        self.conv5 = SmallConv2d(nf + 4 * gc, nf)

    def parameters_in_order(self):
        """The five weights, then the five biases, as `dense_block_weights` takes them."""
        convs = (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5)
        return [conv.weight for conv in convs] + [conv.bias for conv in convs]

    def construct(self, x, weights):
        """x (N, nf, H, W); weights: one block's, as `dense_block_weights` gives them."""
        n, _, height, width = x.shape
        tiles = winograd.tiles(with_one(x))
        for weight in weights[:-1]:
            output = _lrelu_over_slope(winograd.as_maps(winograd.products(tiles, weight), n, height, width))
            tiles = ops.Concat(1)((tiles, winograd.tiles(output, SLOPE)))
        return winograd.as_maps(winograd.products(tiles, weights[-1]), n, height, width, RESIDUAL_SCALE) + x


def dense_block_weights(values):
    """Of R dense blocks the five convolutions' weights with biases, as `winograd.products` takes them: a tuple of R.

    values: the blocks' `parameters_in_order`, each stacked over the blocks.
    """
    kernels = ()
    for weights, biases in zip(values[:5], values[5:]):
        kernels = kernels + (with_biases(weights, biases),)
    blocks = ()
    for block in unstack(kernels):
        blocks = blocks + (_block_weights(block),)
    return blocks


def _block_weights(kernels):
    weights = ()
    for same in kernels:
        weights = weights + (winograd.weights(same),)
    return weights


class RRDB(nn.Cell):
    """Residual in residual: three dense blocks and a scaled residual around them."""

    def __init__(self, nf, gc):
        super().__init__()
        self.RDB1 = ResidualDenseBlock(nf, gc)
        self.RDB2 = ResidualDenseBlock(nf, gc)
        self.RDB3 = ResidualDenseBlock(nf, gc)

    def construct(self, x, weights):
        """weights: of the three blocks in order."""
        h = self.RDB2(self.RDB1(x, weights[0]), weights[1])
        return self.RDB3(h, weights[2]) * RESIDUAL_SCALE + x


class RRDBNet(nn.Cell):
    """Low-resolution image -> the features that condition the flow.

    nf channels, nb blocks of growth gc; `blocks`: the 0-based trunk blocks whose outputs are stacked. The flow at
    scale s has L = log2(s) + 1 levels, level 1 at s/2 times the low resolution, level L at half of it.
    """

    def __init__(self, scale, nf, nb, gc, blocks):
        super().__init__()
        doublings = int(math.log2(scale))
        self.blocks = tuple(blocks)
        self.conv_first = Conv2d(3, nf)
        self.RRDB_trunk = nn.CellList([RRDB(nf, gc) for _ in range(nb)])
        self.trunk_conv = Conv2d(nf, nf)
        for k in range(1, doublings + 1):
            setattr(self, f"upconv{k}", Conv2d(nf, nf))
        self.HRconv = Conv2d(nf, nf)
        self.conv_last = Conv2d(nf, 3)
        # Not registered again: the children above own the names.
        self._upconvs = tuple(getattr(self, f"upconv{k}") for k in range(1, doublings + 1))
        self.flow_upconvs = doublings - 1
        # Bound methods, because graph mode in MindSpore 1.7 can call a method of a cell in a sequence only so.
        self._upconv_values = tuple(upconv.values for upconv in self._upconvs)
        dense_blocks = [rdb for block in self.RRDB_trunk for rdb in (block.RDB1, block.RDB2, block.RDB3)]
        self._dense_blocks = (ParameterStacks([rdb.parameters_in_order() for rdb in dense_blocks]),)
        self.half = False

    def parameter_stacks(self):
        """Its ParameterStacks."""
        return list(self._dense_blocks)

    def compute_in_half(self):
        """Computes in float16 from now on; the parameters stay float32."""
        self.half = True

    def weights(self):
        """What construct needs of the parameters, in the type to compute in: (first and trunk convolution, upconvs,
        dense blocks)."""
        upconvs = ()
        for values in self._upconv_values[:self.flow_upconvs]:
            weight, bias = values()
            upconvs = upconvs + ((winograd.even_weights(weight), bias),)
        edges = (self.conv_first.values(), self.trunk_conv.values())
        weights = (edges, upconvs, dense_block_weights(self._dense_blocks[0]()))
        return in_type(weights, mstype.float16) if self.half else weights

    def construct(self, lr, weights):
        """lr float32 (N, 3, h, w) in [0, 1], h and w even -> (own, stacked); weights by the method of this name.

        own: one (N, nf, ·, ·) per level, level 1 (s/2·h, s/2·w) first, level L (h/2, w/2) last.
        stacked: (N, len(blocks)·nf, h, w), the same for all levels. All in the weights' type.
        """
        (first, trunk), upconvs, dense_blocks = weights
        fea, block_outputs = self._blocks(self.head(lr, first), dense_blocks)
        return self.tail(fea, block_outputs, trunk, upconvs)

    def head(self, lr, first):
        """What comes before the blocks of the trunk; first: the convolution's weight and bias."""
        return _biased_conv2d(ops.Cast()(lr, first[0].dtype), first)

    def block(self, fea, dense_blocks):
        """One block of the trunk; dense_blocks: the weights of its three.

        Blocks differ by their weights only, which they are given: the first computes for all, and the compiler reads it
        once.
        """
        return self.RRDB_trunk[0](fea, dense_blocks)

    def tail(self, fea, block_outputs, trunk, upconvs):
        """What comes after the blocks: construct's result. fea: the last one's output, block_outputs: of `blocks`."""
        fea = _trunk_end(fea, trunk)
        own = (fea, mean_down2(fea))
        for weight, bias in upconvs:
            fea = _lrelu(ops.BiasAdd()(winograd.enlarged_conv2d(fea, weight), bias))
            own = (fea,) + own
        return own, ops.Concat(1)(block_outputs)

    def image(self, lr):
        """The super-resolved image that L1 pre-training compares: (N, 3, h, w) -> float32 (N, 3, s·h, s·w)."""
        (first, trunk), _, dense_blocks = self.weights()
        fea, _ = self._blocks(self.head(lr, first), dense_blocks)
        fea = _trunk_end(fea, trunk)
        for upconv in self._upconvs:
            fea = _lrelu(upconv(nearest_up2(fea)))
        return ops.Cast()(self.conv_last(_lrelu(self.HRconv(fea))), mstype.float32)

    def image_only_parameters(self):
        """The parameters that `image` needs and the flow does not."""
        cells = self._upconvs[self.flow_upconvs:] + (self.HRconv, self.conv_last)
        return [p for cell in cells for p in cell.get_parameters()]

    def _blocks(self, fea, dense_blocks):
        block_outputs = ()
        for i in range(len(self.RRDB_trunk)):
            fea = self.block(fea, dense_blocks[3 * i:3 * i + 3])
            if i in self.blocks:
                block_outputs = block_outputs + (fea,)
        return fea, block_outputs


def _trunk_end(fea, trunk):
    # SRFlow adds the last block's output here, ESRGAN the first convolution's.
    return fea + _biased_conv2d(fea, trunk)


def _biased_conv2d(x, values):
    weight, bias = values
    return ops.BiasAdd()(conv2d(x, weight), bias)
