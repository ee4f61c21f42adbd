# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""RRDBNet, its convolutions by Winograd's products, a dense block's tiles made once for all that read them."""

import mindspore.common.dtype as mstype
from mindspore import ParameterTuple, nn, ops

from src.model.RRDBNet import RESIDUAL_SCALE, SLOPE
from src.model.convolutions import mean_down2, nearest_up2
from src.model.cpu import winograd
from src.model.cpu.convolutions import biased_conv2d, with_biases, with_one
from src.model.cpu.operators import as_tensor, in_type
from src.model.cpu.stacks import ParameterStacks, unstack


class Values(nn.Cell):
    """() -> the values of parameters that other cells own and name."""

    def __init__(self, parameters):
        super().__init__(auto_prefix=False)
        # Past nn.Cell, which would register and rename them.
        object.__setattr__(self, "values_of", ParameterTuple(parameters))

    def construct(self):
        values = ()
        for parameter in self.values_of:
            values = values + (as_tensor(parameter),)
        return values


class Encoder(nn.Cell):
    """An RRDBNet's functions of its parameters, or of the weights that `weights` made of them.

    construct(lr, weights) -> (own, stacked)
    image(lr)              -> the encoder's own image, float32 (N, 3, s·h, s·w)

    own: one (N, nf, ·, ·) per level, level 1 (s/2·h, s/2·w) first, level L (h/2, w/2) last: the level's own channels.
    stacked: (N, len(blocks)·nf, h, w), not resized: the same for all levels. All in the weights' type.
    """

    def __init__(self, rrdb):
        super().__init__(auto_prefix=False)
        self.blocks, self.half = rrdb.blocks, rrdb.compute_type == mstype.float16
        # Plain tuples: the parameters are the RRDBNet's.
        self._edges = tuple(Values([conv.weight, conv.bias]) for conv in (rrdb.conv_first, rrdb.trunk_conv))
        self._flow_upconvs = tuple(Values([conv.weight, conv.bias]) for conv in rrdb.flow_upconvs)
        self._image_convs = rrdb.upconvs + (rrdb.HRconv, rrdb.conv_last)
        dense_blocks = [rdb for block in rrdb.blocks_in_order for rdb in (block.RDB1, block.RDB2, block.RDB3)]
        self.dense_blocks = len(dense_blocks)
        self._stacks = (ParameterStacks([_parameters_of(rdb) for rdb in dense_blocks]),)

    def encoder_stacks(self):
        """Its ParameterStacks."""
        return list(self._stacks)

    def weights(self):
        """What construct needs of the parameters, in the type to compute in: (edges, upconvs, dense blocks).

        Edges are first and trunk convolution, weight and bias each.
        """
        edges, upconvs = (), ()
        for values in self._edges:
            edges = edges + (values(),)
        for values in self._flow_upconvs:
            weight, bias = values()
            upconvs = upconvs + ((winograd.even_weights(weight), bias),)
        weights = (edges, upconvs, _dense_block_weights(self._stacks[0]()))
        return in_type(weights, mstype.float16) if self.half else weights

    def construct(self, lr, weights):
        (first, trunk), upconvs, dense_blocks = weights
        fea, block_outputs = self._run_blocks(self.head(lr, first), dense_blocks)
        return self.tail(fea, block_outputs, trunk, upconvs)

    def head(self, lr, first):
        """What comes before the blocks of the trunk; first: the convolution's weight and bias."""
        return biased_conv2d(ops.Cast()(lr, first[0].dtype), first)

    def block(self, fea, dense_blocks):
        """One block of the trunk; dense_blocks: the weights of its three dense blocks."""
        h = dense_block(dense_block(fea, dense_blocks[0]), dense_blocks[1])
        return dense_block(h, dense_blocks[2]) * RESIDUAL_SCALE + fea

    def tail(self, fea, block_outputs, trunk, upconvs):
        """What comes after the blocks: construct's result. fea: the last one's output, block_outputs: of `blocks`."""
        fea = fea + biased_conv2d(fea, trunk)
        own = (fea, mean_down2(fea))
        for weight, bias in upconvs:
            fea = _lrelu(ops.BiasAdd()(winograd.enlarged_conv2d(fea, weight), bias))
            own = (fea,) + own
        return own, ops.Concat(1)(block_outputs)

    def image(self, lr):
        """The encoder's own image."""
        (first, trunk), _, dense_blocks = self.weights()
        fea, _ = self._run_blocks(self.head(lr, first), dense_blocks)
        fea = fea + biased_conv2d(fea, trunk)
        for upconv in self._image_convs[:-2]:
            fea = _lrelu(upconv(nearest_up2(fea)))
        return ops.Cast()(self._image_convs[-1](_lrelu(self._image_convs[-2](fea))), mstype.float32)

    def _run_blocks(self, fea, dense_blocks):
        block_outputs = ()
        for i in range(self.dense_blocks // 3):
            fea = self.block(fea, dense_blocks[3 * i : 3 * i + 3])
            if i in self.blocks:
                block_outputs = block_outputs + (fea,)
        return fea, block_outputs


def dense_block(x, weights):
    """A ResidualDenseBlock: x (N, nf, H, W); weights: one block's of `_dense_block_weights`.

    What a convolution and the next ones are fed is made into tiles once: not maps but their tiles are concatenated.
    """
    n, _, height, width = x.shape
    tiles = winograd.tiles(with_one(x))
    for weight in weights[:-1]:
        output = _lrelu_over_slope(winograd.as_maps(winograd.products(tiles, weight), n, height, width))
        tiles = ops.Concat(1)((tiles, winograd.tiles(output, SLOPE)))
    return winograd.as_maps(winograd.products(tiles, weights[-1]), n, height, width, RESIDUAL_SCALE) + x


def _parameters_of(dense_block_cell):
    """The five weights, then the five biases, as `_dense_block_weights` takes them."""
    convs = (
        dense_block_cell.conv1,
        dense_block_cell.conv2,
        dense_block_cell.conv3,
        dense_block_cell.conv4,
        dense_block_cell.conv5,
    )
    return [conv.weight for conv in convs] + [conv.bias for conv in convs]


def _dense_block_weights(values):
    """Of R dense blocks the five convolutions' weights with biases, as `winograd.products` takes them: a tuple of R.

    values: the blocks' `_parameters_of`, each stacked over the blocks.
    """
    kernels = ()
    for weights, biases in zip(values[:5], values[5:]):
        kernels = kernels + (with_biases(weights, biases),)
    blocks = ()
    for block in unstack(kernels):
        blocks = blocks + (_of_one_block(block),)
    return blocks


def _of_one_block(kernels):
    weights = ()
    for same in kernels:
        weights = weights + (winograd.weights(same),)
    return weights


def _lrelu(x):
    return SLOPE * _lrelu_over_slope(x)


def _lrelu_over_slope(x):
    """LeakyReLU divided by its slope, which the next tiles' coefficients multiply by."""
    return x + (1 / SLOPE - 1) * ops.ReLU()(x)
