# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""The network as MindIR, which MindSpore loads without this code: (lr, latents...) -> hr, for one image of one size."""

import os

import mindspore
import numpy as np
from mindspore import Tensor, nn

from src.model_utils.util import atomic_write


class Decoder(nn.Cell):
    """(lr, latents...) -> hr, by the network's definition."""

    def __init__(self, net):
        super().__init__(auto_prefix=False)
        self.net = net

    def construct(self, lr, *latents):
        hr, _ = self.net.inverse(latents, lr)
        return hr


def write_network(path, net, size):
    """Write a network to `path`, which ends in `.mindir`, whole or not at all.

    Args:
        path: the file.
        net: SRFlowNet.
        size: (height, width) of lr, even.

    Raises:
        OSError: the disk does not take it.
    """
    lr = Tensor(np.zeros((1, 3) + tuple(size), np.float32))
    shapes = net.flowUpsamplerNet.latent_shapes(*(net.scale * side for side in size))
    latents = [Tensor(np.zeros((1,) + shape, np.float32)) for shape in shapes]
    with atomic_write(path) as temporary:
        mindspore.export(Decoder(net), lr, *latents, file_name=temporary, file_format="MINDIR")
        os.chmod(temporary, 0o644)  # MindSpore leaves it for its owner alone
