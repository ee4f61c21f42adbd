# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""RRDBNet, the encoder of the low-resolution image (ESRGAN's generator, section 3.1 there; SRFlow, section 3.4)."""

import math

import mindspore.common.dtype as mstype
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from src.model.convolutions import conv2d, mean_down2, nearest_down2, nearest_up2

RESIDUAL_SCALE = 0.2
SLOPE = 0.2  # of LeakyReLU


def leaky_relu(x):
    """Compute LeakyReLU: x where it is positive, SLOPE·x elsewhere.

    It is made of ReLU, as the gradient of a maximum takes three times as long.
    """
    return SLOPE * x + (1 - SLOPE) * ops.ReLU()(x)


class Conv2d(nn.Cell):
    """3×3 convolution with bias that keeps the size of the map.

    x (N, in_channels, H, W) -> (N, out_channels, H, W), in x's type. Parameters: weight (out, in, 3, 3) and bias
    (out,), which start as U(−r, r), r = fan_in^−½.
    """

    def __init__(self, in_channels, out_channels):
        super().__init__()
        reach = 1 / math.sqrt(9 * in_channels)
        weight = np.random.uniform(-reach, reach, (out_channels, in_channels, 3, 3))
        bias = np.random.uniform(-reach, reach, out_channels)
        self.weight = Parameter(Tensor(weight.astype(np.float32)), name="weight")
        self.bias = Parameter(Tensor(bias.astype(np.float32)), name="bias")

    def construct(self, x):
        return ops.BiasAdd()(conv2d(x, self.weight), ops.Cast()(self.bias, x.dtype))


class SmallConv2d(Conv2d):
    """Conv2d that starts small, so that deep residual blocks start near the identity.

    Its weight starts as Kaiming normal (fan-in) × 0.1, its bias as zero.
    """

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels)
        weight = 0.1 * math.sqrt(2 / (9 * in_channels)) * np.random.randn(out_channels, in_channels, 3, 3)
        self.weight.set_data(Tensor(weight.astype(np.float32)))
        self.bias.set_data(Tensor(np.zeros(out_channels, np.float32)))


class ResidualDenseBlock(nn.Cell):
    """Five convolutions, each fed the block's input and all earlier outputs.

    x_k = LeakyReLU(conv_k(x, x_1, …, x_(k−1))) for k = 1 … 4, and the output is 0.2·conv_5(x, x_1, …, x_4) + x. Input
    and output are (N, nf, H, W). The first four convolutions have gc output channels each (ESRGAN, section 3.1).
    """

    def __init__(self, nf, gc):
        super().__init__()
        self.conv1 = SmallConv2d(nf, gc)
        self.conv2 = SmallConv2d(nf + gc, gc)
        self.conv3 = SmallConv2d(nf + 2 * gc, gc)
        self.conv4 = SmallConv2d(nf + 3 * gc, gc)
        self.conv5 = SmallConv2d(nf + 4 * gc, nf)

    def construct(self, x):
        concat = ops.Concat(1)
        x1 = leaky_relu(self.conv1(x))
        x2 = leaky_relu(self.conv2(concat((x, x1))))
        x3 = leaky_relu(self.conv3(concat((x, x1, x2))))
        x4 = leaky_relu(self.conv4(concat((x, x1, x2, x3))))
        return self.conv5(concat((x, x1, x2, x3, x4))) * RESIDUAL_SCALE + x


class RRDB(nn.Cell):
    """Three dense blocks and a scaled residual around them: 0.2·RDB3(RDB2(RDB1(x))) + x (ESRGAN, section 3.1).

    Input and output are (N, nf, H, W).
    """

    def __init__(self, nf, gc):
        super().__init__()
        self.RDB1 = ResidualDenseBlock(nf, gc)
        self.RDB2 = ResidualDenseBlock(nf, gc)
        self.RDB3 = ResidualDenseBlock(nf, gc)

    def construct(self, x):
        return self.RDB3(self.RDB2(self.RDB1(x))) * RESIDUAL_SCALE + x


