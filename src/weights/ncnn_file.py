# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""RRDBNets in ncnn's format (`.bin`), as RealSR's and Real-ESRGAN's are handed round.

Such a file is the convolutions' weights one after the other, without names or shapes: of each a tag that says float16,
the weights in the order (output, input, 3, 3), padded to four bytes, and the biases in float32. Which network it is
shows in its size. All numbers are little-endian.
"""

import os

import numpy as np

from src.network_names import encoder_convolutions
from src.weights.checkpoint import CheckpointError
from src.weights.torch_file import reading

FLOAT16 = b"\x47\x6b\x30\x01"  # the tag; every file begins with one
TEXT = b"7767517"  # begins the network's description, a text (`.param`)

# The network that is shared in this format.
SCALE, CHANNELS, GROWTH = 4, 64, 32
MAX_BLOCKS = 256  # as many as the option network_G.nb allows


def is_ncnn_file(head):
    """Tell whether a file that begins with the bytes `head`, at least seven, may be one of ncnn's."""
    return head.startswith((FLOAT16, TEXT))


def read_ncnn(path):
    """Read the RRDBNet in a file of ncnn's.

    No more is read than a network of the file's own size needs.

    Args:
        path: the file.

    Returns:
        dict from official name, without the prefix `RRDB.`, to float32 array.

    Raises:
        CheckpointError: with one line that says what is wrong with the file.
    """
    path = str(path)
    with reading(path), open(path, "rb") as file:
        if file.read(len(TEXT)) == TEXT:
            raise CheckpointError(f"{path}: ncnn's description of a network, without weights; give the .bin beside it")
        blocks = _count_blocks(os.fstat(file.fileno()).st_size, path)
        file.seek(0)
        arrays = {}
        for name, inputs, outputs in _convolutions(blocks):
            arrays[f"{name}.weight"], arrays[f"{name}.bias"] = _read_convolution(file, name, inputs, outputs)
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise CheckpointError(f"{path}: {name}: has values that are not finite; copy it again or use another")
    return arrays


def _convolutions(blocks):
    return encoder_convolutions(SCALE, CHANNELS, blocks, GROWTH)


def _sizes(inputs, outputs):
    """Return how many bytes a convolution's weights, with their padding, and its biases take."""
    return -(-2 * outputs * inputs * 9 // 4) * 4, 4 * outputs


def _file_size(blocks):
    return sum(len(FLOAT16) + sum(_sizes(inputs, outputs)) for _, inputs, outputs in _convolutions(blocks))


def _count_blocks(size, path):
    """Return the number of blocks of a network whose file has so many bytes.

    Raises:
        CheckpointError: there is no such network.
    """
    others, block = _file_size(0), _file_size(1) - _file_size(0)
    fewer = min(max((size - others) // block, 1), MAX_BLOCKS)
    if size != _file_size(fewer):
        raise CheckpointError(
            f"{path}: {size} bytes, which no RRDBNet has in ncnn's format (of {CHANNELS} channels and {fewer} or "
            f"{fewer + 1} blocks: {_file_size(fewer)} or {_file_size(fewer + 1)}); it is cut short or another network, "
            "copy it again or use another"
        )
    return fewer


def _read_convolution(file, name, inputs, outputs):
    """Return the float32 (weight, bias) of the convolution that begins where the file stands."""
    weight_size, bias_size = _sizes(inputs, outputs)
    data = file.read(len(FLOAT16) + weight_size + bias_size)
    if len(data) < len(FLOAT16) + weight_size + bias_size:
        raise EOFError(f"{name} is not all there")
    if not data.startswith(FLOAT16):
        raise ValueError(f"{name} does not begin as float16 weights do")
    weight = np.frombuffer(data, "<f2", outputs * inputs * 9, len(FLOAT16))
    bias = np.frombuffer(data, "<f4", outputs, len(FLOAT16) + weight_size)
    return weight.astype(np.float32).reshape(outputs, inputs, 3, 3), bias.astype(np.float32)
