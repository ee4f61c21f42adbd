# Copyright 2026 The SRFlow-MindSpore Authors
# SPDX-License-Identifier: Apache-2.0
"""Well-behaved weights drawn from a seed, so that golden/seeded_*.npz need no weight files beside them.

The outputs in those files are those of exactly these weights: order, rules and generator must stay as they are.
"""

import numpy as np


def seeded_state(shapes, seed):
    """Draw every parameter, in the sorted order of the names, from one np.random.RandomState(seed).

    Args:
        shapes: dict, parameter name -> shape, named as in the official state dict (without flowUpsamplerNet.f.*).
        seed: of the generator.

    Returns:
        dict, name -> float32 array.
    """
    random = np.random.RandomState(seed)
    return {name: _draw(name, shapes[name], random).astype(np.float32) for name in sorted(shapes)}


def _draw(name, shape, random):
    """One parameter, by the first rule that fits its name."""
    if name.endswith("invconv.weight"):
        rotation = np.linalg.qr(random.randn(*shape))[0]
        return rotation * (1 + 0.05 * np.abs(random.randn(shape[0], 1)))
    if name.endswith("actnorm.bias"):
        return 0.05 * random.randn(*shape)
    if name.endswith(".logs"):
        return 0.02 * random.randn(*shape)
    if name.endswith(".4.bias") and "affine" in name:
        value = 0.01 * random.randn(*shape)
        value[1::2] += 3.0  # scales near 1, so that the inverse stays tame
        return value
    if name.endswith(".bias"):
        return 0.01 * random.randn(*shape)
    if "RDB" in name and ".conv" in name:
        return 0.1 * np.sqrt(2 / np.prod(shape[1:])) * random.randn(*shape)
    if name.endswith(".4.weight") or (name.endswith("conv.weight") and "layers" in name):
        return 0.002 * random.randn(*shape)
    if "affine" in name:
        return 0.03 * random.randn(*shape)
    return np.sqrt(1 / np.prod(shape[1:])) * random.randn(*shape)
