# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""RRDBNet, the encoder of the low-resolution image (ESRGAN's generator, section 3.1 there; SRFlow, section 3.4)."""
import math

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.Flow import conv2d

RESIDUAL_SCALE = 0.2


def _lrelu(x):
    """LeakyReLU of slope 0.2."""
    return ops.Maximum()(x, 0.2 * x)


def nearest_up2(x):
    """Repeats every row and column: (N, C, H, W) -> (N, C, 2H, 2W)."""
    n, c, h, w = x.shape
    # A broadcast product: on the CPU twice as fast as stacking, and six times as fast as ResizeNearestNeighbor.
    repeated = ops.Reshape()(x, (n, c, h, 1, w, 1)) * ops.Ones()((1, 1, 1, 2, 1, 2), mstype.float32)
    return ops.Reshape()(repeated, (n, c, 2 * h, 2 * w))


def nearest_down2(x):
    """Takes the even rows and columns: (N, C, H, W) -> (N, C, H/2, W/2), H and W even."""
    n, c, h, w = x.shape
    x = ops.Unstack(3)(ops.Reshape()(x, (n, c, h // 2, 2, w)))[0]
    return ops.Unstack(4)(ops.Reshape()(x, (n, c, h // 2, w // 2, 2)))[0]


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

    def construct(self, x):
        return ops.BiasAdd()(conv2d(x, self.weight), self.bias)


class SmallConv2d(Conv2d):
    """Conv2d that starts as Kaiming normal (fan-in) × 0.1 without bias, so that deep residuals start near identity."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        weight = 0.1 * math.sqrt(2 / (9 * in_channels)) * np.random.randn(out_channels, in_channels, 3, 3)
        self.weight.set_data(Tensor(weight.astype(np.float32)))
        self.bias.set_data(Tensor(np.zeros(out_channels, np.float32)))


class ResidualDenseBlock(nn.Cell):
    """Five convolutions, each fed the block's input and all earlier outputs; the last one is the scaled residual."""

    def __init__(self, nf, gc):
        super().__init__()
        self.conv1 = SmallConv2d(nf, gc)
        self.conv2 = SmallConv2d(nf + gc, gc)
        self.conv3 = SmallConv2d(nf + 2 * gc, gc)
        self.conv4 = SmallConv2d(nf + 3 * gc, gc)
        self.conv5 = SmallConv2d(nf + 4 * gc, nf)

    def construct(self, x):
        x1 = _lrelu(self.conv1(x))
        x2 = _lrelu(self.conv2(ops.Concat(1)((x, x1))))
        x3 = _lrelu(self.conv3(ops.Concat(1)((x, x1, x2))))
        x4 = _lrelu(self.conv4(ops.Concat(1)((x, x1, x2, x3))))
        x5 = self.conv5(ops.Concat(1)((x, x1, x2, x3, x4)))
        return x5 * RESIDUAL_SCALE + x


class RRDB(nn.Cell):
    """Residual in residual: three dense blocks and a scaled residual around them."""

    def __init__(self, nf, gc):
        super().__init__()
        self.RDB1 = ResidualDenseBlock(nf, gc)
        self.RDB2 = ResidualDenseBlock(nf, gc)
        self.RDB3 = ResidualDenseBlock(nf, gc)

    def construct(self, x):
        return self.RDB3(self.RDB2(self.RDB1(x))) * RESIDUAL_SCALE + x


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

    def construct(self, lr):
        """lr float32 (N, 3, h, w) in [0, 1], h and w even -> (own, stacked).

        own: one (N, nf, ·, ·) per level, level 1 (s/2·h, s/2·w) first, level L (h/2, w/2) last.
        stacked: (N, len(blocks)·nf, h, w), the same for all levels. `level_features` joins the two.
        """
        last, block_outputs = self._trunk(lr)
        own = (last, mean_down2(last))
        fea = last
        for upconv in self._upconvs[:self.flow_upconvs]:
            fea = _lrelu(upconv(nearest_up2(fea)))
            own = (fea,) + own
        return own, ops.Concat(1)(block_outputs)

    def image(self, lr):
        """The super-resolved image that L1 pre-training compares: (N, 3, h, w) -> (N, 3, s·h, s·w)."""
        fea, _ = self._trunk(lr)
        for upconv in self._upconvs:
            fea = _lrelu(upconv(nearest_up2(fea)))
        return self.conv_last(_lrelu(self.HRconv(fea)))

    def image_only_parameters(self):
        """The parameters that `image` needs and the flow does not."""
        cells = self._upconvs[self.flow_upconvs:] + (self.HRconv, self.conv_last)
        return [p for cell in cells for p in cell.get_parameters()]

    def _trunk(self, lr):
        fea = self.conv_first(lr)
        block_outputs = ()
        for i, block in enumerate(self.RRDB_trunk):
            fea = block(fea)
            if i in self.blocks:
                block_outputs = block_outputs + (fea,)
        # SRFlow adds the last block's output here, ESRGAN the first convolution's.
        return fea + self.trunk_conv(fea), block_outputs


def level_features(own, stacked):
    """One level's conditional features: (N, nf, H, W) and the stack (N, S, h, w) -> (N, nf + S, H, W).

    The stack is resized to the level by nearest neighbour; H/h is a power of two from ½ upwards.
    """
    resized = stacked
    while resized.shape[2] < own.shape[2]:
        resized = nearest_up2(resized)
    if resized.shape[2] > own.shape[2]:
        resized = nearest_down2(resized)
    return ops.Concat(1)((own, resized))