class RRDBNet(nn.Cell):
    """Encoder that makes the conditional features of the low-resolution image.

    construct(lr) -> features    a tuple, ft of each level, level 1 first: (N, (1 + len(blocks))·nf, ·, ·)
    image(lr)     -> image       the encoder's own super-resolved image

    lr is float32 (N, 3, h, w) in [0, 1], h and w even. The flow at scale s has L = log2(s) + 1 levels. Level 1 works at
    s/2 times the low resolution, level L at half of it. The features of a level are in `compute_type`. The first nf
    channels are the level's own: the trunk's end, enlarged by convolutions for the first levels, and halved by a mean
    for level L. The others are the outputs of the trunk's `blocks`, resized by nearest neighbour.
    """

    def __init__(self, scale, nf, nb, gc, blocks):
        """Build the layers.

        Args:
            scale: of super-resolution, s, a power of 2.
            nf: channels of the trunk.
            nb: number of blocks of the trunk.
            gc: growth, the output channels of a dense block's first four convolutions.
            blocks: numbers, from 0, of the blocks whose outputs are among the features.
        """
        super().__init__()
        doublings = int(math.log2(scale))
        self.blocks, self.compute_type = tuple(blocks), mstype.float32
        self.conv_first = Conv2d(3, nf)
        self.RRDB_trunk = nn.CellList([RRDB(nf, gc) for _ in range(nb)])
        self.trunk_conv = Conv2d(nf, nf)
        for k in range(1, doublings + 1):
            setattr(self, f"upconv{k}", Conv2d(nf, nf))
        self.HRconv = Conv2d(nf, nf)
        self.conv_last = Conv2d(nf, 3)
        # Plain tuples, not registered again: the children above own the names.
        self.blocks_in_order = tuple(self.RRDB_trunk)
        self.upconvs = tuple(getattr(self, f"upconv{k}") for k in range(1, doublings + 1))
        self.flow_upconvs = self.upconvs[:-1]  # the last one's size is only that of the encoder's own image

    def compute_in_half(self):
        """Compute in float16 from now on. The parameters stay float32."""
        self.compute_type = mstype.float16

    def construct(self, lr):
        own, block_outputs = self.trunk(lr)
        stacked = ops.Concat(1)(block_outputs)
        features = (_joined(own, stacked), _joined(mean_down2(own), nearest_down2(stacked)))
        for upconv in self.flow_upconvs:
            own, stacked = leaky_relu(upconv(nearest_up2(own))), nearest_up2(stacked)
            features = (_joined(own, stacked),) + features
        return features

    def trunk(self, lr):
        """Compute what comes before the enlargements.

        Args:
            lr: float32 (N, 3, h, w).

        Returns:
            The trunk's end (N, nf, h, w), and a tuple of the outputs of `blocks`, each (N, nf, h, w).
        """
        fea, block_outputs = self.conv_first(ops.Cast()(lr, self.compute_type)), ()
        for i, block in enumerate(self.blocks_in_order):
            fea = block(fea)
            if i in self.blocks:
                block_outputs = block_outputs + (fea,)
        # SRFlow adds the last block's output here, ESRGAN the first convolution's.
        return fea + self.trunk_conv(fea), block_outputs

    def image(self, lr):
        """Compute the super-resolved image that L1 pre-training compares.

        Args:
            lr: float32 (N, 3, h, w).

        Returns:
            float32 (N, 3, s·h, s·w), not clipped.
        """
        fea, _ = self.trunk(lr)
        for upconv in self.upconvs:
            fea = leaky_relu(upconv(nearest_up2(fea)))
        return ops.Cast()(self.conv_last(leaky_relu(self.HRconv(fea))), mstype.float32)

    def image_only_parameters(self):
        """List the parameters that `image` needs and the flow does not."""
        cells = (self.upconvs[-1], self.HRconv, self.conv_last)
        return [parameter for cell in cells for parameter in cell.get_parameters()]


def _joined(own, stacked):
    return ops.Concat(1)((own, stacked))
