# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""RRDBNet by Winograd's products: the patches of a dense block's maps are made once for all that read them."""

import mindspore.common.dtype as mstype
from mindspore import ParameterTuple, nn, ops

from src.model.RRDBNet import RESIDUAL_SCALE, SLOPE
from src.model.convolutions import mean_down2, nearest_up2
from src.model.cpu import winograd
from src.model.cpu.convolutions import biased_conv2d, with_biases, with_one
from src.model.cpu.operators import as_tensor, in_type
from src.model.cpu.stacks import ParameterStacks, unstack


class Values(nn.Cell):
    """Values of parameters that other cells own and name: () -> a tuple of tensors."""

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
    """An RRDBNet's construct and `image`.

    construct(lr, weights) -> (own, stacked)    the features, as what they are made of
    image(lr)              -> image             the encoder's own image, float32 (N, 3, s·h, s·w)

    own: a tuple of one (N, nf, ·, ·) per level, the level's own channels. Level 1 (s/2·h, s/2·w) is first, and level L
    (h/2, w/2) last. stacked: (N, len(blocks)·nf, h, w), the same for all levels and not yet resized. Both are in the
    type of `weights`, which the method of this name makes of the parameters.
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
        """List the encoder's ParameterStacks."""
        return list(self._stacks)

    def weights(self):
        """Make what construct needs of the parameters, in the type to compute in.

        Returns:
            Three tuples. The edges: of the first and the trunk's convolution weight and bias each. The enlarging
            convolutions: of each the `kernels_for_even` and the bias. The dense blocks: of each five weights.
        """
        edges, upconvs = (), ()
        for values in self._edges:
            edges = edges + (values(),)
        for values in self._flow_upconvs:
            weight, bias = values()
            upconvs = upconvs + ((winograd.kernels_for_even(weight), bias),)
        weights = (edges, upconvs, _dense_block_weights(self._stacks[0]()))
        return in_type(weights, mstype.float16) if self.half else weights

    def construct(self, lr, weights):
        (first, trunk), upconvs, dense_blocks = weights
        fea, block_outputs = self._run_blocks(self.head(lr, first), dense_blocks)
        return self.tail(fea, block_outputs, trunk, upconvs)

    def head(self, lr, first):
        """Compute what comes before the trunk's blocks.

        Args:
            lr: float32 (N, 3, h, w).
            first: weight and bias of the first convolution.

        Returns:
            (N, nf, h, w), in the weights' type.
        """
        return biased_conv2d(ops.Cast()(lr, first[0].dtype), first)

    def block(self, fea, dense_blocks):
        """Compute one block of the trunk.

        Args:
            fea: (N, nf, h, w).
            dense_blocks: weights of the block's three dense blocks.

        Returns:
            (N, nf, h, w).
        """
        h = dense_block(dense_block(fea, dense_blocks[0]), dense_blocks[1])
        return dense_block(h, dense_blocks[2]) * RESIDUAL_SCALE + fea

    def tail(self, fea, block_outputs, trunk, upconvs):
        """Compute what comes after the trunk's blocks.

        Args:
            fea: (N, nf, h, w), the last block's output.
            block_outputs: tuple of the outputs of `blocks`, of the same shape.
            trunk: weight and bias of the trunk's convolution.
            upconvs: of each enlarging convolution the `kernels_for_even` and the bias.

        Returns:
            construct's (own, stacked).
        """
        fea = fea + biased_conv2d(fea, trunk)
        own = (fea, mean_down2(fea))
        for weight, bias in upconvs:
            fea = _lrelu(ops.BiasAdd()(winograd.enlarged_conv2d(fea, weight), bias))
            own = (fea,) + own
        return own, ops.Concat(1)(block_outputs)

    def image(self, lr):
        """Compute the encoder's own image: float32 (N, 3, h, w) -> float32 (N, 3, s·h, s·w)."""
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
    """Compute a ResidualDenseBlock.

    What a convolution and the next ones are fed is made into patches once. Not the maps are concatenated, but their
    patches.

    Args:
        x: (N, nf, H, W).
        weights: five, what `_dense_block_weights` made for one block.

    Returns:
        (N, nf, H, W).
    """
    n, _, height, width = x.shape
    patches = winograd.patches(with_one(x))
    for weight in weights[:-1]:
        output = _lrelu_over_slope(winograd.as_maps(winograd.products(patches, weight), n, height, width))
        patches = ops.Concat(1)((patches, winograd.patches(output, SLOPE)))
    return winograd.as_maps(winograd.products(patches, weights[-1]), n, height, width, RESIDUAL_SCALE) + x


def _parameters_of(dense_block_cell):
    """List the five weights, then the five biases, as `_dense_block_weights` takes them."""
    convs = (
        dense_block_cell.conv1,
        dense_block_cell.conv2,
        dense_block_cell.conv3,
        dense_block_cell.conv4,
        dense_block_cell.conv5,
    )
    return [conv.weight for conv in convs] + [conv.bias for conv in convs]


def _dense_block_weights(values):
    """Make the weights of R dense blocks, biases among them, as `winograd.products` takes them.

    Args:
        values: the blocks' `_parameters_of`, each stacked over the blocks.

    Returns:
        A tuple of R tuples of five.
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
        weights = weights + (winograd.kernels_for_all(same),)
    return weights


def _lrelu(x):
    return SLOPE * _lrelu_over_slope(x)


def _lrelu_over_slope(x):
    """Compute LeakyReLU divided by its slope. The slope is a factor of the patches that are made of it."""
    return x + (1 / SLOPE - 1) * ops.ReLU()(x)
